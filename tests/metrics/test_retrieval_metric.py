"""The metric over batches equals the function over all pairs."""

import pytest
import torch

from semalign_pl.functional.retrieval import identities, retrieval_scores
from semalign_pl.metrics.retrieval import Retrieval


def test_batches_are_one_corpus():
    x, y = (torch.nn.functional.normalize(torch.randn(12, 4), dim=-1) for _ in range(2))
    sources, targets = [f"s{i % 11}" for i in range(12)], [f"t{i}" for i in range(12)]
    metric = Retrieval()
    for rows in (slice(0, 5), slice(5, 12)):
        metric.update(sources[rows], targets[rows], x[rows], y[rows])
    wanted = retrieval_scores(x, y, identities(sources), identities(targets), n_bootstrap=50)
    assert metric.score(n_bootstrap=50) == wanted
    assert metric.compute() == {name: score.value for name, score in wanted.items()}
    metric.reset()
    with pytest.raises(ValueError, match="no pair to score"):
        metric.score()
