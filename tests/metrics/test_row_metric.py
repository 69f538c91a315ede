"""Common behaviour of all row metrics: accumulation, single texts, intervals, several processes."""

import os
import pathlib
from collections.abc import Callable

import pytest
import torch
from torch import multiprocessing

from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, RougeL, RowMetric

PREDICTIONS = ["བོད་ཡིག་སློབ་སྦྱོང་བྱེད།", "ང་ལ་དེབ་ཡོད།", "中文", "", "བཀྲ་ཤིས་བདེ་ལེགས་ཞུ།"]
REFERENCES = ["བོད་ཡིག་སློབ་སྦྱོང་བྱེད་ཀྱི་ཡོད།", "ང་ལ་དེབ་མེད།", "བོད་ཡིག", "ཡིན།", "བཀྲ་ཤིས་བདེ་ལེགས་ཞུ།"]
METRICS: list[Callable[[], RowMetric]] = [
    lambda: Bleu4("bo"),
    lambda: ChrF("bo"),
    lambda: RougeL("bo"),
    lambda: LanguageConsistency("bo"),
]
every_metric = pytest.mark.parametrize("make", METRICS, ids=["bleu", "chrf", "rouge", "consistency"])


@every_metric
def test_batches_do_not_matter(make: Callable[[], RowMetric]) -> None:
    whole, parts = make(), make()
    whole.update(PREDICTIONS, REFERENCES)
    for place in (0, 2, 4):
        parts.update(PREDICTIONS[place : place + 2], REFERENCES[place : place + 2])
    assert parts.compute() == whole.compute()
    assert parts.score(100) == whole.score(100)
    assert whole.compute().dtype == torch.float64 and whole.compute().shape == ()


@every_metric
def test_score(make: Callable[[], RowMetric]) -> None:
    metric = make()
    metric.update(PREDICTIONS, REFERENCES)
    score = metric.score(n_bootstrap=300, seed=5)
    assert score.value == metric.compute().item()
    assert score.ci is not None and score.ci[0] < score.value < score.ci[1]
    assert score.signature == f"{metric.signature}|bs:300|seed:5"
    assert metric.score(300, 5) == score != metric.score(300, 6)
    assert metric.score(n_bootstrap=0).ci is None
    assert metric.score(n_bootstrap=0).signature == metric.signature


@every_metric
def test_interval_is_that_of_resampled_texts(make: Callable[[], RowMetric]) -> None:
    metric = make()
    metric.update(PREDICTIONS, REFERENCES)
    generator = torch.Generator().manual_seed(9)
    values = []
    for _ in range(60):
        drawn = torch.randint(5, (5,), generator=generator).tolist()
        resample = make()
        resample.update([PREDICTIONS[text] for text in drawn], [REFERENCES[text] for text in drawn])
        values.append(resample.compute())
    expected = torch.stack(values).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    assert metric.score(n_bootstrap=60, seed=9).ci == pytest.approx(tuple(expected.tolist()), abs=1e-9)


@every_metric
def test_single_texts(make: Callable[[], RowMetric]) -> None:
    metric = make()
    scores = metric.per_row(PREDICTIONS, REFERENCES)
    assert [type(score) for score in scores] == [float] * 5
    assert len(metric.statistics) == 0
    top = 1.0 if isinstance(metric, RougeL | LanguageConsistency) else 100.0
    assert scores[4] == pytest.approx(top)
    assert scores[2] == scores[3] == 0.0


@every_metric
def test_reset_forgets(make: Callable[[], RowMetric]) -> None:
    metric = make()
    metric.update(PREDICTIONS[4:], REFERENCES[4:])
    metric.reset()
    metric.update(PREDICTIONS[2:3], REFERENCES[2:3])
    assert metric.compute() == 0.0
    assert metric.state_dict() == {}


def test_the_same_texts_are_scored_once() -> None:
    calls = []

    class Counted(LanguageConsistency):
        def rows(self, predictions: list[str], references: list[str]) -> torch.Tensor:
            calls.append(list(predictions))
            return super().rows(predictions, references)

    metric = Counted("bo")
    batch = list(PREDICTIONS)
    metric.update(batch, REFERENCES)
    metric.per_row(batch, REFERENCES)
    assert len(calls) == 1
    batch[0] = "changed in place"
    assert metric.per_row(batch, REFERENCES)[0] == 0.0
    assert len(calls) == 2


class Shorter(LanguageConsistency):
    """User's metric made from another one, by a ``from_total`` of its own."""

    def from_total(self, total: torch.Tensor, n: int) -> float:
        return total.item() / n / 2


class Bare(RowMetric):
    """User's metric that lacks a formula."""

    signature = "bare"

    def rows(self, predictions: list[str], references: list[str]) -> torch.Tensor:
        return torch.ones(len(predictions), 1)


def test_a_metric_with_a_method_of_its_own_has_no_items() -> None:
    own, parent = Shorter("bo"), LanguageConsistency("bo")
    for metric in (own, parent):
        metric.update(PREDICTIONS, REFERENCES)
    assert (own.has_items, parent.has_items) == (False, True)
    result, whole = own.score(50, 3), parent.score(50, 3)
    assert (result.formula, whole.formula) == (None, "mean")
    assert result.value == whole.value / 2 and result.ci == tuple(bound / 2 for bound in whole.ci)
    assert own.per_row(PREDICTIONS, REFERENCES) == [x / 2 for x in parent.per_row(PREDICTIONS, REFERENCES)]


def test_a_metric_without_a_formula_says_so() -> None:
    metric = Bare()
    metric.update(["a"], ["b"])
    with pytest.raises(NotImplementedError, match="Bare: give it a `formula`, or a method `from_total`"):
        metric.compute()


def test_refused() -> None:
    metric = Bleu4("bo")
    with pytest.raises(ValueError, match="references: 1 for 2 predictions"):
        metric.update(["a", "b"], ["a"])
    for texts in (0, 1):
        if texts == 1:
            metric.update([], [])
        with pytest.raises(ValueError, match="Bleu4: there is no text to score"):
            metric.score()


def _worker(rank: int, folder: pathlib.Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = Bleu4("bo")
    mine = slice(0, 2) if rank == 0 else slice(2, 5)  # unequal shares
    metric.update(PREDICTIONS[mine], REFERENCES[mine])
    score = metric.score(50)
    value = metric.compute().item()
    assert len(torch.cat(metric.statistics)) == len(PREDICTIONS[mine])  # only its own rows again
    torch.save((score.value, score.ci, value), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="file rendezvous")
def test_two_processes_agree_with_one(tmp_path: pathlib.Path) -> None:
    multiprocessing.spawn(_worker, (tmp_path,), nprocs=2)
    metric = Bleu4("bo")
    metric.update(PREDICTIONS, REFERENCES)
    score = metric.score(50)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == (score.value, score.ci, score.value)
