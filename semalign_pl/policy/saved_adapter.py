"""Load a saved adapter on its base twice: as the trained policy and as the frozen reference."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from semalign_pl.messages.error_text import last_line
from semalign_pl.policy.adapter_folder import read_weights
from semalign_pl.policy.same_base import same_values
from semalign_pl.policy.whole_modules import keep_in_float32


def adapt_from_folder(model: Any, adapter: str, folder: str, base: str) -> Any:
    """Load an adapter on the base twice: as ``default``, which is trained, and as ``reference``, which is frozen.

    Args:
        model: Base model; becomes part of the PEFT model.
        adapter: PEFT folder, for the message.
        folder: Folder to read; may be a converted copy of ``adapter``.
        base: Hub id or folder of the base, for the message.

    Returns:
        PEFT model.

    Raises:
        ValueError: If adapter and base do not fit together.
    """
    from peft import PeftModel, set_peft_model_state_dict

    try:
        peft_model = PeftModel.from_pretrained(model, folder, is_trainable=True)
        peft_model.add_adapter("reference", _untie(peft_model.peft_config["default"]))
        loaded = peft_model.load_adapter(folder, adapter_name="reference", is_trainable=False)
        # If the vocabulary grew, PEFT writes trained modules twice but reads them once.
        twice = {key for key in loaded.unexpected_keys if ".modules_to_save." in key}
        odd = [*(set(loaded.unexpected_keys) - twice), *loaded.missing_keys]
        if odd:  # PEFT silently skips unexpected keys, and leaves missing ones as initialised
            raise RuntimeError(f"{len(odd)} tensors have no counterpart, first {odd[0]}")
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, re.error) as error:
        raise ValueError(
            f"model.init_args.adapter: {adapter} does not fit model.init_args.base: {base} "
            f"({last_line(error)[:200]}); give the base that the adapter was trained on"
        ) from error
    if keep_in_float32(peft_model):
        saved = read_weights(folder)
        for name in ("default", "reference"):
            set_peft_model_state_dict(peft_model, saved, adapter_name=name)
    for name, parameter in peft_model.named_parameters():
        if ".reference" in name:  # PEFT makes rows of new tokens trainable when it casts them to float32
            parameter.requires_grad_(False)
    return peft_model


def _untie(config: Any) -> Any:
    """Copy of a loaded adapter's config for the frozen reference, without tied weights.

    PEFT finds the tied layers only for the first adapter of a model. The folder has the weights of every layer, so the
    tied ones are listed explicitly.
    """
    frozen = copy.deepcopy(config)
    frozen.inference_mode = True
    if not getattr(config, "ensure_weight_tying", False):
        return frozen
    frozen.ensure_weight_tying = False
    if config.modules_to_tie:
        frozen.modules_to_save = [*config.modules_to_save, *config.modules_to_tie]
    tied = config.target_modules_to_tie
    if tied and isinstance(config.target_modules, str):
        frozen.target_modules = "|".join([f"(?:{config.target_modules})", *map(re.escape, tied)])
    elif tied:
        frozen.target_modules = set(config.target_modules) | tied
    frozen.modules_to_tie = frozen.target_modules_to_tie = None
    return frozen


def check_targets(adapter: str, config: Any, wanted: Any, model: nn.Module) -> None:
    """Refuse ``target_modules`` that select other layers than those of the adapter.

    Args:
        adapter: PEFT folder, for the message.
        config: ``LoraConfig`` of the adapter.
        wanted: ``LoraConfig`` of the user's settings.
        model: Base model.

    Raises:
        ValueError: Names the modules that differ.
    """
    given = wanted.target_modules
    ours, theirs = _targets(wanted, model), _targets(config, model)
    if ours != theirs:
        differing = sorted({name.rpartition(".")[2] for name in ours ^ theirs})
        raise ValueError(
            f"model.init_args.lora.target_modules: {given} contradicts {adapter}, which differs in "
            f"{', '.join(differing)}; leave `lora` out to go on with the adapter's own settings"
        )


def _targets(config: Any, model: nn.Module) -> set[str]:
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists

    config = _maybe_include_all_linear_layers(copy.deepcopy(config), model)
    return {name for name, _ in model.named_modules() if check_target_module_exists(config, name)}


def check_base_weights(adapter: str, config: Any, state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse an adapter file that would overwrite weights of the base, and so change reference and base.

    PEFT writes the base's embedding into the file if an adapter touches it or the vocabulary grew. That is accepted if
    the values equal those of the base. If the embedding was trained as a whole module, the copy may have more rows.

    Args:
        adapter: PEFT folder, for the message.
        config: ``LoraConfig`` of the adapter.
        state: Weights of the adapter, by PEFT's names.
        model: Base model, as loaded from its checkpoint.

    Raises:
        ValueError: Names the first such weight.
    """
    whole = tuple(config.modules_to_save or ())
    tied = getattr(config, "ensure_weight_tying", False)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for key, tensor in state.items():
        name = key.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".original_module.", ".")
        kept, untouched = parameters.get(name), ".base_layer." in key or ".original_module." in key
        parts = name.split(".")
        within_whole = any(".".join(parts[:end]).endswith(whole) for end in range(1, len(parts)))  # or in a child of it
        trained = not untouched and (tied or within_whole)
        if kept is None or trained:
            continue
        # PEFT's copy of an embedding that was trained as a whole may have rows for tokens that the base lacks.
        there = tensor[: len(kept)] if ".original_module." in key else tensor
        if not same_values(kept.detach().cpu(), there):
            raise ValueError(
                f"model.init_args.adapter: {adapter} holds weights of the base itself ({name}) that differ from those "
                "of model.init_args.base; train them as modules_to_save, or merge the adapter into its base and give "
                "that as model.init_args.base"
            )
