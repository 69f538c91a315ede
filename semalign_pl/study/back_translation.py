"""Pairs of the texts that a translator in the reverse direction translated, to train a system of a study on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.languages import get_language
from semalign_pl.messages.terminal import visible
from semalign_pl.types import Json

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule

PAIRS = "back_translated.jsonl"
"""File of the pairs in the folder of a study's translator."""
ANSWERS = "translations.jsonl"
"""File of all translations, as ``semalign translate`` writes it."""
SAMPLE = 200
"""Number of texts whose language is checked."""


def usable_pairs(answers: Sequence[Mapping[str, Json]], text: str, translation: str) -> list[dict[str, Json]]:
    """Pairs of whole texts and their translations, without blank translations and those that were cut off.

    Args:
        answers: Rows with ``source``, ``prediction``, ``finished`` and ``cut``.
        text: Field of the translated text.
        translation: Field of its translation.

    >>> usable_pairs([{"source": "a", "prediction": "b", "finished": True, "cut": False}], "bo", "zh")
    [{'zh': 'b', 'bo': 'a'}]
    """
    return [
        {translation: row["prediction"], text: row["source"]}
        for row in answers
        if row["finished"] and not row["cut"] and str(row["prediction"]).strip()
    ]


def check_texts(data: LightningDataModule, texts: str) -> None:
    """Refuse texts that a translator could not use, before it is trained.

    Args:
        data: Data module of the translator's recipe.
        texts: Corpus of the texts.

    Raises:
        ValueError: If the recipe has no corpora, its task has no single source and reference, a text cannot be read, or
            the texts are in another language.
    """
    from semalign_pl.data import CorpusDataModule
    from semalign_pl.inference.inputs import Inputs
    from semalign_pl.inference.loaded_run import RecipeTask

    if not isinstance(data, CorpusDataModule):
        raise ValueError(f"back_translation: {type(data).__name__} has no task to translate by; take CorpusDataModule")
    recipe = RecipeTask.of_data(data)
    if len(recipe.task.fields) != 2:
        raise ValueError("back_translation: the task has no single source and reference; take Translation")
    read = [example.source for example in islice(Inputs(recipe, {}).read(texts), SAMPLE)]
    check_language(read, recipe.task.languages.get(recipe.task.fields[0]), f"back_translation.texts: {texts}")


def check_language(texts: Sequence[str], language: str | None, where: str) -> None:
    """Refuse texts that are mostly not in the language that the translator reads, as when its task is not reversed.

    Args:
        texts: Some of the texts.
        language: Code or .yaml file of the language; ``None`` if the task names none, which cannot be checked.
        where: Setting and file to name in messages.

    Raises:
        ValueError: If most texts are not in the language.
    """
    if language is None:
        return
    known = get_language(language)
    if 2 * sum(map(known.is_consistent, texts)) < len(texts):
        raise ValueError(
            f"{where}: most of the first {len(texts)} texts are not in {known.name}, which the translator reads; set "
            "source and target of its task the other way round, or name other texts"
        )


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
    recipe = RunRecipe.of(run)
    text, translation = recipe.task.fields
    answers.unlink(missing_ok=True)  # of other texts, or of a process that was killed before it wrote the pairs
    translate(run, None, texts, answers)
    lines = answers.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 may be part of a text
    rows = [json.loads(line) for line in lines if line]
    pairs, cut = usable_pairs(rows, text, translation), sum(row["cut"] for row in rows)
    whole = f"{len(pairs)} of {len(rows)} translations are whole" + (f" (cut texts: {cut})" if cut else "")
    print(visible(f"  {whole}; written: {folder / PAIRS}"), flush=True)
    if not pairs:
        raise ValueError(
            f"back_translation: none of the {len(rows)} translations in {answers} is whole: they are blank, were cut "
            "off, or are of cut texts; train the translator for more steps, or raise its max_new_tokens or "
            "max_prompt_tokens"
        )
    write_text(folder / PAIRS, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
