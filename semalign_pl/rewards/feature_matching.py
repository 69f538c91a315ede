"""Semantic reward without an encoder: hidden features of the frozen base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semalign_pl.functional.feature_matching import feature_matching_rewards
from semalign_pl.policy.policy import Policy
from semalign_pl.protocols import PolicyModule, missing_members
from semalign_pl.rewards.base import Reward, disable_autocast_and_gradients
from semalign_pl.types import Example

DEPTHS = (0.25, 0.5, 0.75)
"""Depths of the layers whose states are the features, as shares of all layers (EBFT's ``concat``)."""
ROWS = 32
"""Number of completions that are forwarded at once."""


@runtime_checkable
class EncodingModule(PolicyModule, Protocol):
    """Module with a policy that encodes prompts."""

    def encode(self, batch: list[Example]) -> list[list[int]]:
        """Token ids of the prompts of a batch."""
        ...


class FeatureMatchingReward(Reward):
    """Match hidden features of the frozen base (energy-based fine-tuning, EBFT, arXiv 2603.12248, equations 7 and 9).

    ``r_j = 2 f(y_j).f(y) - 2/(n-1) sum_(k != j) f(y_j).f(y_k)`` for the n completions of a prompt and its reference y:
    close to the reference, and not all the same. Features are states at a quarter, half and three quarters of the
    base's depth, averaged over the completion's tokens after its prompt, each layer's scaled to length 1. The base is
    the policy's own with its adapter switched off, so no second model is loaded. The reward of a completion depends on
    the others of its prompt; `scale_rewards: none` keeps the paper's gradient.

    Args:
        diversity: Weight of the second term: 1 in the paper's objective, 0 for the reference alone.
        whiten: Flag to whiten the features within each prompt, as the paper does. A completion that equals the
            reference then leaves the others of its prompt without a difference.
        weight: Factor in the total reward.
    """

    def __init__(self, diversity: float = 1.0, whiten: bool = True, weight: float = 1.0) -> None:
        super().__init__(weight)
        if diversity < 0:
            raise ValueError(f"FeatureMatchingReward.diversity: {diversity} would reward equal samples; give 0 or more")
        self.diversity, self.whiten = diversity, whiten
        self._policy: Policy | None = None
        self._encode: Callable[[list[Example]], list[list[int]]] | None = None

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        depths = "+".join(f"{depth:g}" for depth in DEPTHS)
        return (
            f"{super().signature}|features:base|depths:{depths}|pooling:mean|diversity:{self.diversity:g}"
            f"|whiten:{self.whiten}"
        )

    def connect(self, policy: Policy, encode: Callable[[list[Example]], list[list[int]]]) -> None:
        """Take the policy whose base gives the features; ``on_fit_start`` calls this in training.

        Args:
            policy: Policy; only its base is used.
            encode: Function from examples to the token ids of their prompts.
        """
        self._policy, self._encode = policy, encode

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the policy of the run.

        Raises:
            ValueError: If the module has none.
        """
        if not isinstance(pl_module, EncodingModule):
            raise missing_members("FeatureMatchingReward", pl_module, "a policy and a method encode")
        self.connect(pl_module.policy, pl_module.encode)

    @disable_autocast_and_gradients()
    def start_scoring(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Callable[[], Tensor]:
        """Score the completions of each prompt together; those of one prompt are adjacent, with the same example."""
        rewards = self._rewards(examples, completions, completion_ids)
        return lambda: rewards

    def score(
        self, *, prompts: list[str], completions: list[str], references: list[str], **columns: list[str]
    ) -> Tensor:
        """Rewards of completions, ``(completions,)`` float32; NaN without a reference."""
        rows = list(zip(prompts, references, strict=True))
        examples = {row: Example("", *row) for row in rows}
        return self._rewards([examples[row] for row in rows], completions)

    def _rewards(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Float[Tensor, " completions"]:
        rewards = torch.full((len(completions),), float("nan"))
        # By identity: a row that is drawn twice in succession is two examples, with a group each.
        for _, group in groupby(range(len(examples)), key=lambda row: id(examples[row])):
            rows = list(group)
            example = examples[rows[0]]
            if example.reference.strip():
                texts = [completions[row] for row in rows]
                ids = None if completion_ids is None else [list(completion_ids[row]) for row in rows]
                features = self.features(example, texts, ids)
                scores = feature_matching_rewards(features[1:], features[0], self.diversity, self.whiten)
                rewards[rows] = scores.cpu()
        return rewards

    def features(
        self, example: Example, completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Float[Tensor, "texts dims"]:
        """Features of the reference, then of each completion, rows of length 1, float32.

        Args:
            example: Row with prompt and reference.
            completions: Texts of completions.
            completion_ids: Token ids of the completions; ``None`` to encode the texts.
        """
        assert self._policy is not None and self._encode is not None, "on_fit_start connects the policy"
        encoder = self._policy.encoder
        (prompt,) = self._encode([example])
        answers = [encoder.encode_completion(example.reference)]
        answers += list(map(encoder.encode_completion, completions)) if completion_ids is None else completion_ids
        with self._policy.inference(), self._policy.acting_as("base"):
            return torch.cat(
                [self._forward(self._policy, prompt, answers[at : at + ROWS]) for at in range(0, len(answers), ROWS)]
            )

    @staticmethod
    def _forward(policy: Policy, prompt: list[int], answers: Sequence[list[int]]) -> Float[Tensor, "texts dims"]:
        sequences = [torch.tensor([*prompt, *answer]) for answer in answers]
        # Padded on the right: a causal model's states of a completion do not depend on what follows it.
        ids = pad_sequence(sequences, batch_first=True, padding_value=policy.pad_id).to(policy.device)
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=ids.device).unsqueeze(1)
        places = torch.arange(ids.shape[1], device=ids.device)
        given = places < lengths
        states = policy.decoder(
            input_ids=ids, attention_mask=given.long(), output_hidden_states=True, use_cache=False
        ).hidden_states
        answer = (given & (places >= len(prompt))).unsqueeze(-1)
        layers = [states[round(depth * (len(states) - 1))].float() for depth in DEPTHS]
        pooled = [(layer * answer).sum(1) / answer.sum(1).clamp(min=1) for layer in layers]
        return torch.cat([torch.nn.functional.normalize(layer, dim=-1) for layer in pooled], 1) / len(DEPTHS) ** 0.5
