"""Result files: ``results.json``, written by a test, and ``training.json``, written next to trained weights."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.files.json_text import to_json
from semalign_pl.types import Histogram, Json, MetricResult

_PACKAGES = (
    *("semalign-pl", "torch", "lightning", "transformers", "peft", "bitsandbytes", "sentence-transformers"),
    *("sacrebleu", "rouge-score", "nltk", "regex", "lm-eval", "langdetect", "fasttext-predict"),
)


@cache  # reading the packages' metadata takes as long as a short step
def versions() -> Mapping[str, str]:
    """Versions of the installed packages on which a result depends, by name."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a package of an extra
            found[name] = version(name)
    return MappingProxyType(found)


def write_results(
    folder: Path | None,
    scores: Mapping[str, MetricResult],
    run: Mapping[str, object],
    histograms: Mapping[str, Histogram] | None = None,
    point: str = "end",
    show: bool = True,
) -> None:
    """Write ``results.json``, and print its scores as a table.

    Args:
        folder: Folder of the run; made if absent. ``None`` to print only.
        scores: Scores by name.
        run: Facts about the run to write with the scores; the time and the package versions are added.
        histograms: Histograms by name.
        point: Point of the system that was tested: ``end``, ``step-N`` or ``scale-S``.
        show: Flag to print the table.
    """
    from rich.table import Table

    from semalign_pl.messages.console import Console

    if folder is not None:
        metrics = {name: score.as_dict() for name, score in scores.items()}
        drawn = {name: asdict(histogram) for name, histogram in (histograms or {}).items()}
        results = {
            "point": point,
            "metrics": metrics,
            "run": {**run, **_time_and_versions()},
            "histograms": drawn,
        }
        file = folder / "results.json"
        write_text(file, to_json(results, file, indent=2))
    if not show:
        return
    title = "nothing is written" if folder is None else f"{folder}/results.json"
    table = Table("score", "value", "95 % interval", title=title)
    for name, score in scores.items():
        interval = "" if score.ci is None else f"{score.ci[0]:.4g} to {score.ci[1]:.4g}"
        table.add_row(name, f"{score.value:.4f}", interval)
    Console().print(table)


def write_training(folder: Path, **facts: object) -> None:
    """Write ``training.json``.

    Args:
        folder: Folder of the trained weights.
        **facts: Facts about the training; the time and the package versions are added.
    """
    file = folder / "training.json"
    write_text(file, to_json({**facts, **_time_and_versions()}, file, indent=2))


def read_training(folder: str | None) -> dict[str, Json] | None:
    """Read the ``training.json`` of an adapter.

    Args:
        folder: Folder of the adapter; ``None`` for no adapter.

    Returns:
        Facts about the training; ``None`` if there is no such file, as for an adapter that this package did not train.

    Raises:
        ValueError: If the file cannot be read or is not a JSON object.
    """
    path = None if folder is None else Path(folder) / "training.json"
    if path is None or not path.is_file():
        return None
    remedy = "train the adapter again, or delete the file to do without what it says"
    facts = read_json(path, remedy)
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: {type(facts).__name__} is no JSON object of facts; {remedy}")
    return facts


def _time_and_versions() -> dict[str, object]:
    """Time at which a file is written, and versions of the packages."""
    return {
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions()},
    }
