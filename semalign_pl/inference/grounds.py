"""Everything that the answers to a file depend on, so that a later process goes on with the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from semalign_pl.inference.inputs import Inputs
from semalign_pl.policy.adapter_folder import WEIGHTS
from semalign_pl.types import Json


def examine(inputs: Inputs, file: str) -> tuple[int, dict[str, Json]]:
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
        "adapter": _digest(Path(str(recipe.run.adapter)) / WEIGHTS),
        "base": recipe.run.base,
        "weights": module.weights,
        "max_prompt_tokens": module.max_prompt_tokens,
        "max_new_tokens": module.max_new_tokens,
        "texts": prompts.hexdigest(),
    }


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as weights:
        while chunk := weights.read(2**22):
            digest.update(chunk)
    return digest.hexdigest()
