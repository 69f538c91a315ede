"""Adapter that a training started from: recorded in ``training.json``, and read back as one end of a scale."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from semalign_pl.policy.adapter_folder import AdapterFolder, read_adapter_folder
from semalign_pl.run.kept_steps import STEPS
from semalign_pl.run.results import read_training
from semalign_pl.types import Json

SCALE, SCALE_FROM = "model.init_args.adapter_scale", "model.init_args.scale_from"
Terms = Sequence[tuple[AdapterFolder, float]]
"""Adapters and the weights of their updates, whose weighted sum is an adapter's update."""


def check_scale(adapter: str | None, scale: float, scale_from: str) -> None:
    """Refuse a scale outside of [0, 1], and a scale of no adapter.

    Args:
        adapter: PEFT folder; ``None`` for a new adapter.
        scale: Scale of the adapter's update.
        scale_from: ``base``, ``start`` or a PEFT folder.

    Raises:
        ValueError: Names key, value and remedy.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"{SCALE}: {scale} is not between 0 (the start alone) and 1 (the adapter itself)")
    if adapter is None and (scale != 1 or scale_from != "base"):
        key, value = (SCALE, scale) if scale != 1 else (SCALE_FROM, scale_from)
        raise ValueError(
            f"{key}: {value} belongs to a saved adapter, and model.init_args.adapter names none; give its folder, or "
            f"leave {key.rpartition('.')[2]} out"
        )


def read_terms(saved: AdapterFolder, scale: float = 1.0, scale_from: str = "base") -> list[tuple[AdapterFolder, float]]:
    """Terms of a scaled adapter: ``(1 - scale) * start + scale * adapter``, as updates of the base.

    Args:
        saved: Finished adapter.
        scale: Weight of the adapter, between 0 and 1.
        scale_from: Start: ``base``, whose update is zero; ``start``, the adapter that the training of ``saved`` started
            from; or a PEFT folder.

    Returns:
        Terms without those of weight zero; if all are zero, ``saved`` with weight zero.

    Raises:
        ValueError: If the start cannot be read; names file and remedy.
    """
    start: Terms = []
    if scale < 1 and scale_from != "base":
        start = _read_start(saved) if scale_from == "start" else [(read_adapter_folder(scale_from, SCALE_FROM), 1.0)]
    terms = [*((adapter, (1 - scale) * weight) for adapter, weight in start), (saved, scale)]
    return [term for term in terms if not math.isclose(term[1], 0, abs_tol=1e-12)] or [(saved, 0.0)]


def _read_start(saved: AdapterFolder) -> Terms:
    """Terms of the adapter that a training started from; none if it started from a new adapter, so from the base."""
    file = Path(saved.path) / "training.json"
    remedy = f"give the folder of that adapter as {SCALE_FROM}, or base if it was a new adapter"
    facts = read_training(saved.path)
    if facts is None or "started_from" not in facts:
        what = "there is no such file" if facts is None else "it has no started_from"
        raise ValueError(f"{SCALE_FROM}: start: {file} does not name the adapter that was trained on: {what}; {remedy}")
    path = facts["started_from"]
    if path is None:
        return []
    folder = Path(saved.path) / str(path)
    if not folder.is_dir():
        raise ValueError(
            f"{SCALE_FROM}: start: there is no folder {os.path.normpath(folder)} (started_from: {path} in {file}) any "
            f"more; {remedy}"
        )
    start = read_adapter_folder(os.path.normpath(folder), SCALE_FROM)
    scaled = facts.get("started_from_scale")
    if scaled is None:
        return [(start, 1.0)]
    if not isinstance(scaled, dict) or not isinstance(scale := scaled.get("adapter_scale"), int | float):
        raise ValueError(f"{file}: started_from_scale: {scaled!r} names no adapter_scale; {remedy}")
    scale_from = str(scaled.get("scale_from", "base"))
    if scale_from not in ("base", "start"):
        scale_from = os.path.normpath(Path(saved.path) / scale_from)
    return read_terms(start, scale, scale_from)


def start_facts(adapter: str | None, scale: float, scale_from: str, folder: Path) -> dict[str, Json]:
    """Facts for ``training.json`` about the adapter that a training started from.

    A path is relative to ``folder`` if both are in the folder around the run's, so that a study may be moved.

    Args:
        adapter: PEFT folder that the training started from; ``None`` for a new adapter.
        scale: Scale of that adapter.
        scale_from: Start of that scale: ``base``, ``start`` or a PEFT folder.
        folder: Folder of the trained adapter, ``RUN/adapter``, that gets the file.

    Returns:
        ``started_from``, which is ``None`` for a new adapter, and ``started_from_scale`` if the start was scaled.
    """
    if adapter is None:
        return {"started_from": None}
    if scale == 1:
        return {"started_from": record_path(adapter, folder)}
    scale_from = scale_from if scale_from in ("base", "start") else record_path(scale_from, folder)
    scaled: Json = {"adapter_scale": scale, "scale_from": scale_from}
    return {"started_from": record_path(adapter, folder), "started_from_scale": scaled}


def check_target(folder: Path, adapters: Iterable[str]) -> None:
    """Refuse to replace an adapter by a blend that is made of it: the result of a training would be lost.

    Args:
        folder: Folder that the blend is to be written to.
        adapters: PEFT folders of the blend's terms.

    Raises:
        ValueError: If the folder is one of them, or the result of another run.
    """
    if folder.resolve() in [Path(path).resolve() for path in adapters]:
        raise ValueError(
            f"--out: {folder} is an adapter that is scaled, and the result would replace it; give another folder"
        )
    check_no_result(folder)


def check_no_result(folder: Path) -> None:
    """Refuse to replace the result of a run's own training.

    Args:
        folder: Folder that an export is to be written to.

    Raises:
        ValueError: If it is the adapter or the encoder in the folder of a run; a merged model there is an export, and
            a blend can be made again.
    """
    own = folder.name in ("adapter", "encoder") and folder.exists() and (folder.parent / "fit.yaml").is_file()
    if own and "blend" not in (read_training(str(folder)) or {}):
        raise ValueError(
            f"--out: {folder} is the result of the run in {folder.parent}, and the export would replace it; give "
            "another folder"
        )


def blend_facts(terms: Terms, folder: Path) -> dict[str, Json]:
    """Facts for the ``training.json`` of a blend: those of its last adapter, and its terms.

    Args:
        terms: Adapters with their weights.
        folder: Folder of the blend, that gets the file.
    """
    blended: Json = [{"adapter": record_path(adapter.path, folder), "weight": weight} for adapter, weight in terms]
    return {**copy_facts(terms[-1][0].path, folder), "blend": blended}


def copy_facts(adapter: str, folder: Path) -> dict[str, Json]:
    """Facts of an adapter's ``training.json`` for the file of another folder, to which its paths are relative.

    Args:
        adapter: PEFT folder.
        folder: Folder that gets the file.

    Returns:
        Facts without the time and the versions, which ``write_training`` adds; none if the adapter has no such file.
    """
    facts = {k: v for k, v in (read_training(adapter) or {}).items() if k not in ("finished", "versions")}
    if isinstance(path := facts.get("started_from"), str):
        facts["started_from"] = record_path(str(Path(adapter) / path), folder)
    scaled = facts.get("started_from_scale")
    if isinstance(scaled, dict) and (path := str(scaled.get("scale_from", "base"))) not in ("base", "start"):
        facts["started_from_scale"] = {**scaled, "scale_from": record_path(str(Path(adapter) / path), folder)}
    if isinstance(terms := facts.get("blend"), list):
        facts["blend"] = [
            {**term, "adapter": record_path(str(Path(adapter) / str(term["adapter"])), folder)}
            for term in terms
            if isinstance(term, dict)
        ]
    return facts


def record_path(path: str, folder: Path) -> str:
    """Path to record in a file: relative if it is in the folder around the run's, or else absolute.

    Args:
        path: Path of an adapter.
        folder: Folder of the file, ``RUN/adapter`` or ``RUN/steps/step-N``.
    """
    found, here = Path(path).resolve(), folder.resolve()
    around = here.parents[2 if here.parent.name == STEPS else 1]
    return os.path.relpath(found, here) if around in found.parents else str(found)
