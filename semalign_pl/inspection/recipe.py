"""Corpora of a recipe (files, columns, languages, base model, length limits), and the result of preparing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.cleaning.prepare import Request


@dataclass(frozen=True)
class Recipe:
    """Corpora of a recipe, and the settings that their statistics depend on.

    Attributes:
        data: Data module of the recipe.
        files: Corpora to read: training first, then validation and test.
        base: Hub id or folder of the base model, for its tokenizer.
        limits: Maximum lengths of prompt and completion, in tokens, ascending.
    """

    data: CorpusDataModule
    files: list[Request]
    base: str
    limits: list[int]


def read_recipe(args: Sequence[str]) -> Recipe:
    """Read a recipe as ``fit`` would.

    Args:
        args: ``--config FILE`` and flags, as on the command line of ``fit``.

    Raises:
        ValueError: If the recipe names no corpus.
    """
    recipe = parse_recipe(args)
    data, model = recipe.make_data(), recipe.settings.model.init_args
    files = [data.request(part, corpus) for part, corpora in data.corpora.items() for corpus in corpora]
    if not files:
        raise ValueError("--config: the recipe names no corpus; set data.init_args.train, validation or test")
    longest = {model.get(name) for name in ("max_prompt_tokens", "max_new_tokens")} - {None}
    return Recipe(data, files, model.base, sorted(longest))


def preparation(data: CorpusDataModule) -> list[dict[str, Any]]:
    """Prepare the corpora as ``fit`` and ``test`` do, and count the rows kept and dropped.

    Args:
        data: Data module of the recipe.

    Returns:
        Dictionary per corpus: ``part`` (the split), ``source``, ``read``, ``kept``, ``dropped`` (rows by reason) and
        ``listed_in`` (file that lists dropped rows). If a corpus cannot be prepared, the last dictionary has ``part``
        and ``error``.
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
