"""A project: from the files of a user to rows, settings and recipes, with a line about every choice."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.prompts import prompt_languages
from semalign_pl.data.storing.cache import format_counts
from semalign_pl.data.tasks import Translation
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import get_language
from semalign_pl.messages.memory_amount import gib
from semalign_pl.plan.meta_policy import read_config
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.project.advice import advise
from semalign_pl.project.general import General, own_text, read_general
from semalign_pl.project.lengths import fit_replay, measure_lengths
from semalign_pl.project.pairs import find_columns, read_pairs
from semalign_pl.project.settings import (
    GENERATIONS,
    LORA,
    SAMPLING,
    Machine,
    choose_weights,
    learning_rate,
    plan_stages,
)
from semalign_pl.project.split import Split, split_rows
from semalign_pl.project.stages import BATCH, GENERAL, PROMPTS, describe_columns, describe_machine, list_steps, schedule
from semalign_pl.project.write import write_project

LEAST = 40
"""Minimum number of pairs: with fewer, a test of a tenth of them says nothing."""
CINO = {"bo", "zh", "zh-Hans", "zh-Hant", "ug", "mn", "mn-Mong", "kk", "kk-Arab", "za"}
"""Languages of the encoder CINO (https://huggingface.co/hfl/cino-base-v2) among those of this package."""


@dataclass(frozen=True)
class InitSettings:
    """Parsed flags of ``semalign init``.

    Attributes:
        files: Files of pairs.
        folder: Folder to write.
        base: Hub id or folder of the base.
        memory: Memory of the card in bytes; ``None`` to look for a card.
        columns: Column of each language by code, source first; empty to guess.
        general: File of general text; ``None`` without one.
        encoder: Hub id or folder of the encoder to start from; ``None`` for the default of the languages.
        encodings: Encoding of each file that is text; of those without one, UTF-8, or UTF-16 with a byte-order mark.
        seed: Seed of the split.
    """

    files: Sequence[str]
    folder: Path
    base: str
    memory: int | None
    columns: Mapping[str, str]
    general: str | None
    encoder: str | None
    encodings: Mapping[str, str]
    seed: int


def build(settings: InitSettings) -> Iterator[str]:
    """Write the folder of a project.

    Args:
        settings: Flags of the command.

    Yields:
        Lines for the terminal: every guess with the flag that changes it, and the commands to run next.

    Raises:
        ValueError: If a file or model cannot be read, there are too few pairs, or the base does not fit the card.
    """
    read_config("--base", settings.base)
    chat, tokens = load_prompt_encoder(settings.base), TokenCounter(settings.base)
    encodings = settings.encodings
    columns = [find_columns(file, settings.columns, tokens, encodings.get(file)) for file in settings.files]
    source, target = columns[0].names
    for file, found in zip(settings.files, columns, strict=True):
        if list(found.names) != [source, target]:
            raise ValueError(
                f"{file}: its pairs are {' and '.join(found.names)}, and those of {settings.files[0]} {source} and "
                f"{target}; make a folder for each pair of languages, or name the columns with --columns"
            )
        yield from describe_columns(file, found)
    task = Translation(source, target, prompt_language=_prompt_language(source))
    rows, dropped, counts = list[dict[str, str]](), "", Counter[str]()
    with tempfile.TemporaryDirectory() as cache:
        for file, found in zip(settings.files, columns, strict=True):
            pairs = read_pairs(file, found, Path(cache), encodings.get(file))
            rows, dropped = rows + pairs.rows, dropped + pairs.dropped
            report = pairs.report
            counts.update(report["dropped"])
            blank = f", {report['blank']:,} blank rows skipped" if report["blank"] else ""
            yield f"{file}: {report['read']:,} rows read, {report['kept']:,} kept{blank}"
    if counts:
        yield f"left out: {format_counts(counts)}; listed in {settings.folder}/data/dropped.jsonl"
    if len(rows) < LEAST:
        raise ValueError(
            f"{settings.files[0]}: only {len(rows)} pairs can be used, too few to train on and to test; give {LEAST} "
            "or more, and look at what was left out with semalign corpus"
        )
    texts = [(row[task.fields[0]], row[task.fields[1]]) for row in rows]
    split = split_rows(texts, settings.seed, dev=min(200, len(rows) // 20), test=min(500, len(rows) // 10))
    if not split.dev or not split.test:
        raise ValueError(
            f"{settings.files[0]}: every pair is nearly repeated by another, so none can be a fair test; add pairs "
            "that are not variants of each other"
        )
    yield (
        f"split: {len(split.train):,} train, {len(split.dev):,} dev, {len(split.test):,} test, drawn with --seed "
        f"{settings.seed}; near-duplicates stay together in train"
    )
    general = _general(settings, rows, split, task.fields[0])
    encoder = settings.encoder or ("hfl/cino-base-v2" if {source, target} <= CINO else "sentence-transformers/LaBSE")
    read_config("--encoder", encoder)
    yield f"encoder of meaning: trained from {encoder} on your pairs; change with --encoder MODEL"
    lengths = measure_lengths([rows[i] for i in split.train], task, chat, TokenCounter(encoder))
    yield (
        f"limits: prompts of {lengths.prompt} tokens and translations of {lengths.completion} keep "
        f"{100 * lengths.kept:.1f} % of the training rows whole"
    )
    replay, keep_lengths = fit_replay(general.replay, chat, lengths)
    if general.guess:
        yield general.guess
    if len(replay) < len(general.replay):
        yield f"{settings.general}: {len(general.replay) - len(replay):,} of them are too long to be replayed"
    machine = Machine.detect(settings.memory)
    weights = choose_weights(settings.base, machine)
    planned, peak = plan_stages(settings.base, weights, lengths, keep_lengths, machine, encoder, BATCH, PROMPTS)
    yield describe_machine(machine, weights, peak)
    yield f"prompts: {task.template}; to change them, set prompt of the recipes' task"
    values = schedule(len(split.train)) | {
        "folder": str(settings.folder),
        "shell_folder": shlex.quote(str(settings.folder)),
        "files": settings.files,
        "base": settings.base,
        "encoder": encoder,
        "seed": settings.seed,
        "source": source,
        "target": target,
        "source_name": get_language(source).name,
        "target_name": get_language(target).name,
        "prompt_language": _prompt_language(source),
        "general": general,
        "general_share": GENERAL,
        "anchor_rows": len(general.anchor),
        "lengths": lengths,
        "keep_lengths": keep_lengths,
        "cuda": machine.cuda,
        "card": gib(machine.memory),
        "weights": weights,
        "lora": LORA,
        "generations": GENERATIONS,
        "sampling": SAMPLING,
        "batch": BATCH,
        "prompts": PROMPTS,
        **planned,
        "sft_rate": learning_rate(settings.base, 2e-4),
        "grpo_rate": learning_rate(settings.base, 2e-5),
        "encoder_rate": learning_rate(encoder, 2e-5),
        "train_rows": len(split.train),
        "dev_rows": len(split.dev),
        "test_rows": len(split.test),
        "dropped_rows": counts.total(),
        "steps": (steps := list_steps(settings.folder)),
        "advice": (advice := advise(len(split.train), general.kind)),
    }
    write_project(
        settings.folder,
        {name: (rows[i] for i in places) for name, places in zip(split._fields, split, strict=True)},
        dropped,
        {"anchor": general.anchor, "probe": general.probe},
        replay,
        values,
    )
    yield ""
    yield f"{settings.folder}: recipes and data, explained in {settings.folder}/README.md. Next:"
    yield from (f"  {command}  # {what}" for what, command in steps)
    quoted = shlex.quote(str(settings.folder))
    yield f"advice: {advice}"
    yield f"then semalign translate {quoted}/runs/grpo --file texts.txt --out translations.jsonl, or …/runs/sft or keep"
    if general.kind == "own":
        yield (
            f"{settings.folder}/keep.yaml has no general text to replay: write another folder with --general FILE, "
            "e.g. after semalign data cmrc2018 with --general data/cmrc2018/cmrc2018_trial.json, questions in Chinese"
        )


def _prompt_language(source: str) -> str:
    """Language of the prompts: the source's if there is a wording in it, or else English."""
    return next((code for code in (source, source.split("-")[0]) if code in prompt_languages()), "en")


def _general(settings: InitSettings, rows: Sequence[Mapping[str, str]], split: Split, field: str) -> General:
    """General text of the user, or the source side of the pairs."""
    if settings.general is not None:
        return read_general(settings.general, settings.seed, settings.encodings.get(settings.general))
    train, test = ([rows[i][field] for i in places] for places in (split.train, split.test))
    return own_text(train, test)
