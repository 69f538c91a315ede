"""Systems that a study compares: those of its ``study.yaml``, or the paper's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.files.documents import read_yaml

BASE = "base"
PAPER = {"cold_start": {"from": BASE}, "strong_sft": {"from": "cold_start"}, "semantic_grpo": {"from": "cold_start"}}
KEYS = ("from", "config", "label")


@dataclass(frozen=True)
class System:
    """One trained system of a study.

    Attributes:
        name: Key of the system in ``study.yaml``, and name of its folder.
        config: Recipe for training and testing.
        start: System whose adapter the training starts from, or ``base``.
        label: Title in tables and pictures; ``None`` to derive it from the name.
    """

    name: str
    config: Path
    start: str
    label: str | None = None


def read_systems(folder: Path) -> list[System]:
    """Read the systems of a folder of configs, in training order, without the base model.

    ``study.yaml`` maps each system to ``from`` (``base``, or a system listed above it), ``config`` (path relative to
    the folder; default: the system's name with ``.yaml``) and ``label``::

        cold_start: {from: base, config: ../quickstart/cold_start.yaml}
        bleu: {from: cold_start, label: BLEU + language}

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
        return [_system(folder, name, entry, list(PAPER), "--config") for name, entry in PAPER.items()]
    listed = read_yaml(path)
    if not isinstance(listed, Mapping) or not listed:
        raise ValueError(f"{path}: must list systems, such as `cold_start: {{from: base}}`")
    names = list(listed)
    return [_system(folder, name, entry, names[:at], str(path)) for at, (name, entry) in enumerate(listed.items())]


def _system(folder: Path, name: object, entry: object, above: list[str], where: str) -> System:
    """Check one entry of ``study.yaml`` and return its system.

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
        if not isinstance(value, str):
            raise ValueError(f"{where}.{key}: {value!r} is not text")
    if entry["from"] not in (BASE, *above):
        others = ", ".join([BASE, *above])
        raise ValueError(f"{where}.from: {entry['from']!r} is not listed above it; name one of {others}, or reorder")
    config = folder / entry.get("config", f"{name}.yaml")
    if not config.is_file():
        raise ValueError(f"{where}.config: there is no {config}; paths are relative to study.yaml's folder")
    return System(name, config, entry["from"], entry.get("label"))
