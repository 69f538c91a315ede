"""What a recipe trains and tests on: its files, columns, languages, base and limits; and what preparation leaves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semalign_pl.cli import SemAlignCLI, make_cli
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.prepare import Request


class _Parsed(SemAlignCLI):
    """Parses a recipe and makes nothing of it."""

    def instantiate_classes(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Recipe:
    """Of a YAML file, what concerns its corpora.

    Attributes:
        data: Its data module.
        files: Training first, then validation and test.
        base: The model, for its tokenizer.
        limits: In tokens: the longest prompt and completion.
    """

    data: CorpusDataModule
    files: list[Request]
    base: str
    limits: list[int]


def read_recipe(args: Sequence[str]) -> Recipe:
    """Read a recipe as ``fit`` would.

    Args:
        args: ``--config FILE`` and flags, as on the command line of ``fit``.
    """
    from jsonargparse import Namespace

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        cli = make_cli(_Parsed, list(args), run=False)
    # Its name since jsonargparse 4.49; the old one warns.
    instantiate = getattr(cli.parser, "instantiate", None) or cli.parser.instantiate_classes
    made: Any = instantiate(Namespace(data=cli.config.data))
    data: Any = made.data
    model = cli.config.model.init_args
    files = [data.request(part, corpus) for part, corpora in data.corpora.items() for corpus in corpora]
    if not files:
        raise ValueError("--config: the recipe names no corpus; set data.init_args.train, validation or test")
    longest = {model.get(name) for name in ("max_prompt_tokens", "max_new_tokens")} - {None}
    return Recipe(data, files, model.base, sorted(longest))


def preparation(data: CorpusDataModule) -> list[dict[str, Any]]:
    """What preparing the recipe's corpora keeps and drops, as ``fit`` and ``test`` would before the first step.

    Where a corpus cannot be prepared, its last entry says why.
    """
    reports: list[dict[str, Any]] = []
    for stage, part in (("validate", "validation"), ("test", "test"), ("fit", "train")):
        if data.corpora[part]:
            try:
                data.setup(stage)
            except ValueError as error:
                return [*reports, {"part": part, "error": str(error)}]
            for prepared in data.prepared[part]:
                counts = {key: prepared.report[key] for key in ("source", "read", "kept", "dropped")}
                listed = str(prepared.folder / "dropped.jsonl") if counts["dropped"] else None
                reports.append({"part": part, **counts, "listed_in": listed})
    return reports
