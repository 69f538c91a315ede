"""Corpora of a recipe (files, columns, languages, base model, length limits), and the result of preparing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lightning.pytorch import LightningModule

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.inspection.leaks import SPLITS, Split
from semalign_pl.inspection.new_tokens import connect_encoder, measure_new_tokens
from semalign_pl.policy.load_encoder import load_prompt_encoder


@dataclass(frozen=True)
class Recipe:
    """Corpora of a recipe, and the settings that their statistics depend on.

    Attributes:
        data: Data module of the recipe.
        module: Module of the recipe, without weights.
        files: Corpora to read: training first, then validation and test.
        splits: Split of each of the files.
        base: Hub id or folder of the base model, for its tokenizer.
        limits: Maximum lengths of prompt and completion, in tokens, ascending.
    """

    data: CorpusDataModule
    module: LightningModule
    files: list[CorpusRequest]
    splits: list[Split]
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
    files = [data.request(split, corpus) for split, corpora in data.corpora.items() for corpus in corpora]
    if not files:
        raise ValueError("--config: the recipe names no corpus; set data.init_args.train, validation or test")
    splits: list[Split] = [split for split in SPLITS for _ in data.corpora[split]]
    longest = {model.get(name) for name in ("max_prompt_tokens", "max_new_tokens")} - {None}
    return Recipe(data, recipe.make_module(), files, splits, model.base, sorted(longest))


def preparation(recipe: Recipe) -> list[dict[str, Any]]:
    """Prepare and tokenise the corpora as ``fit`` and ``test`` do, and count the rows kept and dropped.

    Args:
        recipe: Recipe with its data module.

    Returns:
        Dictionary per corpus: ``part`` (the split), ``source``, ``read``, ``kept``, ``dropped`` (rows by reason),
        ``prompts_cut``, ``listed_in`` (file that lists dropped rows), and ``new_tokens`` of a training corpus if the
        recipe adds any. If a corpus cannot be prepared, the last dictionary has ``part`` and ``error``.
    """
    reports: list[dict[str, Any]] = []
    data = recipe.data
    try:
        encoder = connect_encoder(recipe.module, data)
    except ValueError as error:
        return [{"part": "all splits", "error": str(error)}]
    for stage, split in (("validate", "validation"), ("test", "test"), ("fit", "train")):
        if data.corpora[split]:
            try:
                data.setup(stage)
                examples = data.load_examples(split)
            except ValueError as error:
                return [*reports, {"part": split, "error": str(error)}]
            base = None
            if encoder is not None and encoder.new_tokens:
                base = load_prompt_encoder(recipe.base)
                base.tokenizer.chat_template = encoder.tokenizer.chat_template
            rows = iter(examples)
            for prepared, used in zip(data.prepared[split], examples.sizes, strict=True):
                counts = {key: prepared.report[key] for key in ("source", "read", "kept", "dropped")}
                listed = str(prepared.folder / "dropped.jsonl") if counts["dropped"] else None
                cut = prepared.report.get("prompts_cut", 0)
                reports.append({"part": split, **counts, "prompts_cut": cut, "listed_in": listed})
                if split == "train" and encoder is not None and base is not None:
                    reports[-1]["new_tokens"] = measure_new_tokens(islice(rows, used), base, encoder)
    return reports
