"""One self-contained HTML page: quality gained, general ability lost, and the data to check both."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.files.html_page import write_html_page

from .curves import REWARD, reward_curves
from .files import read_logs, read_samples
from .picture import quality_against_tax
from .results import Column, Metric, Results, column_of, load_results, parse
from .table import grid
from .verdict import verdict

PICTURE, PAGE, TEMPLATE = "quality_against_tax.png", "report.html", "report.html.jinja"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and ``quality_against_tax.png`` next to the ``results.json`` of a study.

    Args:
        folder: Folder of the study, with ``results.json`` and, in a folder per system (or ``seed-<n>/<system>``),
            ``predictions.jsonl`` and ``metrics.csv``, which are optional.

    Returns:
        Path of the page. The page loads nothing: pictures and styles are inline.

    Raises:
        ValueError: If ``results.json`` is missing, or it or a predictions file is malformed; the message names the file
            and the remedy.
    """
    results = load_results(folder / "results.json")
    parsed = parse(results)
    picture = quality_against_tax(results, folder / PICTURE)
    page = folder / PAGE
    write_html_page(
        page,
        "semalign_pl.report",
        TEMPLATE,
        name=folder.resolve().name,
        verdict=verdict(results),
        grid=grid(results),
        picture=_data_uri(picture.read_bytes()),
        curves=_curves(folder, parsed),
        samples=read_samples(folder, list(parsed.systems)),
        numbers=_numbers(parsed),
        facts=_facts(parsed.run),
        similarity=column_of("semantic_similarity"),
        title_of=parsed.title_of,
    )
    return page


def duration(seconds: float) -> str:
    """Time as readable text.

    Args:
        seconds: Time in seconds.

    Examples:
        >>> duration(5025.0)
        '1 h 24 min'
        >>> duration(2.25)
        '2.2 s'
    """
    minutes = round(seconds / 60)
    if seconds >= 3600:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _curves(folder: Path, parsed: Results) -> dict[str, tuple[str, list[str]]]:
    """Picture and seeds by title, for each system that logged a reward."""
    curves = {}
    for system in parsed.systems:
        logs = {seed: rows for seed, rows in read_logs(folder, system).items() if any(map(_has_reward, rows))}
        if logs:
            curves[parsed.title_of(system)] = _data_uri(reward_curves(logs)), [seed for seed in logs if seed]
    return curves


def _has_reward(row: Mapping[str, str | None]) -> bool:
    return any(value and name and name.startswith(REWARD) for name, value in row.items())


def _numbers(parsed: Results) -> list[tuple[str, Column, Metric]]:
    """Title, column and metric of every number, for the list of signatures."""
    return [
        (parsed.title_of(system), column_of(name), metric)
        for system, metrics in parsed.systems.items()
        for name, metric in metrics.items()
    ]


def _facts(run: Mapping[str, object]) -> list[tuple[str, str, bool]]:
    """Facts of the run, each as (name, text, true if the text is code)."""
    facts: list[tuple[str, str, bool]] = []
    for key, value in run.items():
        if key == "seconds" and isinstance(value, Mapping):
            facts += [(f"time: {stage}", _times(spent), False) for stage, spent in value.items()]
        elif key == "versions" and isinstance(value, Mapping):
            facts += [(str(name), str(version), False) for name, version in value.items()]
        elif key == "seeds" and isinstance(value, list):
            facts.append((key, ", ".join(map(str, value)), False))
        elif "command" in key:
            commands = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            facts.append((key, "\n".join(map(str, commands)), True))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
            facts.append((key.replace("_", " "), text, isinstance(value, dict)))
    return facts


def _times(spent: object) -> str:
    """Time of one step as text, per seed if there are several."""
    each = spent if isinstance(spent, list) else [spent]
    return ", ".join(duration(s) if isinstance(s, int | float) else str(s) for s in each)
