"""Check that an adapter was trained on the base that it is loaded on."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from semalign_pl.policy.causal_lm import is_path

log = logging.getLogger(__name__)


def check_same_base(adapter: str, recorded: str | None, base: str) -> None:
    """Refuse an adapter that was trained on another base than this one.

    Two folders are compared by their weights, so that copies and moved folders count as the same base. Two hub ids are
    compared by name. A folder and a hub id, or a folder that no longer exists, can only be compared by the last part of
    the name; if it differs, a warning is logged.

    Args:
        adapter: PEFT folder, for the message.
        recorded: ``base_model_name_or_path`` of the adapter's config.
        base: Hub id or folder of the base to train on.

    Raises:
        ValueError: If the bases differ.
    """
    if not recorded or recorded.casefold() == base.casefold():
        return
    here, there = Path(base), Path(recorded)
    same = None  # unknown
    if here.is_dir() and there.is_dir():
        same = here.samefile(there) or _same_weights(here, there)
    elif not any(is_path(name) or Path(name).is_dir() for name in (base, recorded)):
        same = False
    if same is None and here.resolve().name.casefold() != there.name.casefold():
        log.warning(
            "model.init_args.adapter: %s was made for the base %s, which cannot be compared with %s here; make sure "
            "that both are the same model",
            adapter,
            recorded,
            base,
        )
    if same is False:
        raise ValueError(
            f"model.init_args.adapter: {adapter} was made for the base {recorded}, not for model.init_args.base: "
            f"{base}; give that base, or, if both are the same model, write {base} as base_model_name_or_path into "
            "its adapter_config.json"
        )


def _same_weights(one: Path, other: Path) -> bool | None:
    """Compare the first row of every tensor that both folders have; ``None`` if there is nothing to compare."""
    rows, others = _first_rows(one), _first_rows(other)
    if not rows or not others:
        return None
    shared = rows.keys() & others.keys()
    return bool(shared) and all(same_values(rows[name], others[name]) for name in shared)


def same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return true if two tensors are equal in the coarser of their precisions: a bfloat16 copy is the same weight.

    Args:
        one: First tensor.
        other: Second tensor, on the same device.
    """
    coarser = one.dtype if one.element_size() <= other.element_size() else other.dtype
    return one.shape == other.shape and torch.equal(one.to(coarser), other.to(coarser))


def _first_rows(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    rows: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a dict)
                part = tensors.get_slice(name)
                rows[name] = part[:1] if part.get_shape() else tensors.get_tensor(name)
    return rows
