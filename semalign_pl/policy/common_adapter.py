"""One adapter whose config and shapes can hold several adapters, each zero-padded."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semalign_pl.policy.adapter_folder import AdapterFolder
from semalign_pl.policy.adapter_start import SCALE, SCALE_FROM, Terms
from semalign_pl.policy.adapter_update import (
    Factors,
    Update,
    base_name,
    is_within_whole,
    multiply_ranks,
    read_update,
    to_weights,
)

if TYPE_CHECKING:
    from peft import LoraConfig

_NOT_SHAPE = ("base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "peft_version", "auto_mapping")
_NOT_ADDABLE = {"use_dora": "DoRA", "use_bdlora": "block-diagonal LoRA", "use_qalora": "QA-LoRA"}


def common_adapter(points: Sequence[Terms]) -> AdapterFolder:
    """Adapter that can hold any of several points. Its own values have no meaning.

    Adapters with one config are held by that config; points between two of them, as before and after a further stage of
    training, by one of twice the rank. Adapters with several configs are held by plain LoRA: a layer has the maximum of
    the points' summed ranks, and the scaling ``alpha / rank`` of the last adapter of the first point, so that the
    factors of that adapter need no change.

    Args:
        points: Terms of each point, as ``plain_terms`` returns them.

    Returns:
        Adapter with the path of the last adapter of the first point.

    Raises:
        ValueError: If the adapters cannot be added: another kind than plain LoRA, a layer that is trained in two ways,
            or other shapes.
    """
    for terms in points:
        check_linear(terms)
    main, times = points[0][-1][0], max(map(len, points))
    every = [main, *(adapter for terms in points for adapter, _ in terms)]
    alike = all(_shape(adapter) == _shape(main) for adapter in every)
    if alike and times == 1:
        return main
    updates = {id(adapter): read_update(adapter) for adapter in every}
    for adapter in every:
        _check_addable(main, adapter, updates[id(main)], updates[id(adapter)], alike)
    one_each = {layer: one for update in reversed(updates.values()) for layer, one in update.factors.items()}
    common = Update({}, {}, {}, {}, {})
    for update in reversed(updates.values()):
        common.tied.update(update.tied)
        common.whole.update(update.whole)
    for layer in {layer: None for update in updates.values() for layer in update.rows}:
        common.rows[layer] = _unite_rows([update.rows[layer] for update in updates.values() if layer in update.rows])
    if alike:
        config = multiply_ranks(main.config, times)
        ranks = {layer: times * len(one.down) for layer, one in one_each.items()}
    else:
        config = _plain_config(main.config, [adapter.config for adapter in every])
        _set_targets(config, list(updates.values()))
        ranks = _maximum_ranks([[updates[id(adapter)] for adapter, _ in terms] for terms in points])
    config.velora_config = config.monteclora_config = None  # change only how factors are trained
    for layer, rank in ranks.items():
        one = one_each[layer]
        bias = torch.zeros(len(one.up)) if config.lora_bias and not one.embedding else None
        down, up = torch.zeros(rank, *one.down.shape[1:]), torch.zeros(len(one.up), rank, *one.up.shape[2:])
        common.factors[layer] = replace(one, down=down, up=up, bias=bias)
    if not alike:
        _set_ranks(config, common)
    return AdapterFolder(main.path, config, to_weights(common), main.option)


def check_linear(terms: Terms) -> None:
    """Refuse a weight that an update cannot be multiplied by.

    Args:
        terms: Terms of a point.

    Raises:
        ValueError: Names the adapter and the remedy.
    """
    for adapter, weight in terms:
        if adapter.config.use_dora and weight != 1:
            raise ValueError(
                f"{SCALE}: {weight:g} of {adapter.path}: it is a DoRA adapter (use_dora), whose update is not "
                "proportional to any weight of it; use 0 or 1, or train with use_dora: false"
            )


def _maximum_ranks(points: Sequence[Sequence[Update]]) -> dict[str, int]:
    """Rank of each layer that holds the concatenated factors of any point."""
    ranks: Counter[str] = Counter()
    for updates in points:
        own: Counter[str] = Counter()
        for update in updates:
            own.update({layer: len(one.down) for layer, one in update.factors.items()})
        ranks |= own  # the maximum of both
    return ranks


def add_factors(terms: Sequence[tuple[Factors, float]], like: Factors, experts: int) -> Factors:
    """Factors of a weighted sum of updates: concatenated along the rank, and padded with zeros.

    Args:
        terms: Factors of one layer, and the weight of each.
        like: Factors whose rank, scaling and shape the result has.
        experts: Number of experts of the layer, each with factors of its own; 1 for other layers.
    """
    missing = (len(like.down) - sum(len(one.down) for one, _ in terms)) // experts
    down = [one.down.float().unflatten(0, (experts, -1)) for one, _ in terms]
    scales = [weight * one.scaling / like.scaling for one, weight in terms]
    up = [_times(one.up, scale).unflatten(1, (-1, experts)) for (one, _), scale in zip(terms, scales, strict=True)]
    if missing:
        down.append(torch.zeros(experts, missing, *like.down.shape[1:]))
        up.append(torch.zeros(len(like.up), missing, experts, *like.up.shape[2:]))
    bias = like.bias
    if bias is not None:
        biases = [(one.bias, scale) for (one, _), scale in zip(terms, scales, strict=True)]
        bias = sum((_times(one, scale) for one, scale in biases if one is not None), torch.zeros(len(bias)))
    return replace(like, down=torch.cat(down, 1).flatten(0, 1), up=torch.cat(up, 1).flatten(1, 2), bias=bias)


def _times(tensor: Tensor, scale: float) -> Tensor:
    """Product, rounded once to float32."""
    return (tensor.double() * scale).float()


def _shape(adapter: AdapterFolder) -> dict[str, object]:
    """Settings that decide names, shapes and use of an adapter's tensors."""
    settings = {key: value for key, value in adapter.config.to_dict().items() if key not in _NOT_SHAPE}
    return {key: sorted(value) if isinstance(value, list | set) else value for key, value in settings.items()}


