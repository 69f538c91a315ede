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
    with its absolute path, so that it is found from any working folder. A snapshot in the cache of the hub is recorded
    as the hub id that it was downloaded by, so that other machines find it too. The tokenizer is written with its chat
    template and new tokens, and ``AutoTokenizer.from_pretrained(folder)`` loads it.

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
        config.base_model_name_or_path = portable_base(base)
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)  # the order of a set differs by process
    with replace_folder(folder) as made:
        policy.model.save_pretrained(str(made), selected_adapters=["default"], save_embedding_layers=False)
        policy.encoder.tokenizer.save_pretrained(str(made))
        (made / "README.md").unlink(missing_ok=True)  # PEFT's card is an empty template


def portable_base(base: str) -> str:
    """Name of a base that is found from any working folder, and from other machines if it is a model of the hub.

    Args:
        base: Hub id or folder of the base.

    Returns:
        Hub id, also of a folder in the hub's cache (``models--OWNER--NAME/snapshots/…``); else the absolute path.
    """
    folder = Path(base)
    if not folder.is_dir():
        return base
    path = folder.absolute()  # not resolved: a snapshot's files are links
    if path.parent.name == "snapshots" and (repository := path.parents[1].name).startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return str(folder.resolve())
