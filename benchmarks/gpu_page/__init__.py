"""Page of benchmarks/gpu.py: static HTML that loads nothing, made from what its parts recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_page(path: Path, content: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: File to write.
        content: Content of ``gpu.json``: machine, date, seconds, and parts in order.
    """
    from markupsafe import Markup

    from semalign_pl.files.html_page import page_style, security_policy, write_html_page

    style, parts = page_style(), content["parts"]
    machine = content["machine"]
    write_html_page(
        path,
        "gpu_page",
        "gpu.html.jinja",
        policy=security_policy(style, ""),
        style=Markup(style),
        gpu=machine["gpu"],
        summary=summarise(parts),
        tables=join_tables(parts),
        parts=parts,
        facts={
            "date": content["date"],
            "processor": f"{machine['processor']}, {machine['cores']} cores",
            "versions": ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
            "seconds": f"{content['seconds']:.0f} for all parts",
        },
    )


def summarise(parts: list[dict[str, Any]]) -> str:
    """Sentence with the number of parts that ran, and the names of the others."""
    missing = [f"{part['name']} ({part['status']})" for part in parts if part["status"] != "done"]
    if not missing:
        return f"All {len(parts)} parts ran."
    return f"{len(parts) - len(missing)} of {len(parts)} parts ran. Not: {', '.join(missing)}."


def join_tables(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tables of the parts that ran; those with the same title and columns are one."""
    joined: dict[tuple[str, ...], dict[str, Any]] = {}
    for part in parts:
        for table in part.get("result", {}).get("tables", []):
            key = (table["title"], *table["columns"])
            one = joined.setdefault(key, {**table, "rows": [], "note": ""})
            one["rows"] = [*one["rows"], *table["rows"]]
            one["note"] = f"{one['note']} {table['note']}".strip()
    return list(joined.values())
