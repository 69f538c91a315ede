"""Does an encoder find the other half of a pair among all others, and how far apart does it keep them?

Embeddings are rows of length 1, so that their products are cosines. Pairs are compared chunk by chunk: all cosines of a
large corpus never exist at once. A pair that shares a text with another is no wrong answer for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.functional.drift import Statistic
from semalign_pl.types import Score


@dataclass(frozen=True)
class Found:
    """What each query found.

    Attributes:
        own: ``(pairs,)`` float32, cosine to its own candidate.
        wrong: ``(pairs,)`` float32, cosine to the nearest wrong one; -inf where there is none.
        rank: ``(pairs,)`` int64, place of its own among the wrong ones, from 1; ties count against it, so that an
            encoder which finds everything alike finds nothing.
    """

    own: Tensor
    wrong: Tensor
    rank: Tensor


def identities(texts: Sequence[str]) -> Tensor:
    """A number for each text, in every process the same for equal texts: ``(texts,)`` int64.

    >>> a, b, c = identities(["a", "b", "a"])
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    digests = [hashlib.blake2b(text.encode(), digest_size=7).digest() for text in texts]
    return torch.tensor([int.from_bytes(digest, "big") for digest in digests], dtype=torch.long)


def search(queries: Tensor, candidates: Tensor, query_ids: Tensor, candidate_ids: Tensor, chunk: int = 1024) -> Found:
    """Look for each query's own candidate, the one in its row, among all.

    Args:
        queries: ``(pairs, dimensions)`` float32, rows of length 1.
        candidates: ``(pairs, dimensions)`` float32, rows of length 1.
        query_ids: ``(pairs,)`` int64, the same for equal texts.
        candidate_ids: ``(pairs,)`` int64; another row is wrong if both its texts differ.
        chunk: Queries at once.

    >>> towards = torch.tensor([0.0, 0.1, 1.5])  # angles, in radians
    >>> x = torch.stack([towards.cos(), towards.sin()], 1)
    >>> found = search(x, x[[1, 0, 2]], torch.arange(3), torch.arange(3))
    >>> found.rank.tolist()  # the first two take each other's
    [2, 2, 1]
    """
    parts = []
    for rows in _chunks(queries, chunk):
        cosines = queries[rows] @ candidates.T
        own = cosines[torch.arange(len(rows)), rows].clone()
        same = (query_ids[rows].unsqueeze(1) == query_ids) | (candidate_ids[rows].unsqueeze(1) == candidate_ids)
        cosines.masked_fill_(same, -torch.inf)
        parts.append((own, cosines.amax(1), 1 + (cosines >= own.unsqueeze(1)).sum(1)))
    return Found(*(torch.cat(column) for column in zip(*parts, strict=True)))


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of each pair, whose mean is Wang and Isola's alignment (arXiv 2005.10242, section 4.1; α = 2).

    Args:
        x: ``(pairs, dimensions)`` float, rows of length 1.
        y: The other halves.

    Returns:
        ``(pairs,)``, in [0, 4].

    >>> alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    return (x - y).square().sum(-1)


def uniformity(x: Tensor, t: float = 2.0, chunk: int = 1024) -> float:
    """Log of the mean over pairs of texts of exp(-t · squared distance) (arXiv 2005.10242, section 4.1).

    Args:
        x: ``(texts, dimensions)`` float, rows of length 1; two or more.
        t: Sharpness, 2 in the paper.
        chunk: Rows compared at once.

    Returns:
        At most 0, where all lie on one point; lower is more uniform, on a sphere not below -2 t.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 4)
    -8.0
    """
    others = [(2 * t * ((x[rows] @ x.T).double() - 1)).exp().sum(1) - 1 for rows in _chunks(x, chunk)]
    return float((torch.cat(others).mean() / (len(x) - 1)).log())


