"""Names of paired files such as ``train.{zh,bo}``, and patterns of them such as ``pairs/*-{zh,bo}.txt``."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from semalign_pl.data.reading.formats.record import escape


def split_braces(source: str, template: str) -> tuple[str, list[str], str]:
    """Split a name into the text before the braces, the columns in them, and the text after.

    Args:
        source: Name of the source as the user wrote it, for the message.
        template: Name to split.

    Raises:
        ValueError: If there is not exactly one pair of braces, or it does not contain two or more different columns.
    """
    match = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", template, re.S)
    items = [item.strip() for item in match[2].split(",")] if match else []
    if not match or len(items) < 2 or "" in items or len(set(items)) < len(items):
        raise ValueError(f"{escape(source)}: braces name the files of a pair, once each; write e.g. train.{{zh,bo}}")
    return match[1], items, match[3]


def match_pairs(source: str, before: str, columns: list[str], after: str) -> dict[str, dict[str, Path]]:
    """Find the pairs of files that a pattern matches.

    Args:
        source: Name of the source as the user wrote it, for messages.
        before: Pattern before the braces.
        columns: Names of the columns in the braces.
        after: Pattern after the braces.

    Returns:
        Name of each pair to its file per column, sorted by name.

    Raises:
        ValueError: If no file matches, or a file has no partner.
    """
    pairs: dict[tuple[str, str], dict[str, Path]] = {}
    for column in columns:
        split = re.compile(f"({_regex(before)}){re.escape(column)}({_regex(after)})", re.S)
        for file in glob.glob(f"{before}{glob.escape(column)}{after}"):
            if not os.path.isdir(file) and (match := split.fullmatch(file)):
                pairs.setdefault((match[1], match[2]), {})[column] = Path(file)
    if not pairs:
        raise ValueError(f"{escape(source)}: no file matches; paths start where you run from")
    for (start, end), files in sorted(pairs.items()):
        for column in columns:
            if column not in files:
                present = escape(next(iter(files.values())))
                raise ValueError(
                    f"{present} has no partner {escape(f'{start}{column}{end}')}; add it, or move the other away"
                )
    names = ",".join(columns)
    return {
        f"{start}{{{names}}}{end}": {column: files[column] for column in columns}
        for (start, end), files in sorted(pairs.items())
    }


def _regex(pattern: str) -> str:
    """Translate a pattern of `glob` to a regular expression. With `fnmatch.translate`, ``*`` would also match ``/``."""
    wild = {"*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.S)  # [abc] and [!abc] are one token each
    one_of = (re.sub(r"^\[!", "[^", token.replace("\\", r"\\")) for token in tokens)
    return "".join(
        wild.get(token, chosen if len(token) > 1 else re.escape(token))
        for token, chosen in zip(tokens, one_of, strict=True)
    )
