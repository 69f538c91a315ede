"""Choice and order of rows: pure functions of seeds, and a sampler that saves and restores its position.

Each sample is one prompt, so a GRPO group is never split between batches or processes.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence, Sized
from typing import cast

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from semalign_pl.files.digest import digest

_GOLDEN_RATIO = (1 + 5**0.5) / 2


def shuffled_rows(rows: int, name: str) -> array[int]:
    """All row indices in an order that is a function of ``name``; eight bytes per row.

    Args:
        rows: Number of rows.
        name: Seed of the order, as text.
    """
    order = array("q", range(rows))
    random.Random(name).shuffle(order)
    order.reverse()  # so that the order equals ``random.sample`` of all rows
    return order


def subset(rows: int, seed: int, skip: int = 0, limit: int | None = None) -> Sequence[int]:
    """Rows ``skip`` to ``skip + limit`` of one seeded order, ascending.

    With the same seed, the rows of a smaller ``limit`` are among those of a larger one, and ``limit=n`` and ``skip=n``
    have no row in common.

    Args:
        rows: Number of rows.
        seed: Seed of the order.
        skip: Number of rows to leave out.
        limit: Maximum number of rows; ``None`` for all.
    """
    if skip == 0 and (limit is None or limit >= rows):
        return range(rows)
    return array("q", sorted(shuffled_rows(rows, f"subset {seed}")[skip:][:limit]))


def rows_per_corpus(rows: int, weights: Sequence[float], epoch: int = 0) -> list[int]:
    """Number of an epoch's rows from each corpus of a mix; their sum is the number of rows of the epoch.

    A share that is no whole number is rounded down in some epochs and up in others, so that over many it is right.

    Args:
        rows: Number of rows of the epoch.
        weights: Sampling weight of each corpus.
        epoch: Index of the epoch.
    """
    above = epoch * _GOLDEN_RATIO % 1  # multiples of it are spread evenly over 0 to 1
    exact = (round(rows * sum(weights[:corpus]) / sum(weights), 6) for corpus in range(1, len(weights)))
    ends = [*(int(end + above) for end in exact), rows]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Sampling weights in proportion to ``size ** (1 / temperature)`` (arXiv 1907.05019).

    Args:
        sizes: Number of rows of each corpus.
        temperature: Temperature of the mix: 1 keeps the sizes, a larger value favours small corpora.
    """
    return [size ** (1 / temperature) for size in sizes]


def mix_corpora(sizes: Sequence[int], weights: Sequence[float], rows: int, seed: int, epoch: int) -> array[int]:
    """Rows of one epoch of a mix, in order.

    At any place of a run, every row of a corpus was used once before one of them is used again, in a new order each
    time. An epoch continues where the last one stopped.

    Args:
        sizes: Number of rows of each corpus.
        weights: Sampling weight of each corpus.
        rows: Number of rows of an epoch.
        seed: Seed of the orders.
        epoch: Index of the epoch.

    Returns:
        Row indices, counted through all corpora.
    """
    shares = rows_per_corpus(rows, weights, epoch)
    earlier = [rows_per_corpus(rows, weights, before) for before in range(epoch)]
    corpora = array("q", (corpus for corpus, share in enumerate(shares) for _ in range(share)))
    first = [sum(sizes[:corpus]) for corpus in range(len(sizes))]
    passes = [
        _repeat_rows(size, f"mix {seed} {corpus}", start=sum(shares[corpus] for shares in earlier))
        for corpus, size in enumerate(sizes)
    ]
    order = (corpora[place] for place in shuffled_rows(rows, f"epoch {seed} {epoch}"))
    return array("q", (first[corpus] + next(passes[corpus]) for corpus in order))


def _repeat_rows(size: int, name: str, start: int) -> Iterator[int]:
    """Rows of a corpus without end, pass after pass, from a place on."""
    again, place = divmod(start, size)
    while True:
        yield from shuffled_rows(size, f"{name} {again}")[place:]
        again, place = again + 1, 0


def epoch_order(rows: int, seed: int, epoch: int, rank: int, world_size: int) -> array[int]:
    """Rows that one process trains on in one epoch, in order; each row is used once.

    DDP needs the same number of rows in every process. So the last ``rows % world_size`` rows of the epoch's order are
    left out, different ones each epoch. Repeating rows instead would count a row twice in a step.

    Args:
        rows: Number of rows of all corpora.
        seed: Seed of the order.
        epoch: Index of the epoch.
        rank: Rank of the process.
        world_size: Number of processes.
    """
    return shuffled_rows(rows, f"epoch {seed} {epoch}")[: rows - rows % world_size][rank::world_size]


