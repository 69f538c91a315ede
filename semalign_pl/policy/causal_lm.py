"""Load a frozen causal LM, or its tokenizer alone: precision, quantisation, and checks of the base."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from semalign_pl.files.example_folders import remedy
from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.base_checks import refuse_adapter, refuse_kernels, warn_slow_bf16

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
Weights = Literal["nf4", "bf16", "fp32"]
LOAD_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, ImportError, pickle.UnpicklingError)
"""Errors that Hugging Face's libraries raise for an incomplete, damaged or hostile folder."""


def load_tokenizer(option: str, base: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a causal LM, without its weights.

    Args:
        option: YAML key, for the message.
        base: Hub id or folder of the model.

    Raises:
        ValueError: If it cannot be loaded, or the folder is an adapter.
    """
    from transformers import AutoTokenizer

    refuse_adapter(option, base, (Path(base) / "adapter_config.json").is_file())
    with explain_load_errors(option, base):
        return AutoTokenizer.from_pretrained(base, trust_remote_code=False)


@contextmanager
def explain_load_errors(option: str, base: str) -> Iterator[None]:
    """Turn errors of Hugging Face's libraries into one line that names the option and the remedy.

    Args:
        option: YAML key, for the message.
        base: Hub id or folder of the model.

    Raises:
        ValueError: In place of the library's error.
    """
    try:
        yield
    except LOAD_ERRORS as error:
        if str(error).startswith(option):
            raise
        raise ValueError(
            f"{option}: cannot load {base!r}: {load_reason(error)} Give a folder that holds config.json, tokenizer "
            "and weights of a causal LM, or a hub id that this machine can reach."
        ) from error


def load_causal_lm(option: str, base: str, weights: Weights, device: torch.device) -> PreTrainedModel:
    """Load a frozen causal LM.

    A checkpoint that is already quantised keeps its own quantisation; ``weights`` is then the precision of the other
    layers.

    Args:
        option: YAML key, for the message.
        base: Hub id or folder of the model.
        weights: Quantisation or precision: ``nf4``, ``bf16`` or ``fp32``.
        device: Device of the weights.

    Returns:
        Model in eval mode.

    Raises:
        ValueError: If the model cannot be loaded, is an adapter, or has an unsupported quantisation.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    refuse_adapter(option, base, (Path(base) / "adapter_config.json").is_file())
    compute_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = {"nf4": compute_dtype, "bf16": torch.bfloat16, "fp32": torch.float32}[weights]
    with explain_load_errors(option, base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        refuse_kernels(option, base, config)
        quantised = _own_quantisation(option, base, config)
        # `quantization_config=None` would make transformers drop the checkpoint's own, and read its codes as weights.
        ours = {"quantization_config": _nf4(compute_dtype)} if weights == "nf4" and quantised is None else {}
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, device_map={"": device}, trust_remote_code=False, **ours
        )
    if weights == "bf16":
        warn_slow_bf16(option, "weights: bf16", "weights: fp32", device)
    refuse_adapter(option, base, getattr(model, "_hf_peft_config_loaded", False))
    if quantised is not None:
        log.warning(
            "%s: %s is quantised already (%s); its own quantisation is used, and `weights: %s` is the precision of the "
            "layers that are not quantised",
            option,
            base,
            quantised,
            weights,
        )
    for module in model.modules():
        # On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a weight at its first forward in eval mode into a layout
        # whose matmul has no backward: after one rollout, gradients of earlier layers were wrong by 42 %, silently.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  (torch types attributes as tensors)
    model.requires_grad_(False)
    return model


def check_folder(option: str, path: str) -> None:
    """Refuse a local path that does not exist, before transformers takes it for a hub id.

    Args:
        option: YAML key, for the message.
        path: Hub id (``name`` or ``owner/name``) or folder.

    Raises:
        ValueError: If ``path`` can only be a folder, and there is none.
    """
    if is_missing(path):
        raise ValueError(
            f"{option}: there is no folder {path}; give an existing folder or a hub id such as owner/name{remedy(path)}"
        )


def is_path(name: str) -> bool:
    """Return true if a model's name can only be a folder: a hub id is ``name`` or ``owner/name``.

    Args:
        name: Hub id or folder of the model.
    """
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def is_missing(name: str) -> bool:
    """Return true if a model's name can only be a folder, and there is none.

    Args:
        name: Hub id or folder of the model.
    """
    return is_path(name) and not Path(name).is_dir()


def load_reason(error: Exception) -> str:
    """Sentence that says why a model, tokenizer or encoder cannot be loaded.

    Args:
        error: Exception of one of the types in `LOAD_ERRORS`.
    """
    if isinstance(error, pickle.UnpicklingError):
        return (
            "its weights are a pickle that holds more than tensors, which could run any code and is never read; save "
            "them as .safetensors."
        )
    if "trust_remote_code" in str(error):
        return "it needs Python code beside its weights, or of a package that it names, which is never run."
    return first_line(error)


def _nf4(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Quantisation config of 4-bit NormalFloat with double quantisation (arXiv 2305.14314)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def _own_quantisation(option: str, base: str, config: PreTrainedConfig) -> str | None:
    """Name of a checkpoint's own quantisation; ``None`` if it is not quantised.

    Raises:
        ValueError: If the quantisation is not bitsandbytes', whose layers are the only ones tested with gradients.
    """
    text = config.get_text_config()
    own = getattr(config, "quantization_config", None) or getattr(text, "quantization_config", None)
    if own is None:
        return None
    own = own if isinstance(own, dict) else own.to_dict()
    method = own.get("quant_method")
    if method == "bitsandbytes" or own.get("load_in_4bit") or own.get("load_in_8bit"):
        return "bitsandbytes, 8 bits" if own.get("load_in_8bit") else "bitsandbytes, 4 bits"
    raise ValueError(
        f"{option}: {base} is quantised by {method or 'an unknown method'} (quantization_config in its config.json), "
        "which is not supported; give the unquantised model, and `weights: nf4` to quantise it while loading"
    )
