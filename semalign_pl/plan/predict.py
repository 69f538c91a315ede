"""Predict peak memory by running the training code on the meta device, on tensors without data.

The policy is built from its config alone. One rollout batch and one update of the largest micro-batch that the settings
allow go through the same code as in training, so no architecture needs a formula of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from semalign_pl.engine import packed_batch as layout
from semalign_pl.engine.decoding import FIRST_ROOM_TOKENS, DecodeState
from semalign_pl.engine.fallback import UnsharedDecodeState
from semalign_pl.engine.generate import make_sampler
from semalign_pl.engine.head import CHUNK_ELEMENTS
from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.engine.self_check import packing_unsupported_reason
from semalign_pl.functional.losses import nll_sum
from semalign_pl.plan.settings import Plan, Settings
from semalign_pl.plan.tracker import PeakBytes, flash_attention, grouped_matmul
from semalign_pl.policy.causal_lm import LOAD_ERRORS, Weights, check_folder, load_reason
from semalign_pl.policy.lora import fast_lora_forward
from semalign_pl.policy.new_adapter import fresh_adapter, lora_config
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.token_rows import rows_of

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per NF4 weight: 4 bits, plus 8 bits per block of 64, 32 bits per 256 blocks (arXiv 2305.14314, section 3)."""


def predict(settings: Settings) -> Plan:
    """Predict the peak memory of a run at its longest prompts and completions.

    Args:
        settings: Settings of the run.

    Returns:
        Bytes by part, without framework and CUDA context (about 0.5 GiB each).

    Raises:
        ValueError: If a config cannot be read, or the architecture cannot be run without its weights.
    """
    policy = _meta_policy(_asked_of_the_policy(settings))
    adapters = [p for name, p in policy.named_parameters() if _of_adapter(name)]
    trained = sum(4 * p.numel() for p in adapters if p.requires_grad)
    largest = max(p.numel() for p in policy.decoder.parameters()) if settings.weights == "nf4" else 0
    dequantised = largest * _dtype(settings).itemsize
    lm: Any = policy.model.get_base_model()
    vocabulary = lm.config.get_text_config().vocab_size
    head = 3 * 4 * min(CHUNK_ELEMENTS, settings.micro_batch_tokens * vocabulary)
    # Results are cached by settings. Settings that rollout or update does not depend on are set to constants, so that
    # a search over settings runs neither twice for the same result.
    try:
        rollout, cache = _rollout(replace(settings, micro_batch_tokens=0, recompute=False))
        update = _update(replace(settings, rollout_rows=0, sampling=(), encoders=(), judges=()))
    except RuntimeError as error:  # an operation that needs data, or that the meta device lacks
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"semalign plan: {settings.base} ({lm.config.model_type}) cannot be run without its weights ({reason}); "
            "measure its memory by a run of two steps (`semalign fit` with --trainer.max_steps 2)"
        ) from error
    return Plan(
        weights=_weight_bytes(policy.model.get_base_model(), settings.weights),
        adapters=sum(4 * p.numel() for p in adapters),
        optimiser=2 * trained,
        gradients=trained,
        cache=cache,
        rollout=rollout + dequantised if rollout else 0,
        activations=update - trained - head + dequantised,
        head=head,
        encoder=sum(_encoder_bytes(name, size) for name, size in settings.encoders)
        + sum(_judge_bytes(name, weights, settings.cuda) for name, weights in settings.judges),
    )


def fitted(settings: Settings, available: int) -> tuple[Settings, Plan] | None:
    """Search for the largest micro-batch and rollout batch that fit, without recomputation if possible.

    Args:
        settings: Settings of the run.
        available: Memory for the whole run, in bytes.

    Returns:
        Settings with ``micro_batch_tokens``, ``rollout_rows`` and ``recompute`` replaced, and their prediction;
        ``None`` if nothing fits.
    """
    smallest = settings.prompt_tokens + settings.completion_tokens
    budgets = [2**n for n in range(15, 6, -1) if 2**n >= smallest] or [smallest]
    rollouts = sorted({settings.num_generations * 2**n for n in range(8)}, reverse=True)
    rollouts = [rows for rows in rollouts if rows <= max(settings.rows, settings.num_generations)]
    for recompute in (False, True):
        for budget in budgets:
            tried = replace(settings, micro_batch_tokens=budget, recompute=recompute, rollout_rows=rollouts[-1])
            if predict(tried).peak > available:
                continue
            for rows in rollouts:
                tried = replace(tried, rollout_rows=rows)
                if (plan := predict(tried)).peak <= available:
                    return tried, plan
    return None


