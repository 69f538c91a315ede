"""Sentences of the summary after a run, from rows of metrics.csv."""

from __future__ import annotations

from semalign_pl.callbacks.summary import History, ability_rows, training_rows, validation_rows


def history(**columns: list[float | None]) -> History:
    """Rows of metrics.csv, with ``/`` in names written as ``__``; ``None`` for an empty cell."""
    rows = zip(*columns.values(), strict=True)
    names = [name.replace("__", "/") for name in columns]
    return [
        {"step": str(step + 1), **{n: "" if v is None else str(v) for n, v in zip(names, row, strict=True)}}
        for step, row in enumerate(rows)
    ]


def test_training_is_compared_over_windows() -> None:
    rows = history(train__reward=[1, 3, 4, 6], train__reward__language=[0, 0, 1, 0.5], train__loss=[9, 9, 9, 9])
    assert [text for _, text in training_rows(rows)] == [
        "reward 2.000 → 5.000 (means of the first and the last 2 steps)",
        "reward language 0.000 → 0.750",
    ]
    assert [text for _, text in training_rows(history(train__loss=[2.0]))] == [
        "loss 2.000 → 2.000 (first and last step)"
    ]
    assert not [*training_rows([])]


def test_best_is_the_lowest_loss_and_the_highest_score() -> None:
    rows = history(val__chrf=[None, 20, 25.5, 24], val__loss=[None, 2, 1, 1.5])
    assert [text for _, text in validation_rows(rows)] == [
        "loss 1.5; best 1 after step 3",
        "chrf 24; best 25.5 after step 3",
    ]
    assert [text for _, text in validation_rows(history(val__chrf=[7]))] == ["chrf 7"]


def test_ability_lost_has_the_direction_of_its_metric() -> None:
    rows = history(
        probe__cmrc_f1=[90, 88.5], probe__nll_change_mean=[0.0, -0.25], probe__kept_em=[5, 5], probe__perplexity=[5, 4]
    )
    assert [text for _, text in ability_rows(rows, True)] == [
        "cmrc f1 88.5 after step 2; lost 1.5 since step 1",
        "kept em 5 after step 2; unchanged since step 1",
        "nll change mean -0.25 after step 2; the base has 0",
        "perplexity 4 after step 2; gained 1 since step 1",
    ]
    assert [text for _, text in ability_rows(history(probe__cmrc_f1=[None, 88.5]), True)] == [
        "cmrc f1 88.5 after step 2"
    ]
    assert "semalign test runs the probes" in next(ability_rows([], True))[1]
    assert "add a probe" in next(ability_rows([], False))[1]