def _plain_config(main: LoraConfig, configs: Sequence[LoraConfig]) -> LoraConfig:
    """Config of plain LoRA with the trained modules and token rows of several; targets and ranks are yet to be set."""
    config = copy.deepcopy(main)
    config.init_lora_weights, config.use_rslora = True, False
    config.lora_bias = any(one.lora_bias for one in configs)
    config.modules_to_save = sorted({name for one in configs for name in one.modules_to_save or ()}) or None
    tokens = [one.trainable_token_indices for one in configs if one.trainable_token_indices]
    named = [one for one in tokens if isinstance(one, dict)]
    config.trainable_token_indices = tokens[0] if tokens else None
    if named:
        names = dict.fromkeys(name for one in named for name in one)
        config.trainable_token_indices = {n: _unite([one[n] for one in named if n in one]) for n in names}
    elif tokens:
        config.trainable_token_indices = _unite([one for one in tokens if isinstance(one, list)])
    return config


def _unite(ids: Sequence[list[int]]) -> list[int]:
    """Token ids of several lists, in the order of the first one, then ascending."""
    first = ids[0]
    return [*first, *sorted({index for one in ids for index in one} - set(first))]


def _unite_rows(rows: Sequence[tuple[list[int], Tensor]]) -> tuple[list[int], Tensor]:
    """Token ids of several layers' trained rows, and zeros for the rows."""
    ids = _unite([own for own, _ in rows])
    return ids, torch.zeros(len(ids), rows[0][1].shape[1])


def _set_ranks(config: LoraConfig, update: Update) -> None:
    """Write ranks and scalings of an update as ``r``, ``lora_alpha`` and their patterns, which name layers in full."""
    factors = {**update.factors, **{layer: update.factors[one] for layer, one in update.tied.items()}}
    ranks = {base_name(layer): len(one.down) for layer, one in factors.items()}
    alphas: dict[str, Any] = {}  # PEFT says int, and takes any number
    for layer, one in factors.items():
        alpha = one.scaling * len(one.down)
        alphas[base_name(layer)] = round(alpha) if alpha == round(alpha) else alpha
    config.r, config.lora_alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    config.rank_pattern = {name: rank for name, rank in ranks.items() if rank != config.r}
    config.alpha_pattern = {name: alpha for name, alpha in alphas.items() if alpha != config.lora_alpha}


def _set_targets(config: LoraConfig, updates: Sequence[Update]) -> None:
    """Name the layers in full if the adapters adapt different ones; else the config names them already."""
    layers = [{base_name(layer) for layer in update.factors} for update in updates]
    if all(names == layers[0] for names in layers):
        return
    config.target_modules = sorted(set().union(*layers))
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None


def _check_addable(main: AdapterFolder, adapter: AdapterFolder, ours: Update, theirs: Update, alike: bool) -> None:
    """Refuse two adapters whose updates have no sum that is one plain LoRA adapter."""
    for reason in _obstacles(main, adapter, ours, theirs, alike):
        option = adapter.option if adapter.option == SCALE_FROM else main.option
        raise ValueError(
            f"{option}: {adapter.path} and {main.path} cannot be blended into one LoRA adapter: {reason}; use "
            f"{SCALE_FROM}: base"
        )


def _obstacles(main: AdapterFolder, adapter: AdapterFolder, ours: Update, theirs: Update, alike: bool) -> Iterator[str]:
    for one in (main, adapter):
        for key, kind in _NOT_ADDABLE.items():
            if getattr(one.config, key, None):
                yield f"{one.path} is {kind} ({key}), whose updates cannot be added"
        if one.config.target_parameters and not alike:
            yield f"{one.path} adapts parameters (target_parameters), so the other's settings must be equal to its own"
    if main.config.ensure_weight_tying != adapter.config.ensure_weight_tying:
        yield "ensure_weight_tying is true in one and false in the other"
    kinds = {type(one.config.trainable_token_indices or []) for one in (main, adapter)}
    if len(kinds) > 1 and ours.rows and theirs.rows:
        yield "only one names the layers of its trainable_token_indices"
    for one, other in ((main, theirs), (adapter, ours)):
        for layer in [*other.factors, *other.rows]:
            if is_within_whole(one.config, f"{layer}.weight"):
                yield f"one trains {base_name(layer)} as a whole, and the other only its update"
    for layer in ours.factors.keys() & theirs.factors.keys():
        one, other = ours.factors[layer], theirs.factors[layer]
        if [len(one.up), *one.down.shape[1:]] != [len(other.up), *other.down.shape[1:]]:
            yield f"{layer} has other sizes in one than in the other"
    for key in ours.whole.keys() & theirs.whole.keys():
        if ours.whole[key].shape != theirs.whole[key].shape:
            yield f"{key} is {tuple(ours.whole[key].shape)} in one and {tuple(theirs.whole[key].shape)} in the other"
