"""Folder of a study with frontiers: real files, of planted quality and cost per point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIGNATURES = {
    "chrf": "nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0|seg:syllable|lang:bo",
    "cmrc_f1": "f1|questions:all|answers:generated|scale:100",
    "cmrc_em": "em|questions:all|answers:generated|scale:100",
    "nll_change_mean": "nll_change:mean|over:tokens|unit:nats",
}
SETS = {"chrf": "test", "cmrc_f1": "cmrc", "cmrc_em": "cmrc", "nll_change_mean": "drift"}
TOKENS = 10
"""Tokens per text of the drift set."""


@dataclass(frozen=True)
class Planted:
    """Scores of one point.

    Attributes:
        chrf: Mean chrF.
        f1: Mean CMRC F1, 0 to 100; the first questions of the file are right and the last ones wrong.
        nll: Mean NLL change in nats per token.
    """

    chrf: float
    f1: float
    nll: float = 0.0


BASE = Planted(0.0, 96.0)


def write_run(
    folder: Path,
    planted: Planted,
    items: int = 25,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    rewards: Sequence[str] = (),
    signatures: Mapping[str, str] = SIGNATURES,
) -> None:
    """Write ``results.json`` and ``items.jsonl`` of one tested point.

    Args:
        folder: Folder to write to: ``seed-N/SYSTEM`` or ``seed-N/SYSTEM/points/NAME``.
        planted: Scores, exact whatever the noise.
        items: Number of items of each set.
        noise: Standard deviation of chrF and of 100 times the NLL change over items, and share of questions, in
            percent, whose score is exchanged with that of another question.
        rng: Source of the noise.
        rewards: Signatures of the rewards, for ``run.trained``.
        signatures: Signatures by metric.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    chrf = planted.chrf + _centred(rng, items, noise)
    nll = TOKENS * (planted.nll + _centred(rng, items, noise / 100))
    f1 = np.clip(planted.f1 * items - 100.0 * np.arange(items), 0.0, 100.0)
    moved = np.flatnonzero(rng.random(items) < noise / 100)
    f1[moved] = f1[rng.permutation(moved)]
    rows = []
    for i in range(items):
        rows.append({"set": "test", "id": f"test.jsonl:{i + 1}", "statistics": {"chrf": [chrf[i]]}, "text": f"བོད་{i}"})
        statistics = {"cmrc_f1": [f1[i]], "cmrc_em": [100.0 * (f1[i] == 100)]}
        answer = "答案" if f1[i] == 100 else f"错误{i}"
        rows.append({"set": "cmrc", "id": f"Q{i:03d}", "statistics": statistics, "text": answer})
        statistics = {"nll_change_mean": [nll[i], float(TOKENS)]}
        rows.append({"set": "drift", "id": f"drift.txt:{i + 1}", "statistics": statistics})
    system, point = (folder.parts[-3], folder.name) if folder.parent.name == "points" else (folder.name, "end")
    values = {
        "chrf": planted.chrf,
        "cmrc_f1": planted.f1,
        "cmrc_em": 100 * float(np.mean(f1 == 100)),
        "nll_change_mean": planted.nll,
    }
    metrics = {
        name: {
            "value": value,
            "ci": None,
            "signature": signatures[name],
            "items": SETS[name],
            "formula": "ratio" if name == "nll_change_mean" else "mean",
        }
        for name, value in values.items()
    }
    run = {"rows": items, "trained": {"stage": "grpo", "signatures": list(rewards)}}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", {"metrics": metrics, "point": point, "run": run})
    lines = [json.dumps({**row, "system": system, "point": point}, ensure_ascii=False) + "\n" for row in rows]
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")


def write_frontiers(
    root: Path,
    systems: Mapping[str, Mapping[str, Planted]],
    seeds: int = 1,
    items: int = 25,
    noise: float = 0.0,
    spread: float = 0.0,
    rewards: Mapping[str, Sequence[str]] | None = None,
    base: Planted = BASE,
) -> Path:
    """Write the folder of a study, without its joined ``results.json``.

    Args:
        root: Folder to write to.
        systems: Scores by system and point: ``end``, ``step-N``, ``scale-S``.
        seeds: Number of seeds.
        items: Number of items of each set.
        noise: Noise over items; see `write_run`.
        spread: Standard deviation of chrF and F1 over seeds, equal for all points of a system.
        rewards: Signatures of rewards by system, written to ``adapter/training.json``, too.
        base: Scores of the base model, which is tested for the first seed only.

    Returns:
        ``root``.
    """
    rng = np.random.default_rng(0)
    write_run(root / "seed-0" / "base", base, items)
    for seed in range(seeds):
        for system, points in systems.items():
            folder, luck = root / f"seed-{seed}" / system, rng.normal(0, spread, 2) if spread else np.zeros(2)
            signatures = list((rewards or {}).get(system, ()))
            for name, planted in points.items():
                place = folder if name == "end" else folder / "points" / name
                lucky = Planted(planted.chrf + luck[0], float(np.clip(planted.f1 + luck[1], 0, 100)), planted.nll)
                write_run(place, lucky, items, noise, rng, signatures)
            (folder / "adapter").mkdir()
            write_json(folder / "adapter" / "training.json", {"stage": "grpo", "signatures": signatures})
    return root


def write_json(path: Path, value: object) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _centred(rng: np.random.Generator, items: int, spread: float) -> np.ndarray:
    """Noise with a mean of exactly 0, up to rounding."""
    drawn = rng.normal(0, spread, items) if spread else np.zeros(items)
    return drawn - drawn.mean()
