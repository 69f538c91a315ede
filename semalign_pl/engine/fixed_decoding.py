"""Decoding steps of fixed shapes, which a GPU replays as a CUDA graph: all kernels of a step are launched at once.

With one token per row, a step launches thousands of kernels that each take microseconds, so the CPU that launches them
sets the pace. A graph needs the same shapes and the same memory in every step. So a step computes all slots, also those
of finished completions; attention reads the whole room of the cache, with a mask; and inputs are copied into buffers.
"""

from __future__ import annotations

import functools
import logging

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.engine.attention import shared_prompt_attention
from semalign_pl.engine.decoding import DecodeState
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import decode
from semalign_pl.engine.prompt_cache import PromptCache, bias_of
from semalign_pl.messages.error_text import first_line

log = logging.getLogger(__name__)
FEW_SLOTS = 64
"""A step on a GPU computes this number of slots in about the time of one, so a new graph for fewer saves nothing."""
ROOM_TOKENS = 64
"""The room of a cache is a multiple of this number of tokens."""


class FixedDecodeState(DecodeState):
    """Completions in progress, decoded by steps of fixed shapes; gives the same tokens as ``DecodeState``."""

    _step: FixedStep | None = None

    def step(self, chosen: Int[Tensor, " completions"]) -> Float[Tensor, "completions vocabulary"]:
        """Append a token to each live completion, as in ``DecodeState``."""
        if self._step is None or self._step.room == self.length:
            self._step = None  # its graph holds memory
            self._grow()
            self._step = FixedStep(self.policy, self.prompt_cache, self.slots, self.keys, self.values)
        logits = self._step(self.slot, chosen, self.own)
        self._count_step()
        return logits

    def _grow(self) -> None:
        """Make room for the next tokens; it doubles, so that few graphs are made."""
        room = max(2 * self.length, 1)
        room += -room % ROOM_TOKENS
        rows = len(self.prompt_cache.lengths) * self.slots
        for cache, prompts in ((self.keys, self.prompt_cache.keys), (self.values, self.prompt_cache.values)):
            for layer, like in prompts.items():
                if layer not in cache or cache[layer].shape[2] < self.length + 1:
                    wider = like.new_zeros((rows, like.shape[1], room, like.shape[3]))
                    if layer in cache:
                        wider[:, :, : self.length] = cache[layer][:, :, : self.length]
                    cache[layer] = wider

    def _compacts(self) -> bool:
        total = len(self.prompt_cache.sizes) * self.slots
        return total > FEW_SLOTS and 2 * len(self.places) <= total

    def _compact(self, slots: int = 0) -> None:
        self._step = None
        super()._compact(slots)


