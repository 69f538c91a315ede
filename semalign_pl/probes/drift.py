"""Drift of the policy from its base model, on text that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from semalign_pl.functional.drift import (
    KL_EDGES,
    NLL_CHANGE_EDGES,
    kl_from_logits,
    mean_kl,
    mean_nll_change,
    nll_changes,
    p90_kl,
    p90_nll_change,
    token_histogram,
    token_sums,
)
from semalign_pl.functional.logprobs import selected_logprobs
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe, existing_file
from semalign_pl.probes.base_outputs import BaseOutputs
from semalign_pl.types import Item, Measurement


class DriftProbe(Probe):
    """Per-token drift of the policy from its base model on out-of-domain text (arXiv 2605.14366).

    The scores are the change of mean and 90th-percentile NLL, and mean and 90th percentile of KL(policy || base), in
    nats. Percentiles are over the tokens of all texts. Items are texts, for the two means. There are histograms of NLL
    change and KL over tokens. The base is the policy's own base model, without any adapter; its outputs are computed
    once for all measurements.

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
        path = existing_file("DriftProbe.file", file)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"DriftProbe.file: {file} is not UTF-8 text ({error}); convert it") from error
        numbered = [(f"{path.name}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
        self.ids = [place for place, _ in numbered][:limit]
        self.texts = [line for _, line in numbered][:limit]
        self._base = BaseOutputs()
        if not self.texts:
            raise ValueError(f"DriftProbe.file: {file} holds no text; give one text a line")

    def measure(self, policy: Policy) -> Measurement:
        """Compare policy and base on every text."""
        tokens = [policy.encoder.tokenizer(text)["input_ids"] for text in self.texts]
        cut = sum(len(ids) > self.max_tokens for ids in tokens)
        kept = {place: ids[: self.max_tokens] for place, ids in zip(self.ids, tokens, strict=True) if len(ids) > 1}
        base, changed, divergence = [], [], []
        self._base.check_base(policy)
        for texts in _groups(list(kept.values()), self.max_tokens):
            for base_nll, policy_nll, kl in self._compare(policy, texts):
                base.append(base_nll)
                changed.append(policy_nll)
                divergence.append(kl)
        changes = nll_changes(base, changed)
        sums = zip(kept, token_sums(changes).tolist(), token_sums(divergence).tolist(), strict=True)
        items = [Item("drift", place, {"nll_change_mean": change, "kl_mean": kl}) for place, change, kl in sums]
        histograms = {
            "nll_change": token_histogram(changes, NLL_CHANGE_EDGES),
            "kl": token_histogram(divergence, KL_EDGES),
        }
        scores = {
            "nll_change_mean": replace(mean_nll_change(base, changed), items="drift"),
            "nll_change_p90": p90_nll_change(base, changed),
            "kl_mean": replace(mean_kl(divergence), items="drift"),
            "kl_p90": p90_kl(divergence),
        }
        suffix = f"|texts:{len(kept)}|max_tokens:{self.max_tokens}|cut:{cut}|against:base"
        scores = {name: replace(score, signature=score.signature + suffix) for name, score in scores.items()}
        return Measurement(scores, items, histograms)

    def _compare(self, policy: Policy, texts: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """NLL of base and policy, and KL(policy || base) of each text, each ``(tokens - 1,)`` float32 on the CPU."""
        ids = [torch.tensor([text], device=policy.device) for text in texts]
        changed = [policy.model(input_ids=text, use_cache=False).logits[0, :-1] for text in ids]
        with policy.acting_as("base"):
            unchanged = [self._base(policy, text) for text in texts]
        for text, logits, (base_logits, base_nll) in zip(ids, changed, unchanged, strict=True):
            nll = -selected_logprobs(logits, text[0, 1:]).cpu()
            # In slices: several float32 copies of all logits of a long text would be the run's peak memory.
            slices = zip(logits.split(128), base_logits.split(128), strict=True)
            yield base_nll, nll, torch.cat([kl_from_logits(a, b).cpu() for a, b in slices])


def _groups(texts: Sequence[list[int]], max_tokens: int) -> Iterator[list[list[int]]]:
    """Texts in order, in groups with no more tokens than one longest text: switching to the base per text is slow."""
    group: list[list[int]] = []
    for text in texts:
        if group and sum(map(len, group)) + len(text) > max_tokens:
            yield group
            group = []
        group.append(text)
    if group:
        yield group