def _dtype(settings: Settings) -> torch.dtype:
    """Dtype of activations and of weights that are not quantised."""
    if settings.weights == "nf4":
        return torch.bfloat16 if settings.cuda else torch.float32
    return torch.bfloat16 if settings.weights == "bf16" else torch.float32


def _asked_of_the_policy(settings: Settings) -> Settings:
    """Settings that the policy depends on, with all others at their defaults: the key of the cached policy."""
    names = ("base", "stage", "weights", "lora", "with_reference", "mixed", "cuda", "new_tokens")
    return Settings(**{name: getattr(settings, name) for name in names})


@lru_cache(maxsize=1)
def _meta_policy(settings: Settings) -> Policy:
    from transformers import AutoModelForCausalLM

    config = _config("model.init_args.base", settings.base)
    old = config.get_text_config().vocab_size
    config.get_text_config().vocab_size += settings.new_tokens
    ids = list(range(old, old + settings.new_tokens))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=_dtype(settings), trust_remote_code=False
        ).requires_grad_(False)
    with torch.device("meta"):
        peft_model: Any = fresh_adapter(model, settings.lora, ids)
        if settings.with_reference:
            peft_model.add_adapter("reference", lora_config(settings.lora, model, ids))
            for name, parameter in peft_model.named_parameters():
                if ".reference." in name:
                    parameter.requires_grad_(False)
    for name, parameter in peft_model.named_parameters():
        if "lora_" in name:
            # Adapters are stored in float32. Under bf16 autocast they are used as bfloat16, so that is what runs here.
            parameter.data = parameter.data.to(torch.bfloat16 if settings.mixed else torch.float32)
    fast_lora_forward(peft_model)
    policy = Policy(peft_model, SimpleNamespace(pad_token_id=0), eos_ids=(0,)).train()
    with _on_meta():
        policy.prefix_sharing_unsupported_reason = packing_unsupported_reason(policy)
    return policy


def _of_adapter(name: str) -> bool:
    return "lora_" in name or "trainable_tokens_" in name


def _weight_bytes(lm: Any, weights: Weights) -> int:
    head = rows_of(lm.get_output_embeddings())[0].weight
    linears = {
        id(module.weight)
        for module in lm.modules()
        if isinstance(module, nn.Linear) and module.weight is not head and not module.weight.requires_grad
    }
    total = 0.0
    for name, parameter in lm.named_parameters():
        if not _of_adapter(name):
            small = weights == "nf4" and id(parameter) in linears
            total += parameter.numel() * (NF4_BYTES if small else parameter.element_size())
    return round(total)


def _encoder_bytes(name: str, bytes_each: int) -> int:
    from transformers import AutoModel

    inner = Path(name) / "0_Transformer"
    config = _config("SemanticReward.encoder", str(inner) if inner.is_dir() else name)
    with torch.device("meta"):
        model = AutoModel.from_config(config, trust_remote_code=False)
        return sum(p.numel() for p in model.parameters()) * bytes_each


def _judge_bytes(name: str, weights: Weights, cuda: bool) -> int:
    from transformers import AutoModelForCausalLM

    dtype = _dtype(Settings(base=name, stage="grpo", weights=weights, cuda=cuda))
    with torch.device("meta"):
        config = _config("RerankerReward.judge", name)
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False).requires_grad_(False)
    return _weight_bytes(lm, weights)


def _config(option: str, name: str) -> Any:
    from transformers import AutoConfig

    check_folder(option, name)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise ValueError(
            f"{option}: no config of {name!r} can be read: {load_reason(error)} Give a folder that holds "
            "config.json (nothing else is needed to plan), or a hub id that this machine can reach."
        ) from error


@contextmanager
def _on_meta() -> Iterator[None]:
    """Replace operations that the meta device lacks, or that read data, so that the training code runs on it."""
    from transformers import PreTrainedModel, masking_utils

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        return flash_attention(query, key, value)

    autocast = torch.autocast  # PEFT's adapters of experts call it, and it does not support the meta device

    def no_autocast(device_type: str, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, **options)

    with (
        mock.patch.object(torch, "autocast", no_autocast),
        mock.patch.object(layout, "causal_attention", attention),
        mock.patch.object(nn.functional, "scaled_dot_product_attention", attention),
        mock.patch.object(nn.functional, "grouped_mm", grouped_matmul, create=True),
        # These two read token ids and positions to detect padding and packed sequences; there is neither here.
        mock.patch.object(PreTrainedModel, "warn_if_padding_and_no_attention_mask", lambda *_: None),
        mock.patch.object(masking_utils, "find_packed_sequence_indices", lambda *_: None),
    ):
        yield