class TrainOrder(DistributedSampler[int]):
    """Sampler that shuffles the rows anew each epoch, and can resume in the middle of an epoch.

    It is a ``DistributedSampler`` so that Lightning does not replace it; it works the same in a single process. If a
    pass over the rows is interrupted, the next pass finishes it. The position is kept in the sampler, not in its
    iterator, because Lightning drops iterators before it saves a checkpoint after ``fit``.

    Attributes:
        identity: Numbers that a position depends on: rows, seed, processes, and a checksum of the mix.
        rows_per_epoch: Number of rows per epoch and process.
        position: Epoch, and number of its rows taken.
        resumed: True after a position was loaded, until the next pass starts.
        epochs_ahead: Number of epochs that the sampler is ahead of the trainer's count.
    """

    def __init__(
        self,
        dataset: Sized,
        rank: int,
        world_size: int,
        seed: int,
        sizes: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        limit: int | None = None,
    ) -> None:
        """Order the rows of ``dataset`` for process ``rank`` of ``world_size``.

        Args:
            dataset: Dataset to sample from; only its length is used.
            rank: Rank of this process.
            world_size: Number of processes.
            seed: Seed of the order.
            sizes: Number of rows of each corpus, in the order of the dataset; by default it is one corpus.
            weights: Sampling weight of each corpus; by default each row is used once per epoch.
            limit: Maximum number of rows per epoch and process, of ``trainer.limit_train_batches``.

        Raises:
            ValueError: If there are fewer rows than processes.
        """
        if len(dataset) < world_size:
            raise ValueError(
                f"{len(dataset)} training rows for {world_size} processes; give more rows or lower trainer.devices"
            )
        super().__init__(cast(Dataset[object], dataset), num_replicas=world_size, rank=rank, seed=seed)
        self.sizes, self.weights = list(sizes or [len(dataset)]), weights
        self.identity = {"rows": len(dataset), "seed": seed, "processes": world_size}
        self.rows_per_epoch = len(self) if limit is None else min(len(self), limit)
        if weights is not None:
            shares = [round(weight / sum(weights), 9) for weight in weights]
            self.identity["mix"] = int(digest(self.sizes, shares, self.rows_per_epoch, digits=8), 16)
        self.position = (0, 0)
        self.resumed = False
        self.epochs_ahead = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the remaining rows of the epoch.

        The epoch is read at the first row, because Lightning sets it after it calls ``iter``.
        """
        for row in self._begin():
            epoch, taken = self.position
            self.position = (epoch, taken + 1)
            yield row

    def __len__(self) -> int:
        """Number of rows per epoch and process without a limit, by which the trainer counts the batches."""
        return self.identity["rows"] // self.num_replicas

    def _begin(self) -> Sequence[int]:
        """Remaining rows of the epoch that now starts or continues.

        A trainer that stopped at ``max_steps`` counts its epoch as done and resumes in the next one. The sampler
        finishes the interrupted epoch instead.
        """
        broken_off = 0 < self.position[1] < self.rows_per_epoch
        epoch, taken = self.position if self.resumed or broken_off else (self.epoch + self.epochs_ahead, 0)
        self.epochs_ahead, self.resumed, self.position = epoch - self.epoch, False, (epoch, taken)
        seed, processes = self.identity["seed"], self.identity["processes"]
        if self.weights is None:
            return epoch_order(self.identity["rows"], seed, epoch, self.rank, processes)[taken:]
        mix = mix_corpora(self.sizes, self.weights, self.rows_per_epoch * processes, seed, epoch)
        return mix[self.rank :: processes][taken:]

    def state_dict(self) -> dict[str, int]:
        """Position, and the numbers it depends on (``identity``)."""
        return {"epoch": self.position[0], "taken": self.position[1], **self.identity}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at a saved position; after the last row of an epoch, at the start of the next one.

        Args:
            state: State from ``state_dict``.

        Raises:
            ValueError: If rows, seed, processes or mix differ from those of the saved position.
        """
        for name, now in self.identity.items():
            if state.get(name) != now:
                raise ValueError(
                    f"the checkpoint was trained with {name} = {state.get(name)}, this run has {now}, so it cannot go "
                    "on where that one stopped; restore the data settings, or start a new run from its adapter folder"
                )
        ended = state["taken"] >= self.rows_per_epoch
        self.position = (state["epoch"] + 1, 0) if ended else (state["epoch"], state["taken"])
        self.resumed = True


class EvalOrder(DistributedSampler[int]):
    """Sampler in file order: every row exactly once over all processes; some of them may get one row fewer."""

    def __init__(self, dataset: Sized, rank: int, world_size: int) -> None:
        """Assign rows of ``dataset`` to process ``rank`` of ``world_size``.

        Args:
            dataset: Dataset to sample from; only its length is used.
            rank: Rank of this process.
            world_size: Number of processes.
        """
        super().__init__(cast(Dataset[object], dataset), num_replicas=world_size, rank=rank, shuffle=False)
        self.rows = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the row indices of this process."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Number of rows of this process."""
        return len(self.rows)
