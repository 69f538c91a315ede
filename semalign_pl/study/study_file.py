"""Read the systems of a study from its ``study.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from semalign_pl.files.documents import read_yaml
from semalign_pl.study.frontier_settings import read_frontier_settings
from semalign_pl.study.judge_settings import read_judge_settings
from semalign_pl.study.systems import BACK_TRANSLATION, BASE, ENCODER, PLACEHOLDERS, BackTranslation, Study, System

PAPER = {"cold_start": {"from": BASE}, "strong_sft": {"from": "cold_start"}, "semantic_grpo": {"from": "cold_start"}}
KEYS = ("from", "config", "label", "set", "over")
FRONTIER, JUDGE, PUBLISHED = "frontier", "judge", "published"
NO_SYSTEMS = (FRONTIER, ENCODER, BACK_TRANSLATION, JUDGE, PUBLISHED)
"""Keys of ``study.yaml`` that are not systems."""


def read_study(folder: Path) -> Study:
    """Read the systems of a folder of configs, and how to compare them.

    ``study.yaml`` maps each system to ``from`` (``base``, or a system listed above it), ``config`` (path relative to
    the folder; default: the system's name with ``.yaml``), ``label``, ``set`` (settings that differ from the recipe's)
    and ``over`` (settings to sweep, see `expand`). The key ``frontier`` has the points to test of each system (see
    `FrontierSettings`); a sweep needs it::

        frontier: {quality: chrf, costs: [cmrc_f1], scales: [0.25, 0.5, 0.75], at: [60]}
        cold_start: {from: base, config: ../quickstart/cold_start.yaml}
        long: {from: cold_start, config: sft.yaml, set: {trainer.max_epochs: 4}}
        bleu: {from: cold_start, label: BLEU + language, over: {optimizer.lr: [1e-4, 1e-3]}}

    Four more keys are no systems. ``encoder: {config: …, set: …}`` trains a sentence encoder before all systems; in
    values of ``set``, ``{encoder}`` is its folder. ``back_translation: {config: …, texts: …, set: …}`` trains a
    translator in the reverse direction, which translates the texts; ``{back_translated}`` is the file of the
    pairs, with the fields of its task. ``judge`` lists pairs of systems to judge (see `JudgeSettings`). ``published``
    names a file with a paper's tables, which the report shows beside the study's results.

    Without ``study.yaml``, the systems are the paper's (arXiv 2605.14366): a cold start, and strong SFT and semantic
    GRPO, both from the cold start.

    Args:
        folder: Folder of the configs.

    Raises:
        ValueError: If ``study.yaml`` is not of this form, or a config is missing; the message names the key and the
            remedy.
    """
    path = folder / "study.yaml"
    if not path.is_file():
        missing = next((f"{name}.yaml" for name in PAPER if not (folder / f"{name}.yaml").is_file()), None)
        if missing:
            raise ValueError(
                f"--config: there is no {missing} in {folder}; give it {', '.join(PAPER)}, or a study.yaml that lists "
                "other systems"
            )
        return Study(_systems(folder, PAPER, "--config"))
    content = read_yaml(path)
    content = content if isinstance(content, Mapping) else {}
    listed = {key: entry for key, entry in content.items() if key not in NO_SYSTEMS}
    if not listed:
        raise ValueError(f"{path}: must list systems, such as `cold_start: {{from: base}}`")
    swept = [key for key, entry in listed.items() if isinstance(entry, Mapping) and "over" in entry]
    if FRONTIER not in content and swept:
        raise ValueError(
            f"{path}: {swept[0]}.over: the best variant is chosen by its frontier; add a key such as `{FRONTIER}: "
            "{quality: chrf, costs: [cmrc_f1]}`"
        )
    systems = _systems(folder, listed, str(path))
    study = Study(systems)
    if ENCODER in content:
        study = replace(study, encoder=_read_shared(content[ENCODER], ENCODER, folder, f"{path}: {ENCODER}"))
    if BACK_TRANSLATION in content:
        study = replace(
            study,
            back_translation=_read_back_translation(content[BACK_TRANSLATION], folder, f"{path}: {BACK_TRANSLATION}"),
        )
    if JUDGE in content:
        fixed = [one.name for one in systems if one.sweep is None]
        study = replace(study, judge=read_judge_settings(content[JUDGE], fixed, f"{path}: {JUDGE}", folder))
    if PUBLISHED in content:
        study = replace(study, published=_existing(content[PUBLISHED], folder, f"{path}: {PUBLISHED}"))
    _check_placeholders(study, str(path))
    if FRONTIER not in content:
        return study
    keys = {one.name: one.key for one in systems}
    starts = {one.key: keys.get(one.start, BASE) for one in systems}
    frontier = read_frontier_settings(content[FRONTIER], starts, f"{path}: {FRONTIER}", folder)
    if frontier.choose_on is not None and not any(one.sweep for one in systems):
        raise ValueError(
            f"{path}: {FRONTIER}.choose_on: no system has variants to choose among; list values in `over`, or leave "
            "this out"
        )
    return replace(study, frontier=frontier)


def _read_shared(entry: object, name: str, folder: Path, where: str) -> System:
    """Model that the study trains once, before all systems."""
    if not isinstance(entry, Mapping) or "config" not in entry or not {"config", "set"} >= set(entry):
        raise ValueError(f"{where}: {entry!r} has other keys than config and set; write `{name}: {{config: a.yaml}}`")
    config, flags = _existing(entry["config"], folder, f"{where}.config"), ()
    if "set" in entry:
        from semalign_pl.study.sweep import read_settings

        flags = read_settings(entry["set"], config, f"{where}.set")
    return System(name, config, BASE, flags=flags)


def _read_back_translation(entry: object, folder: Path, where: str) -> BackTranslation:
    texts = entry.get("texts") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(texts, str) or not texts:
        raise ValueError(
            f"{where}: {entry!r} names no texts to translate; write `{BACK_TRANSLATION}: {{config: reverse.yaml, "
            "texts: texts.txt}`"
        )
    rest = {key: value for key, value in entry.items() if key != "texts"}
    return BackTranslation(_read_shared(rest, BACK_TRANSLATION, folder, where), texts)


def _check_placeholders(study: Study, where: str) -> None:
    """Refuse a placeholder of what the study does not make, and what it would make for no system."""
    texts = "{config: reverse.yaml, texts: texts.txt}"
    for key, made, entry, use in (
        (ENCODER, study.encoder, "{config: encoder.yaml}", "folder in `set`, as the encoder of Evaluation"),
        (BACK_TRANSLATION, study.back_translation, texts, "pairs in `set`, as a corpus of data.init_args.train"),
    ):
        placeholder = PLACEHOLDERS[key]
        naming = [one.key for one in study.systems if any(placeholder in flag for flag in one.flags)]
        if naming and made is None:
            raise ValueError(
                f"{where}: {naming[0]}: names {placeholder}, and the study trains none; add the key `{key}: {entry}`, "
                "or name a path"
            )
        if made is not None and not naming:
            raise ValueError(f'{where}: {key}: no system uses it; write "{placeholder}" for its {use}, or leave it out')


def _existing(value: object, folder: Path, where: str) -> Path:
    if not isinstance(value, str) or not (folder / value).is_file():
        raise ValueError(f"{where}: there is no file {value!r} in {folder}; paths are relative to study.yaml's folder")
    return folder / value


def _systems(folder: Path, listed: Mapping[str, object], where: str) -> list[System]:
    """Check all entries of ``study.yaml`` and return their systems."""
    systems: list[System] = []
    for name, entry in listed.items():
        systems += _check(folder, name, entry, systems, where)
    return systems


def _check(folder: Path, name: object, entry: object, above: list[System], where: str) -> list[System]:
    """Check one entry of ``study.yaml`` and return its system, or the variants of it.

    Args:
        folder: Folder of the configs.
        name: Key of the entry.
        entry: Value of the entry.
        above: Systems listed above it. It may start only from these, which excludes cycles.
        where: File or flag to name in messages.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name) or name == BASE:
        raise ValueError(f"{where}: {name!r} cannot name a system; take letters, digits, _ and -, and not {BASE!r}")
    where = f"{where}: {name}"
    if not isinstance(entry, Mapping) or "from" not in entry:
        raise ValueError(f"{where}: does not name the system that it starts from; write `{name}: {{from: base}}`")
    for key, value in entry.items():
        if key not in KEYS:
            raise ValueError(f"{where}.{key}: there is no such key; it has {', '.join(KEYS)}")
        if key not in ("set", "over") and not isinstance(value, str):
            raise ValueError(f"{where}.{key}: {value!r} is not text")
    start, label = entry["from"], entry.get("label")
    if start not in (BASE, *(one.name for one in above)):
        if variants := [one.name for one in above if one.sweep == start]:
            raise ValueError(f"{where}.from: {start!r} is swept; name one of its variants {', '.join(variants)}")
        others = ", ".join([BASE, *(one.name for one in above)])
        raise ValueError(f"{where}.from: {start!r} is not listed above it; name one of {others}, or reorder")
    config = folder / entry.get("config", f"{name}.yaml")
    if not config.is_file():
        raise ValueError(f"{where}.config: there is no {config}; paths are relative to study.yaml's folder")
    if "over" not in entry and "set" not in entry:
        return [System(name, config, start, label)]
    from semalign_pl.study.sweep import read_settings, read_variants

    flags = read_settings(entry["set"], config, f"{where}.set") if "set" in entry else ()
    if "over" not in entry:
        return [System(name, config, start, label, flags=flags)]
    variants = read_variants(entry["over"], config, f"{where}.over", flags)
    return [System(f"{name}.{one.suffix}", config, start, label, name, (*flags, *one.flags)) for one in variants]
