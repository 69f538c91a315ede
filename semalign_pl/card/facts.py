"""Facts for a model card: what a run's folder, and the folders around it, say about a trained model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from semalign_pl.data.reading.licence import read_record
from semalign_pl.files.documents import read_json, read_yaml
from semalign_pl.functional.cost import loss_of, names_direction
from semalign_pl.run.finished import RESULTS
from semalign_pl.types import Json

PICTURE = "quality_against_tax.png"
"""Picture of a study, as `semalign report` writes it: quality against general ability lost."""
_REMEDY = "write it again, or move it away to make the card without it"
_ABSOLUTE = re.compile(r"(?<![\w./])(?:file://)?/(?:[^/\s|'\"]+/)+([^/\s|'\"]+)")
_SETTINGS = (
    ("optimizer", "init_args", "lr"),
    ("num_generations",),
    ("temperature",),
    ("top_p",),
    ("beta",),
    ("loss_type",),
    ("token_weight",),
    ("reference_nll_weight",),
    ("max_prompt_tokens",),
    ("max_new_tokens",),
    ("weights",),
)
_TASK = ("bleu4", "chrf", "rouge_l", "semantic_similarity", "language_consistency", "_references", "judge_win")
"""Ends of the names of scores of the task itself that are no function of items; others are of probes."""


def read_optional(file: Path) -> dict[str, Json]:
    """Content of a JSON or YAML file; an empty dictionary if there is no such file.

    Args:
        file: File with a mapping.

    Raises:
        ValueError: If the file cannot be read.
    """
    if not file.is_file():
        return {}
    content = read_json(file, _REMEDY) if file.suffix == ".json" else read_yaml(file)
    return content if isinstance(content, dict) else {}


def without_paths(text: str) -> str:
    """Text without the folders of absolute paths, which belong to one machine and may name a person.

    Args:
        text: Text of a recipe or signature.

    >>> without_paths("reward:semantic|encoder:/home/me/encoder|tau:0")
    'reward:semantic|encoder:encoder|tau:0'
    >>> without_paths("https://creativecommons.org/licenses/by/4.0/ file:///home/me/a.jsonl")
    'https://creativecommons.org/licenses/by/4.0/ a.jsonl'
    """
    return _ABSOLUTE.sub(r"\1", text)


def dig(value: Json, *keys: str) -> Json:
    """Value at a path of keys in nested mappings; ``None`` if one of them is missing.

    Args:
        value: Mapping.
        *keys: Keys from the outside to the inside.
    """
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def find_languages(recipe: Json) -> list[str]:
    """Codes of the languages that a recipe's tasks, rewards and scores name, sorted.

    The task of the data module does not count if each training corpus has a task of its own: it may be the default.

    Args:
        recipe: Settings of the training.
    """
    found = set()
    data, train = dig(recipe, "data", "init_args"), dig(recipe, "data", "init_args", "train")
    corpora = train if isinstance(train, list) else [train]
    if isinstance(recipe, dict) and isinstance(data, dict) and all(dig(corpus, "task") for corpus in corpora):
        recipe = {**recipe, "data": {key: value for key, value in data.items() if key != "task"}}
    for key, value in _walk(recipe):
        if key in ("source", "target", "language", "prompt_language") and isinstance(value, str):
            if re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", value):
                found.add(value)
    return sorted(found)


def _walk(value: Json, key: str = "") -> Iterator[tuple[str, Json]]:
    yield key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, key)


def describe_corpora(run: Path, locate: Callable[[str], str]) -> list[dict[str, Json]]:
    """Corpora of each split: name, rows kept and read, licence as the run's report gives it, and source.

    Args:
        run: Folder of the run; its ``corpus`` has the report of each split.
        locate: Function from a path of the recipe to the path that is found today.
    """
    rows = []
    for split in ("train", "validation", "test"):
        corpora = read_optional(run / "corpus" / f"{split}.json").get("corpora")
        for corpus in corpora if isinstance(corpora, list) else []:
            if not isinstance(corpus, dict):
                continue
            source = str(corpus.get("source"))
            origin, licence = read_record(locate(source)).get("source"), corpus.get("licence")
            row = {"split": split, "name": without_paths(source), "licence": licence, "source": origin}
            rows.append({**row, "kept": corpus.get("kept"), "read": corpus.get("read")})
    return rows


def describe_settings(recipe: Json, training: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """Settings of a training that most change its result, by name.

    Args:
        recipe: Settings of the training.
        training: Content of ``training.json``.
    """
    rows = [(name, training.get(name)) for name in ("stage", "steps", "seed")]
    rows.append(("batch_size", dig(recipe, "data", "init_args", "batch_size")))
    rows += [(".".join(keys[:: len(keys) - 1 or 1]), dig(recipe, "model", "init_args", *keys)) for keys in _SETTINGS]
    return [(name, value) for name, value in rows if value is not None]


def describe_scores(results: Mapping[str, Json], base: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Scores of a test with intervals, those of the base where they were measured alike, and general ability lost.

    Args:
        results: Content of the run's ``results.json``.
        base: Content of the base's ``results.json``; empty if it was not tested beside the run.

    Returns:
        One row per score: name, value, interval, value of the base, and the loss of general ability, each ``None`` if
        it is not known. Changes and divergences are against the base themselves.
    """
    rows: list[dict[str, Json]] = []
    scores, others = results.get("metrics"), base.get("metrics")
    for name, score in scores.items() if isinstance(scores, dict) else ():
        value, other = dig(score, "value"), dig(others, name)
        if not isinstance(value, int | float):
            continue
        alike = dig(other, "signature") == dig(score, "signature")
        start = dig(other, "value") if alike else None
        lost: Json = None
        if names_direction(name) and not _is_of_the_task(name, dig(score, "items")):
            against_base = name.startswith(("nll_change_", "kl_", "forward_kl"))
            reference = 0.0 if against_base else start
            lost = loss_of(name, float(value), float(reference)) if isinstance(reference, int | float) else None
        row: dict[str, Json] = {"name": name, "value": value, "ci": dig(score, "ci"), "base": start, "lost": lost}
        rows.append({**row, "signature": without_paths(str(dig(score, "signature")))})
    return rows


