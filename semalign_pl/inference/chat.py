"""``semalign chat``: a conversation with a finished run in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.messages.terminal import visible
from semalign_pl.run.finished import FinishedRun

if TYPE_CHECKING:
    from semalign_pl.inference.inputs import Inputs
    from semalign_pl.inference.loaded_run import LoadedRun
    from semalign_pl.types import Turn

HELP = """/task TEXT  put TEXT into the prompt that the run was trained with; begins a new conversation
/new        begin a new conversation
/help       print this
/quit       end; so does Ctrl-D"""


def run(args: Sequence[str]) -> int:
    """Run ``semalign chat``.

    Args:
        args: Name of the command, the run, then flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign chat",
        usage="semalign chat RUN [--corpus NAME]",
        description="Talk to a finished run in its base's chat template. Answers are greedy, and prompts and answers\n"
        "have the limits of the recipe. Each line is a message to the model, except these:\n"
        + "\n".join(f"  {line}" for line in HELP.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, the trainer.default_root_dir of its fit")
    parser.add_argument("--corpus", help="corpus of the recipe whose task /task uses (default: the first of test)")
    with one_line(args) as status:
        options = parser.parse_args(list(args[1:]))
        run = FinishedRun.of(options.run)
        quieten()
        from semalign_pl.inference.inputs import Inputs
        from semalign_pl.inference.loaded_run import RunRecipe

        recipe = RunRecipe.of(run, options.corpus)
        talk(recipe.load(), Inputs(recipe))
    return status.code


def talk(loaded: LoadedRun, inputs: Inputs) -> None:
    """Answer the lines of stdin until it ends.

    Args:
        loaded: Policy of the run.
        inputs: Converter of a text to the prompt of the run's task.

    Raises:
        ValueError: If stdin is not UTF-8.
    """
    asks = sys.stdin.isatty()
    if asks:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() then edits the line and remembers earlier ones)
        print(HELP)
    turns: list[Turn] = []
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            try:
                line = input("> " if asks else "").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"stdin: byte {error.start} is not UTF-8; give text in UTF-8") from error
            command, _, text = line.partition(" ")
            if command == "/quit":
                return
            if command == "/new":
                turns = []
            elif command == "/task" and text.strip():
                turns = _reply(loaded, [], text.strip(), inputs)
            elif command in ("/help", "/task"):
                print(HELP)
            elif command.startswith("/"):
                print(visible(f"there is no command {command}; /help lists them"))
            elif line:
                turns = _reply(loaded, turns, line)


def _reply(loaded: LoadedRun, before: list[Turn], message: str, task: Inputs | None = None) -> list[Turn]:
    """Print the answer to a message, in the prompt of a task if one is given.

    Returns:
        The conversation with the message and its answer; after a mistake, as it was before.
    """
    from semalign_pl.types import Turn

    module = loaded.recipe.module
    try:
        prompt = message if task is None else task.example(message, "").policy_prompt  # with its system text
        turns = [*before, *([Turn("user", prompt)] if isinstance(prompt, str) else prompt)]
        (answer,) = loaded.answer([turns[0].content if len(turns) == 1 else turns])
    except ValueError as error:  # of this message alone, such as a turn that the chat template refuses
        print(visible(f"no answer: {error}"))
        return before
    print(visible(answer.text), flush=True)
    if answer.cut:
        limit = f"max_prompt_tokens {module.max_prompt_tokens}"
        print(f"({limit}: the oldest turns were left out, or the message was cut; /new begins afresh)", file=sys.stderr)
    if not answer.finished:
        print(f"(cut off at max_new_tokens {module.max_new_tokens})", file=sys.stderr)
    return [*turns, Turn("assistant", answer.text)]
