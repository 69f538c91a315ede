"""The ``semalign`` command. It reads the command name before it imports anything slow."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from semalign_pl import __version__
from semalign_pl.files.recipes import FOLDER, locate_recipes
from semalign_pl.messages.terminal import prepare_process, visible
from semalign_pl.run.signals import ending_by_signals
from semalign_pl.start.threads import FirstLine, wait_passively


class Command(NamedTuple):
    """One command.

    Attributes:
        help: Line for ``semalign --help``.
        module: Module whose function ``run`` takes the command line and returns the exit status.
    """

    help: str
    module: str


COMMANDS = {
    "init": Command(
        "start here: data splits and recipes from files of pairs (my.xlsx --base Qwen/Qwen3-4B)",
        "semalign_pl.project.command",
    ),
    "fit": Command(
        "train one stage: SFTModule, GRPOModule (semantic RL), DistillModule (healing) or EmbedderModule (reward)",
        "semalign_pl.start.training",
    ),
    "validate": Command("score a policy on the validation corpus", "semalign_pl.start.training"),
    "test": Command(
        "score a policy on the test corpus, probes included; writes results.json, items.jsonl, predictions.jsonl",
        "semalign_pl.start.training",
    ),
    "predict": Command("write predictions.jsonl without scoring", "semalign_pl.start.training"),
    "export": Command(
        "publish a run: adapter or merged model with a model card, GGUF, hub: RUN --merge --gguf q8_0",
        "semalign_pl.export.command",
    ),
    "translate": Command(
        "answer a text, a file or stdin with a finished run: RUN --file in.txt --out out.jsonl",
        "semalign_pl.inference.translate",
    ),
    "chat": Command("talk to a finished run in the terminal: RUN", "semalign_pl.inference.chat"),
    "demo": Command(
        "compare base, cold start and adapter of a finished run in a local page: RUN", "semalign_pl.inference.demo"
    ),
    "judge": Command(
        "compare two systems' answers by language models as judges: A.jsonl B.jsonl --judge MODEL@URL",
        "semalign_pl.judge.command",
    ),
    "frontier": Command(
        "test a run at its kept steps, its end and scales of its adapter, in one process: RUN/adapter --out …",
        "semalign_pl.frontier.command",
    ),
    "dial": Command(
        "export an adapter at the largest scale that loses no more than you accept: RUN/adapter --lose cmrc_f1=2",
        "semalign_pl.frontier.dial",
    ),
    "study": Command(
        "train, test and compare the systems of a study.yaml, or the paper's; print the verdicts, write the page",
        "semalign_pl.study.command",
    ),
    "report": Command(
        "make table, verdicts, picture and HTML page again from a study's folder", "semalign_pl.report.command"
    ),
    "runs": Command("list the runs in a folder with state, step, scores and age (--json)", "semalign_pl.run.command"),
    "corpus": Command(
        "describe corpora: lengths, tokens per syllable, scripts, duplicates, leaks; table, JSON, HTML page",
        "semalign_pl.inspection.command",
    ),
    "reward-check": Command(
        "audit the rewards of a GRPO recipe before training, without policy or GPU; status 1 if they are refused",
        "semalign_pl.audit.command",
    ),
    "data": Command(
        "get what configs/real reads: public data sets with licence and checksum, and a sample; lists them",
        "semalign_pl.example_data.command",
    ),
    "plan": Command(
        "predict a recipe's peak memory, and propose settings that fit a card (--memory 12GiB)",
        "semalign_pl.plan.command",
    ),
    "recipes": Command(
        "list the recipes of the package; recipes copy NAME FOLDER copies one to change", "semalign_pl.start.recipes"
    ),
    "env": Command(
        "versions, devices, memory and what is missing, for reports of a fault", "semalign_pl.start.environment"
    ),
    "completion": Command(
        "print the script that completes commands and flags: bash, zsh, fish", "semalign_pl.start.completion"
    ),
}
HELP = f"""semalign {__version__}: teach a language model a low-resource language without making it worse.

usage: semalign COMMAND [--config FILE.yaml] [--KEY VALUE …]

commands
{chr(10).join(f"  {name:<12} {command.help}" for name, command in COMMANDS.items())}

options
  --version  print the version
  --help     print this; `semalign COMMAND --help` lists the keys of a command

Every key of the YAML can be given as a flag, e.g. --model.init_args.micro_batch_tokens 4096; the last one wins.
Results go to --trainer.default_root_dir. Recipes to copy, also read as --config configs/… from any folder, are in
  {FOLDER.resolve()}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments of the command; ``None`` for the arguments of this process.

    Returns:
        Exit status: 0, or 2 after a message about a mistake that the user can mend.

    Raises:
        Stopped: If ``argv`` is ``None`` and a signal ended the command; a ``SystemExit`` with status 128 + signal.
    """
    if argv is not None:
        return _run(list(argv))
    wait_passively()
    prepare_process()
    sys.path.append(os.getcwd())  # as with `python -m`: a user's own rewards are in the working folder
    with ending_by_signals():
        sys.argv[1:] = locate_recipes(sys.argv[1:])  # processes that a strategy starts run this command line again
        if sys.argv[1:] and "LOCAL_RANK" not in os.environ:
            sys.meta_path.insert(0, FirstLine(sys.argv[1]))
        return _run(sys.argv[1:])


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if args[0] in ("-V", "--version"):
        print(f"semalign {__version__}")
        return 0
    if command := COMMANDS.get(args[0]):
        args = locate_recipes(args)
        return import_module(command.module).run(args)
    similar = difflib.get_close_matches(args[0], COMMANDS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "see semalign --help"
    if args[0].startswith("-"):
        hint = f"write one before it, e.g. semalign fit {args[0]} …; see semalign --help"
    print(visible(f"semalign: error: there is no command {args[0]!r}; {hint}"), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
