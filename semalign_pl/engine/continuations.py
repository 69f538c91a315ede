"""Log-likelihoods of given continuations of contexts, such as options of a question; a context is forwarded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.engine.attention import shared_prompt_attention
from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.head import vocabulary_chunks
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedSequences, decode
from semalign_pl.engine.prompt_cache import Padding, PromptCache, bias_of
from semalign_pl.engine.shared_prefixes import PromptGroup, group_by_prefix
from semalign_pl.engine.text_states import group_texts

_LARGEST_GROUP = 256
"""Maximum number of contexts that share a prefix: what is forwarded again for the next ones no longer counts, and the
search for groups takes time in proportion to it."""
_TOKENS = 8192
"""Maximum number of tokens per forward, unless a single context has more."""
_SCORES = 2**21
"""Maximum number of attention scores per head and forward, unless a single context has more."""


@dataclass(frozen=True)
class Continuation:
    """Log-likelihood of a continuation after its context.

    Attributes:
        logprob: Sum of the log-probs of its tokens, in nats.
        tokens: Number of its tokens.
        greedy: True if each token is the most likely one, so that greedy decoding would give the continuation.
    """

    logprob: float
    tokens: int
    greedy: bool


def score_continuations(
    policy: CausalPolicy, contexts: list[list[int]], continuations: list[list[list[int]]], *, rows: int = 128
) -> list[list[Continuation]]:
    """Compute the log-likelihood of each continuation of each context.

    A context is forwarded once for all of its continuations, and tokens that many contexts begin with, such as the
    examples of a few-shot prompt, are forwarded once for all of them. Architectures whose prompts cannot be shared
    forward context and continuation together, once per continuation.

    Args:
        policy: Model to use; set the active adapter first. Its modes are restored afterwards.
        contexts: Token ids of the contexts; none empty.
        continuations: Token ids of each context's continuations; none empty.
        rows: Number of continuations forwarded at once; bounds memory and changes nothing else.

    Returns:
        Results in the order of the continuations.
    """
    assert all(contexts) and all(ids for options in continuations for ids in options), "the first token has no state"
    results: list[list[Continuation]] = [[] for _ in contexts]
    scored = [index for index, options in enumerate(continuations) if options]
    with policy.inference():
        if policy.prefix_sharing_unsupported_reason is not None:
            flat = [(contexts[index], option) for index in scored for option in continuations[index]]
            found = iter(_score_unshared(policy, flat, rows))
            return [[next(found) for _ in options] for options in continuations]
        groups = group_by_prefix([contexts[index] for index in scored], _LARGEST_GROUP)
        groups = [PromptGroup(tuple(scored[i] for i in group.members), group.shared) for group in groups]
        for batch in _batches(groups, contexts, continuations, rows):
            prefixes = [contexts[group.members[0]][: group.shared] for group in batch]
            packed = PackedSequences(prefixes, policy.device, keep=True)
            assert packed.prompt_cache is not None
            last = decode(policy, packed)[packed.last]
            for members in _forwards(batch, contexts, continuations, rows):
                suffixes = [
                    [contexts[i][group.shared :] for i in chosen] for group, chosen in zip(batch, members, strict=True)
                ]
                options = [[continuations[i] for i in chosen] for chosen in members]
                scores = _score_group(policy, packed.prompt_cache, last, suffixes, options)
                for index, of_context in zip((i for chosen in members for i in chosen), scores, strict=True):
                    results[index] = of_context
    return results


def _own_tokens(group: PromptGroup, index: int, contexts: list[list[int]], continuations: list[list[list[int]]]) -> int:
    """Number of tokens that a context adds to its group's prefix. The last token of a continuation is not fed."""
    return len(contexts[index]) - group.shared + sum(len(ids) - 1 for ids in continuations[index])


