"""Export of the toy world, in the form of a user's own data: models, pairs, headlines, reading comprehension, texts."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from semalign_pl.files.atomic import replace_folder
from semalign_pl.toy import general, generator, grammar, reading
from semalign_pl.toy.speech import Speech, speech

WEIGHTS = Path(__file__).parent / "weights"
PAIRS = {"train": 5000, "dev": 200, "test": 300}
HEADLINES = {"train": 1000, "dev": 100, "test": 100}
READING = {"test": ("reading_comprehension.json", 200), "dev": ("reading_comprehension_dev.json", 100)}
SOURCE_ONLY = 2000
REPLAY, ANCHOR = 2000, 2000
UNTOUCHED = {"test": ("", 100), "dev": ("_dev", 50)}
CHINESE_DEV = 100


def _jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _lines(seed: int, name: str, make: Callable[[random.Random, range], str], split: str, size: int) -> str:
    rng, found = random.Random(f"{name}-{seed}"), dict[str, None]()
    while len(found) < size:
        found[make(rng, generator.SPLITS[split])] = None
    return "".join(text + "\n" for text in found)


def _source_only(seed: int, taken: set[str], second: Speech) -> str:
    """Chinese sentences like those of the training pairs, one per line, without those in ``taken``."""
    drawn = generator.unique(random.Random(f"source-only-{seed}"), generator.SPLITS["train"], second)
    fresh = (text for text in map(grammar.chinese, drawn) if text not in taken)
    return "".join(text + "\n" for text in islice(fresh, SOURCE_ONLY))


def _general(folder: Path, seed: int) -> None:
    """General data: replay, text for an anchor, probes for validation, and probes of untouched abilities."""
    _jsonl(folder / "replay.jsonl", general.replay(seed, "train", REPLAY))
    _jsonl(folder / "anchor.jsonl", general.anchor(seed, "train", ANCHOR))
    for name, split, size in (("anchor.txt", "train", ANCHOR), ("chinese_dev.txt", "dev", CHINESE_DEV)):
        texts = general.chinese(seed, split, size)
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    for name, make in (("time_questions", general.time_questions), ("copying", general.copying)):
        for split, (suffix, size) in UNTOUCHED.items():
            squad = json.dumps(make(seed, split, size), ensure_ascii=False, indent=1)
            (folder / f"{name}{suffix}.json").write_text(squad, encoding="utf-8")


def _fill(folder: Path, seed: int, second: Speech) -> None:
    for model in ("base", "encoder"):
        shutil.copytree(WEIGHTS / model, folder / model)
    pairs = {split: generator.pairs(seed, split, size, second) for split, size in PAIRS.items()}
    for split, rows in pairs.items():
        _jsonl(folder / "pairs" / f"{split}.jsonl", rows)
    source_only = _source_only(seed, {row["zh"] for rows in pairs.values() for row in rows}, second)
    (folder / "source_only.txt").write_text(source_only, encoding="utf-8")
    for split, size in HEADLINES.items():
        _jsonl(folder / "headlines" / f"{split}.jsonl", generator.headlines(seed, split, size, second))
    for split, (name, questions) in READING.items():
        squad = reading.reading_comprehension(seed, generator.SPLITS[split], questions)
        (folder / name).write_text(json.dumps(squad, ensure_ascii=False, indent=1), encoding="utf-8")
    zh = _lines(seed, "chinese", generator.chinese_text, "test", 200)
    other = _lines(seed, second.name, partial(generator.text, speech=second), "train", 1000)
    (folder / "chinese.txt").write_text(zh, encoding="utf-8")
    (folder / f"{second.name}.txt").write_text(other, encoding="utf-8")
    _general(folder / "general", seed)


def write(folder: Path, seed: int = 0, language: str = "bo") -> None:
    """Write the toy world to a folder, atomically: completely or not at all.

    Args:
        folder: Folder to create; it must not exist or must be empty.
        seed: Seed of the texts.
        language: Second language next to Chinese: a code such as bo or th, or the .yaml file of a language of your own.
            The models are the same for all languages; they know Chinese and Tibetan.

    Raises:
        ValueError: If the folder is not empty, the language is incomplete, or the package has no weights.
    """
    second = speech(language)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder for the toy world")
    if not all((WEIGHTS / model / "model.safetensors").exists() for model in ("base", "encoder")):
        raise ValueError(f"{WEIGHTS} holds no weights; run `python -m semalign_pl.toy build` first")
    with replace_folder(folder) as made:
        _fill(made, seed, second)
