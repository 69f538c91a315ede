"""Module that records its batches, the trainer that runs it, and the recipe parser that knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import LightningCLI

from semalign_pl.data import CorpusDataModule
from semalign_pl.types import Example


class Recorder(lightning.LightningModule):
    """Module that records the ids of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self.seen: dict[str, list[list[str]]] = {"train": [], "val": [], "test": []}

    def note(self, part: str, batch: list[Example]) -> None:
        assert type(batch) is list and all(type(example) is Example for example in batch)
        self.seen[part].append([example.id for example in batch])

    def training_step(self, batch: list[Example], index: int) -> torch.Tensor:
        self.note("train", batch)
        return self.weight(torch.ones(1, 1)).sum()

    def validation_step(self, batch: list[Example], index: int) -> None:
        self.note("val", batch)

    def test_step(self, batch: list[Example], index: int) -> None:
        self.note("test", batch)

    def predict_step(self, batch: list[Example], index: int) -> list[str]:
        return [example.id for example in batch]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(**options: Any) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        **{"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 1, **quiet, **options}
    )


def ids(batches: list[list[str]]) -> list[str]:
    return sum(batches, [])


def train_ids(data: CorpusDataModule) -> set[str]:
    data.setup("fit")
    return {example.id for example in data.examples["train"]}


def parse(tmp_path: Path, yaml: str, *flags: str) -> LightningCLI:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml, encoding="utf-8")
    return LightningCLI(
        Recorder, CorpusDataModule, subclass_mode_data=True, run=False, args=["--config", str(path), *flags],
        save_config_callback=None, trainer_defaults={"logger": False, "enable_checkpointing": False},
    )  # fmt: skip
