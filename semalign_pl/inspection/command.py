"""``semalign corpus``: statistics of a corpus as a table, a JSON file and an HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    from semalign_pl.inspection.leaks import Split

LIMITS = [256, 512, 1024]


def _parser(with_files: bool) -> CommandParser:
    parser = CommandParser(
        prog="semalign corpus",
        usage="semalign corpus FILE… [--model MODEL] [options]\n       semalign corpus --config RECIPE.yaml [options]",
        description="Count rows, characters, syllables and tokens of corpora, their scripts, duplicates, and what they "
        "have in common. Files and columns come from the command line, or from a recipe, any key of which can be given "
        "as a flag.",
        allow_abbrev=False,
    )
    if with_files:
        parser.add_argument("files", nargs="*", metavar="FILE", help="corpus files or hub datasets, training first")
    parser.add_argument("--model", help="hub id or folder of the model whose tokens are counted; a recipe's base")
    parser.add_argument(
        "--columns", help="columns to count: field=column,… or column,…; by default every column that holds text"
    )
    parser.add_argument(
        "--languages",
        help="codes of the columns' languages, in their order, or field=code,…; by default guessed by script",
    )
    parser.add_argument(
        "--splits",
        help="split of each file: train, validation or test, e.g. train,test; by default from names and lengths",
    )
    parser.add_argument("--limits", help="lengths in tokens, e.g. 256,512,1024: how many texts are longer")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus"), help="folder to write to (%(default)s)")
    return parser


def run(args: Sequence[str]) -> int:
    """Run ``semalign corpus``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    from_recipe = any(arg.split("=")[0] in ("-c", "--config") for arg in args)
    parser = _parser(with_files=not from_recipe)
    with one_line(args) as status:
        options, rest = parser.parse_known_args(list(args[1:]))
        if rest and not from_recipe:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        if from_recipe and (options.columns or options.languages or options.splits):
            parser.error(
                "--columns, --languages, --splits: a recipe names its own; leave them out, or give files instead"
            )
        if not from_recipe and not options.files:
            parser.error(
                "no file is named; give some, e.g. semalign corpus train.jsonl dev.jsonl, or a recipe with --config"
            )
        if from_recipe:
            refuse_mistakes("fit", rest)
        show(options, rest if from_recipe else None)
    return status.code


def parse_limits(text: str) -> list[int]:
    """Numbers of ``--limits``, such as ``256,512``, ascending and each once.

    Args:
        text: Value of the flag.

    Raises:
        ValueError: If a number is missing, is not a whole number, or is 0.
    """
    lengths = [length.strip() for length in text.split(",")]
    if not all(length.isdecimal() and int(length) > 0 for length in lengths):
        raise ValueError(f"--limits: {text!r} are no lengths in tokens; write e.g. 256,512,1024")
    return sorted({int(length) for length in lengths})


def parse_splits(text: str, files: int) -> list[Split]:
    """Parse ``--splits``, such as ``train,test``.

    Args:
        text: Value of the flag.
        files: Number of files, each of which needs a split.

    Raises:
        ValueError: If a name is no split, or their number is not that of the files.
    """
    from semalign_pl.inspection.leaks import SPLITS

    names = [name.strip() for name in text.split(",")]
    splits: list[Split] = [split for name in names for split in SPLITS if split == name]
    if len(splits) < len(names) or len(splits) != files:
        raise ValueError(
            f"--splits: {text!r} is not one of {', '.join(SPLITS)} for each of the {files} files; write e.g. "
            f"--splits {','.join(['train', 'test', 'test'][: max(1, min(files, 3))])}"
        )
    return splits


