"""``semalign init``: from a file of pairs to a folder of data and recipes, and the commands that fit them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.memory_amount import memory_bytes


def run(args: Sequence[str]) -> int:
    """Run ``semalign init``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign init",
        usage="semalign init FILE… --base MODEL [--memory 12GiB] [options]",
        description="Make a folder of training, dev and test rows and of recipes from files of translation pairs: "
        ".xlsx, .csv, .tsv, .jsonl, .tmx and the other formats of a corpus. Columns and languages are guessed from the "
        "text, nothing is asked, and every guess is printed with the flag that changes it.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of translation pairs")
    parser.add_argument("--base", required=True, metavar="MODEL", help="hub id or folder of the model to train")
    parser.add_argument("--memory", help="memory of the card, e.g. 12GiB; by default that of this machine's card")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="new folder; by default named after the first file")
    parser.add_argument(
        "--columns",
        metavar="CODE=COLUMN,CODE=COLUMN",
        help="columns of source and target with their languages, source first, e.g. zh=Chinese,bo=Tibetan",
    )
    parser.add_argument("--general", metavar="FILE", help="general text that the model must keep, for keep.yaml")
    parser.add_argument(
        "--encoder", metavar="MODEL", help="sentence encoder to start from, which knows the scripts of both languages"
    )
    parser.add_argument("--encoding", help="encoding of files that are text but not UTF-8, e.g. gb18030")
    parser.add_argument("--seed", type=int, default=0, help="seed that draws dev and test rows (%(default)s)")
    with one_line(args) as status:
        options = parser.parse_args(list(args[1:]))
        make_project(options)
    return status.code


def make_project(options: argparse.Namespace) -> None:
    """Read the pairs, write the folder, and print what was guessed and what to do next.

    Args:
        options: Parsed flags of ``semalign init``.

    Raises:
        ValueError: If a flag is wrong, the folder exists, or the files have too few pairs.
    """
    folder = options.out or Path(_stem(options.files[0]))
    if folder.exists():
        raise ValueError(f"--out: {folder} exists already; name a new folder, e.g. --out {folder}-2")
    if not 0 <= options.seed < 2**32:
        raise ValueError(f"--seed: {options.seed} is no seed; give a whole number from 0 to {2**32 - 1}")
    named = _parse_columns(options.columns) if options.columns else {}
    memory = None if options.memory is None else memory_bytes(options.memory)
    encodings = _check_files(options)
    from semalign_pl.messages.console import Console
    from semalign_pl.messages.quiet import quieten
    from semalign_pl.project.project import InitSettings, build

    quieten()
    settings = InitSettings(
        files=options.files,
        folder=folder,
        base=options.base,
        memory=memory,
        columns=named,
        general=options.general,
        encoder=options.encoder,
        encodings=encodings,
        seed=options.seed,
    )
    console = Console(soft_wrap=True)
    for line in build(settings):
        console.print(line)


def _stem(file: str) -> str:
    """Name of the default folder: that of the file without folder, suffixes and fragment."""
    return Path(file.partition("#")[0].rstrip("/")).name.partition(".")[0].partition("{")[0] or "project"


def _check_files(options: argparse.Namespace) -> dict[str, str]:
    """Encoding of each file that is text, if the user names one.

    Files that do not exist or have an unknown suffix are refused, before torch is loaded; so is an encoding if no file
    is text.
    """
    from semalign_pl.data.reading.formats import find_source_files

    encodings, refusal = dict[str, str](), None
    for file in [*options.files, *([] if options.general is None else [options.general])]:
        find_source_files(file, "train")
        if options.encoding is not None:
            try:
                find_source_files(file, "train", encoding=options.encoding)
                encodings[file] = options.encoding
            except ValueError as error:  # it says its encoding itself, or there is no such one
                refusal = error
    if refusal and not encodings:
        raise refusal
    return encodings


def _parse_columns(text: str) -> dict[str, str]:
    from semalign_pl.languages import get_language

    named = (item.partition("=") for item in re.split(r",(?=[^=,]+=)", text))  # a column's name may have a comma
    columns = {code.strip(): name.strip() for code, _, name in named}
    if len(columns) != 2 or not all(columns.values()):
        raise ValueError(f"--columns: {text!r} does not name two; write source first, e.g. zh=Chinese,bo=Tibetan")
    for code in columns:
        get_language(code)
    return columns
