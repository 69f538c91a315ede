"""Names of paired files: ``train.{zh,bo}``, or a pattern of such, ``pairs/*-{zh,bo}.txt``."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from semalign_pl.data.formats.record import shown


def split_braces(source: str, template: str) -> tuple[str, list[str], str]:
    """Split a name into the text before the braces, the columns in them, and the text after.

    Raises:
        ValueError: There is not one pair of braces with different columns.
    """
    found = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", template, re.S)
    items = [item.strip() for item in found[2].split(",")] if found else []
    if not found or len(items) < 2 or "" in items or len(set(items)) < len(items):
        raise ValueError(f"{shown(source)}: braces name the files of a pair, once each; write e.g. train.{{zh,bo}}")
    return found[1], items, found[3]


def match_pairs(source: str, before: str, columns: list[str], after: str) -> dict[str, dict[str, Path]]:
    """Find the files of each pair that a pattern matches, by the pair's name, in order of names.

    Args:
        source: Source as the user named it.
        before: Pattern before the column.
        columns: Names in the braces.
        after: Pattern after the column.

    Raises:
        ValueError: No file matches, or one has no partner.
    """
    pairs: dict[tuple[str, str], dict[str, Path]] = {}
    for column in columns:
        split = re.compile(f"({_regex(before)}){re.escape(column)}({_regex(after)})", re.S)
        for file in glob.glob(f"{before}{glob.escape(column)}{after}"):
            if not os.path.isdir(file) and (found := split.fullmatch(file)):
                pairs.setdefault((found[1], found[2]), {})[column] = Path(file)
    if not pairs:
        raise ValueError(f"{shown(source)}: no file matches; paths start where you run from")
    for (start, end), files in sorted(pairs.items()):
        for column in columns:
            if column not in files:
                have = shown(next(iter(files.values())))
                raise ValueError(
                    f"{have} has no partner {shown(f'{start}{column}{end}')}; add it, or move the other away"
                )
    names = ",".join(columns)
    return {
        f"{start}{{{names}}}{end}": {column: files[column] for column in columns}
        for (start, end), files in sorted(pairs.items())
    }


def _regex(pattern: str) -> str:
    """Translate a pattern of `glob` to a regular expression; `fnmatch.translate` would let ``*`` match ``/``."""
    wild = {"*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.S)  # [abc] and [!abc] are one each
    one_of = (re.sub(r"^\[!", "[^", token.replace("\\", r"\\")) for token in tokens)
    return "".join(
        wild.get(token, chosen if len(token) > 1 else re.escape(token))
        for token, chosen in zip(tokens, one_of, strict=True)
    )