def auc(true: Tensor, wrong: Tensor) -> Statistic:
    """How often a true pair's cosine is above a wrong one's; ties count half (the area under the ROC curve).

    Args:
        true: ``(pairs,)`` float.
        wrong: ``(pairs, each)`` float: wrong ones of each pair, which are drawn together with it.

    Returns:
        From ``(pairs,)`` draw counts to the area, as ``confidence_interval`` wants it; sorted once for all resamples.

    >>> auc(torch.tensor([0.9, 0.5]), torch.tensor([[0.5], [0.1]]))(torch.ones(2))
    0.875
    """
    true, wrong = true.cpu(), wrong.cpu()
    ordered, order = wrong.flatten().sort()
    below, upto = torch.searchsorted(ordered, true), torch.searchsorted(ordered, true, right=True)
    pair = order // wrong.shape[1]

    def statistic(counts: Tensor) -> float:
        drawn = torch.cat([counts.new_zeros(1), counts[pair].cumsum(0)])
        return float((counts @ (drawn[below] + drawn[upto])) / (2 * counts.sum() * drawn[-1]))

    return statistic


def retrieval_scores(
    x: Tensor, y: Tensor, x_ids: Tensor, y_ids: Tensor, n_bootstrap: int = 1000, seed: int = 12345
) -> dict[str, Score]:
    """Everything that is measured of an encoder on pairs.

    Args:
        x: ``(pairs, dimensions)`` float32, rows of length 1: the sources.
        y: The same of their targets.
        x_ids: ``(pairs,)`` int64, from ``identities``.
        y_ids: The same of the targets.
        n_bootstrap: Resamples of queries, over candidates that stay; 0 for no intervals.
        seed: Of the resampling.

    Returns:
        By name: accuracy at 1 and mean reciprocal rank both ways; ``margin``, mean over both ways of the cosine of the
        true pair less that of the nearest wrong one; ``discrimination``, the AUC of true pairs against those nearest
        wrong ones; ``alignment``; and ``uniformity``, the mean of both sides' and without an interval.

    Raises:
        ValueError: If a pair has no other that differs in both texts.

    >>> scores = retrieval_scores(torch.eye(3), torch.eye(3), torch.arange(3), torch.arange(3), n_bootstrap=0)
    >>> {name: round(score.value, 3) for name, score in scores.items() if "target_to" not in name}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'accuracy_at_1_source_to_target': 1.0, 'mrr_source_to_target': 1.0, 'margin': 1.0, 'discrimination': 1.0,
     'alignment': 0.0, 'uniformity': -4.0}
    """
    ways = {"source_to_target": search(x, y, x_ids, y_ids), "target_to_source": search(y, x, y_ids, x_ids)}
    own = torch.stack([found.own for found in ways.values()], 1).mean(1)
    wrong = torch.stack([found.wrong for found in ways.values()], 1)
    if wrong.isinf().any():
        raise ValueError("retrieval: there is a pair without a wrong answer beside it; give more pairs of other texts")
    statistics: dict[str, tuple[Statistic, str]] = {}
    for name, found in ways.items():
        statistics[f"accuracy_at_1_{name}"] = (_mean(found.rank == 1), f"accuracy@1:{name}|ties:against")
        statistics[f"mrr_{name}"] = (_mean(1 / found.rank), f"mrr:{name}|ties:against")
    statistics["margin"] = (_mean(own - wrong.mean(1)), "margin:cosine|wrong:nearest|ways:both")
    statistics["discrimination"] = (auc(own, wrong), "auc:cosine|wrong:nearest|ways:both")
    statistics["alignment"] = (_mean(alignment(x, y)), "alignment:squared_distance")
    scores = {}
    for name, (statistic, signature) in statistics.items():
        signature, interval = f"{signature}|pairs:{len(x)}", None
        if n_bootstrap:
            interval = confidence_interval(statistic, len(x), n_bootstrap, seed)
            signature = f"{signature}|bs:{n_bootstrap}|seed:{seed}"
        scores[name] = Score(statistic(torch.ones(len(x), dtype=torch.float64)), interval, signature)
    even = (uniformity(x) + uniformity(y)) / 2
    return scores | {"uniformity": Score(even, None, f"uniformity:gaussian|t:2|sides:mean|pairs:{len(x)}")}


def _mean(values: Tensor) -> Statistic:
    values = values.double().cpu()
    return lambda counts: float((counts @ values) / counts.sum())


def _chunks(rows: Tensor, chunk: int) -> Sequence[Tensor]:
    return torch.arange(len(rows), device=rows.device).split(chunk)