def _batches(
    groups: list[PromptGroup], contexts: list[list[int]], continuations: list[list[list[int]]], rows: int
) -> Iterator[list[PromptGroup]]:
    """Groups whose prefixes are forwarded together: of similar length, so that little of a batch is padding."""

    def size(group: PromptGroup) -> tuple[int, int, int]:
        own = max(_own_tokens(group, index, contexts, continuations) for index in group.members)
        return sum(len(continuations[index]) for index in group.members), len(group.members), own

    batch: list[PromptGroup] = []
    options = slots = own = 0
    for group in sorted(groups, key=lambda group: (len(group.members), group.shared, group.members)):
        of_group = size(group)
        longest = max(other.shared for other in [*batch, group])
        wide, row = max(slots, of_group[1]) * (len(batch) + 1), max(own, of_group[2])
        tokens, scores = (len(batch) + 1) * longest + wide * row, wide * row * (row + longest)
        if batch and (options + of_group[0] > rows or tokens > _TOKENS or scores > _SCORES):
            yield batch
            batch, options, slots, own = [], 0, 0, 0
        batch.append(group)
        options, slots, own = options + of_group[0], max(slots, of_group[1]), max(own, of_group[2])
    if batch:
        yield batch


def _forwards(
    batch: list[PromptGroup], contexts: list[list[int]], continuations: list[list[list[int]]], rows: int
) -> Iterator[list[list[int]]]:
    """Contexts that are forwarded together, per group: all of several groups, or some of one large group."""
    if len(batch) > 1:
        yield [list(group.members) for group in batch]
        return
    (group,) = batch
    own = {index: _own_tokens(group, index, contexts, continuations) for index in group.members}
    chosen: list[int] = []
    options = 0
    for index in sorted(group.members, key=lambda index: own[index]):
        tokens = (len(chosen) + 1) * own[index]
        full = tokens > _TOKENS or tokens * (own[index] + group.shared) > _SCORES
        if chosen and (full or options + len(continuations[index]) > rows):
            yield [chosen]
            chosen, options = [], 0
        chosen.append(index)
        options += len(continuations[index])
    yield [chosen]


def _score_group(
    policy: CausalPolicy,
    prompt_cache: PromptCache,
    last: Float[Tensor, "groups hidden"],
    suffixes: list[list[list[int]]],
    continuations: list[list[list[list[int]]]],
) -> list[list[Continuation]]:
    """Score the continuations of some contexts per group, whose prefixes are in the cache; results per context."""
    rows = _PackedBranches(prompt_cache, suffixes, continuations)
    states = last if rows.ids.shape[1] == 0 else torch.cat([last, decode(policy, rows)])
    sources, place = [], len(last)
    for group, (of_suffixes, of_options) in enumerate(zip(suffixes, continuations, strict=True)):
        for suffix, options in zip(of_suffixes, of_options, strict=True):
            place += len(suffix)
            # The context's last state predicts the first token of each continuation.
            before = place - 1 if suffix else group
            for ids in options:
                sources.append([before, *range(place, place + len(ids) - 1)])
                place += len(ids) - 1
    options = [options for group in continuations for options in group]
    found = iter(_score(policy, states, sources, [ids for of_context in options for ids in of_context]))
    return [[next(found) for _ in of_context] for of_context in options]


def _score_unshared(policy: CausalPolicy, pairs: list[tuple[list[int], list[int]]], rows: int) -> list[Continuation]:
    """Score pairs of context and continuation by plain forwards."""
    results: dict[int, Continuation] = {}
    for group in group_texts([context + ids for context, ids in pairs], _TOKENS):
        for start in range(0, len(group), rows):
            chosen = group[start : start + rows]
            contexts, options = ([pairs[index][side] for index in chosen] for side in (0, 1))
            states = unshared_hidden(policy, contexts, options)
            places = iter(range(len(states)))
            sources = [[next(places) for _ in ids] for ids in options]
            results |= zip(chosen, _score(policy, states, sources, options), strict=True)
    return [results[index] for index in range(len(pairs))]


