"""Ranks, margins and geometry, against numbers by hand, brute force, torchmetrics and torch's own distances."""

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from semalign_pl.functional.retrieval import alignment, auc, identities, retrieval_scores, search, uniformity


def at(*degrees: float) -> Tensor:
    """Unit vectors in the plane at the given angles."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def unit(rows: int, dimensions: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def test_by_hand():
    """Sources at 0, 60 and 100 degrees, targets at 20, 50 and 45: each cosine is that of the angle between two."""
    x, y, ids = at(0, 60, 100), at(20, 50, 45), torch.arange(3)
    forward, back = search(x, y, ids, ids), search(y, x, ids, ids)
    assert forward.rank.tolist() == [1, 1, 2]  # the source at 100 is nearer to 50 than to its own, 45
    assert back.rank.tolist() == [1, 1, 3]  # the target at 45 is nearer to 60 and to 0 than to its own, 100
    own, there, home = (torch.tensor(angles).deg2rad().cos() for angles in ((20, 10, 55), (45, 15, 50), (40, 50, 15)))
    torch.testing.assert_close(forward.own, own)
    torch.testing.assert_close(forward.wrong, there)
    torch.testing.assert_close(back.wrong, home)
    scores = {name: score.value for name, score in retrieval_scores(x, y, ids, ids, n_bootstrap=0).items()}
    assert scores["accuracy_at_1_source_to_target"] == pytest.approx(2 / 3)
    assert scores["mrr_source_to_target"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert scores["accuracy_at_1_target_to_source"] == pytest.approx(2 / 3)
    assert scores["mrr_target_to_source"] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert scores["margin"] == pytest.approx(float((own - (there + home) / 2).mean()), abs=1e-6)
    # 20 degrees is closer than four of 45, 15, 50, 40, 50 and 15; 10 degrees than all six; 55 than none.
    assert scores["discrimination"] == pytest.approx(10 / 18)


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_search_is_brute_force_in_chunks(chunk):
    x, y = unit(40, 3, 0), unit(40, 3, 1)
    texts = [f"t{i % 30}" for i in range(40)]  # ten texts occur twice
    x_ids, y_ids = identities([f"s{i % 35}" for i in range(40)]), identities(texts)
    found = search(x, y, x_ids, y_ids, chunk)
    for i in range(40):
        own = float(x[i] @ y[i])
        wrong = [float(x[i] @ y[j]) for j in range(40) if j % 35 != i % 35 and j % 30 != i % 30]
        assert found.rank[i] == 1 + sum(value >= own for value in wrong)
        assert found.own[i] == pytest.approx(own, abs=1e-6) and found.wrong[i] == pytest.approx(max(wrong), abs=1e-6)


def test_equal_texts_are_no_wrong_answers():
    """Four pairs of two texts in each direction: with ids by row, equal texts would tie and win."""
    x, twice = at(0, 0, 90, 90), torch.tensor([0, 0, 1, 1])
    assert search(x, x, twice, twice).rank.tolist() == [1, 1, 1, 1]
    assert search(x, x, torch.arange(4), torch.arange(4)).rank.tolist() == [2, 2, 2, 2]


def test_an_encoder_that_finds_all_alike_finds_nothing():
    x, ids = at(30).expand(5, 2), torch.arange(5)
    scores = {name: score.value for name, score in retrieval_scores(x, x, ids, ids, n_bootstrap=0).items()}
    assert scores["accuracy_at_1_source_to_target"] == scores["accuracy_at_1_target_to_source"] == 0
    assert scores["mrr_source_to_target"] == pytest.approx(1 / 5) and scores["discrimination"] == pytest.approx(0.5)
    assert scores["margin"] == pytest.approx(0, abs=1e-6) and scores["uniformity"] == pytest.approx(0, abs=1e-5)


def test_geometry_is_wang_and_isolas():
    """The authors' code: ``(x - y).norm(dim=1).pow(2)`` and ``torch.pdist(x).pow(2).mul(-2).exp().mean().log()``."""
    x, y = unit(50, 8, 0), unit(50, 8, 1)
    torch.testing.assert_close(alignment(x, y), (x - y).norm(dim=1).pow(2))
    for chunk in (1, 7, 1024):
        assert uniformity(x, chunk=chunk) == pytest.approx(
            float(torch.pdist(x).pow(2).mul(-2).exp().mean().log()), 1e-5
        )


def test_auc_is_torchmetrics_and_draws_pairs():
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(8, (20,), generator=generator) / 8  # rounded, so that there are ties
    wrong = torch.randint(6, (20, 2), generator=generator) / 8
    area = auc(true, wrong)

    def oracle(rows: Tensor) -> float:
        values = torch.cat([true[rows], wrong[rows].flatten()])
        return float(binary_auroc(values, torch.tensor([1] * len(rows) + [0] * 2 * len(rows))))

    assert area(torch.ones(20, dtype=torch.float64)) == pytest.approx(oracle(torch.arange(20)))
    drawn = torch.randint(20, (20,), generator=generator)
    assert area(drawn.bincount(minlength=20).double()) == pytest.approx(oracle(drawn))


def test_scores_have_intervals_and_signatures():
    x, ids = unit(60, 4, 0), torch.arange(60)
    y = torch.nn.functional.normalize(x + 0.5 * unit(60, 4, 1), dim=-1)
    scores = retrieval_scores(x, y, ids, ids, n_bootstrap=200)
    assert scores == retrieval_scores(x, y, ids, ids, n_bootstrap=200)
    assert len({score.signature for score in scores.values()}) == len(scores) == 8
    for name, score in scores.items():
        assert "pairs:60" in score.signature
        if name == "uniformity":
            assert score.ci is None
        else:
            assert score.ci is not None and score.ci[0] < score.value < score.ci[1] and "bs:200" in score.signature
    plain = retrieval_scores(x, y, ids, ids, n_bootstrap=0)
    assert all(plain[name].value == score.value and plain[name].ci is None for name, score in scores.items())


def test_a_corpus_without_wrong_answers_is_refused():
    x = at(0, 90)
    with pytest.raises(ValueError, match="pair without a wrong answer"):
        retrieval_scores(x, x, torch.zeros(2, dtype=torch.long), torch.arange(2))
