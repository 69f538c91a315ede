"""Token-by-token decoding of many completions, which share KV caches; finished completions leave the batch."""

from __future__ import annotations

import itertools
from collections import Counter

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from semalign_pl.engine.attention import shared_prompt_attention
from semalign_pl.engine.drafts import DraftSampler, Places, count_accepted
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedCompletions, PackedSequences, decode
from semalign_pl.engine.prompt_cache import bias_of

FIRST_ROOM_TOKENS = 32
"""Number of tokens per completion that a new cache has room for."""


class DecodeState:
    """Completions in progress: a packed batch of one token per live completion, with one KV cache per prefix.

    A prefix is a whole prompt, or the tokens that several prompts begin with. The rest of such a prompt is its suffix;
    the own keys and values of each of its completions begin with those of the suffix.

    Args:
        policy: Model to use; set eval mode and the active adapter first.
        prefixes: Token ids of the prefixes, one list per prefix.
        num_generations: Number of completions per prompt.
        suffixes: Token ids of the suffix of each prompt, by prefix; ``None`` if the prefixes are whole prompts.

    Attributes:
        slot: Index of each live completion in the cache. Every prefix has the same number of slots there, as many as
            the largest group has live completions.
        own: Number of own tokens of each live completion in the cache: its suffix and what has been decoded.
        length: Largest of ``own``.
        places: ``slot`` as a list. Who is in the cache is known without waiting for the device, and so are its sizes.
        offsets: ``own`` as a list, less the number of steps since.
    """

    def __init__(
        self,
        policy: CausalPolicy,
        prefixes: list[list[int]],
        num_generations: int,
        suffixes: list[list[list[int]]] | None = None,
    ) -> None:
        self.policy, self.num_generations = policy, num_generations
        self.suffixes = [[[]]] * len(prefixes) if suffixes is None else suffixes
        self.prefixes = PackedSequences(prefixes, policy.device, keep=True)
        assert self.prefixes.prompt_cache is not None
        self.prompt_cache = self.prefixes.prompt_cache
        sizes = [len(group) * num_generations for group in self.suffixes]
        self.slots = max(sizes)
        self.places = [group * self.slots + index for group, size in enumerate(sizes) for index in range(size)]
        self.slot: Int[Tensor, " completions"] = torch.tensor(self.places, device=policy.device)
        self.offsets = [len(suffix) for group in self.suffixes for suffix in group for _ in range(num_generations)]
        self.own: Int[Tensor, " completions"] = torch.tensor(self.offsets, device=policy.device)
        self.steps = 0
        self._measure()
        self.keys: dict[int, Float[Tensor, "slots kv_heads room dim"]] = {}
        self.values: dict[int, Float[Tensor, "slots kv_heads room dim"]] = {}

    def prefill(self) -> Float[Tensor, "completions vocabulary"]:
        """Forward the prefixes, then the suffixes; returns the logits of each completion's first token."""
        # Once per prefix: all completions read the same keys and values.
        states = decode(self.policy, self.prefixes)[self.prefixes.last]
        states = states[self.slot[:: self.num_generations] // self.slots]  # per prompt
        if self.length:
            packed = PackedCompletions(self.prompt_cache, self.prompt_cache.sizes, self.suffixes, keep=True)
            # A prompt without a suffix is a prefix of other prompts: the prefix's last state predicts its next token.
            own = self.own[:: self.num_generations]
            last = (own.cumsum(0) - 1).clamp(min=0)
            states = torch.where(own.unsqueeze(1) > 0, decode(self.policy, packed)[last], states)
            self.keys, self.values = (
                {layer: cached.repeat_interleave(self.num_generations, 0) for layer, cached in cache.items()}
                for cache in (packed.keys, packed.values)
            )
        self.prefixes.prompt_cache = None  # which is smaller, once prompts have left it
        # Once per prompt: its completions start from the same last state.
        return self.policy.head(states).repeat_interleave(self.num_generations, 0)

    def prefill_drafts(
        self, drafts: list[list[int]], sample: DraftSampler
    ) -> tuple[Float[Tensor, "completions vocabulary"], list[int]]:
        """Forward prefixes and suffixes, each suffix with a draft at its end, and accept what is sampled again.

        A draft is accepted up to the first token that is not sampled at its place. All its tokens are forwarded at
        once; keys and values of the others are overwritten by the following steps.

        Args:
            drafts: Token ids of each completion's draft, the end of its suffix. The state has one completion per
                suffix.
            sample: Sampler.

        Returns:
            Logits of the token after what was accepted, and the number of accepted tokens per completion.
        """
        # 1. Hidden states of all tokens; the last one of a prefix predicts the first token of its suffixes.
        packed = PackedCompletions(self.prompt_cache, self.prompt_cache.sizes, self.suffixes, keep=True)
        states = [decode(self.policy, self.prefixes)[self.prefixes.last], decode(self.policy, packed)]
        hidden = torch.cat(states)
        self.keys, self.values, self.prefixes.prompt_cache = packed.keys, packed.values, None
        starts = [len(states[0]), *(len(states[0]) + end for end in itertools.accumulate(self.offsets))]
        rest = [own - len(draft) for own, draft in zip(self.offsets, drafts, strict=True)]

        def logits(places: Places) -> Float[Tensor, "places vocabulary"]:
            owns = [(i, rest[i] + token) for i, token in places]
            rows = [starts[i] + own - 1 if own else self.places[i] // self.slots for i, own in owns]
            return self.policy.head(hidden[torch.tensor(rows, device=hidden.device)])

        # 2. Accepted tokens; the state goes on as if it had decoded these.
        accepted = count_accepted(drafts, logits, sample)
        following = logits([*enumerate(accepted)])
        self.offsets = [own + count for own, count in zip(rest, accepted, strict=True)]
        self.own = torch.tensor(self.offsets, device=self.own.device)
        self._measure()
        return following, accepted

    def step(self, chosen: Int[Tensor, " completions"]) -> Float[Tensor, "completions vocabulary"]:
        """Append a token to each live completion.

        Args:
            chosen: Token id per live completion.

        Returns:
            Logits of the next token.
        """
        self.ids = chosen.unsqueeze(0)
        self.biases: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}
        self.positions = (self.prompt_cache.lengths[self.slot // self.slots] + self.own).unsqueeze(0)
        hidden = decode(self.policy, self)
        self._count_step()
        return self.policy.head(hidden)

    def _count_step(self) -> None:
        self.own, self.length, self.steps = self.own + 1, self.length + 1, self.steps + 1

    def _measure(self) -> None:
        own = [offset + self.steps for offset in self.offsets]
        self.length, self.ragged = max(own), min(own) < max(own)

    def keep(self, completions: list[int]) -> None:
        """Drop all completions but some.

        Args:
            completions: Indices of the completions to keep, ascending.
        """
        chosen = torch.tensor(completions, device=self.slot.device)
        self.slot, self.own = self.slot[chosen], self.own[chosen]
        self.places, self.offsets = [self.places[i] for i in completions], [self.offsets[i] for i in completions]
        self._measure()
        if self._compacts():
            self._compact()

    def _compacts(self) -> bool:
        # Copying the cache costs about as much as some steps over empty slots: wait until a quarter of it is empty.
        return len(self.places) <= 0.75 * len(self.prompt_cache.sizes) * self.slots

    def _compact(self, slots: int = 0) -> None:
        """Remove empty slots from the cache, but for ``slots`` per group."""
        # 1. New slots: live completions move together, and groups without any disappear.
        sizes = self.group_sizes()
        live, slots = list(sizes), max(slots, *sizes.values())
        places = [group * slots + index for group, size in enumerate(sizes.values()) for index in range(size)]
        # 2. Gather the old slots' keys and values; the output of an empty slot is never read.
        sources = [0] * (len(live) * slots)
        for place, source in zip(places, self.places, strict=True):
            sources[place] = source
        source = torch.tensor(sources, device=self.slot.device)
        for cache in (self.keys, self.values):
            for layer, cached in cache.items():
                cache[layer] = cached[source]
        if len(live) < len(self.prompt_cache.sizes):
            self.prompt_cache = self.prompt_cache.select(live)
        self.places, self.slot, self.slots = places, torch.tensor(places, device=self.slot.device), slots

    def group_sizes(self) -> dict[int, int]:
        """Number of live completions per prefix that has any, by the index of the prefix."""
        return Counter(place // self.slots for place in self.places)

    def join(self, other: DecodeState) -> None:
        """Add the completions of another state after the own ones; all are then decoded together.

        Args:
            other: State of the same policy, after its prefill; not to be used any more.
        """
        # 1. The same number of slots per prefix, and no empty prefixes.
        slots = max(max(state.group_sizes().values()) for state in (self, other))
        for state in (self, other):
            state._compact(slots)
        # 2. Keys and values, with the same room; a state without suffixes has none before its first step.
        first = len(self.prompt_cache.sizes) * slots
        for own, new in ((self.keys, other.keys), (self.values, other.values)):
            for layer in [*(own or new)]:  # a list of names: one of tensors would keep all layers there twice
                like = own[layer] if layer in own else new[layer]
                caches = [cache.pop(layer, like.new_zeros(rows, like.shape[1], 0, like.shape[3]))
                         for cache, rows in ((own, first), (new, len(other.prompt_cache.sizes) * slots))]  # fmt: skip
                room = max(one.shape[2] for one in caches)
                own[layer] = torch.cat([pad(one, (0, 0, 0, room - one.shape[2])) for one in caches])
        # 3. Places of the new completions follow.
        self.prompt_cache = self.prompt_cache.join(other.prompt_cache)
        self.places += [first + place for place in other.places]
        self.offsets += [offset + other.steps - self.steps for offset in other.offsets]
        self.slot, self.own = torch.cat([self.slot, first + other.slot]), torch.cat([self.own, other.own])
        self._measure()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``; appends this step's keys and values to the cache."""
        self._append(self.keys, layer, key)
        self._append(self.values, layer, value)
        tokens, groups = self.length + 1, len(self.prompt_cache.lengths)
        q = query
        # Empty slots get a query of zeros: attention is one product per prompt, so that its keys are read only once.
        if len(self.slot) < groups * self.slots:
            q = query.new_zeros((groups * self.slots, *query.shape[1:])).index_copy(0, self.slot, query)
        if window not in self.biases:
            self.biases[window] = self._biases(window)
        output = shared_prompt_attention(
            q.view(groups, self.slots, -1, 1, q.shape[-1]),
            self.prompt_cache.keys[layer],
            self.prompt_cache.values[layer],
            self.keys[layer][:, :, :tokens].unflatten(0, (groups, self.slots)),
            self.values[layer][:, :, :tokens].unflatten(0, (groups, self.slots)),
            scale,
            *self.biases[window],
        ).flatten(0, 1)[:, :, 0]
        return output if len(self.slot) == len(output) else output[self.slot]

    def _biases(self, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """Additive masks of this step's tokens: from them to the keys of the prefixes, and to their own keys."""
        groups = len(self.prompt_cache.lengths)
        if not self.ragged:
            # Every live completion has as many tokens, so one mask serves all; it is needed only if the window is full.
            distance = torch.arange(self.length, -1, -1, device=self.slot.device).view(1, 1, 1, -1)
            own = bias_of(distance >= window) if window is not None and window <= self.length else None
            return self.prompt_cache.bias(self.length, 1, window), own
        places = self.own.new_zeros(groups * self.slots).index_copy(0, self.slot, self.own).view(groups, self.slots)
        distance = places[:, :, None, None] - torch.arange(self.length + 1, device=self.slot.device)
        masked = distance < 0
        if window is not None:
            masked = masked | (distance >= window)
        return self.prompt_cache.bias(self.length, 1, window, places), bias_of(masked)

    def _append(self, cache: dict[int, Tensor], layer: int, new: Float[Tensor, "completions kv_heads dim"]) -> None:
        """Append keys or values of this step to a layer's cache."""
        cached = cache.get(layer)
        # The room doubles when it is full: a concatenation per step would copy the whole cache for every token.
        if cached is None or cached.shape[2] == self.length:
            rows, room = len(self.prompt_cache.lengths) * self.slots, max(FIRST_ROOM_TOKENS, 2 * self.length)
            wider = new.new_zeros((rows, new.shape[1], room, new.shape[2]))
            if cached is not None:
                wider[:, :, : self.length] = cached
            cache[layer] = cached = wider
        cached[self.slot, :, self.own] = new
