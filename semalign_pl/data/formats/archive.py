"""Zip archives: which members are read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from semalign_pl.data.formats.compressed import find_member, open_archive
from semalign_pl.data.formats.record import shown, stem_suffix

_ABOUT = re.compile(r"(readme|licen[cs]e|copying|changelog|changes|citation|source|about)\b.*", re.I)
_BESIDE = (
    ".ids",
    ".xml",
    ".scores",
    ".md",
    ".pdf",
    ".html",
    ".sha256",
    ".md5",
)  # beside the texts of OPUS, or documentation


def members(path: Path) -> list[str]:
    """Names of the files in an archive, without those that describe it.

    Raises:
        ValueError: It is not a zip archive, or is encrypted.
    """
    with path.open("rb") as file, open_archive(path, file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    if locked := [info for info in infos if info.flag_bits & 1]:
        raise ValueError(f"{shown(path)}: {shown(locked[0].filename)} is encrypted; unzip it with its password")
    return [info.filename for info in infos if not _is_description(info)]


def check_member(path: Path, name: str) -> None:
    """Refuse a member that is not there, or cannot be read."""
    with path.open("rb") as file, open_archive(path, file) as archive:
        find_member(path, archive, name)


def _is_description(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return bool(
        _ABOUT.fullmatch(path.name)
        or path.suffix.lower() in _BESIDE
        or any(step.startswith(".") and step != ".." or step == "__MACOSX" for step in path.parts)
    )


def choose_member(path: Path, names: Collection[str], readable: Collection[str]) -> str | Mapping[str, str]:
    """Choose the one member with a suffix that is read, or the two members of a pair, by language suffix.

    Args:
        path: The archive.
        names: Names of its members.
        readable: Suffixes that are read.

    Raises:
        ValueError: There is no such member or pair, or more than one; lists the members.
    """
    known = [name for name in names if stem_suffix(Path(name)) in readable]
    pair = _pair([name for name in names if name not in known])
    if len(known) == 1 and not pair:
        return known[0]
    if pair and not known:
        return pair
    there = shown(", ".join(list(names)[:20]), 600) or "nothing"
    example = shown(next(iter(known or names), "member.tsv"), 100)
    raise ValueError(
        f"{shown(path)}: {len(names)} files in the archive ({there}); say which one is read: {shown(path)}#{example}"
    )


def _pair(names: list[str]) -> Mapping[str, str]:
    """Two files that differ in their suffix alone, as OPUS has ``NLLB.bo-en.bo`` and ``NLLB.bo-en.en``, by suffix."""
    split = [name.rpartition(".") for name in names]
    alike = len(names) == 2 and split[0][0] == split[1][0] and all(all(one) for one in split)
    return {suffix: name for name, (_, _, suffix) in zip(names, split, strict=True)} if alike else {}
