"""Settings that determine a run's memory, and the predicted memory per component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from semalign_pl.policy.settings import LoraSettings

if TYPE_CHECKING:
    from semalign_pl.policy.causal_lm import Weights  # imports torch, which the command's help does not need
    from semalign_pl.policy.rollout_weights import RolloutWeights


@dataclass(frozen=True)
class Settings:
    """Settings that determine a run's memory.

    Attributes:
        base: Hub id or folder of the base model; only its config is read.
        stage: Training stage, ``sft`` or ``grpo``.
        weights: Precision or quantisation of the base weights.
        lora: LoRA settings of the adapter.
        with_reference: True if there is a second adapter, the KL reference, next to the trained one.
        prompt_tokens: Maximum prompt length, in tokens.
        completion_tokens: Maximum completion length, in tokens.
        rows: Completions per step: rows in SFT, rollouts in GRPO.
        num_generations: Completions per prompt (K); 1 in SFT.
        rollout_rows: Rollouts decoded at once.
        micro_batch_tokens: Maximum number of tokens per forward and backward.
        recompute: True if activations are computed again in backward (gradient checkpointing).
        mixed: True under bf16 autocast, with base weights in bfloat16.
        encoders: Hub id or folder of each encoder used by rewards, and its bytes per weight.
        judges: Hub id or folder of each judge used by rewards, and its precision or quantisation.
        sampling: Sampling options by name: temperature, top_p, top_k and min_p.
        cuda: True on a GPU, where NF4 weights compute in bfloat16.
        new_tokens: Number of tokens added to the vocabulary, whose embeddings are trained.
        notes: One sentence for each part of the memory that is not counted, or is a guess.
        rollout_weights: Weights that rollouts are sampled with, ``stored`` or ``dense``.
        validation_rows: Number of prompts that a validation completes at once; 0 without one.
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
    sampling: tuple[tuple[str, float], ...] = ()
    cuda: bool = False
    new_tokens: int = 0
    notes: tuple[str, ...] = ()
    rollout_weights: RolloutWeights = "stored"
    validation_rows: int = 0

    @property
    def of_policy(self) -> Settings:
        """Settings that the policy depends on, the same for every stage, with all others at their defaults."""
        names = ("base", "weights", "lora", "with_reference", "mixed", "cuda", "new_tokens")
        return Settings(stage="sft", **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Plan:
    """Predicted memory per component, in bytes.

    Attributes:
        weights: Frozen base weights.
        adapters: Trained adapter, and the reference adapter if there is one.
        optimiser: Adam's two moments.
        gradients: Gradients of the trained adapter, during an update.
        cache: KV cache of one batch of rollouts.
        rollout: Peak of one batch of rollouts, KV cache included.
        activations: Peak of one micro-batch's forward and backward, without head and gradients.
        head: Logits of one chunk.
        encoder: Encoders and judges used by rewards.
        replaced: Embedding and head that others with new tokens replaced, on a CPU: the weights are mapped from a file,
            which stays in memory as a whole.
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
    replaced: int = 0

    @property
    def resident(self) -> int:
        """Memory allocated throughout the run, in bytes."""
        return self.weights + self.adapters + self.optimiser + self.encoder + self.replaced

    @property
    def peak(self) -> int:
        """Peak memory, in bytes: resident memory, plus the larger of rollout and update."""
        return self.resident + max(self.rollout, self.gradients + self.activations + self.head)
