"""One rollout batch and one update of the largest micro-batch, by the training code, on tensors without data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from semalign_pl.engine.decoding import FIRST_ROOM_TOKENS, DecodeState
from semalign_pl.engine.fallback import UnsharedDecodeState
from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.engine.sampler import TruncatedSampler, make_sampler
from semalign_pl.functional.losses import nll_sum
from semalign_pl.plan.equal_layers import peak_bytes
from semalign_pl.plan.meta_policy import meta_policy
from semalign_pl.plan.settings import Settings
from semalign_pl.plan.tracker import PeakBytes
from semalign_pl.plan.without_data import without_data
from semalign_pl.policy.policy import Policy


@lru_cache
def simulate_rollout(settings: Settings) -> tuple[int, int]:
    """Peak memory of one batch of rollouts, none of which ends early, and the size of its KV cache, in bytes.

    Args:
        settings: Settings of the run.
    """
    if settings.stage == "sft":
        return 0, 0
    policy = meta_policy(settings.of_policy)
    groups = max(1, min(settings.rollout_rows, settings.rows) // settings.num_generations)
    options = dict(settings.sampling)
    sampler = make_sampler(
        options.get("temperature", 1.0),
        options.get("top_p", 1.0),
        int(options.get("top_k", 0)),
        options.get("min_p", 0.0),
    )
    if settings.cuda and isinstance(sampler, TruncatedSampler):
        sampler = sampler.sort  # as on a GPU, where it takes more memory than candidates do
    prompts = [[1] * settings.prompt_tokens] * groups
    if policy.prefix_sharing_unsupported_reason is not None:
        return _unshared_rollout(policy, prompts, settings, sampler)

    def run(memory: PeakBytes) -> int:
        with without_data(), _track_memory(policy, memory), policy.inference():
            decoding = DecodeState(policy, prompts, settings.num_generations)
            logits = decoding.prefill()
            uniforms = torch.empty(len(logits), device="meta")
            length = 0
            while length < settings.completion_tokens:  # run only the steps at which the KV cache grows
                chosen = sampler(logits, uniforms)
                del logits
                decoding.length = length
                logits = decoding.step(chosen)
                length = max(FIRST_ROOM_TOKENS, 2 * length)
            held = (decoding.prompt_cache.keys, decoding.prompt_cache.values, decoding.keys, decoding.values)
            return sum(tensor.nbytes for layers in held for tensor in layers.values())

    return peak_bytes(policy.decoder, run)


def _unshared_rollout(
    policy: Policy, prompts: list[list[int]], settings: Settings, sampler: Callable[[Tensor, Tensor], Tensor]
) -> tuple[int, int]:
    """``simulate_rollout`` without packed batches: the larger peak of its prefill and its last step."""
    uniforms = torch.empty(len(prompts) * settings.num_generations, device="meta")

    def prefill(memory: PeakBytes) -> int:
        with without_data(), policy.inference(), _track_memory(policy, memory):
            sampler(UnsharedDecodeState(policy, prompts, settings.num_generations).prefill(), uniforms)
        return 0

    def last_step(memory: PeakBytes) -> int:
        # Before the last step, each rollout has a KV cache of its own, as large as after a prefill of as many tokens.
        grown = [prompt + [1] * (settings.completion_tokens - 1) for prompt in prompts]
        with without_data(), policy.inference():
            decoding = UnsharedDecodeState(policy, [row for row in grown for _ in range(settings.num_generations)], 1)
            chosen = sampler(decoding.prefill(), uniforms)
            held = [x for layer in decoding.cache.layers for x in tree_leaves(vars(layer)) if isinstance(x, Tensor)]
            size = sum(tensor.nbytes for tensor in held)
            memory.place = None  # where the prefill ended does not matter
            with _track_memory(policy, memory):
                memory.register(held, count=True)
                del held
                sampler(decoding.step(chosen), uniforms)
        return size

    (first, _), (last, size) = peak_bytes(policy.decoder, prefill), peak_bytes(policy.decoder, last_step)
    return max(first, last), size


@lru_cache
def simulate_update(settings: Settings) -> int:
    """Peak memory of forward and backward in bytes, gradients included; the reference's forward needs less.

    Args:
        settings: Settings of the run.
    """
    policy = meta_policy(settings.of_policy)
    size = settings.prompt_tokens + settings.num_generations * settings.completion_tokens
    groups = min(max(1, settings.micro_batch_tokens // size), -(-settings.rows // settings.num_generations))
    prompts = [[group] + [1] * (settings.prompt_tokens - 1) for group in range(groups)]  # no common head is shared
    repeated = [prompt for prompt in prompts for _ in range(settings.num_generations)]
    rows = Completions(repeated, [[1] * settings.completion_tokens] * len(repeated))

    def run(memory: PeakBytes) -> int:
        for parameter in policy.parameters():
            parameter.grad = None
        with without_data(), _track_memory(policy, memory):
            batch = micro_batches(rows, settings.micro_batch_tokens)[0]
            scorer = LogprobScorer(policy, rows, batch, settings.recompute)
            for chunk in batch.chunks[:2]:
                logprobs = scorer(chunk)
                nll_sum(logprobs.logps, logprobs.mask).backward()
                del logprobs
            scorer.backward()
        return 0

    return peak_bytes(policy.decoder, run)[0]


@contextmanager
def _track_memory(policy: Policy, memory: PeakBytes) -> Iterator[None]:
    with memory:
        memory.register([*policy.parameters(), *policy.buffers()])
        yield
