"""Order: pure functions, complete shards, and a position from which to resume."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count, islice

import pytest
import torch

from semalign_pl.data import EvalOrder, TrainOrder
from semalign_pl.data.order import (
    epoch_order,
    mix_corpora,
    rows_per_corpus,
    shuffled_rows,
    subset,
    temperature_weights,
)


def train(rows: int = 20, rank: int = 0, world_size: int = 1, seed: int = 0, epoch: int = 0) -> list[int]:
    order = TrainOrder(range(rows), rank, world_size, seed)
    order.set_epoch(epoch)
    return list(order)


def test_train_order_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = train(seed=3, epoch=2)
    torch.manual_seed(2)
    assert train(seed=3, epoch=2) == first
    assert sorted(first) == list(range(20))
    orders = [train(seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 16  # seed + epoch would give only 7


def test_train_order_is_pinned() -> None:
    """With a changed order, cold start and GRPO would overlap across versions."""
    assert epoch_order(10, seed=0, epoch=0, rank=0, world_size=1).tolist() == [0, 9, 4, 3, 6, 1, 7, 2, 5, 8]
    assert list(subset(10, seed=0, limit=4)) == [2, 3, 4, 7]


@pytest.mark.parametrize(("rows", "world_size"), [(20, 1), (20, 3), (21, 3), (5, 5), (7, 4)])
def test_shards(rows: int, world_size: int) -> None:
    shards = [train(rows, rank, world_size, epoch=1) for rank in range(world_size)]
    assert {len(shard) for shard in shards} == {rows // world_size}
    assert len(TrainOrder(range(rows), 0, world_size, 0)) == rows // world_size
    seen = sum(shards, [])
    assert len(seen) == len(set(seen)) == rows - rows % world_size

    exact = [list(EvalOrder(range(rows), rank, world_size)) for rank in range(world_size)]
    assert sorted(sum(exact, [])) == list(range(rows))
    assert [len(EvalOrder(range(rows), rank, world_size)) for rank in range(world_size)] == [len(s) for s in exact]


def test_every_row_gets_its_turn() -> None:
    left_out = [set(range(7)) - set(train(7, 0, 4, epoch=e) + train(7, 1, 4, epoch=e)) for e in range(5)]
    assert len({tuple(sorted(rows)) for rows in left_out}) > 1


def test_an_empty_eval_shard_and_too_few_training_rows() -> None:
    assert list(EvalOrder(range(2), 2, 3)) == []
    with pytest.raises(ValueError, match=r"2 training rows for 3 processes; .*trainer.devices"):
        TrainOrder(range(2), 0, 3, 0)


def test_nothing_is_distributed() -> None:
    train(20, 1, 2)
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("taken", [0, 1, 13, 19, 20])
@pytest.mark.parametrize("trainer_epoch", [1, 2])
def test_resume(taken: int, trainer_epoch: int) -> None:
    """No row is lost or read twice, whether the trainer resumes in the same epoch or in the next."""
    wanted = [row for epoch in range(4) for row in train(seed=5, epoch=epoch)]
    order = TrainOrder(range(20), 0, 1, 5)
    seen = list(order)
    order.set_epoch(1)
    seen += islice(order, taken)

    again = TrainOrder(range(20), 0, 1, 5)
    again.load_state_dict(order.state_dict())
    for epoch in count(trainer_epoch):
        again.set_epoch(epoch)
        seen += again
        if len(seen) >= len(wanted):
            break
    assert seen == wanted


@pytest.mark.parametrize("change", [{"rows": 21}, {"seed": 6}, {"world_size": 2}])
def test_another_corpus_cannot_be_resumed(change: dict[str, int]) -> None:
    state = TrainOrder(range(20), 0, 1, 5).state_dict()
    settings = {"rows": 20, "seed": 5, "world_size": 1} | change
    with pytest.raises(ValueError, match=f"{'processes' if 'world_size' in change else next(iter(change))} = "):
        TrainOrder(range(settings["rows"]), 0, settings["world_size"], settings["seed"]).load_state_dict(state)


@pytest.mark.parametrize("seed", range(3))
def test_subsets_are_nested_disjoint_and_seeded(seed: int) -> None:
    small, large = subset(50, seed, limit=10), subset(50, seed, limit=30)
    assert set(small) < set(large) and len(small) == 10 and list(large) == sorted(large)
    assert sorted([*large, *subset(50, seed, skip=30)]) == list(range(50))
    assert set(subset(50, seed, skip=10, limit=20)) == set(large) - set(small)
    assert subset(50, seed, limit=10) == small != subset(50, seed + 1, limit=10)
    assert subset(50, seed, limit=99) == subset(50, seed) == range(50)


def test_shuffled_is_what_random_sample_gives() -> None:
    """The same order at a fifth of the memory, since published runs used it."""
    for rows in (1, 2, 7, 100):
        assert list(shuffled_rows(rows, "x")) == random.Random("x").sample(range(rows), rows)


def test_a_mix_by_hand() -> None:
    """Each epoch has the shares; all rows of a corpus are drawn before one is repeated."""
    sizes, weights = [9, 3], [1.0, 1.0]
    assert rows_per_corpus(12, weights) == [6, 6] and rows_per_corpus(10, [1, 1, 1]) == [3, 3, 4]
    epochs = [mix_corpora(sizes, weights, 12, 0, epoch).tolist() for epoch in range(3)]
    assert all(sum(row < 9 for row in epoch) == 6 for epoch in epochs)
    for epoch in epochs:
        small = [row for row in epoch if row >= 9]
        assert sorted(small[:3]) == sorted(small[3:]) == [9, 10, 11]
    large = [row for epoch in epochs for row in epoch if row < 9]
    assert sorted(large[:9]) == sorted(large[9:]) == [*range(9)]  # 18 draws are two passes
    assert [mix_corpora(sizes, weights, 12, 0, epoch).tolist() for epoch in range(3)] == epochs
    ranks = [TrainOrder(range(12), rank, 2, 0, sizes, weights) for rank in range(2)]
    for order in ranks:
        order.set_epoch(1)
    assert [row for pair in zip(*ranks, strict=True) for row in pair] == epochs[1]


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_short_epoch_of_a_mix_has_each_row_of_its_small_corpus(world_size: int) -> None:
    """As in keep.yaml of ``semalign init``: 1,000 pairs, and a fifth of the rows from much general text."""
    orders = [
        TrainOrder(range(101_000), rank, world_size, 0, [1000, 100_000], [0.8, 0.2], limit=1264 // world_size)
        for rank in range(world_size)
    ]
    counts, first = Counter[int](), Counter[int]()
    for epoch in range(2):
        for order in orders:
            order.set_epoch(epoch)
            rows = list(islice(order, order.rows_per_epoch))  # the trainer's limit_train_batches
            counts.update(row for row in rows if row < 1000)
            first.update(row for row in rows[: 1100 // world_size] if row < 1000 and epoch == 0)
    assert (len(counts), {*counts.values()}) == (1000, {2, 3})
    assert {*first.values()} == {1}, "stopped by max_steps within the first pass"


def test_a_share_below_one_row_is_drawn_in_some_epochs() -> None:
    """0.32 rows per epoch: about 32 of 100 epochs have one, and each row of the corpus comes before one comes again."""
    rows = [mix_corpora([5000, 30], [0.98, 0.02], 16, 0, epoch) for epoch in range(100)]
    assert {len(epoch) for epoch in rows} == {16}
    drawn = [row for epoch in rows for row in epoch if row >= 5000]
    assert abs(len(drawn) - 32) <= 1 and sorted(drawn[:30]) == [*range(5000, 5030)]


def test_a_mix_of_another_epoch_cannot_be_resumed() -> None:
    state = TrainOrder(range(12), 0, 1, 0, [9, 3], [1, 1], limit=8).state_dict()
    TrainOrder(range(12), 0, 1, 0, [9, 3], [2, 2], limit=8).load_state_dict(state)
    for weights, limit in (([1, 2], 8), ([1, 1], 10)):
        with pytest.raises(ValueError, match=r"trained with mix = .*restore the data settings"):
            TrainOrder(range(12), 0, 1, 0, [9, 3], weights, limit=limit).load_state_dict(state)


def test_temperature_by_hand() -> None:
    assert temperature_weights([100, 1], 1) == [100, 1]
    assert temperature_weights([100, 1], 2) == pytest.approx([10, 1])
    assert rows_per_corpus(101, temperature_weights([100, 1], 2)) == [91, 10]  # 101 * 10/11 = 91.8
