"""The model as the engine sees it: the attributes of a policy that packed batches, decoding and log-probs use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.functional.divergence import FullDivergence

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Role = Literal["policy", "reference", "base"]
"""Weights that a policy runs with: its own, those of the start of the stage, or the bare base."""


class CausalPolicy(Protocol):
    """Causal LM with adapters; ``semalign_pl.policy.policy.Policy`` is one.

    Attributes:
        pad_id: Token id for padding.
        eos_ids: Token ids that end a completion.
        prefix_sharing_unsupported_reason: Reason why completions cannot share their prompt's forward in this
            architecture; ``None`` if they can.
        graph_unsupported_reason: Reason why no CUDA graph can hold a decoding step; ``None`` until one fails.
        padding_leaks: True if padding on the left changes the states of a prompt; only prompts of equal length are then
            prefilled together.
    """

    pad_id: int
    eos_ids: tuple[int, ...]
    prefix_sharing_unsupported_reason: str | None
    graph_unsupported_reason: str | None
    padding_leaks: bool

    @property
    def model(self) -> PeftModel:
        """Whole model."""
        ...

    @property
    def causal_lm(self) -> PreTrainedModel:
        """Causal LM inside the PEFT model."""
        ...

    @property
    def decoder(self) -> PreTrainedModel:
        """Causal LM without its head."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        ...

    def head(self, hidden: Float[Tensor, "tokens hidden"], /) -> Float[Tensor, "tokens vocabulary"]:
        """Logits from last hidden states."""
        ...

    def logprobs(
        self,
        hidden: Float[Tensor, "tokens hidden"],
        ids: Int[Tensor, " tokens"],
        temperatures: Float[Tensor, " tokens"],
    ) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Log-probs of tokens, and entropy, from the hidden states that predict them."""
        ...

    def divergence(
        self,
        kind: FullDivergence,
        role: Role,
        hidden: Float[Tensor, "tokens hidden"],
        target: Float[Tensor, "tokens hidden"],
        temperatures: Float[Tensor, " tokens"],
    ) -> Float[Tensor, " tokens"]:
        """Divergence from the target that a role's last hidden states give."""
        ...

    def inference(self) -> AbstractContextManager[None]:
        """Switch off gradients and dropout; modes are restored on exit."""
        ...

    def acting_as(self, role: Role, /) -> AbstractContextManager[None]:
        """Run the model as the policy, its reference, or the bare base; restored on exit."""
        ...

    @property
    def encoder(self) -> PromptEncoder:
        """Encoder whose ``decode`` gives the texts of completions."""
        ...
