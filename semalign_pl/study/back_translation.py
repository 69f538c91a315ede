"""Pairs of the texts that a translator in the reverse direction translated, to train a system of a study on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible
from semalign_pl.types import Json

PAIRS = "back_translated.jsonl"
"""File of the pairs in the folder of a study's translator."""
ANSWERS = "translations.jsonl"
"""File of all translations, as ``semalign translate`` writes it."""


def usable_pairs(answers: Sequence[Mapping[str, Json]], text: str, translation: str) -> list[dict[str, Json]]:
    """Pairs of texts and translations that are neither blank nor cut off.

    Args:
        answers: Rows with ``source``, ``prediction`` and ``finished``.
        text: Field of the translated text.
        translation: Field of its translation.

    >>> usable_pairs([{"source": "a", "prediction": "b", "finished": True}], "bo", "zh")
    [{'zh': 'b', 'bo': 'a'}]
    """
    return [
        {translation: row["prediction"], text: row["source"]}
        for row in answers
        if row["finished"] and str(row["prediction"]).strip()
    ]


def back_translate(folder: Path, texts: str) -> None:
    """Translate texts by a finished run, and write the pairs; an interrupted process goes on.

    Args:
        folder: Folder of the run, whose task has one source and one reference.
        texts: Corpus of the texts.

    Raises:
        ValueError: If a text cannot be read, or no translation is usable.
    """
    from semalign_pl.inference.loaded_run import RunRecipe
    from semalign_pl.inference.translate import translate
    from semalign_pl.run.finished import FinishedRun

    run, answers = FinishedRun.of(folder), folder / ANSWERS
    text, translation = RunRecipe.of(run).task.fields
    answers.unlink(missing_ok=True)  # of other texts, or of a process that was killed before it wrote the pairs
    translate(run, None, texts, answers)
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    pairs = usable_pairs(rows, text, translation)
    print(visible(f"  {len(pairs)} of {len(rows)} translations are whole; written: {folder / PAIRS}"), flush=True)
    if not pairs:
        raise ValueError(
            f"back_translation: none of the {len(rows)} translations in {answers} is whole: they are blank or were cut "
            "off; train the translator for more steps, or raise its max_new_tokens"
        )
    write_text(folder / PAIRS, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
