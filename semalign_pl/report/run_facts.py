"""Facts of a study's run, and the list of all its numbers with their signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .results import Column, Metric, Results, column_of


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


def list_numbers(parsed: Results) -> list[tuple[str, Column, Metric]]:
    """Title, column and metric of every number, for the list of signatures."""
    return [
        (parsed.title_of(system), column_of(name), metric)
        for system, metrics in parsed.systems.items()
        for name, metric in metrics.items()
    ]


def list_facts(run: Mapping[str, object]) -> list[tuple[str, str, bool]]:
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
