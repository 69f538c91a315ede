"""The adapter's weights: as a checkpoint's state, as a plain PEFT folder, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.policy import Policy


def adapter_state(policy: Policy, name: str = "default") -> dict[str, Tensor]:
    """Weights of one adapter, without any base weight.

    Args:
        policy: The policy.
        name: ``default`` (trained) or ``reference``.

    Returns:
        PEFT's names to tensors, float32.
    """
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(policy.model, adapter_name=name, save_embedding_layers=False)


def load_adapter_state(policy: Policy, state: Mapping[str, Tensor]) -> None:
    """Put weights into the trained adapter; every key must be there, and no other.

    Args:
        policy: The policy.
        state: As ``adapter_state`` gave it.

    Raises:
        ValueError: If keys or shapes differ, i.e. the state belongs to another model or other LoRA settings.
    """
    from peft import set_peft_model_state_dict

    here = adapter_state(policy)
    odd = sorted(set(here) ^ set(state)) or [key for key in here if here[key].shape != state[key].shape]
    if odd:
        raise ValueError(
            f"--ckpt_path: {len(odd)} adapter tensors of the checkpoint do not fit this model (first: {odd[0]}); "
            "resume with the same model.init_args.base and lora that the run began with"
        )
    set_peft_model_state_dict(policy.model, dict(state), adapter_name="default")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and values, to tell whether an adapter is the same one.

    Args:
        state: As ``adapter_state`` gave it.

    Returns:
        Hexadecimal digest.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def export_adapter(policy: Policy, folder: Path) -> None:
    """Write the trained adapter as a plain PEFT folder.

    ``peft.AutoPeftModelForCausalLM.from_pretrained(folder)`` loads it without this package. A local base is recorded
    by its absolute path, so that it is found from any working folder. Where tokens were or may have been added, the
    tokenizer is written too, and ``AutoTokenizer.from_pretrained(folder)`` loads it.

    Args:
        policy: The policy.
        folder: Where to; made if absent, replaced if present.

    Raises:
        WriteError: If it cannot be written; the old folder is unchanged.
    """
    config: Any = policy.model.peft_config["default"]
    base = config.base_model_name_or_path
    if base is not None and Path(base).is_dir():
        config.base_model_name_or_path = str(Path(base).resolve())
    if isinstance(
        config.target_modules, set
    ):  # written in an order that differs by process, and a study compares files
        config.target_modules = sorted(config.target_modules)
    with replace_folder(folder) as made:
        policy.model.save_pretrained(str(made), selected_adapters=["default"], save_embedding_layers=False)
        if getattr(config, "trainable_token_indices", None) is not None or config.modules_to_save:
            policy.tokenizer.save_pretrained(str(made))
