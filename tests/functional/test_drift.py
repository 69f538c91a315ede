"""Drift, against numbers computed by hand, by numpy and by the definition of KL."""

import math

import numpy as np
import pytest
import torch

from semalign_pl.functional.bootstrap import resample_counts
from semalign_pl.functional.drift import (
    KL_EDGES,
    NLL_CHANGE_EDGES,
    kl_from_logits,
    mean_kl,
    mean_nll_change,
    nll_and_kl,
    p90_kl,
    p90_nll_change,
    token_histogram,
)


def _texts(seed: int, lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(length, generator=generator) * 5 for length in lengths]


def test_mean_pools_tokens_not_texts() -> None:
    base = [torch.tensor([1.0]), torch.tensor([1.0, 1.0, 1.0])]
    policy = [torch.tensor([5.0]), torch.tensor([1.0, 1.0, 1.0])]
    score = mean_nll_change(base, policy, n_bootstrap=0)
    assert score.value == 1.0  # a mean of text means would be 2
    assert score.ci is None
    assert score.signature == "nll_change:mean|over:tokens|unit:nats"


def test_p90_is_a_difference_of_percentiles() -> None:
    base = [torch.tensor([0.0, 10.0]), torch.tensor([20.0])]
    policy = [torch.tensor([20.0, 0.0]), torch.tensor([10.0])]  # the same values at other places: no change
    assert p90_nll_change(base, policy, n_bootstrap=0).value == 0.0
    # By hand: sorted 0, 10, 20 -> position 0.9 * 2 = 1.8 -> 10 + 0.8 * 10 = 18; increased by one -> 19.
    shifted = [text + 1 for text in policy]
    assert p90_nll_change(base, shifted, n_bootstrap=0).value == pytest.approx(1.0)
    assert p90_kl(base, n_bootstrap=0).value == pytest.approx(18.0)


@pytest.mark.parametrize("lengths", [[1], [2], [7, 1, 4], [100, 3, 50, 50], [400, 1, 900, 333]])
def test_percentiles_and_intervals_are_numpys(lengths: list[int]) -> None:
    base, policy = _texts(0, lengths), _texts(1, lengths)
    score = p90_nll_change(base, policy, n_bootstrap=50, seed=3)

    def change(texts: list[int]) -> float:
        drawn = [np.concatenate([side[text].double().numpy() for text in texts]) for side in (base, policy)]
        return float(np.percentile(drawn[1], 90) - np.percentile(drawn[0], 90))

    resamples = [
        change([text for text, count in enumerate(counts.long().tolist()) for _ in range(count)])
        for counts in resample_counts(len(lengths), 50, seed=3)
    ]
    assert score.value == pytest.approx(change(list(range(len(lengths)))), abs=1e-12)
    assert score.ci == pytest.approx(tuple(np.percentile(resamples, [2.5, 97.5])), abs=1e-12)
    assert score.signature == "nll_change:p90|over:tokens|unit:nats|bs:50|seed:3"


def test_interval_of_the_mean_resamples_texts() -> None:
    base, policy = _texts(0, [5, 9, 2]), _texts(1, [5, 9, 2])
    sums = [(after - before).double().sum().item() for before, after in zip(base, policy, strict=True)]
    resamples = [
        sum(c * s for c, s in zip(counts.tolist(), sums, strict=True))
        / sum(c * n for c, n in zip(counts.tolist(), [5, 9, 2], strict=True))
        for counts in resample_counts(3, 40, seed=12345)
    ]
    score = mean_nll_change(base, policy, n_bootstrap=40)
    assert score.ci == pytest.approx(tuple(np.percentile(resamples, [2.5, 97.5])))
    assert mean_nll_change(base, policy, n_bootstrap=40) == score
    assert mean_nll_change(base, policy, n_bootstrap=40, seed=1) != score


