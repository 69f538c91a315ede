"""Drift of the policy from its base model, on text that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from semalign_pl.engine.base_states import BaseStates
from semalign_pl.engine.head import CHUNK_ELEMENTS
from semalign_pl.engine.text_states import group_texts, text_states
from semalign_pl.functional.drift import (
    KL_EDGES,
    NLL_CHANGE_EDGES,
    mean_kl,
    mean_nll_change,
    nll_and_kl,
    nll_changes,
    p90_kl,
    p90_nll_change,
    token_histogram,
    token_sums,
)
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe, existing_file
from semalign_pl.types import Item, Measurement

_TOKENS = 1024
"""Number of tokens per forward; bounds memory and changes nothing else."""
_SLICE = 128
"""Number of tokens per softmax."""


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
        name: Prefix of the scores' names, and name of the set of items, for a second probe; null for no prefix.
    """

    def __init__(
        self,
        file: str,
        limit: int | None = 200,
        max_tokens: int = 512,
        every_n_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.check_positive(limit=limit, max_tokens=max_tokens)
        self.file, self.limit, self.max_tokens, self.name = file, limit, max_tokens, name
        path = existing_file("DriftProbe.file", file)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"DriftProbe.file: {file} is not UTF-8 text ({error}); convert it") from error
        numbered = [(f"{path.name}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
        self.ids = [place for place, _ in numbered][:limit]
        self.texts = [line for _, line in numbered][:limit]
        self._base = BaseStates()
        if not self.texts:
            raise ValueError(f"DriftProbe.file: {file} holds no text; give one text per line")

    def measure(self, policy: Policy) -> Measurement:
        """Compare policy and base on every text."""
        tokens = [policy.encoder.tokenizer(text)["input_ids"] for text in self.texts]
        cut = sum(len(ids) > self.max_tokens for ids in tokens)
        kept = {place: ids[: self.max_tokens] for place, ids in zip(self.ids, tokens, strict=True) if len(ids) > 1}
        base, changed, divergence = self._compare(policy, list(kept.values()))
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
        return Measurement(scores, items, histograms).with_name(self.name)

    def _compare(self, policy: Policy, texts: Sequence[list[int]]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """NLL of base and policy, and KL(policy || base), each ``(tokens - 1,)`` float32 on the CPU per text."""
        self._base.check_base(policy)
        compared: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for group in group_texts(texts, max(_TOKENS, self.max_tokens)):
            chosen = [texts[index] for index in group]
            hidden, base = torch.cat(text_states(policy, chosen)), torch.cat(self._base(policy, chosen))
            ids = torch.tensor([token for text in chosen for token in text[1:]], device=policy.device)
            lengths = [len(text) - 1 for text in chosen]
            per_text = (values.split(lengths) for values in _nll_and_kl(policy, hidden, base, ids))
            compared |= zip(group, zip(*per_text, strict=True), strict=True)
        nll, base_nll, kl = zip(*(compared[index] for index in range(len(texts))), strict=True)
        return list(base_nll), list(nll), list(kl)


def _nll_and_kl(policy: Policy, hidden: Tensor, base: Tensor, ids: Tensor) -> list[Tensor]:
    """NLL of policy and base, and KL, of tokens whose states are given; on the CPU."""
    slices = []
    vocabulary = policy.causal_lm.config.get_text_config().vocab_size
    # Two levels: switching to the base per slice is slow, and a softmax of all tokens at once leaves the CPU's cache.
    at_once = max(_SLICE, CHUNK_ELEMENTS // vocabulary)
    for own, base_states, of in zip(*(x.split(at_once) for x in (hidden, base, ids)), strict=True):
        with policy.acting_as("base"):
            base_logits = policy.head(base_states)
        logits = policy.head(own)
        for few in zip(*(x.split(_SLICE) for x in (logits, base_logits, of)), strict=True):
            slices.append([values.cpu() for values in nll_and_kl(*few)])
    return [torch.cat(values) for values in zip(*slices, strict=True)]
