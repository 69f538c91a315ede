"""``semalign judge``: comparison of two systems' answers by language models or native readers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semalign_pl.judge.flags import Flags, check_flags, make_parser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.terminal import visible

if TYPE_CHECKING:
    from semalign_pl.judge.rubric import Rubric
    from semalign_pl.judge.session import Model, Verdicts
    from semalign_pl.types import Json

JUDGEMENTS, FIGURES, PICTURE = "judgements.jsonl", "judge.json", "judge.png"


def run(args: Sequence[str]) -> int:
    """Run ``semalign judge``.

    Args:
        args: Name of the command, two files, then flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    with one_line(args) as status:
        options = make_parser().parse_args(list(args[1:]))
        if options.humans:
            from semalign_pl.judge.humans.command import run_humans

            run_humans(options)
        else:
            compare(options, check_flags(options))
    return status.code


def compare(options: argparse.Namespace, flags: Flags) -> None:
    """Ask the judges, print table and sentences, and write judgements, figures and picture.

    Args:
        options: Parsed flags.
        flags: Checked flags.

    Raises:
        ValueError: If a file or a judge cannot be used.
    """
    from semalign_pl.judge.pairs import read_pairs
    from semalign_pl.judge.rubric import read_rubric

    rubric = read_rubric("--rubric", options.rubric, options.language)
    pairs = read_pairs(options.a, options.b, options.source, options.text, options.reference)

    from semalign_pl.judge.answers import FILE, Answers
    from semalign_pl.judge.records import write_judgements
    from semalign_pl.judge.session import ask_judges
    from semalign_pl.messages.quiet import quieten

    quieten()
    judges = [_make(name, options, flags) for name in flags.judges]
    with Answers(options.out / FILE, _tell) as answers:
        before = len(answers)
        try:
            verdicts = ask_judges(judges, pairs, rubric, answers)
        except BaseException:
            if added := len(answers) - before:
                _tell(f"{added} answers were added to {answers.path}; the same command goes on from there")
            raise
    write_judgements(options.out / JUDGEMENTS, [one for judge in verdicts for one in judge.judgements])
    _report(options, flags, rubric, judges, verdicts)


def _report(
    options: argparse.Namespace,
    flags: Flags,
    rubric: Rubric,
    judges: Sequence[Model],
    verdicts: Sequence[Verdicts],
) -> None:
    from semalign_pl import __version__
    from semalign_pl.files.atomic import write_text
    from semalign_pl.files.json_text import to_json
    from semalign_pl.judge.picture import draw
    from semalign_pl.judge.result import all_figures, make_table, sentences
    from semalign_pl.judge.summary import summarise
    from semalign_pl.messages.console import Console

    of_rubric = f"rubric:{rubric.name}|prompts:{rubric.digest}|orders:2|version:{__version__}"
    signatures = {judge.name: f"judge:{judge.identity}|{of_rubric}" for judge in judges}
    figures = all_figures(verdicts, flags.prices, signatures)
    console = Console()
    console.print(make_table(figures))
    for line in sentences(figures, verdicts):
        console.print(line, soft_wrap=True)
    written: dict[str, Json] = {
        "a": str(options.a),
        "b": str(options.b),
        "rubric": {"name": rubric.name, "digest": rubric.digest, "language": rubric.language},
        "judges": {name: one for name, one in figures.items()},
    }
    numbers, picture = options.out / FIGURES, options.out / PICTURE
    write_text(numbers, to_json(written, numbers, indent=2) + "\n")
    of_judge = {one.name: summarise(one.judgements) for one in verdicts}
    draw(
        picture,
        {name: one.win_rate for name, one in of_judge.items()},
        {name: one.order_bias for name, one in of_judge.items()},
        f"A: {options.a}\nB: {options.b}",
    )
    console.print(f"judgements: {options.out / JUDGEMENTS}, figures: {numbers}, picture: {picture}", soft_wrap=True)


def _make(name: str, options: argparse.Namespace, flags: Flags) -> Model:
    from semalign_pl.judge.endpoint import Endpoint, Sampling
    from semalign_pl.judge.local import LocalModel

    spec = flags.judges[name]
    if not spec.url:
        import torch
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # there is a bar of the answers
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return LocalModel(spec.model, options.out / "digests.json", options.weights, device, name=name)
    return Endpoint(
        spec,
        flags.keys[name],
        Sampling(options.max_tokens, flags.temperature),
        options.parallel,
        options.per_minute,
        options.timeout,
        options.retries,
        name,
        _tell,
    )


def _tell(line: str) -> None:
    print(visible(f"semalign judge: {line}"), file=sys.stderr, flush=True)
