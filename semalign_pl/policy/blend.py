"""Blend adapters: the weighted sum of their updates of one base, as one plain LoRA adapter.

A scaled adapter is a blend of one term: ``[(adapter, 0.5)]`` is the base plus half of the adapter's update. Two terms
are a point between two adapters: ``[(start, 0.75), (end, 0.25)]``. With ``scaling * B @ A`` as the update of a layer,
the weight multiplies ``B``, and the sum of two updates is ``[w0 B0, w1 B1] @ [A0; A1]``, of rank ``r0 + r1``. Trained
token rows and modules trained as a whole move on a line between the base's values and the trained ones.

To swap many points into one loaded policy::

    end = read_adapter_folder("RUN/adapter")
    points = {"end": read_terms(end), "scale-0.5": read_terms(end, 0.5, "start")}
    common = write_common(list(points.values()), folder)              # wide enough for all points
    policy = load_policy(base, weights, None, str(folder), device)    # the base is loaded once
    for terms in points.values():
        load_adapter_state(policy, blend_state(plain_terms(terms, policy.model), common, policy.model))
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.adapter_checks import check_same_tokens
from semalign_pl.policy.adapter_folder import AdapterFolder, write_adapter
from semalign_pl.policy.adapter_start import SCALE, Terms, blend_facts
from semalign_pl.policy.adapter_update import Update, base_name, base_weights, read_update, to_weights
from semalign_pl.policy.common_adapter import add_factors, check_linear, common_adapter
from semalign_pl.policy.plain_lora import changes_base, plain_lora, widen
from semalign_pl.policy.vocabulary import added_tokens
from semalign_pl.run.results import write_training

_CHUNK = 2**22


def blend(terms: Terms, base: nn.Module) -> AdapterFolder:
    """Adapter whose update is the weighted sum of adapters' updates.

    One term of weight 1 is the adapter itself. One term keeps rank and alpha of its adapter.

    Args:
        terms: Adapters with their weights, as ``read_terms`` returns them.
        base: Causal LM with rows for all new tokens, or the PEFT model around it.

    Returns:
        Plain LoRA adapter, with the path of the last adapter.

    Raises:
        ValueError: If an update cannot be scaled or added exactly; names adapter and remedy.
    """
    terms = plain_terms(terms, base)
    ((last, weight),) = terms[-1:]
    if len(terms) == 1 and weight == 1:
        return last
    common = common_adapter([terms])
    return replace(common, weights=blend_state(terms, common, base))


def blend_state(terms: Terms, common: AdapterFolder, base: nn.Module) -> dict[str, Tensor]:
    """Weights of a blend in the config of another adapter, to swap points into one loaded policy.

    Args:
        terms: Adapters with their weights, as ``plain_terms`` returns them.
        common: Adapter that can hold the blend, as ``common_adapter`` returns it; narrower terms are padded with zeros.
        base: Causal LM with rows for all new tokens, or the PEFT model around it.

    Returns:
        Tensors by PEFT's names, float32, on the CPU: what ``load_adapter_state`` takes.

    Raises:
        ValueError: If an update cannot be scaled exactly, or the base has no floating-point values to move from.
    """
    check_linear(terms)
    updates = [(read_update(adapter), weight) for adapter, weight in terms]
    shape, own = read_update(common), base_weights(base)
    other = updates[-1][0].other if shape.other else {}
    if other.keys() != shape.other.keys():
        raise ValueError(
            f"{SCALE}: {terms[-1][0].path} is another kind of LoRA than {common.path} at this scale (use_dora), so "
            "that one policy cannot hold both; test it by itself, with model.init_args.adapter_scale"
        )
    targets_experts = bool(common.config.target_parameters)
    made = Update({}, shape.tied, {}, {}, other)
    for layer, like in shape.factors.items():
        factors = [(u.factors[layer], w) for u, w in updates if layer in u.factors]
        made.factors[layer] = add_factors(factors, like, _count_experts(layer, own) if targets_experts else 1)
    for layer, (ids, _) in shape.rows.items():
        values = [(*u.rows[layer], w) for u, w in updates if layer in u.rows]
        made.rows[layer] = ids, _move_rows(ids, values, own[base_name(f"{layer}.weight")], layer)
    for key in shape.whole:
        values = [(u.whole[key], w) for u, w in updates if key in u.whole]
        made.whole[key] = _mix(values, own.get(base_name(key)), key)
    return {name: tensor.float().contiguous() for name, tensor in to_weights(made).items()}


def plain_terms(terms: Terms, base: nn.Module) -> list[tuple[AdapterFolder, float]]:
    """Terms whose adapters are plain LoRA on the unchanged base; adapters of weight 0 lose their DoRA magnitudes.

    Args:
        terms: Adapters with their weights, as ``read_terms`` returns them.
        base: Causal LM, or the PEFT model around it.

    Raises:
        ValueError: If PEFT cannot repeat an initialisation that changed the base (PiSSA, OLoRA) on this base.
    """
    plain = [(plain_lora(adapter, base), weight) for adapter, weight in terms]
    return [(adapter if weight else _without_dora(adapter), weight) for adapter, weight in plain]


def write_common(points: Sequence[Terms], folder: Path) -> AdapterFolder:
    """Write an adapter that can hold any of several points, to load one policy for all of them.

    Args:
        points: Terms of each point, as ``read_terms`` returns them.
        folder: Folder to write, with the tokenizer if there are new tokens; created if absent, replaced if present.

    Returns:
        Adapter for `blend_state`. Its own values have no meaning.

    Raises:
        ValueError: If one adapter cannot hold the points.
    """
    wide = {id(adapter): adapter for terms in points for adapter, _ in terms}
    wide = {key: widen(adapter) if changes_base(adapter) else adapter for key, adapter in wide.items()}
    common = common_adapter([[(wide[id(adapter)], weight) for adapter, weight in terms] for terms in points])
    with replace_folder(folder) as made:
        write_adapter(common, made)
        _write_tokenizer(list(wide.values()), made)
    return common


def write_blend(terms: Terms, base: nn.Module, folder: Path) -> None:
    """Write a blend as a plain PEFT folder, which PEFT loads without this package.

    A ``training.json`` is written too: that of the last adapter, with the terms of the blend.

    Args:
        terms: Adapters with their weights, as ``read_terms`` returns them.
        base: Causal LM with rows for all new tokens, or the PEFT model around it.
        folder: Folder to write; created if absent, replaced if present.

    Raises:
        ValueError: If an update cannot be scaled or added exactly; names adapter and remedy.
        WriteError: If the folder cannot be written; the old one is unchanged.
    """
    made = blend(terms, base)
    with replace_folder(folder) as place:
        write_adapter(made, place)
        _write_tokenizer([adapter for adapter, _ in terms], place)
        write_training(place, **blend_facts(terms, folder))


def _write_tokenizer(adapters: Sequence[AdapterFolder], folder: Path) -> None:
    """Write the tokenizer of the adapter with the most new tokens, if any has one.

    Raises:
        ValueError: If another adapter has other new tokens.
    """
    from transformers import AutoTokenizer

    counts = {adapter.path: len(added_tokens(adapter.path)) for adapter in adapters}
    source = max(counts, key=lambda path: counts[path])
    if (Path(source) / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        for adapter in adapters:
            check_same_tokens(adapter, tokenizer)
        tokenizer.save_pretrained(str(folder))


def _without_dora(adapter: AdapterFolder) -> AdapterFolder:
    if not adapter.config.use_dora:
        return adapter
    config = copy.deepcopy(adapter.config)
    config.use_dora = False
    weights = {name: tensor for name, tensor in adapter.weights.items() if "lora_magnitude_vector" not in name}
    return replace(adapter, config=config, weights=weights)


def _count_experts(layer: str, own: dict[str, Tensor]) -> int:
    """Number of experts of a layer, whose weights are stacked parameters ``(experts, …)``; 1 for a linear layer."""
    within = f"{base_name(layer)}."
    stacked = {len(w) for name, w in own.items() if name.rpartition(".")[0] + "." == within and w.dim() == 3}
    return 1 if f"{within}weight" in own or not stacked else stacked.pop()


def _move_rows(ids: list[int], terms: Sequence[tuple[list[int], Tensor, float]], own: Tensor, key: str) -> Tensor:
    """Trained rows of a blend; an adapter that does not train a row has that of the base."""
    base = own.detach()[ids].cpu().float()
    place = {index: at for at, index in enumerate(ids)}
    values = []
    for theirs, rows, weight in terms:
        whole = base.clone()
        whole[[place[index] for index in theirs]] = rows.float()
        values.append((whole, weight))
    return _mix(values, base, key)


def _mix(terms: Sequence[tuple[Tensor, float]], own: Tensor | None, key: str) -> Tensor:
    """Weighted mean ``(..., )`` of trained values and the base's own, which gets the rest of the weights.

    Computed in float64 and rounded once, so that the weights 0 and 1 give exactly one or the other.

    Raises:
        ValueError: If the base has no floating-point values of this shape.
    """
    rest = 1 - sum(weight for _, weight in terms)
    if abs(rest) > 1e-12:
        if own is None or not own.is_floating_point() or any(own.shape != tensor.shape for tensor, _ in terms):
            reason = "lacks" if own is None else "quantises" if not own.is_floating_point() else "has in another shape"
            raise ValueError(
                f"{SCALE}: {base_name(key)} is trained as a whole (modules_to_save), and the base {reason} it, so that "
                "there is nothing to move from; use scale 1, or model.init_args.weights: bf16"
            )
        terms = [*terms, (own.detach().cpu(), rest)]
    shape = terms[0][0].shape
    mean = torch.zeros(shape).flatten()
    for start in range(0, len(mean), _CHUNK):  # float64 of a whole embedding takes gigabytes
        chunk = slice(start, start + _CHUNK)
        mean[chunk] = sum((weight * tensor.reshape(-1)[chunk].double() for tensor, weight in terms), torch.zeros(()))
    return mean.view(shape)
