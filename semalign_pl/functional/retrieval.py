"""Retrieval metrics of a sentence encoder on pairs: accuracy, MRR, margin, AUC, alignment and uniformity.

Embeddings are rows of length 1, so that their products are cosines. Cosines are computed chunk by chunk, because all of
them would not fit in memory for a large corpus. Pairs that share a text are not wrong answers for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.files.digest import digest
from semalign_pl.functional.bootstrap import Statistic, confidence_interval
from semalign_pl.types import MetricResult


@dataclass(frozen=True)
class SearchResult:
    """Result of a search, per query.

    Attributes:
        own: Cosine to the query's own candidate.
        wrong: Cosine to the nearest wrong candidate; -inf if there is none.
        rank: Rank of the own candidate among the wrong ones, from 1. Ties count against it, so that an encoder with
            equal cosines for everything has no hits.
    """

    own: Float[Tensor, " pairs"]
    wrong: Float[Tensor, " pairs"]
    rank: Int[Tensor, " pairs"]


def identities(texts: Sequence[str]) -> Int[Tensor, " texts"]:
    """Hashes of texts, equal for equal texts in every process.

    >>> a, b, c = identities(["a", "b", "a"])
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    return torch.tensor([int(digest(text, digits=14), 16) for text in texts], dtype=torch.long)


def search(
    queries: Float[Tensor, "pairs dims"],
    candidates: Float[Tensor, "pairs dims"],
    query_ids: Int[Tensor, " pairs"],
    candidate_ids: Int[Tensor, " pairs"],
    chunk: int = 1024,
) -> SearchResult:
    """Rank each query's own candidate, the one in the same row, among all candidates.

    Args:
        queries: Embeddings of the queries, rows of length 1.
        candidates: Embeddings of the candidates, rows of length 1.
        query_ids: Hashes of the query texts.
        candidate_ids: Hashes of the candidate texts; a row is a wrong answer if both its texts differ.
        chunk: Number of queries per chunk.

    >>> towards = torch.tensor([0.0, 0.1, 1.5])  # angles, in radians
    >>> x = torch.stack([towards.cos(), towards.sin()], 1)
    >>> found = search(x, x[[1, 0, 2]], torch.arange(3), torch.arange(3))
    >>> found.rank.tolist()  # the first two find each other's
    [2, 2, 1]
    """
    results = []
    for rows in _chunks(queries, chunk):
        cosines = queries[rows] @ candidates.T
        own = cosines[torch.arange(len(rows)), rows].clone()
        same = (query_ids[rows].unsqueeze(1) == query_ids) | (candidate_ids[rows].unsqueeze(1) == candidate_ids)
        cosines.masked_fill_(same, -torch.inf)
        results.append((own, cosines.amax(1), 1 + (cosines >= own.unsqueeze(1)).sum(1)))
    return SearchResult(*(torch.cat(column) for column in zip(*results, strict=True)))


def alignment(x: Float[Tensor, "pairs dims"], y: Float[Tensor, "pairs dims"]) -> Float[Tensor, " pairs"]:
    """Squared distance of each pair; the mean is Wang and Isola's alignment (arXiv 2005.10242, section 4.1; α = 2).

    Args:
        x: Embeddings of one side, rows of length 1.
        y: Embeddings of the other side, rows of length 1.

    Returns:
        Squared distances, in [0, 4].

    >>> alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    return (x - y).square().sum(-1)


def uniformity(x: Float[Tensor, "texts dims"], t: float = 2.0, chunk: int = 1024) -> float:
    """Uniformity: log of the mean of exp(-t · squared distance) over pairs of texts (arXiv 2005.10242, section 4.1).

    Args:
        x: Embeddings, rows of length 1; at least two rows.
        t: Sharpness, 2 in the paper.
        chunk: Number of rows per chunk.

    Returns:
        0 if all embeddings are equal; lower is more uniform, with -2 t as the bound on a sphere.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 4)
    -8.0
    """
    others = [(2 * t * ((x[rows] @ x.T).double() - 1)).exp().sum(1) - 1 for rows in _chunks(x, chunk)]
    return float((torch.cat(others).mean() / (len(x) - 1)).log())


def auc(true: Float[Tensor, " pairs"], wrong: Float[Tensor, "pairs each"]) -> Statistic:
    """Area under the ROC curve of true against wrong cosines; ties count half.

    Args:
        true: Cosines of true pairs.
        wrong: Cosines of wrong pairs; they are drawn together with their true pair.

    Returns:
        Function from draw counts to the area, for ``confidence_interval``; one sort for all resamples.

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
    x: Float[Tensor, "pairs dims"],
    y: Float[Tensor, "pairs dims"],
    x_ids: Int[Tensor, " pairs"],
    y_ids: Int[Tensor, " pairs"],
    n_bootstrap: int = 1000,
    seed: int = 12345,
) -> dict[str, MetricResult]:
    """All retrieval metrics of an encoder on pairs.

    Args:
        x: Embeddings of the sources, rows of length 1.
        y: Embeddings of the targets, rows of length 1.
        x_ids: Hashes of the source texts, from ``identities``.
        y_ids: Hashes of the target texts.
        n_bootstrap: Number of resamples of queries, with the candidates fixed; 0 for no intervals.
        seed: Seed of the bootstrap resampling.

    Returns:
        Scores by name: accuracy at 1 and mean reciprocal rank in both directions; ``margin``, the mean over both
        directions of the cosine of the true pair minus that of the nearest wrong one; ``discrimination``, the AUC of
        true pairs against these nearest wrong ones; ``alignment``; and ``uniformity``, the mean of both sides, without
        an interval.

    Raises:
        ValueError: If a pair has no other pair that differs in both texts.

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
        scores[name] = MetricResult(statistic(torch.ones(len(x), dtype=torch.float64)), interval, signature)
    even = (uniformity(x) + uniformity(y)) / 2
    return scores | {"uniformity": MetricResult(even, None, f"uniformity:gaussian|t:2|sides:mean|pairs:{len(x)}")}


def _mean(values: Tensor) -> Statistic:
    values = values.double().cpu()
    return lambda counts: float((counts @ values) / counts.sum())


def _chunks(rows: Tensor, chunk: int) -> Sequence[Tensor]:
    return torch.arange(len(rows), device=rows.device).split(chunk)
