"""Drift of the policy from its base model, on text that it was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.drift import kl_from_logits, mean_kl, mean_nll_change, p90_kl, p90_nll_change
from semalign_pl.functional.logprobs import selected_logprobs
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe, existing_file
from semalign_pl.types import MetricResult


class DriftProbe(Probe):
    """Per-token drift of the policy from its base model on out-of-domain text (arXiv 2605.14366).

    The scores are the change of mean and 90th-percentile NLL, and mean and 90th percentile of KL(policy || base), in
    nats. Percentiles are over the tokens of all texts. The base is the policy's own base model, without any adapter.

    Args:
        file: Text file in UTF-8, one text per line.
        limit: Maximum number of texts, the first ones of the file; null for all.
        max_tokens: Maximum number of tokens per text; longer texts are cut, and counted in the signature.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self, file: str, limit: int | None = 200, max_tokens: int = 512, every_n_steps: int | None = None
    ) -> None:
        super().__init__(every_n_steps)
        self.file, self.limit, self.max_tokens = file, limit, max_tokens
        try:
            lines = existing_file("DriftProbe.file", file).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"DriftProbe.file: {file} is not UTF-8 text ({error}); convert it") from error
        self.texts = [line for line in lines if line.strip()][:limit]
        if not self.texts:
            raise ValueError(f"DriftProbe.file: {file} holds no text; give one text a line")

    def measure(self, policy: Policy) -> dict[str, MetricResult]:
        """Compare policy and base on every text."""
        tokens = [policy.encoder.tokenizer(text)["input_ids"] for text in self.texts]
        cut = sum(len(ids) > self.max_tokens for ids in tokens)
        kept = [ids[: self.max_tokens] for ids in tokens if len(ids) > 1]
        base, changed, divergence = [], [], []
        for ids in kept:
            base_nll, policy_nll, kl = _compare(policy, torch.tensor([ids], device=policy.device))
            base.append(base_nll)
            changed.append(policy_nll)
            divergence.append(kl)
        scores = {
            "nll_change_mean": mean_nll_change(base, changed),
            "nll_change_p90": p90_nll_change(base, changed),
            "kl_mean": mean_kl(divergence),
            "kl_p90": p90_kl(divergence),
        }
        suffix = f"|texts:{len(kept)}|max_tokens:{self.max_tokens}|cut:{cut}|against:base"
        return {name: MetricResult(s.value, s.ci, s.signature + suffix) for name, s in scores.items()}


def _compare(policy: Policy, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """NLL under the base, NLL under the policy and KL(policy || base), each ``(tokens - 1,)`` float32 on the CPU."""
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, :-1]
    with policy.acting_as("base"):
        base_logits = policy.model(input_ids=ids, use_cache=False).logits[0, :-1]
    targets = ids[0, 1:]
    nll = [-selected_logprobs(each, targets).cpu() for each in (base_logits, logits)]
    # In slices: several float32 copies of all logits of a long text would be the run's peak memory.
    kl = [kl_from_logits(a, b).cpu() for a, b in zip(logits.split(128), base_logits.split(128), strict=True)]
    return nll[0], nll[1], torch.cat(kl)
