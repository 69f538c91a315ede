"""Page of benchmarks/gpu.py: static HTML that loads nothing, made from what its sections recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_page(path: Path, content: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: File to write.
        content: Content of ``gpu.json``: machine, date, seconds, and sections in order.
    """
    from markupsafe import Markup

    from semalign_pl.files.html_page import page_style, security_policy, write_html_page

    style, sections = page_style(), content["sections"]
    machine = content["machine"]
    write_html_page(
        path,
        "gpu_page",
        "gpu.html.jinja",
        policy=security_policy(style, ""),
        style=Markup(style),
        gpu=machine["gpu"],
        summary=summarise(sections),
        tables=join_tables(sections),
        sections=sections,
        facts={
            "date": content["date"],
            "processor": f"{machine['processor']}, {machine['cores']} cores",
            "versions": ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
            "seconds": f"{content['seconds']:.0f} for all sections",
        },
    )


def summarise(sections: list[dict[str, Any]]) -> str:
    """Sentence with the number of sections that ran, and the names of the others."""
    missing = [f"{section['name']} ({section['status']})" for section in sections if section["status"] != "done"]
    if not missing:
        return f"All {len(sections)} sections ran."
    return f"{len(sections) - len(missing)} of {len(sections)} sections ran. Not: {', '.join(missing)}."


def join_tables(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tables of the sections that ran; those with the same title and columns are one."""
    joined: dict[tuple[str, ...], dict[str, Any]] = {}
    for section in sections:
        for table in section.get("result", {}).get("tables", []):
            key = (table["title"], *table["columns"])
            one = joined.setdefault(key, {**table, "rows": [], "note": ""})
            one["rows"] = [*one["rows"], *table["rows"]]
            one["note"] = f"{one['note']} {table['note']}".strip()
    return list(joined.values())
