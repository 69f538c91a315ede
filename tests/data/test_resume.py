"""A run that is interrupted anywhere sees exactly the same rows as an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.batch_recorder import Recorder, ids, trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from semalign_pl.data import CorpusDataModule

STEPS = 20  # batches; an epoch has 7, the last one smaller


class Killed(Exception):
    """Stand-in for anything that ends a run between two steps."""


class Fragile(Recorder):
    """Die before step ``dies``; optionally ask for the estimate after which Lightning no longer restores loaders."""

    def __init__(self, dies: int | None, estimate: bool) -> None:
        super().__init__()
        self.dies, self.estimate = dies, estimate

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if len(self.seen["train"]) == self.dies:
            raise Killed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert not self.estimate or self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


def run(
    corpus: Path,
    steps: int = STEPS,
    callbacks: list[Checkpoint] | None = None,
    resume: Path | None = None,
    save: Path | None = None,
    dies: int | None = None,
    **options: Any,
) -> list[list[str]]:
    """Ids of the training batches of a run with new objects, as in a new process."""
    module = Fragile(dies, bool(options.pop("estimate", False)))
    validation = str(corpus / "dev.jsonl") if "val_check_interval" in options else None
    data = CorpusDataModule(str(corpus / "train.jsonl"), validation, batch_size=6, seed=3)
    loop = trainer(
        max_steps=steps, callbacks=callbacks, enable_checkpointing=bool(callbacks), **{"max_epochs": 9, **options}
    )
    if dies is None:
        loop.fit(module, data, ckpt_path=resume)
    else:
        with pytest.raises(Killed):
            loop.fit(module, data)
    if save:
        loop.save_checkpoint(save)
    return module.seen["train"]


def test_an_epoch_is_every_row_in_a_new_order(corpus: Path) -> None:
    seen = run(corpus)
    first, second = ids(seen[:7]), ids(seen[7:14])
    assert len(first) == 40 and sorted(first) == sorted(second) and first != second
    assert seen == run(corpus)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"estimate": True},
        {"val_check_interval": 2},
        {"limit_train_batches": 5},
        {"limit_train_batches": 0.8, "estimate": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [3, 7, 10, 14, 15])
def test_killed_after_a_checkpoint(corpus: Path, tmp_path: Path, steps: int, options: dict[str, Any]) -> None:
    """In the middle and at the end of the 1st and 2nd epoch, and at the start of the 3rd."""
    straight = run(corpus, **options)
    every = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    assert run(corpus, callbacks=[every], dies=steps + 1, **options) == straight[: steps + 1]
    assert run(corpus, resume=tmp_path / f"step={steps}.ckpt", **options) == straight[steps:]


@pytest.mark.parametrize("options", [{}, {"estimate": True}, {"val_check_interval": 2}], ids=str)
@pytest.mark.parametrize("steps", [3, 7, 10, 14])
def test_stopped_by_max_steps_and_extended(corpus: Path, tmp_path: Path, steps: int, options: dict[str, Any]) -> None:
    """Lightning counts an epoch that max_steps cut short as done; the data module does not."""
    first = run(corpus, steps, save=tmp_path / "a.ckpt", **options)
    between = run(corpus, steps + 2, resume=tmp_path / "a.ckpt", save=tmp_path / "b.ckpt", **options)
    rest = run(corpus, resume=tmp_path / "b.ckpt", **options)
    assert first + between + rest == run(corpus, **options)


def test_accumulation(corpus: Path, tmp_path: Path) -> None:
    straight = run(corpus, 10, accumulate_grad_batches=2)
    every = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=5)
    run(corpus, 5, callbacks=[every], accumulate_grad_batches=2)
    # Four steps per epoch, of 2 + 2 + 2 + 1 batches: nine batches before step 5 ends.
    assert run(corpus, 10, resume=tmp_path / "step=5.ckpt", accumulate_grad_batches=2) == straight[9:]


def test_a_second_fit_starts_anew(corpus: Path, tmp_path: Path) -> None:
    run(corpus, 3, save=tmp_path / "a.ckpt")
    data = CorpusDataModule(str(corpus / "train.jsonl"), str(corpus / "dev.jsonl"), batch_size=6, seed=3)
    module = Recorder()
    trainer().validate(module, data, ckpt_path=tmp_path / "a.ckpt", verbose=False)
    trainer().fit(module, data)
    trainer().fit(module, data)
    assert module.seen["train"] == run(corpus)[:7] * 2


def test_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    run(corpus, 3, save=tmp_path / "a.ckpt")
    data = CorpusDataModule(str(corpus / "train.jsonl"), batch_size=6, seed=3, limit=30)
    with pytest.raises(ValueError, match="trained with rows = 40, this run has 30.*adapter folder"):
        trainer(max_steps=9).fit(Recorder(), data, ckpt_path=tmp_path / "a.ckpt")


def test_a_corpus_that_is_replayed_from_now_on_is_refused(corpus: Path, tmp_path: Path) -> None:
    run(corpus, 3, save=tmp_path / "a.ckpt")
    data = CorpusDataModule({"path": str(corpus / "train.jsonl"), "replay": True}, batch_size=6, seed=3)
    with pytest.raises(ValueError, match="data.init_args.train: the checkpoint was trained with replay: true for oth"):
        trainer(max_steps=9).fit(Recorder(), data, ckpt_path=tmp_path / "a.ckpt")