class FixedStep:
    """One decoding step for all slots of a cache, a packed batch; a graph on CUDA from its second run on.

    Args:
        policy: Model to use; its modes and the active adapter must stay as they are.
        prompt_cache: KV cache of the prefixes.
        slots: Number of slots per prefix.
        keys: Own keys per layer, with room for the next tokens; the step writes to them.
        values: Own values per layer, likewise.

    Attributes:
        room: Number of own tokens that a slot has room for.
    """

    def __init__(
        self,
        policy: CausalPolicy,
        prompt_cache: PromptCache,
        slots: int,
        keys: dict[int, Float[Tensor, "slots kv_heads room dim"]],
        values: dict[int, Float[Tensor, "slots kv_heads room dim"]],
    ) -> None:
        self.policy, self.prompt_cache, self.slots, self.keys, self.values = policy, prompt_cache, slots, keys, values
        self.room = next(iter(keys.values())).shape[2]
        lengths = prompt_cache.lengths.repeat_interleave(slots)
        self.starts: Int[Tensor, "1 slots"] = lengths.unsqueeze(0)
        self.ids: Int[Tensor, "1 slots"] = torch.zeros_like(self.starts)
        self.own: Int[Tensor, " slots"] = torch.zeros_like(lengths)
        self.rows = torch.arange(len(lengths), device=lengths.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits: Float[Tensor, "slots vocabulary"] | None = None

    def __call__(
        self,
        slot: Int[Tensor, " completions"],
        chosen: Int[Tensor, " completions"],
        own: Int[Tensor, " completions"],
    ) -> Float[Tensor, "completions vocabulary"]:
        """Append a token to each live completion.

        Args:
            slot: Slot of each live completion; the others decode a token at their first place, which nothing reads.
            chosen: Token id per live completion.
            own: Number of own tokens per live completion.

        Returns:
            Logits of the next token.
        """
        self.ids[0].index_copy_(0, slot, chosen)
        self.own.zero_().index_copy_(0, slot, own)
        if self.graph is not None:
            self.graph.replay()
            assert self.logits is not None
            return self.logits[slot]
        captured = self.ids.is_cuda and self.policy.graph_unsupported_reason is None
        return (self._capture() if captured else self._forward())[slot]

    def _capture(self) -> Tensor:
        """Run the step, then record its graph for the following steps; the first run loads kernels and workspaces."""
        device = self.ids.device
        stream, current = _side_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            logits = self._forward()
            try:
                self._record()
            except torch.OutOfMemoryError:
                pass  # the next step tries again
            except RuntimeError as error:
                self.policy.graph_unsupported_reason = first_line(error)
                log.warning("decoding makes no CUDA graph of this model, so it is slower: %s", first_line(error))
        current.wait_stream(stream)
        if self.graph is None:
            # While it records, the allocator frees nothing that it keeps, so it may run out of memory that is there.
            torch.cuda.empty_cache()
        return logits

    def _record(self) -> None:
        """Record the step's graph, with memory of its own."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            # Not torch.cuda.graph, which empties the allocator's cache before each capture.
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                self.logits = self._forward()
            finally:
                graph.capture_end()
        except RuntimeError:
            _stop_recording(self.ids.device, pool)
            raise
        self.graph = graph

    def _forward(self) -> Float[Tensor, "slots vocabulary"]:
        self.positions = self.starts + self.own
        self.biases: dict[int | None, tuple[Tensor | None, Tensor]] = {}
        return self.policy.head(decode(self.policy, self))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``; writes this step's keys and values to the cache."""
        keys, values = self.keys[layer], self.values[layer]
        keys[self.rows, :, self.own] = key
        values[self.rows, :, self.own] = value
        if window not in self.biases:
            self.biases[window] = self._biases(window)
        groups = len(self.prompt_cache.lengths)
        return shared_prompt_attention(
            query.view(groups, self.slots, -1, 1, query.shape[-1]),
            self.prompt_cache.keys[layer],
            self.prompt_cache.values[layer],
            keys.unflatten(0, (groups, self.slots)),
            values.unflatten(0, (groups, self.slots)),
            scale,
            *self.biases[window],
        ).flatten(0, 1)[:, :, 0]

    def _biases(self, window: int | None) -> tuple[Tensor | None, Tensor]:
        """Additive masks from each slot's token to the keys of its prefix, and to the whole room of its own keys."""
        places = self.own.view(-1, self.slots)
        distance = places[:, :, None, None] - torch.arange(self.room, device=places.device)
        masked = distance < 0
        if window is not None:
            masked = masked | (distance >= window)
        # The last place of the room decides whether any key can leave the window: a graph has no other branch.
        return self.prompt_cache.bias(self.room - 1, 1, window, places), bias_of(masked)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Stream to capture on, since the default stream cannot; one only, because each keeps a workspace of cuBLAS."""
    return torch.cuda.Stream(device)


def _stop_recording(device: torch.device, pool: tuple[int, int]) -> None:
    """End recording in the allocator, which ``capture_end`` leaves out if CUDA reports an error (PyTorch 2.13).

    Otherwise ``empty_cache`` fails from then on, and an allocation no longer frees cached memory to make room.
    """
    try:
        torch.cuda.memory._cuda_endAllocateToPool(device.index, pool)  # pyright: ignore[reportPrivateImportUsage]
    except RuntimeError:  # it has ended
        return
    torch.cuda.memory._cuda_releasePool(device.index, pool)  # pyright: ignore[reportPrivateImportUsage]
