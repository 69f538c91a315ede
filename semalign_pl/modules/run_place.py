"""Exact resumption: the place in a run at which a checkpoint was written, set in Lightning's loops.

Lightning (2.6.6, ``loops/fit_loop.py`` and ``loops/training_epoch_loop.py``) guesses that place from differences
between the counters ``ready``, ``started``, ``processed`` and ``completed`` of its loops. The guess is wrong after the
last batch of an epoch: the end of that epoch, the start of the next and the validation between them are then skipped,
and the counters of the next checkpoint differ from those of an uninterrupted run. So all counters are set to one form
on loading. Then the resumed run first does everything that an uninterrupted run does between these two batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer

LoopState = dict[str, Any]
"""State of Lightning's fit loop in a checkpoint: nested dictionaries of counters."""
_FORMS = ("ready", "started", "processed", "completed")


@dataclass(frozen=True)
class Place:
    """Place in a run between two batches, at which a checkpoint was written.

    Attributes:
        epochs: Number of finished epochs, including their end hooks.
        batches: Number of finished batches in the current epoch; ``None`` if the next epoch has not begun.
        total: Number of finished batches in all epochs.
        last: True if all batches of the epoch are finished, but its end hooks have not run.
        validated: True if the validation after the last batch is finished, or none was due.
        broken_off: True if a batch was interrupted; it is not counted, and is repeated.
    """

    epochs: int
    batches: int | None
    total: int
    last: bool = False
    validated: bool = True
    broken_off: bool = False


def read_place(fit_loop: LoopState) -> Place:
    """Read the place from the counters of a checkpoint.

    Args:
        fit_loop: State of the fit loop, ``checkpoint["loops"]["fit_loop"]``, written at any hook.
    """
    epoch = fit_loop["epoch_progress"]["current"]
    progress = fit_loop["epoch_loop.batch_progress"]
    batch, total = progress["current"], progress["total"]["processed"]
    if epoch["ready"] > epoch["started"]:  # the epoch is about to begin
        return Place(epoch["processed"], None, total)
    if epoch["processed"] == epoch["ready"]:  # the epoch is over, or max_steps or a callback ended the run within it
        whole = progress["is_last_batch"] or not epoch["ready"]
        return (
            Place(epoch["processed"], None, total)
            if whole
            else Place(epoch["processed"] - 1, batch["processed"], total)
        )
    if batch["ready"] > batch["processed"]:
        return Place(epoch["processed"], batch["processed"], total, broken_off=True)
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    whole = validation["is_last_batch"] and validation["current"]["completed"] == validation["current"]["ready"]
    validated = whole and batch["completed"] == batch["processed"]
    return Place(epoch["processed"], batch["processed"], total, progress["is_last_batch"], validated)


def set_place(fit_loop: LoopState, place: Place) -> None:
    """Write a place into the counters of a checkpoint, in the form that Lightning reads without guessing.

    Args:
        fit_loop: State of the fit loop, ``checkpoint["loops"]["fit_loop"]``; changed in place.
        place: Place at which the run resumes.
    """
    epoch, batch = fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]
    begun = place.epochs + (place.batches is not None)
    for counts in (epoch["total"], epoch["current"]):
        counts.update(ready=begun, started=begun, processed=place.epochs, completed=place.epochs)
    batch["total"].update(dict.fromkeys(_FORMS, place.total))
    batch["current"].update(dict.fromkeys(_FORMS, place.batches or 0))
    batch["is_last_batch"] = place.last
    # The step number for loggers; within an epoch, Lightning adds the last batch to it on restarting.
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] = place.total - (place.batches is not None)
    fit_loop["state_dict"].pop("combined_loader", None)  # the data module stores its own position in the rows


def set_rows(data: dict[str, int], place: Place, batch_size: int) -> None:
    """Write a place into the state of a ``CorpusDataModule``, so that rows read ahead but not trained on are repeated.

    Args:
        data: State of the data module; changed in place.
        place: Place at which the run resumes.
        batch_size: Number of rows per batch and process.
    """
    if place.batches is not None and not place.last and data:
        data.update(epoch=place.epochs, taken=place.batches * batch_size)


def finish_batch(trainer: Trainer, place: Place) -> None:
    """Run everything that an uninterrupted run does between the last batch and the next: validation and epoch end.

    Call it at the end of ``on_train_start``.

    Args:
        trainer: Trainer that has restored the place.
        place: Place at which the run resumes.
    """
    fit_loop, none = trainer.fit_loop, "none"
    loop = fit_loop.epoch_loop
    loop._restart_stage = loop.val_loop._restart_stage = none
    loop.val_loop.restarting = False  # an interrupted validation starts again
    if not place.batches:
        loop.restarting = False
        loop._batches_that_stepped = place.total
        return
    if not place.validated:
        assert fit_loop._data_fetcher is not None, "set up before the hooks of the run's start"
        loop.on_advance_end(fit_loop._data_fetcher)
        loop._batches_that_stepped -= 1  # counted again on restarting
    if place.last or trainer.should_stop:
        loop._batches_that_stepped += 1
        fit_loop.on_advance_end()
        loop.restarting = False
        fit_loop._restart_stage = none
