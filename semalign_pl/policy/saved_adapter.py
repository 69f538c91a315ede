"""Load a saved adapter on its base twice: as the trained policy and as the frozen reference."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.messages.error_text import last_line
from semalign_pl.policy.adapter_folder import AdapterFolder, read_weights, write_adapter
from semalign_pl.policy.vocabulary import embedding_and_head

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def adapt_from_folder(model: PreTrainedModel, saved: AdapterFolder, plain: AdapterFolder, base: str) -> PeftModel:
    """Load an adapter on the base twice: as ``default``, which is trained, and as ``reference``, which is frozen.

    Args:
        model: Base model; becomes part of the PEFT model.
        saved: Adapter as read from its folder.
        plain: Adapter to load: ``saved`` itself, or one that was made of it.
        base: Hub id or folder of the base, for the message.

    Returns:
        PEFT model.

    Raises:
        ValueError: If adapter and base do not fit together.
    """
    if plain is saved:
        return _adapt(model, saved, saved.path, base)
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(plain, Path(folder))
        return _adapt(model, saved, folder, base)


def _adapt(model: PreTrainedModel, saved: AdapterFolder, folder: str, base: str) -> PeftModel:
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    try:
        peft_model = PeftModel.from_pretrained(model, folder, is_trainable=True)
        config = peft_model.peft_config["default"]
        assert isinstance(config, LoraConfig)
        peft_model.add_adapter("reference", untie(config))
        loaded = peft_model.load_adapter(folder, adapter_name="reference", is_trainable=False)
        # If the vocabulary grew, PEFT writes trained modules twice but reads them once.
        twice = {key for key in loaded.unexpected_keys if ".modules_to_save." in key}
        odd = [*(set(loaded.unexpected_keys) - twice), *loaded.missing_keys]
        if odd:  # PEFT silently skips unexpected keys, and leaves missing ones as initialised
            raise RuntimeError(f"{len(odd)} tensors have no counterpart, first {odd[0]}")
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, re.error) as error:
        raise ValueError(
            f"{saved.option}: {saved.path} does not fit model.init_args.base: {base} "
            f"({last_line(error)[:200]}); give the base that the adapter was trained on"
        ) from error
    if keep_in_float32(peft_model):
        weights = read_weights(folder)
        for name in ("default", "reference"):
            set_peft_model_state_dict(peft_model, weights, adapter_name=name)
    for name, parameter in peft_model.named_parameters():
        if ".reference" in name:  # PEFT makes rows of new tokens trainable when it casts them to float32
            parameter.requires_grad_(False)
        elif ".modules_to_save.default." in name:  # PEFT freezes them with the reference if there are no LoRA layers
            parameter.requires_grad_(True)
    return peft_model


def untie(config: LoraConfig) -> LoraConfig:
    """Copy of a loaded adapter's config for the frozen reference, without tied weights.

    PEFT finds the tied layers only for the first adapter of a model. The folder has the weights of every layer, so the
    tied ones are listed explicitly.

    Args:
        config: Config of the trained adapter, as PEFT has completed it.
    """
    frozen = copy.deepcopy(config)
    frozen.inference_mode = True
    if not getattr(config, "ensure_weight_tying", False):
        return frozen
    frozen.ensure_weight_tying = False
    # PEFT sets both only while it loads an adapter, so the class does not declare them with their types.
    whole: list[str] | None = getattr(config, "modules_to_tie")  # noqa: B009
    tied: set[str] | None = getattr(config, "target_modules_to_tie")  # noqa: B009
    if whole:
        frozen.modules_to_save = [*(config.modules_to_save or ()), *whole]
    if tied and isinstance(config.target_modules, str):
        frozen.target_modules = "|".join([f"(?:{config.target_modules})", *map(re.escape, tied)])
    elif tied:
        frozen.target_modules = sorted({*(config.target_modules or ()), *tied})
    frozen.modules_to_tie = frozen.target_modules_to_tie = None
    return frozen


def grow_to_saved_rows(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """Resize a model's embedding and head to those that an adapter trained as whole modules, for example padded ones.

    New rows of the base are the mean of the others; the policy uses the adapter's rows instead.

    Args:
        model: Frozen causal LM; changed in place.
        state: Weights of the adapter, by PEFT's names.
    """
    layers = embedding_and_head(model)
    names = [f"base_model.model.{name}.weight" for name, module in model.named_modules() if module in layers]
    had = len(layers[0].get_parameter("weight"))
    rows = max((len(state[name]) for name in names if name in state), default=0)
    if rows > had:
        model.resize_token_embeddings(rows, mean_resizing=False)
        model.requires_grad_(False)
        for layer in embedding_and_head(model):
            weight = layer.get_parameter("weight").data
            weight[had:] = weight[:had].float().mean(0).to(weight.dtype)


def keep_in_float32(model: nn.Module) -> bool:
    """Cast modules that are trained as a whole (``modules_to_save``) to float32; inputs and outputs keep their dtype.

    PEFT casts LoRA's weights but not these, and an optimiser loses small updates of bfloat16 weights.

    Args:
        model: PEFT model; changed in place.

    Returns:
        True if a module was cast. Its values must then be loaded again, because they were rounded when it was built.
    """
    from peft.utils.other import ModulesToSaveWrapper

    copies = [
        trained
        for wrapper in model.modules()
        if isinstance(wrapper, ModulesToSaveWrapper)
        for trained in wrapper.modules_to_save.values()
    ]
    lower = {one: p.dtype for one in copies for p in one.parameters() if p.dtype in (torch.bfloat16, torch.float16)}
    for one, dtype in lower.items():
        one.float()
        one.register_forward_pre_hook(lambda _, inputs: _cast(inputs, torch.float32))
        one.register_forward_hook(lambda _, __, output, dtype=dtype: _cast(output, dtype))
    return bool(lower)


def _cast(values: object, dtype: torch.dtype) -> object:
    if isinstance(values, tuple):
        return tuple(_cast(value, dtype) for value in values)
    return values.to(dtype) if isinstance(values, Tensor) and values.is_floating_point() else values
