"""Zip archives: choice of the members to read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from semalign_pl.data.reading.formats.compressed import find_member, open_archive
from semalign_pl.data.reading.formats.record import escape, stem_suffix

_DOCUMENTATION = re.compile(r"(readme|licen[cs]e|copying|changelog|changes|citation|source|about)\b.*", re.I)
_COMPANION_SUFFIXES = (
    ".ids",
    ".xml",
    ".scores",
    ".md",
    ".pdf",
    ".html",
    ".sha256",
    ".md5",
)  # files that accompany the texts of OPUS, or documentation


def list_members(path: Path) -> list[str]:
    """Names of the files in a zip archive, without documentation and metadata.

    Args:
        path: Path of the archive.

    Raises:
        ValueError: If it is not a zip archive, or contains an encrypted file.
    """
    with path.open("rb") as file, open_archive(path, file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    if locked := [info for info in infos if info.flag_bits & 1]:
        raise ValueError(f"{escape(path)}: {escape(locked[0].filename)} is encrypted; unzip it with its password")
    return [info.filename for info in infos if not _is_description(info)]


def check_member(path: Path, name: str) -> None:
    """Check that a zip archive has a member and that it can be read.

    Args:
        path: Path of the archive.
        name: Name of the member.

    Raises:
        ValueError: If there is no such member, or more than one, or it is encrypted.
    """
    with path.open("rb") as file, open_archive(path, file) as archive:
        find_member(path, archive, name)


def _is_description(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return bool(
        _DOCUMENTATION.fullmatch(path.name)
        or path.suffix.lower() in _COMPANION_SUFFIXES
        or any(step.startswith(".") and step != ".." or step == "__MACOSX" for step in path.parts)
    )


def choose_member(path: Path, names: Collection[str], readable: Collection[str]) -> str | Mapping[str, str]:
    """Choose the members of a zip archive to read: the only one with a readable suffix, or a pair of files.

    Args:
        path: Path of the archive, for messages.
        names: Names of its members.
        readable: Suffixes of files that can be read.

    Returns:
        Name of the member, or for a pair the name per language suffix.

    Raises:
        ValueError: If there is no such member or pair, or more than one; the message lists the members.
    """
    readable_names = [name for name in names if stem_suffix(Path(name)) in readable]
    pair = _pair([name for name in names if name not in readable_names])
    if len(readable_names) == 1 and not pair:
        return readable_names[0]
    if pair and not readable_names:
        return pair
    there = escape(", ".join(list(names)[:20]), 600) or "nothing"
    example = escape(next(iter(readable_names or names), "member.tsv"), 100)
    raise ValueError(
        f"{escape(path)}: {len(names)} files in the archive ({there}); say which one is read: {escape(path)}#{example}"
    )


def _pair(names: list[str]) -> Mapping[str, str]:
    """Names per suffix of two files that differ only in their suffix; empty for any other files.

    OPUS has such pairs: ``NLLB.bo-en.bo`` and ``NLLB.bo-en.en``.
    """
    split = [name.rpartition(".") for name in names]
    alike = len(names) == 2 and split[0][0] == split[1][0] and all(all(one) for one in split)
    return {suffix: name for name, (_, _, suffix) in zip(names, split, strict=True)} if alike else {}
