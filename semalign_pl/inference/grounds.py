"""Everything that the answers to a file depend on, so that a later process continues only with the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from semalign_pl.inference.inputs import Inputs
from semalign_pl.inference.loaded_run import RunRecipe
from semalign_pl.types import Json

_NOT_READ = ("README.md", "training.json", "quality_against_tax.png")
"""Files of an adapter's folder that change no answer; an export writes the card again."""


def examine(inputs: Inputs[RunRecipe], file: str) -> tuple[int, dict[str, Json]]:
    """Read a whole file before any weights are loaded, so that a bad last row is known at once.

    Args:
        inputs: Converter of rows to prompts.
        file: Corpus to read.

    Returns:
        Number of rows, and the grounds by name.

    Raises:
        ValueError: If the file or one of its rows cannot be read.
    """
    rows, prompts = 0, hashlib.sha256()
    for example in inputs.read(file):
        rows += 1
        prompts.update(repr((example.id, example.policy_prompt)).encode(errors="surrogatepass"))
    recipe = inputs.recipe
    module = recipe.module
    return rows, {
        "adapter": _digest(Path(str(recipe.run.adapter))),
        "base": recipe.run.base,
        "weights": module.weights,
        "precision": recipe.precision,
        "max_prompt_tokens": module.max_prompt_tokens,
        "max_new_tokens": module.max_new_tokens,
        "texts": prompts.hexdigest(),
    }


def _digest(adapter: Path) -> str:
    """Digest of weights, config, tokenizer and chat template."""
    digest = hashlib.sha256()
    for file in sorted(adapter.iterdir()):
        if file.is_file() and file.name not in _NOT_READ:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode(errors="surrogateescape"))
            with file.open("rb") as content:
                while chunk := content.read(2**22):
                    digest.update(chunk)
    return digest.hexdigest()