def _is_of_the_task(name: str, items: Json) -> bool:
    """Return true for a score of the test corpus' rows, or of one of its corpora: the items ``test`` or ``test/…``."""
    return items.partition("/")[0] == "test" if isinstance(items, str) else name.endswith(_TASK)


def read_base(run: Path, recipe: Json, results: dict[str, Json]) -> dict[str, Json]:
    """Results of the base from the folder ``base`` beside a run, as a study has it.

    Args:
        run: Folder of the run.
        recipe: Settings of the training.
        results: Results of the run.

    Returns:
        Content of ``results.json``; empty if there is none, or if it is of another model or of other rows.
    """
    folder = run.absolute().parent / "base"
    tested, beside = dig(read_optional(folder / "test.yaml"), "model", "init_args"), read_optional(folder / RESULTS)
    same = dig(tested, "base") == dig(recipe, "model", "init_args", "base") and dig(beside, "run", "trained") is None
    alike = same and dig(beside, "run", "rows") == dig(results, "run", "rows")
    return beside if isinstance(tested, dict) and tested.get("adapter") is None and alike else {}


def find_picture(run: Path) -> Path | None:
    """Picture of the study that a run is part of; ``None`` if none is in its folder or in that of its study.

    Args:
        run: Folder of the run.
    """
    here = run.absolute()
    for folder in (here, *here.parents[:2]):
        if (folder / PICTURE).is_file() and (folder == here or _is_system(here.name, folder)):
            return folder / PICTURE
    return None


def _is_system(name: str, study: Path) -> bool:
    """Return true if a study's results have a system, or a variant of one, of this name."""
    systems = read_optional(study / RESULTS).get("systems")
    entries = systems if isinstance(systems, dict) else {}
    variants = [dig(entry, "variants") for entry in entries.values()]
    return name in entries or any(isinstance(one, dict) and name in one for one in variants)
