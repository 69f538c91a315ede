"""Export of the toy world, in the form of a user's own data: models, pairs, headlines, reading comprehension, texts."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

from semalign_pl.files.atomic import replace_folder
from semalign_pl.toy import general, generator, grammar, reading
from semalign_pl.toy.conditions import SHIPPED, Conditions, domain, style_speech, training_meanings, training_pairs
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.speech import TIBETAN, Speech, speech
from semalign_pl.toy.style import NAMED, PLAIN, tibetan, wordings

WEIGHTS = Path(__file__).parent / "weights"
MODELS = ("base", "encoder")
PAIRS = {"dev": 200, "test": 300}
HEADLINES = {"train": 1000, "dev": 100, "test": 100}
READING = {"test": ("reading_comprehension.json", 200), "dev": ("reading_comprehension_dev.json", 100)}
STYLE_LINES = 200
REPLAY, ANCHOR = 2000, 2000
UNTOUCHED = {"test": ("", 100), "dev": ("_dev", 50)}
CHINESE_DEV = 100


def _jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_lines(path: Path, texts: Iterable[str]) -> None:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def _lines(seed: int, name: str, make: Callable[[random.Random, range], str], split: str, size: int) -> str:
    rng, found = random.Random(f"{name}-{seed}"), dict[str, None]()
    while len(found) < size:
        found[make(rng, generator.SPLITS[split])] = None
    return "".join(text + "\n" for text in found)


def _draw_unpaired(name: str, seed: int, size: int, taken: set[str], second: Speech) -> list[Meaning]:
    """Meanings like those of the training pairs, without those whose Chinese is in ``taken``, to which it adds them."""
    drawn = generator.unique(random.Random(f"{name}-{seed}"), generator.SPLITS["train"], second)
    fresh = generator.first((meaning for meaning in drawn if grammar.chinese(meaning) not in taken), size)
    if len(fresh) < size:
        raise ValueError(f"--{name} {size}: there are only {len(fresh)} more sentences; give a smaller number")
    taken |= {grammar.chinese(meaning) for meaning in fresh}
    return fresh


def _pairs(folder: Path, seed: int, second: Speech, conditions: Conditions) -> dict[str, object]:
    """Write pairs and source sentences. Return figures for ``world.json``."""
    spoken = trained = second
    if conditions.style is not None:
        spoken, trained = style_speech(seed, 0.0), style_speech(seed, conditions.style)
    # Meanings are distinct in the plain style, so worlds of all styles have the same sources.
    meanings = {split: generator.meanings(seed, split, size, second) for split, size in PAIRS.items()}
    train = training_meanings(seed, conditions, second)
    rows, wrong = training_pairs(train, trained, seed, conditions.noise)
    _jsonl(folder / "pairs" / "train.jsonl", rows)
    for split, held in meanings.items():
        pairs = [{"zh": grammar.chinese(meaning), second.code: spoken.sentence(meaning)} for meaning in held]
        _jsonl(folder / "pairs" / f"{split}.jsonl", pairs)
    # Without the pairs of the shipped world, too, so that worlds of fewer pairs have the same source sentences.
    shipped = [] if conditions == SHIPPED else training_meanings(seed, SHIPPED, second)
    taken = {grammar.chinese(meaning) for held in (train, shipped, *meanings.values()) for meaning in held}
    sources = _draw_unpaired("source-only", seed, conditions.source_only, taken, second)
    _write_lines(folder / "source_only.txt", map(grammar.chinese, sources))
    if conditions.target_only:
        targets = _draw_unpaired("target-only", seed, conditions.target_only, taken, second)
        _write_lines(folder / "target_only.txt", map(spoken.sentence, targets))
    if conditions.style is not None:
        _wordings(folder, seed, meanings, spoken)
    inside = domain(seed, conditions.breadth)
    shares = {split: sum(map(inside, held)) / len(held) for split, held in meanings.items()}
    return {"wrong_references": wrong, "share_in_training_domain": shares}


def _wordings(folder: Path, seed: int, meanings: Mapping[str, Sequence[Meaning]], spoken: Speech) -> None:
    """Write other wordings of the dev and test references, and texts of one style each."""
    alternatives: list[dict[str, str]] = []
    for split, held in meanings.items():
        references = [{"zh": grammar.chinese(meaning), "references": list(wordings(meaning))} for meaning in held]
        _jsonl(folder / "pairs" / f"{split}_references.jsonl", references)
        for meaning in held:
            texts = {tibetan(meaning, style): name for name, style in reversed(NAMED.items())}
            texts.pop(spoken.sentence(meaning), None)
            alternatives += [
                {"split": split, "style": name, "zh": grammar.chinese(meaning), spoken.code: text}
                for text, name in texts.items()
            ]
    _jsonl(folder / "pairs" / "alternatives.jsonl", alternatives)
    drawn = generator.unique(random.Random(f"styles-{seed}"), generator.SPLITS["test"])
    shown = list(islice((meaning for meaning in drawn if PLAIN.shown_in(meaning) == PLAIN), STYLE_LINES))
    (folder / "styles").mkdir()
    for name, style in NAMED.items():
        _write_lines(folder / "styles" / f"{name}.txt", (tibetan(meaning, style) for meaning in shown))


def _general(folder: Path, seed: int) -> None:
    """General data: replay, text for an anchor, probes for validation, and probes of untouched abilities."""
    _jsonl(folder / "replay.jsonl", general.replay(seed, "train", REPLAY))
    _jsonl(folder / "anchor.jsonl", general.anchor(seed, "train", ANCHOR))
    for name, split, size in (("anchor.txt", "train", ANCHOR), ("chinese_dev.txt", "dev", CHINESE_DEV)):
        _write_lines(folder / name, general.chinese(seed, split, size))
    for name, make in (("time_questions", general.time_questions), ("copying", general.copying)):
        for split, (suffix, size) in UNTOUCHED.items():
            squad = json.dumps(make(seed, split, size), ensure_ascii=False, indent=1)
            (folder / f"{name}{suffix}.json").write_text(squad, encoding="utf-8")


def _fill(folder: Path, seed: int, second: Speech, conditions: Conditions, models: Path) -> dict[str, object]:
    """Write all files but ``world.json``. Return figures for it."""
    for model in MODELS:
        shutil.copytree(models / model, folder / model)
    figures = _pairs(folder, seed, second, conditions)
    spoken = second if conditions.style is None else style_speech(seed, 0.0)
    for split, size in HEADLINES.items():
        _jsonl(folder / "headlines" / f"{split}.jsonl", generator.headlines(seed, split, size, spoken))
    for split, (name, questions) in READING.items():
        squad = reading.reading_comprehension(seed, generator.SPLITS[split], questions)
        (folder / name).write_text(json.dumps(squad, ensure_ascii=False, indent=1), encoding="utf-8")
    zh = _lines(seed, "chinese", generator.chinese_text, "test", 200)
    other = _lines(seed, second.name, partial(generator.text, speech=spoken), "train", 1000)
    (folder / "chinese.txt").write_text(zh, encoding="utf-8")
    (folder / f"{second.name}.txt").write_text(other, encoding="utf-8")
    _general(folder / "general", seed)
    return figures


def write(
    folder: Path,
    seed: int = 0,
    language: str = "bo",
    models: Path = WEIGHTS,
    conditions: Conditions = SHIPPED,
) -> None:
    """Write the toy world to a folder, atomically: completely or not at all.

    A world of other conditions or models than the shipped one has them in ``world.json``. A world with a style has
    several references per meaning in ``pairs/*_references.jsonl``, other wordings of the references in
    ``pairs/alternatives.jsonl``, and texts of one style each in ``styles/``.

    Args:
        folder: Folder to create; it must not exist or must be empty.
        seed: Seed of the texts.
        language: Second language next to Chinese: a code such as bo or th, or the .yaml file of a language of your own.
            The models are the same for all languages; they know Chinese and Tibetan.
        models: Folder with the models to copy, ``base`` and ``encoder``.
        conditions: Conditions of the training pairs.

    Raises:
        ValueError: If the folder is not empty, the language is incomplete, has no styles or too few sentences, or there
            are no models.
    """
    second = speech(language)
    if conditions.style is not None and second is not TIBETAN:
        raise ValueError(f"--style {conditions.style}: only bo has styles, not --language {language}; leave one out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder for the toy world")
    if not all((models / model / "model.safetensors").exists() for model in MODELS):
        remedy = "run `python -m semalign_pl.toy build` first"
        raise ValueError(f"{models} holds no weights of base and encoder; {remedy}")
    with replace_folder(folder) as made:
        figures = _fill(made, seed, second, conditions, models)
        if conditions != SHIPPED or models != WEIGHTS:
            shipped = "shipped" if models == WEIGHTS else str(models)
            world = {"seed": seed, "language": language, "models": shipped, **asdict(conditions), **figures}
            (made / "world.json").write_text(json.dumps(world, indent=1) + "\n", encoding="utf-8")
