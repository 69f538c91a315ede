"""TMX 1.4 files, the exchange format of translation memories: one row per unit, one column per language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.compressed import open_bytes
from semalign_pl.data.reading.formats.record import MAX_LINE, BadRow, Item, bad_row, error_line, escape, quote

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = {"bpt", "ept", "ph", "it", "ut"}  # formatting codes of a tool, not text
_CHUNK = 1 << 15
# Limits of libxml2 without XML_PARSE_HUGE, which bound memory: xmlParserMaxDepth and XML_MAX_TEXT_LENGTH.
_LIMITS = "elements may be nested 256 deep, and a tag have 10,000,000 bytes; take this unit out"


class _Element(Protocol):
    """Element of lxml, which has no types of its own."""

    tag: object
    text: str | None
    tail: str | None
    sourceline: int | None

    def __iter__(self) -> Iterator[_Element]: ...
    def get(self, key: str) -> str | None: ...
    def itertext(self) -> Iterator[str]: ...


class _LogEntry(Protocol):
    """Entry of lxml's log of errors."""

    level_name: str
    message: str
    line: int


def tmx(path: Path, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the translation units of a file, numbered from 1.

    Args:
        path: Path of a well-formed XML file, in any encoding that it declares. Entities are not resolved, and no other
            file is read. The XML need not be valid: units may repeat an ``xml:id``, as in merged memories.
        columns: Language codes of the wanted columns, in lower or upper case, with ``-`` or ``_``.
        counter: Number of units that begin, updated while reading.

    Raises:
        ValueError: If the file is not well-formed XML, is not TMX, or has a unit of more than `MAX_LINE` bytes.
    """
    names = {_code(column): column for column in columns}
    for number, unit in enumerate(_units(path, counter), 1):
        yield Item(number, _unit(path, number, unit, names))


def _units(path: Path, counter: LineCounter) -> Iterator[_Element]:
    """Yield the ``<tu>`` elements of a file, each as soon as it is closed."""
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    parser = etree.XMLPullParser(
        ("start", "end"),
        tag="{*}tu",
        collect_ids=False,  # else a repeated ID, which makes a file invalid but not ill-formed, is an error
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
    )

    def closed_units():  # yields lxml's elements, which have no types
        for event, unit in parser.read_events():
            if event == "start":
                counter.lines += 1
            else:
                yield unit

    with open_bytes(path) as file:
        root, fault = None, None
        held = 0  # bytes since the last closed unit, all in memory
        while fault is None and (chunk := file.read(_CHUNK)):
            held += len(chunk)
            if held > MAX_LINE:
                raise ValueError(
                    f"{escape(path)}: more than {MAX_LINE:,} bytes without the end of a unit, at unit "
                    f"{counter.lines:,}; split the unit, or take it out"
                )
            try:
                parser.feed(chunk)
            except etree.XMLSyntaxError as error:
                fault = error
            for unit in closed_units():  # also the units before a fault
                held = 0
                root = unit.getroottree().getroot()
                yield unit
                unit.clear()
                while unit.getprevious() is not None:  # free the units already read
                    del unit.getparent()[0]
    try:
        root = parser.close()
    except etree.XMLSyntaxError as error:
        fault = fault or error
    not_tmx = None if root is None or _local(root) == "tmx" else _not_tmx_error(path, root)
    if fault is not None and (not_tmx is None or counter.lines):
        _check_fault(path, fault, list(parser.feed_error_log), counter)
    if not_tmx is not None:
        raise not_tmx


def _check_fault(path: Path, fault: SyntaxError, log: Sequence[_LogEntry], counter: LineCounter) -> None:
    """Raise a parser's error unless it leaves all text intact, as an undeclared namespace prefix does."""
    fatal = [entry for entry in log if entry.level_name == "FATAL"]
    if fatal or not log or not counter.lines:
        first = next(iter(fatal or log), None)  # the exception itself may report only a consequence of it
        reason = escape(first.message.strip(), 200) if first else error_line(fault)
        line = first.line if first else fault.lineno or 1
        remedy = _LIMITS if "XML_PARSE_HUGE" in reason else "export it again"
        raise ValueError(f"{escape(path)}:{line}: not XML ({reason}); {remedy}") from fault


def _not_tmx_error(path: Path, root: _Element) -> ValueError:
    return ValueError(f"{escape(path)}: not TMX but XML of <{escape(root.tag, 60)}>; export it as TMX 1.4")


def _unit(path: Path, number: int, unit: _Element, names: Mapping[str, str]) -> dict[str, str] | BadRow:
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
            return bad(f"has {quote(language)} twice; keep one of them, or make two units")
        segments = [child for child in variant if _local(child) == "seg"]
        if len(segments) > 1:
            return bad(f"has {len(segments)} <seg> in {quote(language)}; make them one, or units of their own")
        text = _text(segments[0]) if segments else ""
        if text is None:
            return bad(f"uses an entity of its own in {quote(language)}; write the text itself there")
        while column in record:  # a language that is not wanted may occur twice
            column += "'"
        record[column] = text
    return record or bad("has no <tuv>; give each language one, or drop the unit")


def _text(node: _Element) -> str | None:
    """Text of a segment without its formatting codes; None if an entity hides part of the text."""
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    texts = [node.text or ""]
    for child in node:
        if child.tag is etree.Entity:
            return None
        if isinstance(child.tag, str) and _local(child) not in _CODES:
            inner = _text(child)
            if inner is None:
                return None
            texts.append(inner)
        texts.append(child.tail or "")
    return "".join(texts)


def _local(node: _Element) -> str:
    """Name of an element without its namespace."""
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _code(language: str) -> str:
    return language.lower().replace("_", "-")
