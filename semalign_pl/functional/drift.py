"""Drift of a policy from its base model on text that it was not trained on.

Source: arXiv 2605.14366 reports the change of the mean and of the 90th percentile of per-token NLL, and the 90th
percentile of per-token KL. Each pools the tokens of all texts; intervals resample texts, because the tokens of one text
are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semalign_pl.functional.bootstrap import percentile_interval, resample_counts
from semalign_pl.functional.formulas import score
from semalign_pl.types import Histogram, MetricResult

OVER_TOKENS = "over:tokens|unit:nats"
NLL_CHANGE_EDGES = tuple(round(0.05 * i - 5, 2) for i in range(201))
"""Edges of the histogram of per-token NLL changes: from -5 to 5 nats in steps of 0.05; the outermost bins are open."""
KL_EDGES = (0.0, *(float(f"{10 ** (i / 10 - 5):.3g}") for i in range(61)))
"""Edges of the histogram of per-token KL: 0, then ten per decade from 0.00001 to 10 nats; the last bin is open."""

ResampledStatistic = Callable[[Float[Tensor, "resamples texts"]], Float[Tensor, " resamples"]]
"""Function from draw counts of resamples to their values."""


def kl_from_logits(
    policy_logits: Float[Tensor, "tokens vocabulary"], base_logits: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """Per-token KL(policy || base) over the full vocabulary, computed in float32.

    Args:
        policy_logits: Logits of the policy, of any precision.
        base_logits: Logits of the base for the same tokens.

    Returns:
        KL per token, float32 in nats, not below 0.

    >>> kl_from_logits(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.])
    """
    policy, base = policy_logits.float().log_softmax(-1), base_logits.float().log_softmax(-1)
    return _kl_from_logprobs(policy, base)


def nll_and_kl(
    policy_logits: Float[Tensor, "tokens vocabulary"],
    base_logits: Float[Tensor, "tokens vocabulary"],
    ids: Int[Tensor, " tokens"],
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Per-token NLL of policy and base, and KL(policy || base), from one softmax of each.

    Args:
        policy_logits: Logits of the policy, of any precision.
        base_logits: Logits of the base for the same tokens.
        ids: Token ids.

    Returns:
        NLL of the policy, NLL of the base, and KL as in ``kl_from_logits``; float32 in nats.

    >>> nll_and_kl(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([0]))[2]
    tensor([0.])
    """
    policy, base = policy_logits.float().log_softmax(-1), base_logits.float().log_softmax(-1)
    policy_nll, base_nll = (-logps.gather(-1, ids.unsqueeze(-1)).squeeze(-1) for logps in (policy, base))
    return policy_nll, base_nll, _kl_from_logprobs(policy, base)


def _kl_from_logprobs(policy: Tensor, base: Tensor) -> Float[Tensor, " tokens"]:
    """Sum of ``p (log p - log q)``, in the memory of the arguments: a copy of so large a tensor is slow."""
    difference = base.neg_().add_(policy)
    return difference.mul_(policy.exp_()).sum(-1).clamp(min=0.0)


def mean_nll_change(
    base_nll: Sequence[Float[Tensor, " tokens"]],
    policy_nll: Sequence[Float[Tensor, " tokens"]],
    n_bootstrap: int = 1000,
    seed: int = 12345,
) -> MetricResult:
    """Mean change of per-token NLL, policy minus base.

    Args:
        base_nll: Per-token NLL under the base, one tensor per text, in nats.
        policy_nll: Per-token NLL under the policy, for the same texts and tokens.
        n_bootstrap: Number of resamples of texts; 0 for no interval.
        seed: Seed of the bootstrap resampling.

    Returns:
        Change in nats per token; above 0 the text is less likely under the policy.

    Raises:
        ValueError: If the two do not have the same texts and tokens, or there is no token.

    >>> mean_nll_change([torch.tensor([1.0, 2.0])], [torch.tensor([1.5, 3.5])], n_bootstrap=0).value
    1.0
    """
    statistics = token_sums(nll_changes(base_nll, policy_nll))
    return score("ratio", statistics, f"nll_change:mean|{OVER_TOKENS}", n_bootstrap, seed)


def nll_changes(
    base_nll: Sequence[Float[Tensor, " tokens"]], policy_nll: Sequence[Float[Tensor, " tokens"]]
) -> list[Float[Tensor, " tokens"]]:
    """Change of NLL per token, policy minus base, float64; arguments and errors as in ``mean_nll_change``."""
    _require_same_tokens(base_nll, policy_nll)
    return [policy.double() - base.double() for base, policy in zip(base_nll, policy_nll, strict=True)]


def token_sums(values: Sequence[Float[Tensor, " tokens"]]) -> NDArray[np.float64]:
    """Sufficient statistics of a mean over the tokens of all texts.

    Args:
        values: Value per token, one tensor per text.

    Returns:
        Sum of the values and number of tokens, ``(texts, 2)`` float64.

    >>> token_sums([torch.tensor([1.0, 2.0])]).tolist()
    [[3.0, 2.0]]
    """
    return np.array([[text.double().sum().item(), len(text)] for text in values], dtype=np.float64)


