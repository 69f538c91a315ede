"""Stages that train on completions which their own policy samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypedDict

from semalign_pl.engine.generate import generate
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.rollout_reuse import RolloutReuse
from semalign_pl.policy.rollout_weights import RolloutWeights, dense_weights
from semalign_pl.rollouts import ServerRollouts
from semalign_pl.rollouts.completion_request import CompletionRequest
from semalign_pl.types import Example, Rollouts

ROLLOUT_ROWS = 128
"""Default number of rollouts that are decoded at once."""


class Sampling(TypedDict, total=False):
    """Settings of sampling, as ``generate`` takes them.

    Attributes:
        temperature: Divisor of the logits.
        top_p: Probability mass of the nucleus that tokens are sampled from; 1 for all tokens.
        top_k: Number of likeliest tokens to sample from; 0 for all.
        min_p: Minimum probability of a sampled token, as a fraction of the likeliest token's.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float


def check_sampling(sampling: Sampling) -> None:
    """Refuse settings of the nucleus that mean nothing.

    Args:
        sampling: Settings of sampling.

    Raises:
        ValueError: Names the setting and the values it can have.
    """
    top_p, top_k, min_p = sampling.get("top_p", 1.0), sampling.get("top_k", 0), sampling.get("min_p", 0.0)
    if not 0 < top_p <= 1:
        raise ValueError(f"model.init_args.top_p: {top_p} is no share of probability; give above 0 to 1, e.g. 0.9")
    if top_k < 0:
        raise ValueError(f"model.init_args.top_k: {top_k} is no number of tokens; give 0 for all, or 1 or more")
    if not 0 <= min_p < 1:
        raise ValueError(f"model.init_args.min_p: {min_p} is no share of probability; give 0 to below 1")


def check_server(
    sampling: Sampling,
    rollout_rows: int,
    corrected: bool,
    rollout_weights: RolloutWeights = "stored",
    reuse_rollouts: bool = False,
) -> None:
    """Refuse settings that a server cannot honour.

    Args:
        sampling: Settings of sampling.
        rollout_rows: Number of rollouts that the policy decodes at once.
        corrected: True if the loss is corrected by the server's log-probs.
        rollout_weights: Weights that rollouts are sampled with in this process.
        reuse_rollouts: True if completions of the epoch before are drafts.

    Raises:
        ValueError: Names the setting and the remedy.
    """
    if rollout_rows != ROLLOUT_ROWS:
        raise ValueError(
            f"model.init_args.rollout_rows: {rollout_rows}: rollouts are a server's, which sizes its own batches "
            "(--max-num-seqs); leave it out"
        )
    if rollout_weights != "stored":
        raise ValueError(
            f"model.init_args.rollout_weights: {rollout_weights}: rollouts are a server's, with its own weights; leave "
            "it out"
        )
    if reuse_rollouts:
        raise ValueError(
            "model.init_args.reuse_rollouts: true: rollouts are a server's, which takes no drafts; leave it out"
        )
    for name, neutral in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
        value = sampling.get(name, neutral)
        if corrected and value != neutral:
            raise ValueError(
                f"model.init_args.{name}: {value:g}: a server's log-probs are normalised over the tokens that are "
                "left, and the policy's over all tokens, so their ratio is no importance weight; with rollouts, write "
                f"{name}: {neutral:g}"
            )


class SamplingStage(AlignModule):
    """Stage whose policy samples the completions that it is trained on, itself or at a server.

    Attributes:
        sampling: Settings of sampling.
        rollout_rows: Number of rollouts that are decoded at once.
        rollout_weights: Weights that rollouts are sampled with.
        server: Servers that sample in place of this process; ``None`` for none.
        corrects_sampler: True if the loss needs the log-probs that a server drew tokens with.
    """

    sampling: Sampling
    rollout_rows: int
    rollout_weights: RolloutWeights = "stored"
    server: ServerRollouts | None = None
    corrects_sampler: bool = False
    _reuse: RolloutReuse | None = None

    @contextmanager
    def drafts(self, reuse: RolloutReuse | None) -> Iterator[None]:
        """Within, ``rollouts`` has the completions of the epoch before as drafts, and replaces them by its own.

        Rows then have seeds of their own, in place of the seed that ``rollouts`` is given.

        Args:
            reuse: Completions of the epoch before; ``None`` for no drafts.
        """
        self._reuse = reuse
        try:
            yield
        finally:
            self._reuse = None

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        """Sample completions with the sampling settings of training.

        Args:
            batch: Examples to complete.
            num_generations: Number of completions per example.
            seed: Seed of the sampling; the global random state is not touched.

        Returns:
            Rollouts, those of one example adjacent.
        """
        reuse = self._reuse
        if self.server is not None:
            self.server.begin(Path(self.trainer.default_root_dir), self.global_rank)
            asked = CompletionRequest(
                num_generations, self.max_new_tokens, self.policy.eos_ids, self.corrects_sampler, **self.sampling
            )
            return self.server.sample(self.policy, self.encode(batch), asked, seed, self.micro_batch_tokens)
        prompts = self.encode(batch)
        keys = reuse.keys(batch, prompts) if reuse else []
        with dense_weights(self.policy) if self.rollout_weights == "dense" else nullcontext():
            rollouts = generate(
                self.policy,
                prompts,
                num_generations=num_generations,
                max_new_tokens=self.max_new_tokens,
                seed=reuse.seeds(keys) if reuse else seed,
                rows=self.rollout_rows,
                drafts=reuse.drafts(keys, num_generations) if reuse else None,
                **self.sampling,
            )
        if reuse:
            reuse.store(keys, rollouts)
        return rollouts

    def teardown(self, stage: str) -> None:
        """Take the adapter of this run from the server."""
        super().teardown(stage)
        if self.server is not None:
            self.server.close()
