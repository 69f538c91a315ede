"""What memory depends on, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from semalign_pl.policy.load import LoraSettings, Weights


@dataclass(frozen=True)
class Settings:
    """What memory depends on.

    Attributes:
        base: Hub id or folder; only its config is read.
        stage: ``sft`` or ``grpo``.
        weights: How the base is held.
        lora: Of the adapter.
        with_reference: A second adapter stands beside the trained one.
        prompt_tokens: Longest prompt.
        completion_tokens: Longest completion.
        rows: Completions a step: rows of SFT, rollouts of GRPO.
        num_generations: K; 1 for SFT.
        rollout_rows: Rollouts decoded at once.
        micro_batch_tokens: Budget of a forward and backward.
        recompute: Activations are computed again in backward.
        mixed: Run under bf16 autocast, on a base held in bfloat16.
        encoders: Hub ids or folders of the rewards' encoders, and bytes a weight.
        judges: Hub ids or folders of the rewards' judges, and how they are held.
        sampling: Temperature, top_p, top_k and min_p.
        cuda: For a GPU, where compute is bfloat16 under NF4.
        new_tokens: Tokens added to the vocabulary; their rows are trained.
    """

    base: str
    stage: Literal["sft", "grpo"]
    weights: Weights = "nf4"
    lora: LoraSettings = LoraSettings()
    with_reference: bool = True
    prompt_tokens: int = 1024
    completion_tokens: int = 256
    rows: int = 32
    num_generations: int = 8
    rollout_rows: int = 128
    micro_batch_tokens: int = 4096
    recompute: bool = False
    mixed: bool = False
    encoders: tuple[tuple[str, int], ...] = ()
    judges: tuple[tuple[str, Weights], ...] = ()
    sampling: tuple[tuple[str, Any], ...] = ()
    cuda: bool = False
    new_tokens: int = 0


@dataclass(frozen=True)
class Plan:
    """Bytes by part.

    Attributes:
        weights: The frozen base.
        adapters: Trained adapter, and the reference beside it.
        optimiser: Adam's two moments.
        gradients: Of the trained adapter, while an update lasts.
        cache: Keys and values of one batch of rollouts.
        rollout: One batch of rollouts at its worst, cache included.
        activations: One micro-batch's forward and backward at its worst, head and gradients apart.
        head: Logits of one chunk.
        encoder: The rewards' encoders and judges.
    """

    weights: int
    adapters: int
    optimiser: int
    gradients: int
    cache: int
    rollout: int
    activations: int
    head: int
    encoder: int

    @property
    def resident(self) -> int:
        """Bytes held all the time."""
        return self.weights + self.adapters + self.optimiser + self.encoder

    @property
    def peak(self) -> int:
        """The most that is held at once."""
        return self.resident + max(self.rollout, self.gradients + self.activations + self.head)
