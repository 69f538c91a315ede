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


class Command(NamedTuple):
    """One command.

    Attributes:
        help: Line for ``semalign --help``.
        module: Module whose function ``run`` takes the command line and returns the exit status.
    """

    help: str
    module: str


COMMANDS = {
    "fit": Command(
        "train one stage: SFTModule, GRPOModule (semantic RL), DistillModule (healing) or EmbedderModule (reward)",
        "semalign_pl.cli.lightning_cli",
    ),
    "validate": Command("score a policy on the validation corpus", "semalign_pl.cli.lightning_cli"),
    "test": Command(
        "score a policy on the test corpus, probes included; writes results.json, items.jsonl, predictions.jsonl",
        "semalign_pl.cli.lightning_cli",
    ),
    "predict": Command("write predictions.jsonl without scoring", "semalign_pl.cli.lightning_cli"),
    "export": Command(
        "publish a run: adapter or merged model with a model card, GGUF, hub: RUN --merge --gguf q8_0 --push you/name",
        "semalign_pl.export.command",
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
    prepare_process()
    sys.path.append(os.getcwd())  # as with `python -m`: a user's own rewards are in the working folder
    with ending_by_signals():
        sys.argv[1:] = locate_recipes(sys.argv[1:])  # processes that a strategy starts run this command line again
        return _run(sys.argv[1:])


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if args[0] in ("-V", "--version"):
        print(f"semalign {__version__}")
        return 0
    if command := COMMANDS.get(args[0]):
        return import_module(command.module).run(locate_recipes(args))
    similar = difflib.get_close_matches(args[0], COMMANDS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "see semalign --help"
    print(visible(f"semalign: error: there is no command {args[0]!r}; {hint}"), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
