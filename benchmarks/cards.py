"""Write the shipped settings for 8 to 24 GB cards, as `semalign plan` proposes them for the paper's recipe.

python benchmarks/cards.py configs/cards   # writes MODEL-CARD/{sft,grpo}.yaml
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import model

MODELS = {"qwen3-0.6b": "Qwen/Qwen3-0.6B", "qwen3-1.7b": "Qwen/Qwen3-1.7B", "qwen3-4b": "Qwen/Qwen3-4B"}
CARDS_GIB = (8, 12, 16, 24)
RECIPES = {"sft": "cold_start", "grpo": "semantic_grpo"}
CINO_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 136_000,
    "max_position_embeddings": 514,
}
"""Config of the reward's encoder, with about the widths of CINO-base-v2."""


def recipe(stage: str, name: str, folder: Path) -> list[str]:
    """Command line of the paper's recipe with another base; its hub models are replaced by configs without weights.

    Args:
        stage: ``sft`` or ``grpo``.
        name: One of ``MODELS``.
        folder: Folder to write the configs to.
    """
    from transformers import Qwen3Config, XLMRobertaConfig

    Qwen3Config(**model.SIZES[name], tie_word_embeddings=True).save_pretrained(folder / name)
    XLMRobertaConfig(**CINO_BASE).save_pretrained(folder / "models/cino-bo-zh")
    file = Path(__file__).parents[1] / "configs/paper" / f"{RECIPES[stage]}.yaml"
    return ["--config", str(file), "--model.init_args.base", str(folder / name)]


def main(out: Path) -> None:
    """Write the settings of all cards and models."""
    from semalign_pl.plan.command import changes, proposal, write_overlay
    from semalign_pl.plan.recipe import settings_of

    with tempfile.TemporaryDirectory() as folder:
        for stage, file in RECIPES.items():
            for name, hub in MODELS.items():
                asked = settings_of(recipe(stage, name, Path(folder)))
                asked = replace(asked, encoders=tuple((str(Path(folder) / own), size) for own, size in asked.encoders))
                for card in CARDS_GIB:
                    proposed, plan = proposal(asked, card * 2**30)
                    path = out / f"{name}-{card}gb" / f"{stage}.yaml"
                    options = {"base": hub, **changes(proposed)}
                    peak = f"predicted peak {plan.peak / 2**30:.1f} GiB"
                    comment = f"Overlay for configs/paper/{file}.yaml on a {card} GiB GPU: {peak}."
                    write_overlay(path, options, comment)
                    print(path, options, f"{plan.peak / 2**30:.2f} GiB", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
