"""The part of ``semalign judge`` for native readers: write their page, merge what it has exported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.files.digest import digest
from semalign_pl.files.json_text import to_json
from semalign_pl.judge.flags import OF_LOCAL_MODELS, OF_SERVERS, refuse_given
from semalign_pl.judge.humans.answers import read_answers
from semalign_pl.judge.humans.write import write_page
from semalign_pl.judge.pairs import Pair, read_pairs
from semalign_pl.judge.records import Judgement, write_judgements
from semalign_pl.judge.rubric import FOLDER, Rubric, read_rubric
from semalign_pl.messages.terminal import visible
from semalign_pl.types import Json

LARGEST_SEED = 2**53 - 1
"""Largest whole number that JavaScript keeps: the page exports its seed."""
PAGE, JUDGEMENTS, FIGURES = "readers.html", "readers.jsonl", "readers.json"
ALL = "all readers"


def run_humans(options: argparse.Namespace) -> None:
    """Write the page of ``semalign judge --humans``, or merge the answers that ``--merge`` names.

    Args:
        options: Parsed flags of the command.

    Raises:
        ValueError: If a flag or a file cannot be used.
    """
    refuse_given(options, ("judge", *OF_SERVERS, *OF_LOCAL_MODELS), "is for models, and --humans asks people")
    if abs(options.seed) > LARGEST_SEED:
        raise ValueError(f"--seed: {options.seed} is larger than a browser keeps; give at most {LARGEST_SEED}")
    if options.out.is_file():
        raise ValueError(f"--out: {options.out} is a file; give a folder")
    pairs = read_pairs(options.a, options.b, options.source, options.text, options.reference)
    if options.merge:
        of_page = "is for the page, and --merge reads what readers exported from it"
        refuse_given(options, ("rubric", "language", "seed"), of_page)
        _report(options, merge(options.merge, pairs), pairs)
        return
    rubric = read_rubric("--rubric", options.rubric, options.language)
    if not rubric.people:
        raise ValueError(
            f"--rubric: {options.rubric}: people: missing; write what readers are to look for, as in "
            f"{FOLDER / 'translation.yaml'}"
        )
    page = write_page(pairs, options.out / PAGE, rubric_name(rubric), rubric.people, options.seed)
    count = f"{len(pairs)} pairs" if len(pairs) > 1 else "1 pair"
    print(visible(f"{page}: {count}. Give the file to the readers; it needs a browser and no network."))
    print(
        "Merge what they export: the same command without --rubric, --language and --seed, and --merge answers-….json"
    )


def rubric_name(rubric: Rubric) -> str:
    """Name of a shipped rubric; of a file of the user's own, digest of the text that readers see.

    Args:
        rubric: Rubric.
    """
    return digest(rubric.people, digits=8) if rubric.name == rubric.digest else rubric.name


def merge(files: Sequence[Path], pairs: Sequence[Pair]) -> list[Judgement]:
    """Merge the answers of several readers.

    Args:
        files: Files that the page has exported, one per reader.
        pairs: Pairs that the page was made from.

    Returns:
        Judgements in the order of the files, whose judges are the readers' names.

    Raises:
        ValueError: If a file cannot be read, is of other pairs or was changed, two files are of one reader, or their
            pages had different rubrics; names file, item and field.
    """
    merged: list[Judgement] = []
    readers: dict[str, Path] = {}
    for file in files:
        judgements = read_answers(file, pairs)
        reader, rubric = judgements[0].judge, judgements[0].rubric
        if reader in readers:
            raise ValueError(
                f"{file}: reader: {reader!r} is the reader of {readers[reader]}, too; give one file per reader, or, if "
                "two have this name, let one of them add to it in the page and export again"
            )
        if merged and rubric != merged[0].rubric:
            raise ValueError(
                f"{file}: rubric: {rubric!r} is not the rubric of {files[0]}, {merged[0].rubric!r}; merge only answers "
                "to the same question"
            )
        readers[reader] = file
        merged += judgements
    return merged


def _report(options: argparse.Namespace, judgements: Sequence[Judgement], pairs: Sequence[Pair]) -> None:
    """Print and write win rates and agreement, and write the judgements."""
    from semalign_pl.judge.agreement import measure_agreement
    from semalign_pl.judge.result import format_estimate
    from semalign_pl.judge.summary import N_BOOTSTRAP, SEED, summarise

    agreement = measure_agreement(judgements)
    readers = list(dict.fromkeys(one.judge for one in judgements))
    groups = {name: [one for one in judgements if one.judge == name] for name in readers}
    groups |= {ALL: list(judgements)} if len(readers) > 1 else {}
    figures: dict[str, Json] = {}
    for name, own in groups.items():
        summary = summarise(own)
        figures[name] = own_figures = {
            "items": summary.items,
            "judgements": summary.judgements,
            "win_rate": asdict(summary.win_rate),
            "wins_a": summary.wins_a,
            "ties": summary.ties,
            "wins_b": summary.wins_b,
            "order_bias": asdict(summary.order_bias),
        }
        print(
            visible(
                f"{name}: win rate of A {format_estimate(own_figures['win_rate'], 100, ' %')}, A {summary.wins_a} / "
                f"tie {summary.ties} / B {summary.wins_b}, {summary.items} of {len(pairs)} pairs"
            )
        )
    shared = f"{agreement.items} pairs that two or more readers judged, unanimous on {agreement.unanimous}"
    alpha = "undefined" if agreement.alpha is None else f"{agreement.alpha:.3f}"
    print(f"Krippendorff's alpha (nominal: A, tie, B): {alpha}, on {shared}")
    written: dict[str, Json] = {
        "a": str(options.a),
        "b": str(options.b),
        "rubric": judgements[0].rubric,
        "readers": figures,
        "agreement": asdict(agreement),
        "signature": f"judge:people|rubric:{judgements[0].rubric}|orders:1|alpha:nominal|bootstrap:{N_BOOTSTRAP}|"
        f"seed:{SEED}",
    }
    write_judgements(options.out / JUDGEMENTS, judgements)
    write_text(options.out / FIGURES, to_json(written, options.out / FIGURES, indent=2) + "\n")
    print(visible(f"judgements: {options.out / JUDGEMENTS}, figures: {options.out / FIGURES}"))