def parse_mapping(option: str, text: str, names: Sequence[str] | None = None) -> dict[str, str]:
    """Parse ``a=b,c=d`` to a dictionary.

    In a list without keys, ``b,d``, the keys are ``names``; if there are no ``names``, each value is its own key.

    Args:
        option: Flag to name in error messages.
        text: Value of the flag.
        names: Keys for a list without keys, one per value.

    Raises:
        ValueError: If a key or value is empty, a key occurs twice, values without keys do not match ``names``, or
            ``--languages`` names no columns.
    """
    items = [item.strip() for item in text.split(",")]
    pairs = [item.partition("=")[::2] if "=" in item else (None, item) for item in items]
    if not all(value and name != "" for name, value in pairs):
        raise ValueError(f"{option}: {text!r} has an empty part; write e.g. {option} zh=…,bo=…")
    bare = [value for name, value in pairs if name is None]
    if bare and option == "--languages" and names is None:
        raise ValueError(f"{option}: {text!r} names no column; write {option} COLUMN={bare[0]},…, or give --columns")
    if bare and names is not None and (len(bare) != len(items) or len(items) != len(names)):
        raise ValueError(
            f"{option}: {text!r} does not name one for each of {', '.join(names)}; write {option} {names[0]}=…"
        )
    parsed: dict[str, str] = {}
    for place, (name, value) in enumerate(pairs):
        key = name if name is not None else value if names is None else names[place]
        if key in parsed:
            raise ValueError(f"{option}: {key} is named twice in {text!r}; leave one out")
        parsed[key] = value
    return parsed


def show(options: argparse.Namespace, recipe: Sequence[str] | None) -> None:
    """Count, print tables, and write ``corpus.json`` and ``corpus.html``.

    Args:
        options: Parsed flags of ``semalign corpus``.
        recipe: ``--config FILE`` and overrides, as on the command line of ``fit``; ``None`` if files are given instead.

    Raises:
        ValueError: If a flag cannot be parsed, ``--out`` is a file, or a corpus cannot be read.
    """
    from semalign_pl.data.cleaning.prepare import CorpusRequest
    from semalign_pl.inspection.inspect import inspect
    from semalign_pl.inspection.page import write_page
    from semalign_pl.inspection.table import describe_preparation, tables
    from semalign_pl.inspection.tokens import TokenCounter
    from semalign_pl.messages.console import Console
    from semalign_pl.messages.quiet import quieten

    quieten()
    limits, whole_recipe = None if options.limits is None else parse_limits(options.limits), None
    if recipe is None:
        columns = parse_mapping("--columns", options.columns) if options.columns else {}
        names = list(columns) or None
        languages = parse_mapping("--languages", options.languages, names) if options.languages else {}
        files, model = [CorpusRequest(file, columns, languages=languages) for file in options.files], options.model
        splits = parse_splits(options.splits, len(files)) if options.splits else None
    else:
        from semalign_pl.inspection.recipe import read_recipe

        read = read_recipe(recipe)
        files, model = read.files, options.model or read.base
        limits, whole_recipe, splits = limits or read.limits, read, read.splits
    if options.out.is_file():
        raise ValueError(f"--out: {options.out} is a file; give a folder")
    tokens = TokenCounter(model) if model else None
    result, measured = inspect(files, tokens, limits or LIMITS, splits=splits)
    result["preparation"] = None
    if whole_recipe is not None:
        from semalign_pl.inspection.recipe import preparation

        result["preparation"] = preparation(whole_recipe)
    console = Console()
    for table in tables(result):
        console.print(table)
        console.print()
    for file in result["files"]:
        encodings = [f"{file['name']}: {c['encoding']}" for c in file["columns"].values() if c["encoding"]]
        for message in [*file["bad"]["first"], *encodings]:
            console.print(message, soft_wrap=True)
    for report in result["preparation"] or []:
        console.print(describe_preparation(report), soft_wrap=True)
    page, numbers_file = options.out / "corpus.html", options.out / "corpus.json"
    write_text(numbers_file, to_json(result, numbers_file, indent=2) + "\n")
    write_page(page, result, measured)
    console.print(f"page: {page}, numbers: {numbers_file}", soft_wrap=True)
