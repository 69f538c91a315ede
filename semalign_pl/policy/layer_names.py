"""Names of a base's layers, to check ``target_modules``: PEFT ignores a name that no layer has beside one that has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from semalign_pl.messages.parser_report import near


def check_layer_names(names: str | Sequence[str], model: nn.Module) -> None:
    """Refuse names that no layer has.

    Args:
        names: ``target_modules`` of a fresh adapter: names, or parts of names from a dot on to the end, such as
            ``self_attn.q_proj``. A string is ``all-linear`` or a regular expression, which PEFT checks; only one that
            is a bare name is refused here, for it would have to match a layer's whole path.
        model: The base.

    Raises:
        ValueError: Names the likeliest layer, and all there are.
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
    """The likeliest layer, and all that have weights of their own, but for the numbers of blocks."""
    weighted = [path for path, one in model.named_modules() if isinstance(getattr(one, "weight", None), nn.Parameter)]
    layers = list(dict.fromkeys(path.rpartition(".")[2] for path in weighted if path))
    guess = near(name.rpartition(".")[2], layers, "")
    return f"{guess} it has {', '.join(layers[:40])}".strip()