def _score(
    policy: CausalPolicy,
    states: Float[Tensor, "states hidden"],
    sources: list[list[int]],
    continuations: list[list[int]],
) -> list[Continuation]:
    """Score continuations, given the index of the state that predicts each token."""
    pairs = [pair for of, ids in zip(sources, continuations, strict=True) for pair in zip(of, ids, strict=True)]
    state, token = torch.tensor(pairs, device=states.device).unbind(1)
    # A state predicts several tokens, the first ones of all options: its logits are computed once.
    needed, state = state.unique(return_inverse=True)
    states = states[needed]
    logprobs = torch.zeros(len(token), dtype=torch.float64, device=states.device)
    greedy = torch.zeros(len(token), dtype=torch.bool, device=states.device)
    vocabulary = policy.causal_lm.config.get_text_config().vocab_size
    for chunk in vocabulary_chunks(len(states), vocabulary):
        logits = policy.head(states[chunk]).float()
        at = ((state >= chunk.start) & (state < chunk.stop)).nonzero().squeeze(1)
        row = state[at] - chunk.start
        greedy[at] = logits.argmax(-1)[row] == token[at]
        logprobs[at] = logits.log_softmax(-1)[row, token[at]].double()
    lengths = [len(ids) for ids in continuations]
    return [
        Continuation(float(of_tokens.sum()), len(of_tokens), bool(most_likely.all()))
        for of_tokens, most_likely in zip(logprobs.cpu().split(lengths), greedy.cpu().split(lengths), strict=True)
    ]


class _PackedBranches:
    """Packed batch of contexts' suffixes and their continuations, after prefixes in the cache.

    One row per context: its suffix, then all of its continuations, each at the positions after the context. A
    continuation attends to the prefix, to the suffix and to itself, and to no other continuation.

    Args:
        prompt_cache: KV cache of the prefixes.
        suffixes: Token ids of the suffix of each context, by prefix; may be empty.
        continuations: Token ids of each context's continuations, by prefix.
    """

    def __init__(
        self,
        prompt_cache: PromptCache,
        suffixes: list[list[list[int]]],
        continuations: list[list[list[list[int]]]],
    ) -> None:
        self.prompt_cache, self.slots = prompt_cache, max(map(len, suffixes))
        ids: list[int] = []
        places: list[tuple[int, int]] = []  # position and branch of each token; a suffix is branch 0
        lengths = []
        for offset, of_suffixes, of_options in zip(prompt_cache.lengths.tolist(), suffixes, continuations, strict=True):
            for suffix, options in zip(of_suffixes, of_options, strict=True):
                before = len(ids)
                for branch, tokens in enumerate([suffix, *(ids[:-1] for ids in options)]):
                    start = offset + (len(suffix) if branch else 0)
                    places += [(start + place, branch) for place in range(len(tokens))]
                    ids += tokens
                lengths.append(len(ids) - before)
            lengths += [0] * (self.slots - len(of_suffixes))
        device = prompt_cache.lengths.device
        self.ids = torch.tensor(ids, dtype=torch.long, device=device).unsqueeze(0)
        if not ids:
            return
        position, branch = torch.tensor(places, device=device).unbind(1)
        self.padding, self.positions = Padding(lengths, device), position.unsqueeze(0)
        self._position: Int[Tensor, "prompts slots longest"] = self.padding.pad(position).unflatten(0, (-1, self.slots))
        self._branch: Int[Tensor, "prompts slots longest"] = self.padding.pad(branch).unflatten(0, (-1, self.slots))
        self._biases: dict[int | None, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``."""
        q, k, v = (self.padding.pad(x).unflatten(0, (-1, self.slots)).transpose(2, 3) for x in (query, key, value))
        if window not in self._biases:
            # One mask per window serves all layers.
            self._biases[window] = self._masks(window)
        keys, values = self.prompt_cache.keys[layer], self.prompt_cache.values[layer]
        output = shared_prompt_attention(q, keys, values, k, v, scale, *self._biases[window])
        return self.padding.flatten(output.transpose(2, 3).flatten(0, 1))

    def _masks(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Additive masks from the tokens of each row to the keys of its prefix, and to those of the row."""
        place = torch.arange(self.padding.shape[1], device=self._position.device)
        key = torch.arange(self.prompt_cache.longest, device=place.device)
        prefix = (key >= self.prompt_cache.lengths.unsqueeze(1))[:, None, None]
        branch = self._branch.unsqueeze(-2)  # of keys
        # Padding follows every token of its row, so the order of places masks it.
        own = (branch != 0) & (branch != self._branch.unsqueeze(-1)) | (place > place.unsqueeze(1))
        if window is not None:
            position = self._position.unsqueeze(-1)
            prefix = prefix | (position - key >= window)
            own = own | (position - self._position.unsqueeze(-2) >= window)
        return bias_of(prefix), bias_of(own)
