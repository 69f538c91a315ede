"""Which rows are used, and in which order: pure functions of seeds, and a sampler that remembers its place.

One element is one prompt, so a GRPO group is never split between batches or processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from typing import Any, cast

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


def subset(rows: int, seed: int, skip: int = 0, limit: int | None = None) -> list[int]:
    """Rows ``skip`` to ``skip + limit`` of one seeded order, ascending.

    For one seed, a smaller ``limit`` lies within a larger one, and ``limit=n`` and ``skip=n`` never meet.
    """
    order = random.Random(f"subset {seed}").sample(range(rows), rows)
    return sorted(order[skip:][:limit])


def epoch_order(rows: int, seed: int, epoch: int, rank: int, world_size: int) -> list[int]:
    """The rows that one process trains on in one epoch.

    All processes get equally many, as DDP needs: the last ``rows % world_size`` rows of the epoch's order are left
    out, other ones each epoch, so that no row counts twice in a step.
    """
    order = random.Random(f"epoch {seed} {epoch}").sample(range(rows), rows)
    return order[: rows - rows % world_size][rank::world_size]


class TrainOrder(DistributedSampler[int]):
    """Shuffled afresh each epoch, and able to go on in the middle of one.

    A ``DistributedSampler`` so that Lightning leaves it in place; it works the same in a single process. A pass that is
    broken off is finished by the next one. The place lives here, not in the iterator, because Lightning drops its
    iterators before a checkpoint that follows ``fit``.
    """

    def __init__(self, dataset: Sized, rank: int, world_size: int, seed: int) -> None:
        """Orders the rows of ``dataset`` for process ``rank`` of ``world_size``."""
        if len(dataset) < world_size:
            raise ValueError(
                f"{len(dataset)} training rows for {world_size} processes; give more rows or lower trainer.devices"
            )
        super().__init__(cast(Dataset[Any], dataset), num_replicas=world_size, rank=rank, seed=seed)
        self.shape = {"rows": len(dataset), "seed": seed, "processes": world_size}
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

    def _begin(self) -> list[int]:
        """What is left of the epoch that begins or goes on now.

        A trainer that stopped at ``max_steps`` counts the epoch as done and resumes in the next one; we finish it.
        """
        broken_off = 0 < self.place[1] < self.stop
        epoch, taken = self.place if self.resumed or broken_off else (self.epoch + self.lead, 0)
        self.lead, self.resumed, self.place = epoch - self.epoch, False, (epoch, taken)
        rows, seed, processes = self.shape.values()
        return epoch_order(rows, seed, epoch, self.rank, processes)[taken:]

    def state_dict(self) -> dict[str, int]:
        """The place, and what it is a place in."""
        return {"epoch": self.place[0], "taken": self.place[1], **self.shape}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on at a place; after the last row of an epoch that is the start of the next one."""
        for name, now in self.shape.items():
            if state[name] != now:
                raise ValueError(
                    f"the checkpoint was trained with {name} = {state[name]}, this run has {now}, so it cannot go on "
                    "where that one stopped; restore the data settings, or start a new run from its adapter folder"
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
