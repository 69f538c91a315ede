"""Which rows are used, and in which order: pure functions of seeds, and a sampler that remembers its place.

One element is one prompt, so a GRPO group is never split between batches or processes.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections.abc import Iterator, Sequence, Sized
from typing import Any, cast

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


def shuffled(rows: int, name: str) -> array[int]:
    """All rows in an order that is a function of ``name``; eight bytes a row."""
    order = array("q", range(rows))
    random.Random(name).shuffle(order)
    order.reverse()  # so that it is what ``random.sample`` of all rows gives
    return order


def subset(rows: int, seed: int, skip: int = 0, limit: int | None = None) -> Sequence[int]:
    """Rows ``skip`` to ``skip + limit`` of one seeded order, ascending.

    For one seed, a smaller ``limit`` lies within a larger one, and ``limit=n`` and ``skip=n`` never meet.
    """
    if skip == 0 and (limit is None or limit >= rows):
        return range(rows)
    return array("q", sorted(shuffled(rows, f"subset {seed}")[skip:][:limit]))


def shares(sizes: Sequence[int], weights: Sequence[float] | None) -> list[int]:
    """How many of an epoch's rows come from each corpus; as many as there are rows in all.

    Args:
        sizes: Rows of each corpus.
        weights: Relative frequency of each, or ``None`` for its size.
    """
    if weights is None:
        return list(sizes)
    exact = [sum(sizes) * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    most = sorted(range(len(sizes)), key=lambda i: whole[i] - exact[i])  # largest remainders first
    for i in most[: sum(sizes) - sum(whole)]:
        whole[i] += 1
    return whole


def by_temperature(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights in proportion to size ** (1 / temperature): 1 keeps the sizes, more favours the small (1907.05019)."""
    return [size ** (1 / temperature) for size in sizes]


def mixed(sizes: Sequence[int], weights: Sequence[float], seed: int, epoch: int) -> array[int]:
    """The rows of one epoch of a mix, in no order; corpora lie one behind the other.

    Each corpus is gone through from end to end, in a new order each time, before one of its rows comes again; an epoch
    goes on where the last one stopped.
    """
    rows, offset = array("q"), 0
    for corpus, (size, share) in enumerate(zip(sizes, shares(sizes, weights), strict=True)):
        at, stop = epoch * share, (epoch + 1) * share
        while at < stop:
            again, start = divmod(at, size)
            order = shuffled(size, f"mix {seed} {corpus} {again}")[start : start + stop - at]
            rows.extend(offset + row for row in order)
            at += len(order)
        offset += size
    return rows


def epoch_order(
    sizes: Sequence[int], seed: int, epoch: int, rank: int, world_size: int, weights: Sequence[float] | None = None
) -> array[int]:
    """The rows that one process trains on in one epoch.

    All processes get equally many, as DDP needs: the last ``rows % world_size`` rows of the epoch's order are left
    out, other ones each epoch, so that no row counts twice in a step.
    """
    rows = sum(sizes)
    order = shuffled(rows, f"epoch {seed} {epoch}")
    if weights is not None:
        chosen = mixed(sizes, weights, seed, epoch)
        order = array("q", (chosen[place] for place in order))
    return order[: rows - rows % world_size][rank::world_size]


class TrainOrder(DistributedSampler[int]):
    """Shuffled afresh each epoch, and able to go on in the middle of one.

    A ``DistributedSampler`` so that Lightning leaves it in place; it works the same in a single process. A pass that is
    broken off is finished by the next one. The place lives here, not in the iterator, because Lightning drops its
    iterators before a checkpoint that follows ``fit``.
    """

    def __init__(
        self,
        dataset: Sized,
        rank: int,
        world_size: int,
        seed: int,
        sizes: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Orders the rows of ``dataset`` for process ``rank`` of ``world_size``.

        Args:
            dataset: Whose length counts.
            rank: This process.
            world_size: All processes.
            seed: Of the order.
            sizes: Rows of each corpus in the dataset, one behind the other; by default there is one.
            weights: How often rows of each corpus come, relative to one another; by default as its size is.
        """
        if len(dataset) < world_size:
            raise ValueError(
                f"{len(dataset)} training rows for {world_size} processes; give more rows or lower trainer.devices"
            )
        super().__init__(cast(Dataset[Any], dataset), num_replicas=world_size, rank=rank, seed=seed)
        self.sizes, self.weights = list(sizes or [len(dataset)]), weights
        self.shape = {"rows": len(dataset), "seed": seed, "processes": world_size}
        if weights is not None:
            self.shape["mix"] = zlib.crc32(repr((self.sizes, [round(w / sum(weights), 9) for w in weights])).encode())
        self.stop = len(self)  # rows after which an epoch is over; fewer under trainer.limit_train_batches
        self.place = (0, 0)  # an epoch, and how many of its rows are taken
        self.resumed = False
        self.lead = 0  # epochs that our count is ahead of the trainer's

    def __iter__(self) -> Iterator[int]:
        """What is left of the epoch. Which one that is, is asked at the first row: Lightning sets it after ``iter``."""
        for row in self._begin():
            epoch, taken = self.place
            self.place = (epoch, taken + 1)
            yield row

    def __len__(self) -> int:
        """Rows an epoch, the same in every process."""
        return self.shape["rows"] // self.num_replicas

    def _begin(self) -> Sequence[int]:
        """What is left of the epoch that begins or goes on now.

        A trainer that stopped at ``max_steps`` counts the epoch as done and resumes in the next one; we finish it.
        """
        broken_off = 0 < self.place[1] < self.stop
        epoch, taken = self.place if self.resumed or broken_off else (self.epoch + self.lead, 0)
        self.lead, self.resumed, self.place = epoch - self.epoch, False, (epoch, taken)
        seed, processes = self.shape["seed"], self.shape["processes"]
        return epoch_order(self.sizes, seed, epoch, self.rank, processes, self.weights)[taken:]

    def state_dict(self) -> dict[str, int]:
        """The place, and what it is a place in."""
        return {"epoch": self.place[0], "taken": self.place[1], **self.shape}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on at a place; after the last row of an epoch that is the start of the next one."""
        for name, now in self.shape.items():
            if state.get(name) != now:
                raise ValueError(
                    f"the checkpoint was trained with {name} = {state.get(name)}, this run has {now}, so it cannot go "
                    "on where that one stopped; restore the data settings, or start a new run from its adapter folder"
                )
        ended = state["taken"] >= self.stop
        self.place = (state["epoch"] + 1, 0) if ended else (state["epoch"], state["taken"])
        self.resumed = True


class EvalOrder(DistributedSampler[int]):
    """File order, every row exactly once over all processes; some of them may get one row fewer."""

    def __init__(self, dataset: Sized, rank: int, world_size: int) -> None:
        """Shards the rows of ``dataset`` for process ``rank`` of ``world_size``."""
        super().__init__(cast(Dataset[Any], dataset), num_replicas=world_size, rank=rank, shuffle=False)
        self.rows = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        """This process's rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """How many rows this process has."""
        return len(self.rows)
