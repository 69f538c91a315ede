"""Report on the rows of each corpus, in the run's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.data.storing.cache import summary
from semalign_pl.files.atomic import replace_file, write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.terminal import visible
from semalign_pl.run.trainer import may_write


class CorpusReport(Callback):
    """Write ``RUN/corpus/<split>.json`` with one entry per corpus: rows read, kept and dropped by reason, and settings.

    Every dropped row is in ``RUN/corpus/<split>_dropped.jsonl`` with its reason and its text. A line is printed if rows
    were dropped or prompts cut. ``train/time/data_seconds`` is the time that it took to read a step's batch.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the training split."""
        self._report(trainer, "train")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log how long the step waited for its batch."""
        data: Any = getattr(trainer, "datamodule", None)
        seconds = getattr(getattr(data, "examples", {}).get("train"), "seconds", None)
        if seconds is not None:
            pl_module.log("train/time/data_seconds", seconds - self._seconds, on_step=True, batch_size=1)
            self._seconds = seconds

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation split."""
        self._report(trainer, "validation")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the test split."""
        self._report(trainer, "test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the split to predict, which is the test split."""
        self._report(trainer, "test")

    def _report(self, trainer: Trainer, part: str) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        prepared = getattr(data, "prepared", {}).get(part)
        if part in self._done or not prepared or not may_write(trainer):
            return
        self._done.add(part)
        folder = Path(trainer.default_root_dir) / "corpus"
        reports = [corpus.report for corpus in prepared]
        content = {"used": len(data.examples[part]), "corpora": reports}
        file = folder / f"{part}.json"
        write_text(file, to_json(content, file, indent=1) + "\n")
        with replace_file(folder / f"{part}_dropped.jsonl") as file:
            for corpus in prepared:
                with (corpus.folder / "dropped.jsonl").open("rb") as listed:
                    shutil.copyfileobj(listed, file)
        for report in reports:
            if report["dropped"] or report.get("prompts_cut"):
                trainer.print(visible(f"{part}: {summary(report)} (see {folder / part}_dropped.jsonl)"))