def token_histogram(values: Sequence[Float[Tensor, " tokens"]], edges: Sequence[float]) -> Histogram:
    """Histogram of the values of all tokens.

    Args:
        values: Value per token, one tensor per text.
        edges: Edges of the bins; smaller and larger values are counted in the outermost bins.

    >>> token_histogram([torch.tensor([-9.0, 0.5, 1.0])], edges=(0.0, 1.0, 2.0)).counts
    [2, 1]
    """
    pooled = torch.cat(list(values)).double().cpu().numpy()
    counts, _ = np.histogram(pooled.clip(edges[0], edges[-1]), edges)
    return Histogram(tuple(edges), counts.tolist())


def p90_nll_change(
    base_nll: Sequence[Float[Tensor, " tokens"]],
    policy_nll: Sequence[Float[Tensor, " tokens"]],
    n_bootstrap: int = 1000,
    seed: int = 12345,
) -> MetricResult:
    """Change of the 90th percentile of per-token NLL, policy minus base; arguments as in ``mean_nll_change``.

    >>> base = [torch.arange(11.0)]
    >>> p90_nll_change(base, [2 * base[0]], n_bootstrap=0).value
    9.0
    """
    _require_same_tokens(base_nll, policy_nll)
    base, policy = _quantile(base_nll, 0.9), _quantile(policy_nll, 0.9)
    return _score(lambda counts: policy(counts) - base(counts), "nll_change:p90", len(base_nll), n_bootstrap, seed)


def mean_kl(kl: Sequence[Float[Tensor, " tokens"]], n_bootstrap: int = 1000, seed: int = 12345) -> MetricResult:
    """Mean per-token KL(policy || base) in nats, from one tensor per text (``kl_from_logits``)."""
    _require_same_tokens(kl, kl)
    return score("ratio", token_sums(kl), f"kl:mean|{OVER_TOKENS}", n_bootstrap, seed)


def p90_kl(kl: Sequence[Float[Tensor, " tokens"]], n_bootstrap: int = 1000, seed: int = 12345) -> MetricResult:
    """90th percentile of per-token KL(policy || base) in nats, from one tensor per text."""
    _require_same_tokens(kl, kl)
    return _score(_quantile(kl, 0.9), "kl:p90", len(kl), n_bootstrap, seed)


def _quantile(values: Sequence[Float[Tensor, " tokens"]], q: float) -> ResampledStatistic:
    """Linearly interpolated quantile over the tokens of the drawn texts, with one sort for all resamples.

    The sorted tokens are cut into blocks, and the tokens of each text in each block are counted once. A resample finds
    its block by these counts, and looks at single tokens in that block only.
    """
    ordered, order = torch.cat(list(values)).double().cpu().sort()
    text_of_token = torch.arange(len(values)).repeat_interleave(torch.tensor([len(text) for text in values]))[order]
    size = -(-len(order) // 256)
    # The last block is filled up with a text that is never drawn.
    blocks = F.pad(text_of_token, (0, -len(order) % size), value=len(values)).view(-1, size)
    in_block = torch.stack([block.bincount(minlength=len(values) + 1) for block in blocks]).double()  # (blocks, texts)

    def statistic(counts: Tensor) -> Tensor:
        counts = F.pad(counts, (0, 1))
        drawn = (counts @ in_block.T).cumsum(1)  # drawn tokens up to the end of each block

        def value_at(rank: Tensor) -> Tensor:
            block = torch.searchsorted(drawn, rank, right=True)
            drawn_in_block = counts.gather(1, blocks[block.squeeze(1)]).cumsum(1)
            before = drawn.gather(1, block) - drawn_in_block[:, -1:]
            return ordered[block * size + torch.searchsorted(drawn_in_block, rank - before, right=True)].squeeze(1)

        position = (drawn[:, -1:] - 1) * q
        low, high = value_at(position.floor()), value_at(position.ceil())
        return torch.lerp(low, high, (position - position.floor()).squeeze(1))

    return statistic


def _require_same_tokens(base: Sequence[Float[Tensor, " tokens"]], policy: Sequence[Float[Tensor, " tokens"]]) -> None:
    if len(base) != len(policy) or not base:
        raise ValueError(f"policy_nll: {len(policy)} texts against {len(base)} of the base; give the same, and some")
    for place, (base_text, policy_text) in enumerate(zip(base, policy, strict=True)):
        if len(base_text) != len(policy_text):
            tokens = f"{len(policy_text)} tokens against {len(base_text)} of the base"
            raise ValueError(f"policy_nll: text {place} has {tokens}; score the same ids under both")
        if len(base_text) == 0:
            raise ValueError(f"base_nll: text {place} has no tokens; leave it out")


def _score(statistic: ResampledStatistic, name: str, texts: int, n_bootstrap: int, seed: int) -> MetricResult:
    signature = f"{name}|{OVER_TOKENS}"
    value = statistic(torch.ones((1, texts), dtype=torch.float64)).item()
    if n_bootstrap == 0:
        return MetricResult(value, None, signature)
    counts = torch.stack(list(resample_counts(texts, n_bootstrap, seed)))
    values = torch.cat([statistic(chunk) for chunk in counts.split(100)])  # in chunks, to bound memory
    interval = percentile_interval(values.tolist())
    return MetricResult(value, interval, f"{signature}|bs:{n_bootstrap}|seed:{seed}")
