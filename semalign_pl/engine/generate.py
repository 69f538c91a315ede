"""Sampling: shared prefixes are prefilled once, completions share the KV cache, and finished ones leave the batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.decoding import DecodeState
from semalign_pl.engine.fallback import UnsharedDecodeState
from semalign_pl.engine.fixed_decoding import FixedDecodeState
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.pack import pack_rollouts
from semalign_pl.engine.sampler import Sampler, make_sampler
from semalign_pl.engine.shared_prefixes import PromptGroup, group_by_prefix
from semalign_pl.types import Rollouts


def generate(
    policy: CausalPolicy,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    num_generations: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    rows: int = 128,
) -> Rollouts:
    """Sample ``num_generations`` completions per prompt.

    Tokens that several prompts begin with, such as a text that several questions are about, are forwarded once.

    Randomness is a table of uniforms drawn in advance from ``seed``, one per completion and position; each token is
    drawn by inverting its cumulative distribution there. So the same seed gives the same tokens for every split of the
    batch (up to rounding of the logits), and global random state is neither read nor changed.

    Args:
        policy: Model to sample from; its modes are restored afterwards, also after an exception.
        prompts: Token ids of the prompts, one list per prompt.
        max_new_tokens: Maximum length of a completion, EOS included.
        num_generations: Number of completions per prompt (the group size K).
        temperature: Sampling temperature; 0 takes the most likely token (greedy).
        top_p: Nucleus: sample from the smallest set of tokens with this total probability.
        top_k: Sample from the k most likely tokens only; 0 for all.
        min_p: Sample only tokens with at least this fraction of the most likely one's probability.
        seed: Seed of the uniforms.
        rows: Number of completions decoded at once; bounds memory and changes nothing else.

    Returns:
        Rollouts on the policy's device.
    """
    count = len(prompts) * num_generations
    uniforms = torch.rand((count, max_new_tokens), generator=torch.Generator().manual_seed(seed))
    choose = make_sampler(temperature, top_p, top_k, min_p)
    completions: list[list[int]] = [[] for _ in range(count)]
    per_batch = max(1, rows // num_generations)
    shared = policy.prefix_sharing_unsupported_reason is None
    groups = group_by_prefix(prompts, per_batch if shared else 1, num_generations)
    with policy.inference():
        for batch in _batches(groups, per_batch, equal=policy.padding_leaks):
            chosen = [i for group in batch for i in group.members]
            members = [i * num_generations + k for i in chosen for k in range(num_generations)]
            draws = uniforms[members].to(policy.device)
            decoded = _decode_batch(policy, prompts, batch, num_generations, draws, choose)
            for member, ids in zip(members, decoded, strict=True):
                completions[member] = ids
    return pack_rollouts(policy, prompts, completions, num_generations)


def _batches(groups: list[PromptGroup], size: int, equal: bool) -> Iterator[list[PromptGroup]]:
    """Groups that are decoded together: at most ``size`` prompts, and of ``equal`` length if required."""
    # Groups of similar size and prefixes of similar length go together, so that little of a batch is padding.
    order = sorted(groups, key=lambda group: (len(group.members), group.shared, group.members))
    for _, chosen in itertools.groupby(order, key=lambda group: group.shared if equal else 0):
        batch, prompts = [], 0
        for group in chosen:
            if prompts + len(group.members) > size:
                yield batch
                batch, prompts = [], 0
            batch.append(group)
            prompts += len(group.members)
        yield batch


def _decode_batch(
    policy: CausalPolicy,
    prompts: list[list[int]],
    groups: list[PromptGroup],
    num_generations: int,
    uniforms: Float[Tensor, "completions positions"],
    choose: Sampler,
) -> list[list[int]]:
    """Decode one batch; returns token ids per completion, EOS included if there is one."""
    if policy.prefix_sharing_unsupported_reason is None:
        prefixes = [prompts[group.members[0]][: group.shared] for group in groups]
        suffixes = [[prompts[i][group.shared :] for i in group.members] for group in groups]
        state = FixedDecodeState if policy.device.type == "cuda" else DecodeState
        decoding = state(policy, prefixes, num_generations, suffixes)
    else:
        decoding = UnsharedDecodeState(policy, [prompts[i] for group in groups for i in group.members], num_generations)
    logits = decoding.prefill()
    eos = torch.tensor(policy.eos_ids, device=policy.device)
    alive = torch.arange(len(uniforms), device=policy.device)
    unfinished = torch.ones_like(alive, dtype=torch.bool)
    tokens: list[tuple[Tensor, Tensor]] = []
    for t in range(uniforms.shape[1]):
        chosen = choose(logits, uniforms[alive, t])
        tokens.append((alive, chosen))
        unfinished &= ~torch.isin(chosen, eos)
        if t + 1 == uniforms.shape[1]:
            break
        if (t + 1) % decoding.checked_every == 0:
            kept = unfinished.nonzero().squeeze(1)
            if not len(kept):
                break
            # Finished completions leave the batch, so that no later step pays for them.
            if len(kept) < len(alive):
                alive, chosen, unfinished = alive[kept], chosen[kept], unfinished[kept]
                decoding.keep(kept)
        logits = decoding.step(chosen)
    completions: list[list[int]] = [[] for _ in range(len(uniforms))]
    rows, ids = (torch.cat(column).tolist() for column in zip(*tokens, strict=True))
    for row, token in zip(rows, ids, strict=True):
        # Tokens after the end were decoded before anyone looked.
        if not completions[row] or completions[row][-1] not in policy.eos_ids:
            completions[row].append(token)
    return completions
