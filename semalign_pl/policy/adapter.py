"""Weights of the adapter: state of a checkpoint, plain PEFT folder, and fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.policy import Policy


def adapter_state(policy: Policy, name: str = "default") -> dict[str, Tensor]:
    """Weights of one adapter, without any base weight.

    Args:
        policy: Policy with the adapter.
        name: Name of the adapter: ``default`` (trained) or ``reference``.

    Returns:
        Tensors by PEFT's names, float32.
    """
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(policy.model, adapter_name=name, save_embedding_layers=False)


def load_adapter_state(
    policy: Policy, state: Mapping[str, Tensor], name: str = "default", source: str = "--ckpt_path"
) -> None:
    """Load weights into an adapter; keys must match exactly.

    Args:
        policy: Policy with the adapter.
        state: Weights, as ``adapter_state`` returns them.
        name: Name of the adapter: ``default`` (trained) or ``reference``.
        source: Option or path that names the origin of the weights, for the message.

    Raises:
        ValueError: If keys or shapes differ, because the state belongs to another model or other LoRA settings.
    """
    from peft import set_peft_model_state_dict

    here = adapter_state(policy, name)
    odd = sorted(set(here) ^ set(state)) or [key for key in here if here[key].shape != state[key].shape]
    if odd:
        raise ValueError(
            f"{source}: {len(odd)} of its adapter tensors do not fit this model (first: {odd[0]}); give the "
            "model.init_args.base and lora that they were trained with"
        )
    set_peft_model_state_dict(policy.model, dict(state), adapter_name=name)


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values, to check that two adapters are the same.

    Args:
        state: Weights, as ``adapter_state`` returns them.

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
    with its absolute path, so that it is found from any working folder. If the adapter trains rows of the embedding or
    whole modules, tokens may have been added: then the tokenizer is written too, and
    ``AutoTokenizer.from_pretrained(folder)`` loads it.

    Args:
        policy: Policy with the adapter.
        folder: Folder to write; created if absent, replaced if present.

    Raises:
        WriteError: If the folder cannot be written; the old one is unchanged.
    """
    from peft import LoraConfig

    config = policy.model.peft_config["default"]
    assert isinstance(config, LoraConfig)
    base = config.base_model_name_or_path
    if base is not None and Path(base).is_dir():
        config.base_model_name_or_path = str(Path(base).resolve())
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)  # the order of a set differs by process
    with replace_folder(folder) as made:
        policy.model.save_pretrained(str(made), selected_adapters=["default"], save_embedding_layers=False)
        if getattr(config, "trainable_token_indices", None) is not None or config.modules_to_save:
            policy.encoder.tokenizer.save_pretrained(str(made))
