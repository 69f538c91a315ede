"""Position of training in its rows, saved in checkpoints together with the identity of those rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semalign_pl.data.corpora import Corpus
from semalign_pl.data.order import TrainOrder
from semalign_pl.data.reading.sources import content_key

State = dict[str, Any]
"""State of a checkpoint: plain numbers, strings and lists."""


class TrainPosition:
    """Position of training in its rows.

    The loader saves the position too, but Lightning does not restore loaders if ``configure_optimizers`` has read
    ``trainer.estimated_stepping_batches``.

    Args:
        corpora: Training corpora.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._corpora = corpora
        self.reset()

    def reset(self) -> None:
        """Forget the rows and the position of an earlier run."""
        self._order: TrainOrder | None = None
        self._saved: State = {}
        self._identity: State = {}

    def follow(self, order: TrainOrder, batch_size: int) -> None:
        """Follow a new loader's order, which starts at the checkpoint's position until that was used.

        Args:
            order: Order of the training rows.
            batch_size: Number of rows per batch.

        Raises:
            ValueError: If the corpora's content, their replay or the batch size has changed since the checkpoint was
                written.
        """
        if self._order is not None and not self._order.resumed:
            self._saved = {}  # the checkpoint's position was used
        if not self._identity:
            paths = [(corpus.path, corpus.split or "train") for corpus in self._corpora]
            self._identity = {
                "batch_size": batch_size,
                "corpora": [content_key(*path) for path in paths],
                "replay": [corpus.replay for corpus in self._corpora],
            }
        if self._saved:
            self._check_same(self._saved, batch_size)
            order.load_state_dict(self._saved)
        self._order = order

    def _check_same(self, saved: State, batch_size: int) -> None:
        """Refuse a position in other rows."""
        if saved.get("batch_size", batch_size) != batch_size:
            raise ValueError(
                f"--ckpt_path: data.init_args.batch_size was {saved['batch_size']} and is {batch_size}; set it back, "
                "or begin a new run from what was trained"
            )
        if saved.get("corpora", self._identity["corpora"]) != self._identity["corpora"]:
            paths = ", ".join(corpus.path for corpus in self._corpora)
            raise ValueError(
                f"--ckpt_path: data.init_args.train: the content of {paths} is not what the checkpoint was trained on; "
                "restore it, or begin a new run from what was trained"
            )
        # A key that a recipe leaves out is no setting of the run, so those of the corpora are compared here.
        if saved.get("replay", [False] * len(self._corpora)) != self._identity["replay"]:
            raise ValueError(
                "--ckpt_path: data.init_args.train: the checkpoint was trained with replay: true for other corpora; "
                "set it back, or begin a new run from what was trained"
            )

    def state_dict(self) -> State:
        """Position and identity of the rows; empty before training."""
        return {**self._order.state_dict(), **self._identity} if self._order else {}

    def load_state_dict(self, state: State) -> None:
        """Keep a saved position for the next loader.

        Args:
            state: State from ``state_dict``.
        """
        self._saved = state