@contextmanager
def _counting(policy: Policy) -> Iterator[PeakBytes]:
    with _on_meta(), PeakBytes() as counted:
        counted.know([*policy.parameters(), *policy.buffers()])
        yield counted


@lru_cache
def _rollout(settings: Settings) -> tuple[int, int]:
    """Peak memory of one batch of rollouts, none of which ends early, and the size of its KV cache, in bytes."""
    if settings.stage == "sft":
        return 0, 0
    policy = _meta_policy(_asked_of_the_policy(settings))
    groups = max(1, min(settings.rollout_rows, settings.rows) // settings.num_generations)
    options: dict[str, Any] = dict(settings.sampling) or {"temperature": 1.0}
    choose = make_sampler(**options)
    prompts = [[1] * settings.prompt_tokens] * groups
    if policy.prefix_sharing_unsupported_reason is not None:
        return _unshared_rollout(policy, prompts, settings, choose)
    with _counting(policy) as counted, policy.inference():
        decoding = DecodeState(policy, prompts, settings.num_generations)
        logits = decoding.prefill()
        uniforms = torch.empty(len(logits), device="meta")
        length = 0
        while length < settings.completion_tokens:  # run only the steps at which the KV cache grows
            chosen = choose(logits, uniforms)
            del logits
            decoding.length = length
            logits = decoding.step(chosen)
            length = max(FIRST_ROOM_TOKENS, 2 * length)
        held = (decoding.prompt_cache.keys, decoding.prompt_cache.values, decoding.keys, decoding.values)
        return counted.peak, sum(tensor.nbytes for layers in held for tensor in layers.values())


def _unshared_rollout(
    policy: Policy, prompts: list[list[int]], settings: Settings, choose: Callable
) -> tuple[int, int]:
    """``_rollout`` without packed batches: the larger peak of its prefill and its last step."""
    uniforms = torch.empty(len(prompts) * settings.num_generations, device="meta")
    with _on_meta(), policy.inference():
        with _counting(policy) as counted:
            choose(UnsharedDecodeState(policy, prompts, settings.num_generations).prefill(), uniforms)
        first = counted.peak
        # Before the last step, each rollout has a KV cache of its own, as large as after a prefill of as many tokens.
        grown = [prompt + [1] * (settings.completion_tokens - 1) for prompt in prompts]
        decoding = UnsharedDecodeState(policy, [row for row in grown for _ in range(settings.num_generations)], 1)
        chosen = choose(decoding.prefill(), uniforms)
        held = [x for layer in decoding.cache.layers for x in tree_leaves(vars(layer)) if isinstance(x, torch.Tensor)]
        size = sum(tensor.nbytes for tensor in held)
        with _counting(policy) as counted:
            counted.know(held, counted=True)
            del held
            choose(decoding.step(chosen), uniforms)
        return max(first, counted.peak), size


@lru_cache
def _update(settings: Settings) -> int:
    """Peak memory of forward and backward in bytes, gradients included; the reference's forward needs less."""
    policy = _meta_policy(_asked_of_the_policy(settings))
    size = settings.prompt_tokens + settings.num_generations * settings.completion_tokens
    groups = min(max(1, settings.micro_batch_tokens // size), -(-settings.rows // settings.num_generations))
    prompts = [[1] * (settings.prompt_tokens - 1) + [group] for group in range(groups)]
    repeated = [prompt for prompt in prompts for _ in range(settings.num_generations)]
    rows = Completions(repeated, [[1] * settings.completion_tokens] * len(repeated))
    for parameter in policy.parameters():
        parameter.grad = None
    with _counting(policy) as counted:
        batch = micro_batches(rows, settings.micro_batch_tokens)[0]
        scorer = LogprobScorer(policy, rows, batch, settings.recompute)
        for part in batch.chunks[:2]:
            scored = scorer(part)
            nll_sum(scored.logps, scored.mask).backward()
            del scored
        scorer.backward()
        return counted.peak
