"""Config and weights of a PEFT folder: read and checked before a model is built, and written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from semalign_pl.files.disk import explain_errors
from semalign_pl.files.documents import read_json
from semalign_pl.messages.error_text import first_line

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
MAX_CONFIG_BYTES = 2**22
"""Maximum size of an adapter's config; with a rank for each of a thousand layers it has 100 KB."""
ADAPTER = "model.init_args.adapter"
"""Option that names an adapter's folder, unless a caller names another one."""
_UNSUPPORTED = {
    "bias": "trains biases of the base, so that reference and base would move with them",
    "layer_replication": "repeats layers of the base, so that the base would no longer be itself",
    "alora_invocation_tokens": "acts from certain tokens on (aLoRA)",
    "arrow_config": "routes between several adapters (Arrow)",
    "kasa_config": "cuts the base's weights (KaSA)",
    "megatron_config": "belongs to a Megatron model",
}
"""Settings of ``LoraConfig`` that would keep policy, reference and base from sharing weights, with the reasons."""


@dataclass(frozen=True)
class AdapterFolder:
    """Content of a PEFT folder.

    Attributes:
        path: The folder.
        config: ``LoraConfig`` of the adapter.
        weights: Tensors by PEFT's names, on the CPU.
        option: Option that names the folder, for messages.
    """

    path: str
    config: LoraConfig
    weights: dict[str, torch.Tensor]
    option: str = ADAPTER


def read_adapter_folder(adapter: str, option: str = ADAPTER) -> AdapterFolder:
    """Read and check a PEFT folder.

    Args:
        adapter: PEFT folder.
        option: Option that names the folder, for messages.

    Returns:
        Its config and weights.

    Raises:
        ValueError: If it is not a complete LoRA adapter that can be trained further; names file and remedy.
    """
    return AdapterFolder(adapter, read_config(adapter, option), read_weights(adapter, option), option)


def read_config(adapter: str, option: str = ADAPTER) -> LoraConfig:
    """Read and check ``adapter_config.json``.

    Args:
        adapter: PEFT folder.
        option: Option that names the folder, for messages.

    Returns:
        ``LoraConfig`` of the adapter.

    Raises:
        ValueError: If it is not the config of a LoRA adapter that can be trained further; names file and remedy.
    """
    from peft import LoraConfig

    file = Path(adapter) / CONFIG
    if not file.is_file():
        raise ValueError(
            f"{option}: {adapter} is not an adapter folder (no {CONFIG} in it); give the `adapter` folder that a "
            "finished run wrote"
        )
    again = "it was not written whole: export or download the adapter again"
    given = read_json(file, again, f"{option}: {file}", MAX_CONFIG_BYTES)
    _check_settings(adapter, file, given, option)
    try:
        config = LoraConfig.from_pretrained(adapter)
    except (TypeError, ValueError, ImportError) as error:
        raise ValueError(f"{option}: PEFT cannot read {file}: {first_line(error)}; correct that setting") from error
    assert isinstance(config, LoraConfig), "its peft_type was checked"
    return config


def _check_settings(adapter: str, file: Path, given: object, option: str) -> None:
    """Refuse settings of any adapter but a LoRA adapter that leaves the base unchanged."""
    from peft import LoraConfig

    if not isinstance(given, dict) or "peft_type" not in given:
        raise ValueError(
            f"{option}: {file} names no peft_type, so it is no PEFT adapter; give a folder that PEFT wrote"
        )
    if given["peft_type"] != "LORA":
        raise ValueError(
            f"{option}: {adapter} is an adapter of type {given['peft_type']}, and only LORA can be trained on; merge "
            "it into its base and give that as model.init_args.base"
        )
    if given.get("task_type") not in (None, "CAUSAL_LM"):
        raise ValueError(
            f"{option}: {file} has task_type {given['task_type']}, and only CAUSAL_LM can be trained on; give an "
            "adapter of a causal LM"
        )
    fields = {field.name for field in dataclasses.fields(LoraConfig)} | {"runtime_config"}
    unset = (None, False, {}, [], "")
    unknown = sorted(key for key, value in given.items() if key not in fields and value not in unset)
    if unknown:
        raise ValueError(
            f"{option}: {file} has settings that the installed PEFT does not know ({', '.join(unknown)}), so it "
            "cannot be read as it was saved; upgrade peft"
        )
    for key, reason in _UNSUPPORTED.items():
        if given.get(key) not in (None, False, {}, [], "none"):
            raise ValueError(
                f"{option}: {file} sets {key}, which {reason} and is not supported; merge the adapter into its base "
                "and give that as model.init_args.base"
            )
    base, whole = given.get("base_model_name_or_path"), given.get("modules_to_save")
    if not isinstance(base, str | None):
        raise ValueError(f"{option}: {file}: base_model_name_or_path: {base!r} is no name of a model; write its name")
    if whole is not None and not (isinstance(whole, list) and all(isinstance(name, str) for name in whole)):
        raise ValueError(f"{option}: {file}: modules_to_save: {whole!r} is no list of names; write [name, …]")


def read_weights(adapter: str, option: str = ADAPTER) -> dict[str, torch.Tensor]:
    """Read the weights of an adapter, and check that they are complete and finite.

    Args:
        adapter: PEFT folder.
        option: Option that names the folder, for messages.

    Returns:
        Tensors by PEFT's names, on the CPU.

    Raises:
        ValueError: If they are missing, pickled, damaged or not finite; names file and remedy.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(adapter) / WEIGHTS
    if not file.is_file():
        if (Path(adapter) / PICKLE).is_file():
            raise ValueError(
                f"{option}: {adapter} holds its weights as a pickle ({PICKLE}), which could run any code and is never "
                f"read; save them as {WEIGHTS}, for instance by safetensors.torch.save_file"
            )
        raise ValueError(f"{option}: {adapter} has no {WEIGHTS}; it was not written whole, so export it again")
    try:
        state = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{option}: {file} of {file.stat().st_size} bytes is damaged ({first_line(error)}); it was not written "
            "whole, so export or download the adapter again"
        ) from error
    if not state:
        raise ValueError(f"{option}: {file} holds no weights; export the adapter again")
    bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
    if bad is not None:
        raise ValueError(
            f"{option}: {file} holds NaN or infinity in {bad}; its run diverged, so give an earlier adapter"
        )
    return state


def write_adapter(adapter: AdapterFolder, folder: Path) -> None:
    """Write config and weights of an adapter as PEFT does.

    Args:
        adapter: Adapter to write.
        folder: Folder to write to; must exist.

    Raises:
        WriteError: If the files cannot be written.
    """
    from safetensors.torch import save_file

    with explain_errors(folder):
        adapter.config.save_pretrained(str(folder))
        tensors = {name: tensor.contiguous() for name, tensor in adapter.weights.items()}
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
