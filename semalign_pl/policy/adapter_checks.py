"""Checks that a saved adapter fits the base it is loaded on, and the settings of the recipe."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.policy.adapter import portable_base
from semalign_pl.policy.adapter_folder import AdapterFolder
from semalign_pl.policy.adapter_update import base_name, trains_whole
from semalign_pl.policy.causal_lm import is_path
from semalign_pl.policy.full import is_full
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.new_adapter import lora_config
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.policy.vocabulary import added_tokens
from semalign_pl.run.finished import STARTS

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def check_same_base(saved: AdapterFolder, base: str) -> None:
    """Refuse an adapter that was trained on another base than this one.

    Two folders are compared by their weights, so that copies and moved folders count as the same base. Two hub ids are
    compared by name. A folder and a hub id, or a folder that no longer exists, can only be compared by the last part of
    the name; if it differs, a warning is logged.

    Args:
        saved: Adapter, whose config records its base as ``base_model_name_or_path``.
        base: Hub id or folder of the base to train on.

    Raises:
        ValueError: If the bases differ.
    """
    recorded = saved.config.base_model_name_or_path
    if not recorded or recorded.casefold() in (base.casefold(), portable_base(base).casefold()):
        return
    here, there = Path(base), Path(recorded)
    same = None  # unknown
    if here.is_dir() and there.is_dir():
        same = here.samefile(there) or _same_weights(here, there)
    elif not any(is_path(name) or Path(name).is_dir() for name in (base, recorded)):
        same = False
    if same is None and here.resolve().name.casefold() != there.name.casefold():
        log.warning(
            "%s: %s was made for the base %s, which cannot be compared with %s here; make sure that both are the same "
            "model",
            saved.option,
            saved.path,
            recorded,
            base,
        )
    if same is False:
        raise ValueError(
            f"{saved.option}: {saved.path} was made for the base {recorded}, not for model.init_args.base: "
            f"{base}; give that base, or, if both are the same model, write {base} as base_model_name_or_path into "
            "its adapter_config.json"
        )


def check_same_tokens(saved: AdapterFolder, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse an adapter whose tokenizer gives an id to another token than the policy's tokenizer does.

    Args:
        saved: Adapter to blend with that of the policy; it may lack new tokens of the policy.
        tokenizer: Tokenizer of the policy, with its new tokens.

    Raises:
        ValueError: Names the first such token.
    """
    for index, token in added_tokens(saved.path).items():
        if index >= len(tokenizer) or tokenizer.convert_ids_to_tokens(index) != token.content:
            raise ValueError(
                f"{saved.option}: {saved.path} was trained with the new token {token.content!r} ({index}), which the "
                "policy does not have; give an adapter that was trained with the same vocabulary"
            )


def check_ranks(saved: AdapterFolder, lora: LoraSettings) -> None:
    """Refuse LoRA settings that contradict the adapter's own.

    Args:
        saved: Adapter to continue.
        lora: The user's settings.

    Raises:
        ValueError: Names the settings of both.
    """
    if lora.variant in STARTS:
        raise ValueError(
            f"model.init_args.lora.variant: {lora.variant} is the start of a new adapter, and {saved.path} is "
            "continued as it is; leave `lora` out"
        )
    if "full" in (lora.variant, kind := "full" if is_full(saved.config) else "LoRA"):
        if lora.variant == kind:
            return
        raise ValueError(
            f"model.init_args.lora.variant: {lora.variant} contradicts {saved.path}, which is {kind}; leave `lora` out "
            "to go on with the adapter's own settings"
        )
    own = (saved.config.r, saved.config.lora_alpha, saved.config.lora_dropout)
    if own != (lora.r, lora.alpha, lora.dropout):
        raise ValueError(
            f"model.init_args.lora: r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout} contradict {saved.path}, "
            f"which has r {own[0]}, alpha {own[1]}, dropout {own[2]}; leave `lora` out to go on with the adapter's own "
            "settings"
        )
    kinds = {"rslora": saved.config.use_rslora, "dora": saved.config.use_dora}
    if kinds != {name: name == lora.variant for name in kinds}:
        name = " and ".join(name for name, is_on in kinds.items() if is_on) or "lora"
        raise ValueError(
            f"model.init_args.lora.variant: {lora.variant} contradicts {saved.path}, which is {name}; leave `lora` out "
            "to go on with the adapter's own settings"
        )


def check_targets(saved: AdapterFolder, lora: LoraSettings, model: PreTrainedModel) -> None:
    """Refuse ``target_modules`` that select other layers than those of the adapter.

    Args:
        saved: Adapter to continue.
        lora: The user's settings.
        model: Base model.

    Raises:
        ValueError: Names the modules that differ, or an invalid pattern.
    """
    wanted = lora_config(lora, model)
    check_patterns("model.init_args.lora", wanted, model)
    ours, theirs = _targets(wanted, model), _targets(saved.config, model)
    if ours != theirs:
        differing = sorted({name.rpartition(".")[2] for name in ours ^ theirs})
        raise ValueError(
            f"model.init_args.lora.target_modules: {wanted.target_modules} contradicts {saved.path}, which differs in "
            f"{', '.join(differing)}; leave `lora` out to go on with the adapter's own settings"
        )


def _targets(config: LoraConfig, model: nn.Module) -> set[str]:
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists

    expanded = _maybe_include_all_linear_layers(copy.deepcopy(config), model)
    return {name for name, _ in model.named_modules() if check_target_module_exists(expanded, name)}


def check_base_weights(saved: AdapterFolder, model: nn.Module) -> None:
    """Refuse an adapter file that would overwrite weights of the base, and so change reference and base.

    PEFT writes the base's embedding into the file if an adapter touches it or the vocabulary grew. That is accepted if
    the values equal those of the base. If the embedding was trained as a whole module, the copy may have more rows.

    Args:
        saved: Adapter to continue.
        model: Base model, as loaded from its checkpoint.

    Raises:
        ValueError: Names the first such weight.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for key, tensor in saved.weights.items():
        name = base_name(key)
        kept = parameters.get(name)
        if kept is None or trains_whole(saved.config, key):
            continue
        # PEFT's copy of an embedding that was trained as a whole may have rows for tokens that the base lacks.
        saved_rows = tensor[: len(kept)] if ".original_module." in key else tensor
        if not _same_values(kept.detach().cpu(), saved_rows):
            raise ValueError(
                f"{saved.option}: {saved.path} holds weights of the base itself ({name}) that differ from "
                "those of model.init_args.base; train them as modules_to_save, or merge the adapter into its base and "
                "give that as model.init_args.base"
            )


def _same_weights(one: Path, other: Path) -> bool | None:
    """Compare the first row of every tensor that both folders have; ``None`` if there is nothing to compare."""
    rows, others = _first_rows(one), _first_rows(other)
    if not rows or not others:
        return None
    shared = rows.keys() & others.keys()
    return bool(shared) and all(_same_values(rows[name], others[name]) for name in shared)


def _same_values(one: Tensor, other: Tensor) -> bool:
    """Compare two tensors in the coarser of their precisions: a bfloat16 copy is the same weight."""
    coarser = one.dtype if one.element_size() <= other.element_size() else other.dtype
    return one.shape == other.shape and torch.equal(one.to(coarser), other.to(coarser))


def _first_rows(folder: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    rows: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a dict)
                values = tensors.get_slice(name)
                rows[name] = values[:1] if values.get_shape() else tensors.get_tensor(name)
    return rows
