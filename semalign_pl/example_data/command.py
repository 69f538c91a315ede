"""``semalign data``: list the data sets that recipes read, and get them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.example_data.blimp import BLIMP
from semalign_pl.example_data.choices import CHOICES
from semalign_pl.example_data.cmrc2018 import CMRC2018
from semalign_pl.example_data.data_set import DataSet
from semalign_pl.example_data.get import get
from semalign_pl.example_data.gguf_model import convert_gguf
from semalign_pl.example_data.mitra import MITRA
from semalign_pl.example_data.sample import SAMPLE
from semalign_pl.example_data.sib200 import SIB200
from semalign_pl.example_data.smollm2 import SMOLLM2
from semalign_pl.example_data.xquad import XQUAD
from semalign_pl.files.atomic import replace_folder
from semalign_pl.files.example_folders import ROOT
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.terminal import visible

SETS: dict[str, DataSet] = {one.name: one for one in (SAMPLE, SIB200, CMRC2018, MITRA, SMOLLM2, CHOICES, BLIMP, XQUAD)}
"""Data sets by name, in the order in which they are listed; ``files/example_folders.py`` has the same names."""


def run(args: Sequence[str]) -> int:
    """Run ``semalign data``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(
        prog="semalign data",
        description=f"Get data that recipes read, each set into the folder {ROOT}/NAME. A folder that is there is "
        "checked by its SHA-256 checksums. A model's GGUF file is converted to the plain folder of its name. Without a "
        "name, list the data sets.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)}, or FILE.gguf")
    with one_line(args) as status:
        options, rest = parser.parse_known_args(list(args[1:]))
        if rest:
            raise ValueError(f"{rest[0]}: there is no such flag; write semalign data NAME")
        names = list(dict.fromkeys(options.names))
        models = [Path(name) for name in names if name.endswith(".gguf")]
        chosen = [_find(name) for name in names if not name.endswith(".gguf")]
        for file in models:
            print(visible(f"{_convert(file)}: made from {file}"))
        for data_set in chosen:
            made = get(data_set)
            print(visible(_report(data_set, ROOT / data_set.name, made)))
        if not names:
            print("\n".join(map(_describe, SETS.values())))
    return status.code


def _convert(file: Path) -> Path:
    """Convert a GGUF file to a folder and return that."""
    folder = ROOT / file.stem
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file; give the path of a model's GGUF file")
    if folder.exists():
        raise ValueError(f"{folder} exists, and {file} would be written there; move it away, or rename the file")
    with replace_folder(folder) as made:
        convert_gguf(file, made)
    return folder


def _find(name: str) -> DataSet:
    if name in SETS:
        return SETS[name]
    similar = difflib.get_close_matches(name, SETS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(SETS)}"
    raise ValueError(f"{name!r}: there is no such data set; {hint}")


def _report(data_set: DataSet, folder: Path, made: bool) -> str:
    state = "made" if made else "already there, checksums verified"
    return f"{folder}: {state}; {data_set.rows}; licence: {data_set.licence}; source: {data_set.source}"


def _describe(data_set: DataSet) -> str:
    size = sum(one.size for one in data_set.downloads)
    lines = [
        data_set.what,
        data_set.rows,
        f"download: {size / 1e6:.1f} MB from {data_set.source}" if size else "download: none, works without a network",
        f"licence: {data_set.licence}",
        f"for: {data_set.used_by}",
    ]
    return f"{data_set.name}\n" + "".join(f"    {line}\n" for line in lines)
