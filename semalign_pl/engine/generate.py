"""Sampling: shared prefixes are prefilled once, completions share the KV cache, and finished ones leave the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.decoding import DecodeState
from semalign_pl.engine.drafts import LONGEST_DRAFT, Places
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
    seed: int | Sequence[int] = 0,
    rows: int = 128,
    drafts: Sequence[Sequence[int]] | None = None,
) -> Rollouts:
    """Sample ``num_generations`` completions per prompt.

    Tokens that several prompts begin with, such as a text that several questions are about, are forwarded once.

    Randomness is a table of uniforms drawn in advance from ``seed``, one per completion and position; each token is
    drawn by inverting its cumulative distribution there. So the same seed gives the same tokens for every split of the
    batch (up to rounding of the logits), and global random state is neither read nor changed. Where completions have
    ended, those of waiting prompts take their place.

    Args:
        policy: Model to sample from; its modes are restored afterwards, also after an exception.
        prompts: Token ids of the prompts, one list per prompt.
        max_new_tokens: Maximum length of a completion, EOS included.
        num_generations: Number of completions per prompt (the group size K).
        temperature: Sampling temperature; 0 takes the most likely token (greedy).
        top_p: Nucleus: sample from the smallest set of tokens with this total probability.
        top_k: Sample from the k most likely tokens only; 0 for all.
        min_p: Sample only tokens with at least this fraction of the most likely one's probability.
        seed: Seed of the uniforms, one for all prompts or one per prompt.
        rows: Number of completions decoded at once; bounds memory and changes nothing else.
        drafts: Token ids that each completion may begin with, such as those that an earlier policy sampled with the
            same seed. They save time as far as they are sampled again, and change nothing else; empty for none.

    Returns:
        Rollouts on the policy's device.
    """
    uniforms = _draw_uniforms(len(prompts), num_generations, max_new_tokens, seed)
    choose = make_sampler(temperature, top_p, top_k, min_p)
    per_batch = max(1, rows // num_generations)
    shared = policy.prefix_sharing_unsupported_reason is None
    groups = group_by_prefix(prompts, per_batch if shared else 1, num_generations)
    # Groups of similar size and prefixes of similar length go together, so that little of a batch is padding.
    waiting = deque(sorted(groups, key=lambda group: (len(group.members), group.shared, group.members)))
    with policy.inference():
        rollout = _Rollout(policy, prompts, num_generations, uniforms.to(policy.device), choose, drafts)
        while waiting or rollout.members:
            batch = _take(waiting, rollout, per_batch * num_generations)
            if batch:
                rollout.add(batch)
            if rollout.members:
                rollout.step()
        completions = rollout.completions()
    return replace(pack_rollouts(policy, prompts, completions, num_generations), reused_tokens=rollout.reused_tokens)


def _draw_uniforms(
    prompts: int, num_generations: int, tokens: int, seed: int | Sequence[int]
) -> Float[Tensor, "completions positions"]:
    """Table of uniforms in [0, 1), float32, of one generator or of one per prompt."""
    if isinstance(seed, int):
        return torch.rand((prompts * num_generations, tokens), generator=torch.Generator().manual_seed(seed))
    tables = [torch.rand((num_generations, tokens), generator=torch.Generator().manual_seed(s)) for s in seed]
    return torch.cat([torch.empty(0, tokens), *tables])


def check_interval(device: torch.device) -> int:
    """Number of tokens after which it pays to look for completions that have ended.

    Elsewhere than on a CPU, to look means to wait for the device, and completions that have ended cost less.

    Args:
        device: Device of the policy.
    """
    return 1 if device.type == "cpu" else 8


def _take(waiting: deque[PromptGroup], rollout: _Rollout, rows: int) -> list[PromptGroup]:
    """Take groups to be decoded next, so that no more than ``rows`` slots are needed; none if little is free."""
    live = rollout.group_sizes()
    if live is None:
        return []
    batch, largest = [], max(live, default=0)
    while waiting:
        slots = max(largest, len(waiting[0].members) * rollout.num_generations)
        other_length = batch and rollout.policy.padding_leaks and waiting[0].shared != batch[0].shared
        if (live or batch) and (len(live) + len(batch) + 1) * slots > rows or other_length:
            break
        batch.append(waiting.popleft())
        largest = slots
    # A prefill of few tokens, and the copy of the cache, cost more than a few empty slots.
    if live and waiting and len(batch) * largest < rows / 4:
        waiting.extendleft(reversed(batch))
        return []
    return batch


class _Rollout:
    """Completions of all prompts, decoded together as far as the batch has room for them.

    Args:
        policy: Model to sample from, in eval mode.
        prompts: Token ids of the prompts.
        num_generations: Number of completions per prompt.
        uniforms: Uniform draw per completion and position.
        choose: Sampler.
        drafts: Token ids that each completion may begin with.

    Attributes:
        members: Index of each live completion.
        starts: Number of tokens that had been decoded when each live completion began.
        changed: True if completions have just left.
    """

    def __init__(
        self,
        policy: CausalPolicy,
        prompts: list[list[int]],
        num_generations: int,
        uniforms: Float[Tensor, "completions positions"],
        choose: Sampler,
        drafts: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.policy, self.prompts, self.num_generations, self.uniforms = policy, prompts, num_generations, uniforms
        self.choose, self.drafts, self.reused_tokens = choose, drafts, 0
        self.eos = torch.tensor(policy.eos_ids, device=policy.device)
        self.interval = check_interval(policy.device)
        self.state: DecodeState | UnsharedDecodeState | None = None
        self.members: list[int] = []
        self.starts: list[int] = []
        self.time, self.changed = 0, False
        self.alive = self.at = torch.empty(0, dtype=torch.long, device=policy.device)
        self.unfinished = torch.empty(0, dtype=torch.bool, device=policy.device)
        self.logits: Float[Tensor, "completions vocabulary"] | None = None
        self.tokens: list[tuple[Tensor, Tensor]] = []

    def group_sizes(self) -> list[int] | None:
        """Number of live completions per prefix; ``None`` if no other can join them now."""
        if not self.members:
            return []
        if not self.changed or not isinstance(self.state, DecodeState):
            return None
        return [*self.state.group_sizes().values()]

    def add(self, groups: list[PromptGroup]) -> None:
        """Prefill prompts, whose completions are then decoded together with the live ones.

        Args:
            groups: Prompts, by shared prefix.
        """
        policy, count = self.policy, self.num_generations
        chosen = [i for group in groups for i in group.members]
        new = [i * count + k for i in chosen for k in range(count)]
        drafts = [self._draft(completion) for completion in new]
        if policy.prefix_sharing_unsupported_reason is not None:
            state = UnsharedDecodeState(policy, [self.prompts[i] for i in chosen], count)
            logits, accepted = state.prefill(), [0] * len(new)
        else:
            kind = FixedDecodeState if policy.device.type == "cuda" else DecodeState
            prefixes = [self.prompts[group.members[0]][: group.shared] for group in groups]
            suffixes = [[self.prompts[i][group.shared :] for i in group.members] for group in groups]
            if any(drafts):
                ends = iter(drafts)
                drafted = [[[*suffix, *next(ends)] for suffix in group for _ in range(count)] for group in suffixes]
                state = kind(policy, prefixes, 1, drafted)
                logits, accepted = state.prefill_drafts(drafts, partial(self._sample, new))
            else:
                state = kind(policy, prefixes, count, suffixes)
                logits, accepted = state.prefill(), [0] * len(new)
        unfinished = self._reuse(new, drafts, accepted)
        if len(unfinished) < len(new):
            new, accepted = [new[i] for i in unfinished], [accepted[i] for i in unfinished]
            if not new:
                return
            state.keep(unfinished)
            logits = logits[unfinished]
        if self.logits is None:
            self.state, self.logits = state, logits
        else:
            assert isinstance(self.state, DecodeState) and isinstance(state, DecodeState)
            self.state.join(state)
            self.logits = torch.cat([self.logits, logits])
        self.members = [*self.members, *new]
        self.starts = [*self.starts, *(self.time - decoded for decoded in accepted)]
        alive, at = torch.tensor(new, device=policy.device), torch.tensor(accepted, device=policy.device)
        self.alive, self.at = torch.cat([self.alive, alive]), torch.cat([self.at, at])
        self.unfinished = torch.cat([self.unfinished, torch.ones_like(alive, dtype=torch.bool)])

    def _draft(self, completion: int) -> list[int]:
        """Token ids that a completion may begin with."""
        longest = min(LONGEST_DRAFT, self.uniforms.shape[1])
        return [] if self.drafts is None else list(self.drafts[completion][:longest])

    def _sample(self, new: list[int], logits: Float[Tensor, "places vocabulary"], places: Places) -> list[int]:
        """Tokens at some places of new completions."""
        completions, at = torch.tensor([(new[i], token) for i, token in places], device=logits.device).unbind(1)
        return self.choose(logits, self.uniforms[completions, at]).tolist()

    def _reuse(self, new: list[int], drafts: list[list[int]], accepted: list[int]) -> list[int]:
        """Record the accepted tokens of drafts; returns the indices of those in ``new`` that have not ended."""
        reused = [draft[:count] for draft, count in zip(drafts, accepted, strict=True)]
        rows = [row for row, tokens in zip(new, reused, strict=True) for _ in tokens]
        if not rows:
            return [*range(len(new))]
        ids = [token for tokens in reused for token in tokens]
        device = self.policy.device
        self.tokens.append((torch.tensor(rows, device=device), torch.tensor(ids, device=device)))
        self.reused_tokens += len(ids)
        full, eos = self.uniforms.shape[1], self.policy.eos_ids
        return [i for i, tokens in enumerate(reused) if len(tokens) < full and not (tokens and tokens[-1] in eos)]

    def step(self) -> None:
        """Draw the next token of each live completion; those that have ended leave the batch."""
        assert self.state is not None and self.logits is not None
        chosen = self.choose(self.logits, self.uniforms[self.alive, self.at])
        self.tokens.append((self.alive, chosen))
        self.unfinished &= ~torch.isin(chosen, self.eos)
        self.at, self.time, self.changed = self.at + 1, self.time + 1, False
        first = self.time - self.uniforms.shape[1]  # completions that began then have all their tokens
        if self.time % self.interval == 0 or min(self.starts) <= first:
            # The only wait for the device; none if all completions have all their tokens.
            unfinished = self.unfinished.tolist() if max(self.starts) > first else []
            kept = [i for i, start in enumerate(self.starts) if start > first and unfinished[i]]
            # Finished completions leave the batch, so that no later step pays for them.
            if len(kept) < len(self.members):
                self.members, self.starts = [self.members[i] for i in kept], [self.starts[i] for i in kept]
                rows = torch.tensor(kept, dtype=torch.long, device=chosen.device)
                self.alive, self.at, chosen = self.alive[rows], self.at[rows], chosen[rows]
                self.unfinished, self.changed = self.unfinished[rows], True
                if not kept:
                    self.state = self.logits = None  # frees their memory
                    return
                self.state.keep(kept)
        self.logits = None  # frees their memory before the next
        self.logits = self.state.step(chosen)

    def completions(self) -> list[list[int]]:
        """Token ids per completion, EOS included if there is one."""
        completions: list[list[int]] = [[] for _ in range(len(self.uniforms))]
        if not self.tokens:
            return completions
        rows, ids = (torch.cat(column).tolist() for column in zip(*self.tokens, strict=True))
        for row, token in zip(rows, ids, strict=True):
            # Tokens after the end were decoded before anyone looked.
            if not completions[row] or completions[row][-1] not in self.policy.eos_ids:
                completions[row].append(token)
        return completions
