"""Imports of commands that come late, and parsers of a recipe's classes, for processes that are forked after this.

It starts no thread, since a forked process has none but its own.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.start.check import refuse_mistakes

LATE = (
    *("peft.tuners.lora.bnb", "peft.utils.transformers_weight_conversion", "rouge_score.rouge_scorer"),
    *("semalign_pl.start.training", "sentence_transformers.models"),
    *("transformers.models.bert.modeling_bert", "transformers.models.qwen3.modeling_qwen3"),
)
RECIPES = Path(__file__).parents[2] / "configs" / "quickstart"

for module in LATE:
    import_module(module)
with patch.object(sys, "argv", ["semalign"]):  # LightningCLI warns about further arguments
    for recipe in ("cold_start", "semantic_grpo"):
        args = ["--config", str(RECIPES / f"{recipe}.yaml")]
        refuse_mistakes("fit", args)
        parse_recipe(args)
gc.collect()
gc.freeze()  # garbage collection would search the modules in each process
