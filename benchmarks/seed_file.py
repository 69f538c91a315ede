"""Files of what a study measured, one per seed: values and item statistics, without adapters and answers.

A study takes hours, and a machine may be gone after a few. The files are small enough to commit, so that seeds of
several sessions make one table. Each has the digest of the recipes, the data and the version that it was measured with;
a file with another digest is refused, because its numbers are of another study.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from semalign_pl import __version__
from semalign_pl.files.atomic import write_text
from semalign_pl.files.digest import digest
from semalign_pl.frontier.measured_point import MeasuredMetric, MeasuredPoint
from semalign_pl.functional.significance import Array
from semalign_pl.run.digests import Digests
from semalign_pl.run.named_files import OUTPUT_KEYS, find_files, flatten
from semalign_pl.study.systems import Study

_NO_INPUTS = (*OUTPUT_KEYS, "adapter", "config", "choose_on")
"""Last keys of settings that name no data: outputs, and what the study or its YAML names itself."""
Seed = dict[str, Any]
"""Content of a file: seed, digest, version, machines, ids, validation, runs; ``choice`` of seed 0; ``complete``."""


class SeedError(ValueError):
    """Files of seeds that cannot make one table; the message has the remedy."""


def digest_of(study: Study, configs: Path, digests: Digests) -> str:
    """Digest of everything that a study's numbers depend on: its recipes, the files that they name, and the version.

    A study sets the adapters that its systems start from, so those that recipes name do not count; nor do the pairs
    that are compared, which is done with the numbers.

    Args:
        study: Study to measure.
        configs: Folder of its configs.
        digests: Digests of files.

    Raises:
        SeedError: If a file that another command makes is not there.
    """
    overlay = study.frontier.choose_on if study.frontier else None
    others = {overlay} if overlay else set()
    others |= {study.encoder.config} if study.encoder else set()
    others |= {study.back_translation.translator.config} if study.back_translation else set()
    recipes = sorted({one.config for one in study.systems} | others)
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (configs / "study.yaml", *recipes)]
    (contents[0].get("frontier") or {}).pop("compare", None)
    named = {
        value
        for key, value in flatten(contents)
        if isinstance(value, str) and "/" in value and key.split(".")[-1] not in _NO_INPUTS
    }
    files: dict[str, str] = {}
    for value in sorted(named):
        found = {str(file): digests.of(file) for file in find_files(value)}
        if not found and value.startswith("runs/"):
            raise SeedError(f"{value}: no such file or folder; the study's target in `make help` makes it")
        files |= found
    return digest(__version__, contents, files, digits=16)


def read_seeds(folder: Path, expected: str) -> dict[int, Seed]:
    """Content of the files of a folder by seed.

    Args:
        folder: Folder with ``seed_N.json``.
        expected: Digest that each must have.

    Raises:
        SeedError: If a file has another digest; names the file, both digests and the remedy.
    """
    seeds: dict[int, Seed] = {}
    for file in sorted(folder.glob("seed_*.json")):
        content: Seed = json.loads(file.read_text(encoding="utf-8"))
        if content["digest"] != expected:
            raise SeedError(
                f"{file}: was measured with digest {content['digest']} of recipes, data and version "
                f"({content['version']}), which is now {expected} ({__version__}); move the file away to measure the "
                "seed again, or check out the commit that wrote it"
            )
        seeds[content["seed"]] = content
    return dict(sorted(seeds.items()))


def write_seed(folder: Path, content: Seed) -> None:
    """Write the file of a seed.

    Args:
        folder: Folder to write to.
        content: Content of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # A line per run, so that two versions of a file can be compared.
    write_text(folder / f"seed_{content['seed']}.json", text.replace('},"', '},\n"') + "\n")


def pack_points(points: Sequence[MeasuredPoint], metrics: Sequence[str], base: MeasuredPoint) -> dict[str, Any]:
    """Item statistics of the points of a run, as JSON.

    Counts are kept exactly, other statistics as float32. The ids are the base's.

    Args:
        points: Points of one run.
        metrics: Metrics to keep, which all points have.
        base: Base model, whose order of items the statistics get.

    Returns:
        Entry per metric: item set, formula, signature, and the statistics ``(points, items, statistics)``.

    Raises:
        SeedError: If a point was measured on other items than the base.
    """
    packed: dict[str, Any] = {}
    for name in metrics:
        measured, ids = [point.metrics[name] for point in points], base.metrics[name].ids
        for one, point in zip(measured, points, strict=True):
            if set(one.ids) != set(ids):
                raise SeedError(f"{point.folder}: {name} was measured on other items than the base's")
        place = [{key: index for index, key in enumerate(one.ids)} for one in measured]
        rows = [one.statistics[[at[key] for key in ids]] for one, at in zip(measured, place, strict=True)]
        first = measured[0]
        entry = {"items": first.items, "formula": first.formula, "signature": first.signature}
        packed[name] = entry | _pack(np.stack(rows))
    return packed


def unpack_points(packed: Mapping[str, Any], ids: Mapping[str, Sequence[str]], where: str) -> list[MeasuredPoint]:
    """Points of a run from what ``pack_points`` returned.

    Args:
        packed: Entry per metric.
        ids: Ids of the items by metric.
        where: File and run, for messages.
    """
    arrays = {name: _unpack(entry) for name, entry in packed.items()}
    count = len(next(iter(arrays.values())))
    return [
        MeasuredPoint(
            where,
            {
                name: MeasuredMetric(
                    entry["items"], tuple(ids[name]), arrays[name][place], entry["formula"], entry["signature"],
                    (None,) * len(ids[name]),
                )
                for name, entry in packed.items()
            },
        )
        for place in range(count)
    ]  # fmt: skip


def _pack(values: Array) -> dict[str, Any]:
    kind = next(
        (kind for kind in (np.uint8, np.int16, np.int32) if np.array_equal(values.astype(kind), values)), np.float32
    )
    # Statistics first: those of the references are the same at all points, which then compress to nothing.
    content = np.ascontiguousarray(values.transpose(2, 0, 1).astype(kind))
    text = base64.b85encode(zlib.compress(content.tobytes(), 9)).decode()
    return {"dtype": np.dtype(kind).name, "shape": content.shape, "zlib": text}


def _unpack(entry: Mapping[str, Any]) -> Array:
    content = np.frombuffer(zlib.decompress(base64.b85decode(entry["zlib"])), entry["dtype"])
    return content.reshape(entry["shape"]).transpose(1, 2, 0).astype(np.float64)
