"""Report on the rows of each corpus, in the run's folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.data.examples import Examples
from semalign_pl.data.storing.cache import summary
from semalign_pl.files.atomic import replace_file, write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.terminal import visible
from semalign_pl.protocols import ExampleData, MixedData, PreparedData
from semalign_pl.run.trainer import data_module_of, may_write
from semalign_pl.types import Example


class CorpusReport(Callback):
    """Write ``RUN/corpus/<split>.json`` with one entry per corpus: rows read, kept and dropped by reason, and settings.

    Every dropped row is in ``RUN/corpus/<split>_dropped.jsonl`` with its reason and its text. A line is printed if rows
    were dropped or prompts cut. ``train/time/data_seconds`` is the time that it took to read a step's batch. In a mix,
    ``train/share/NAME`` is the share of a corpus in the rows of the step.
    """

    def __init__(self) -> None:
        self._done: set[Path] = set()
        self._seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the training split."""
        self._report(trainer, "train")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Log how long the step waited for its batch, and the share of each corpus of a mix in the batch's rows."""
        data = data_module_of(trainer)
        if isinstance(data, MixedData) and isinstance(batch, list):
            corpora = [example.corpus for example in batch if isinstance(example, Example)]
            for name in data.corpus_names.get("train", ()):
                share = corpora.count(name) / max(1, len(corpora))
                pl_module.log(f"train/share/{name}", share, on_step=True, batch_size=1, sync_dist=True)
        examples = data.examples.get("train") if isinstance(data, ExampleData) else None
        if isinstance(examples, Examples):
            waited = examples.seconds - self._seconds
            pl_module.log("train/time/data_seconds", waited, on_step=True, batch_size=1)
            self._seconds = examples.seconds

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation split."""
        self._report(trainer, "validation")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the test split."""
        self._report(trainer, "test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the split to predict, which is the test split."""
        self._report(trainer, "test")

    def _report(self, trainer: Trainer, split: str) -> None:
        data = data_module_of(trainer)
        folder = Path(trainer.default_root_dir) / "corpus"
        file = folder / f"{split}.json"
        if file in self._done or not isinstance(data, PreparedData) or not may_write(trainer):
            return
        if not (prepared := data.prepared.get(split)):
            return
        again = any(done.name == file.name for done in self._done)  # the next point of a frontier, on the same rows
        self._done.add(file)
        reports = [corpus.report for corpus in prepared]
        content = {"used": len(data.examples[split]), "corpora": reports}
        write_text(file, to_json(content, file, indent=1) + "\n")
        with replace_file(folder / f"{split}_dropped.jsonl") as rows:
            for corpus in prepared:
                with (corpus.folder / "dropped.jsonl").open("rb") as dropped:
                    shutil.copyfileobj(dropped, rows)
        for report in [] if again else reports:
            if report["dropped"] or report.get("prompts_cut"):
                trainer.print(visible(f"{split}: {summary(report)} (see {folder / split}_dropped.jsonl)"))
            elif "licence" in report:
                trainer.print(visible(f"{split}: {summary(report)}"))
