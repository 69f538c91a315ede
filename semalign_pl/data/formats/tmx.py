"""TMX 1.4, the exchange format of translation memories: a unit a row, a column a language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.lines import opened
from semalign_pl.data.formats.record import BadRow, Item, bad_row, one_line, quoted, shown

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = {"bpt", "ept", "ph", "it", "ut"}  # a tool's formatting, no text
_TEXTS = {"hi", "sub"}


def tmx(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """The units of a file, numbered from 1.

    Args:
        path: XML in any encoding that it declares; entities and what lies elsewhere are not read.
        columns: Language codes, matched in small or capital letters, with ``-`` or ``_``.
        intake: Count of the units that begin.
    """
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    names = {_code(column): column for column in columns}
    with opened(path) as file:
        units = etree.iterparse(
            file,
            ("start", "end"),
            tag="{*}tu",
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
        )
        try:
            number = 0
            for event, unit in units:
                if event == "start":
                    intake.lines += 1
                    continue
                number += 1
                yield Item(number, _unit(path, number, unit, names))
                unit.clear()
                while unit.getprevious() is not None:  # what is read is let go
                    del unit.getparent()[0]
        except etree.XMLSyntaxError as error:
            first = next(iter(units.error_log), None)  # the error itself may hold only what followed from it
            reason = shown(first.message.strip(), 200) if first else one_line(error)
            line = first.line if first else error.lineno or 1
            raise ValueError(f"{shown(path)}:{line}: not XML ({reason}); export it again") from error
        root = units.root
        if root is not None and _local(root) != "tmx":
            raise ValueError(f"{shown(path)}: not TMX but XML of <{shown(root.tag, 60)}>; export it as TMX 1.4")


def _unit(path: Path, number: int, unit: Any, names: Mapping[str, str]) -> dict[str, str] | BadRow:
    def bad(fault: str) -> BadRow:
        return bad_row(path, number, f"the unit on line {unit.sourceline} {fault}", " ".join(unit.itertext()))

    record: dict[str, str] = {}
    for variant in unit:
        if _local(variant) != "tuv":
            continue
        language = variant.get(_LANG) or variant.get("lang")
        if language is None:
            return bad("has a <tuv> without xml:lang; say which language it is")
        column = names.get(_code(language), language)
        if column in record and column in names.values():
            return bad(f"has {quoted(language)} twice; keep one of them, or make two units")
        segment = next((child for child in variant if _local(child) == "seg"), None)
        text = "" if segment is None else _text(segment)
        if text is None:
            return bad(f"uses an entity of its own in {quoted(language)}; write the text itself there")
        record.setdefault(column, text)
    return record or bad("has no <tuv>; give each language one, or drop the unit")


def _text(node: Any) -> str | None:
    """The text of a segment without its codes; None if an entity hides some of it."""
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    parts = [node.text or ""]
    for child in node:
        if child.tag is etree.Entity:
            return None
        if isinstance(child.tag, str) and _local(child) not in _CODES:
            inner = _text(child)
            if inner is None:
                return None
            parts.append(inner)
        parts.append(child.tail or "")
    return "".join(parts)


def _local(node: Any) -> str:
    """The name of an element without its namespace."""
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _code(language: str) -> str:
    return language.lower().replace("_", "-")