def test_kl_by_hand() -> None:
    policy, base = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    kl = kl_from_logits(policy.log().unsqueeze(0) + 7.0, base.log().unsqueeze(0) - 3.0)
    # 0.5 ln 2 + 0 + 0.25 ln 0.5; the reverse KL has the same value here, so a second pair tells them apart.
    assert kl.item() == pytest.approx(0.25 * math.log(2), abs=1e-6)
    policy, base = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
    expected = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert kl_from_logits(policy.log(), base.log()).item() == pytest.approx(expected, abs=1e-6)


def test_nll_and_kl_of_one_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, base = torch.randn(2, 9, 50, generator=generator).bfloat16()
    ids = torch.randint(50, (9,), generator=generator)
    policy_nll, base_nll, kl = nll_and_kl(policy, base, ids)
    torch.testing.assert_close(policy_nll, torch.nn.functional.cross_entropy(policy.float(), ids, reduction="none"))
    torch.testing.assert_close(base_nll, torch.nn.functional.cross_entropy(base.float(), ids, reduction="none"))
    assert torch.equal(kl, kl_from_logits(policy, base))
    logits = policy.float()
    before = logits.clone()
    nll_and_kl(logits, logits, ids)
    assert torch.equal(logits, before)  # only its own memory is used again


def test_kl_is_float32_and_never_negative() -> None:
    logits = torch.randn(64, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    other = (logits.float() + 1e-3).bfloat16()
    for kl in (kl_from_logits(logits, logits), kl_from_logits(logits, other)):
        assert kl.shape == (64,) and kl.dtype == torch.float32
        assert (kl >= 0).all()
    exact = (logits.double().softmax(-1) * (logits.double().log_softmax(-1) - other.double().log_softmax(-1))).sum(-1)
    torch.testing.assert_close(kl_from_logits(logits, other).double(), exact, atol=1e-6, rtol=1e-3)


def test_mean_kl() -> None:
    score = mean_kl([torch.tensor([0.0, 0.3]), torch.tensor([0.6])], n_bootstrap=100)
    assert score.value == pytest.approx(0.3)
    assert score.ci is not None and score.ci[0] == pytest.approx(0.15) and score.ci[1] == pytest.approx(0.6)
    assert score.signature == "kl:mean|over:tokens|unit:nats|bs:100|seed:12345"


@pytest.mark.parametrize(
    ("base", "policy", "message"),
    [
        ([], [], "0 texts against 0"),
        ([torch.ones(2)], [], "0 texts against 1"),
        ([torch.ones(2), torch.ones(2)], [torch.ones(2), torch.ones(3)], "text 1 has 3 tokens against 2"),
        ([torch.ones(0)], [torch.ones(0)], "text 0 has no tokens"),
    ],
)
@pytest.mark.parametrize("change", [mean_nll_change, p90_nll_change])
def test_refused(change, base, policy, message: str) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=message):
        change(base, policy)


def test_histograms_have_fixed_edges_and_open_ends() -> None:
    assert (NLL_CHANGE_EDGES[0], NLL_CHANGE_EDGES[1], NLL_CHANGE_EDGES[-1]) == (-5.0, -4.95, 5.0)
    assert len(NLL_CHANGE_EDGES) == 201 and NLL_CHANGE_EDGES[100] == 0.0
    assert KL_EDGES[:3] == (0.0, 1e-5, 1.26e-5) and KL_EDGES[-1] == 10.0 and len(KL_EDGES) == 62
    for edges in (NLL_CHANGE_EDGES, KL_EDGES):
        assert list(edges) == sorted(set(edges))
    values = [torch.tensor([-7.0, -5.0, -4.97]), torch.tensor([0.0, 0.049, 0.05, 4.99, 5.0, 90.0])]
    histogram = token_histogram(values, NLL_CHANGE_EDGES)
    counts = {edge: n for edge, n in zip(histogram.edges, histogram.counts, strict=False) if n}
    assert counts == {-5.0: 3, 0.0: 2, 0.05: 1, 4.95: 3} and len(histogram.counts) == 200
