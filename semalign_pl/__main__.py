"""The ``semalign`` command. It reads the command name before it imports anything slow."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

from semalign_pl import __version__
from semalign_pl.files.recipes import FOLDER, locate_recipes
from semalign_pl.messages.terminal import prepare_process, visible
from semalign_pl.run.signals import ending_by_signals

STAGES = ("fit", "validate", "test", "predict")
HELP = f"""semalign {__version__}: teach a language model a low-resource language without making it worse.

usage: semalign COMMAND [--config FILE.yaml] [--KEY VALUE …]

commands
  fit        train one stage: SFTModule (cold start, strong SFT), GRPOModule (semantic RL), EmbedderModule (reward)
  validate   score a policy on the validation corpus
  test       score a policy on the test corpus, probes included; writes results.json and predictions.jsonl
  predict    write predictions.jsonl without scoring
  export     a checkpoint's adapter as a plain folder: --config RUN/fit.yaml --ckpt_path RUN/checkpoints/….ckpt
  study      systems side by side, the paper's or those of a study.yaml: the table, the picture, the report
  corpus     what files are made of: lengths, tokens a syllable, scripts, duplicates, leaks; table, JSON, one page
  data       get what configs/real reads: public data sets with licence and checksum, and a sample; lists them
  plan       will it fit? a recipe's peak memory by part, and settings that fit a card (--memory 12GiB)
  report     make table, picture and HTML report again from a study's folder

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
    args = locate_recipes(args)
    if args[0] in STAGES:
        from semalign_pl.cli import run

        return run(args)
    if args[0] == "export":
        from semalign_pl.cli.export import run as run_export

        return run_export(args)
    if args[0] in ("study", "report"):
        from semalign_pl.study.command import run as run_study

        return run_study(args)
    if args[0] == "plan":
        from semalign_pl.plan.command import run as run_plan

        return run_plan(args)
    if args[0] == "corpus":
        from semalign_pl.inspection.command import run as run_corpus

        return run_corpus(args)
    if args[0] == "data":
        from semalign_pl.example_data.command import run as run_data

        return run_data(args)
    near = difflib.get_close_matches(args[0], [*STAGES, "export", "study", "report", "plan", "corpus", "data"], n=1)
    hint = f"did you mean {near[0]}?" if near else "see semalign --help"
    print(visible(f"semalign: error: there is no command {args[0]!r}; {hint}"), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
