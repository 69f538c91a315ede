"""Check that an adapter was trained on the base it is loaded on."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from semalign_pl.policy.causal_lm import is_path

log = logging.getLogger(__name__)


def check_same_base(adapter: str, recorded: str | None, base: str) -> None:
    """Refuse an adapter that names another base than the one it is to be trained on.

    Two folders are compared by their weights, so that copies and moved folders are the same base. Two hub ids are
    compared by name. Of a folder and a hub id, or of a folder that is gone, only the last part of the name can be
    compared: where it differs, a warning says so.

    Args:
        adapter: PEFT folder, for the message.
        recorded: ``base_model_name_or_path`` of its config.
        base: Hub id or folder to train on.

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
    """Compare the first row of every tensor that both folders hold; ``None`` if there is nothing to compare."""
    rows, others = _first_rows(one), _first_rows(other)
    if not rows or not others:
        return None
    shared = rows.keys() & others.keys()
    return bool(shared) and all(same_values(rows[name], others[name]) for name in shared)


def same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare two tensors in the coarser of their precisions: a copy in bfloat16 is the same weight.

    Args:
        one: A tensor.
        other: Another, on the same device.
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
