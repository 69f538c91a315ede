"""The key ``judge`` of ``study.yaml``: pairs of systems whose answers are judged, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class JudgePair:
    """Two systems whose answers to one test set are judged.

    Attributes:
        a: Name of one system.
        b: Name of the other system, of the same task.
        rubric: Rubric of the judge: a name such as ``translation``, or the path of a file.
    """

    a: str
    b: str
    rubric: str

    @property
    def name(self) -> str:
        """Name of the pair's folder."""
        return f"{self.a}-vs-{self.b}"


@dataclass(frozen=True)
class JudgeSettings:
    """Pairs to judge.

    Attributes:
        judges: Judges, as ``semalign judge --judge`` takes them.
        pairs: Pairs of systems; in ``study.yaml`` a list of two names each, by rubric.
        language: Language of the answers, which the judge is told; may be empty.
        set: Further flags of ``semalign judge``, such as ``{parallel: 4}``.
    """

    judges: tuple[str, ...]
    pairs: tuple[JudgePair, ...]
    language: str = ""
    set: tuple[str, ...] = ()


KEYS = tuple(field.name for field in fields(JudgeSettings))
OWN = ("judge", "rubric", "language", "out", "humans", "merge", "seed")
"""Flags that ``set`` cannot have: the study gives them itself, or they are for native readers."""
EXAMPLE = "judge: {judges: [qwen@http://localhost:8000/v1], pairs: {translation: [[strong_sft, semantic_grpo]]}}"


def read_judge_settings(entry: object, systems: Collection[str], where: str, folder: Path) -> JudgeSettings:
    """Check the value of ``judge:``.

    Args:
        entry: Value of the key.
        systems: Names of the systems that are not swept; only these are always trained and tested.
        where: File and key to name in messages.
        folder: Folder of ``study.yaml``, in which a rubric's file is looked up.

    Raises:
        ValueError: If a key is unknown or a value is malformed; the message names the key and the remedy.
    """
    if not isinstance(entry, Mapping) or not {"judges", "pairs"} <= set(entry):
        raise ValueError(f"{where}: {entry!r} has no judges and pairs; write `{EXAMPLE}`")
    for key in entry:
        if key not in KEYS:
            raise ValueError(f"{where}.{key}: there is no such key; it has {', '.join(KEYS)}")
    judges, pairs, more = entry["judges"], entry["pairs"], entry.get("set", {})
    if not isinstance(judges, list) or not judges or not all(isinstance(one, str) for one in judges):
        raise ValueError(f"{where}.judges: {judges!r} is no list of judges; write `{EXAMPLE}`")
    if not isinstance(language := entry.get("language", ""), str):
        raise ValueError(f"{where}.language: {language!r} is not text; write a name such as Tibetan")
    if not isinstance(more, Mapping):
        raise ValueError(f"{where}.set: {more!r} has no setting; write `set: {{parallel: 4}}`")
    if own := [key for key in more if key in OWN]:
        raise ValueError(
            f"{where}.set.{own[0]}: cannot be set here; write judges, rubrics and language as keys of judge, and leave "
            "out the others"
        )
    return JudgeSettings(
        tuple(judges),
        _pairs(pairs, systems, f"{where}.pairs", folder),
        language,
        tuple(word for key, value in more.items() for word in (f"--{key}", str(value))),
    )


def _pairs(value: object, systems: Collection[str], where: str, folder: Path) -> tuple[JudgePair, ...]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{where}: {value!r} has no rubric; write `{EXAMPLE}`")
    found: list[JudgePair] = []
    for rubric, listed in value.items():
        path = folder / str(rubric)
        for pair in listed if isinstance(listed, list) and listed else [listed]:
            if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
                raise ValueError(f"{where}.{rubric}: {pair!r} is no pair; write lists of two systems")
            if absent := [name for name in pair if name not in systems]:
                raise ValueError(
                    f"{where}.{rubric}: there is no system {absent[0]!r} without variants; name two of "
                    f"{', '.join(systems)}"
                )
            if any([one.a, one.b] == pair for one in found):
                raise ValueError(f"{where}.{rubric}: {pair!r} is listed twice; list each pair once")
            found.append(JudgePair(pair[0], pair[1], str(path) if path.is_file() else str(rubric)))
    return tuple(found)
