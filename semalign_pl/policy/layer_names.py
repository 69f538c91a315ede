"""Check the names in ``target_modules``: PEFT silently ignores one that matches no layer if another one matches."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from semalign_pl.messages.suggestion import suggest


def check_layer_names(names: str | Sequence[str], model: nn.Module) -> None:
    """Refuse names that match no layer of the base.

    Args:
        names: ``target_modules`` of a new adapter: names of layers, or the last parts of their paths, such as
            ``self_attn.q_proj``. A string is ``all-linear`` or a regular expression, which PEFT checks. Only a string
            that is a bare name is refused here, because it would have to match the whole path of a layer.
        model: Base model.

    Raises:
        ValueError: Suggests the most similar name, and lists all.
    """
    paths = [path for path, _ in model.named_modules() if path]
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) and (not name.isidentifier() or name in paths):
            continue
        if not any(f".{path}".endswith(f".{name}") for path in paths):
            raise ValueError(f"it has no layer {name!r}; {_advice(name, model)}")
        if isinstance(names, str):
            raise ValueError(f"{name!r} is a pattern for whole paths, which none has; write [{name}] for the name")


def _advice(name: str, model: nn.Module) -> str:
    """Suggestion of the most similar layer name, and all names of layers with weights, without block numbers."""
    weighted = [path for path, one in model.named_modules() if isinstance(getattr(one, "weight", None), nn.Parameter)]
    layers = list(dict.fromkeys(path.rpartition(".")[2] for path in weighted if path))
    guess = suggest(name.rpartition(".")[2], layers, "")
    return f"{guess} it has {', '.join(layers[:40])}".strip()
