"""The data module: corpora of one task, as batches of plain examples."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from jsonargparse.typing import lazy_instance
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from semalign_pl.data.order import EvalOrder, TrainOrder, subset
from semalign_pl.data.sources import read
from semalign_pl.data.tasks import Task, Translation
from semalign_pl.types import Example

_STAGES = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}
# So that a saved config spells the default out; outside the command line it stands for Translation().
_DEFAULT_TASK: Any = lazy_instance(Translation)


# Warnings that a user can do nothing about.
_NOT_YOURS = (
    "does not have many workers",  # rows are in memory: worker processes would only cost
    "Total length of `list` across ranks is zero",  # no validation corpus
    "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
)


class CorpusDataModule(LightningDataModule):
    """Training, validation and test corpora of one task.

    A batch is a list of `Example`: tokenising is the policy's matter. Training goes on after a checkpoint with the very
    next row, also in the middle of an epoch.
    """

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        task: Task = _DEFAULT_TASK,
        columns: dict[str, str] | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        limit: int | None = None,
        eval_limit: int | None = None,
        skip: int = 0,
        seed: int = 0,
    ) -> None:
        """Names the corpora; nothing is read before a stage needs it.

        Args:
            train: File to train on (.jsonl, .csv, .tsv, .parquet; .txt for source-only text) or hub dataset
                (owner/name:config@split).
            validation: The same for validation; no validation without it.
            test: The same for testing and predicting.
            task: What is asked of the model: Translation, Headline, or a Task of your own.
            columns: The corpus' column of a field, e.g. {zh: chinese, bo: tibetan}; a field not named here has a
                column of its own name. Fields the task does not need are read too and handed to the rewards.
            batch_size: Training prompts a batch and process.
            eval_batch_size: Validation and test prompts a batch and process.
            limit: Use at most this many training rows, drawn by seed; a smaller limit lies within a larger one.
            eval_limit: The same for validation and test rows.
            skip: Leave out the first rows of the order that limit draws from: skip 5000 trains on just what
                limit 5000 does not, given the same train and seed.
            seed: Draws the rows of limit, eval_limit and skip, and shuffles each epoch.
        """
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("limit", limit, 1),
            ("eval_limit", eval_limit, 1),
            ("skip", skip, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"data.init_args.{name} is {value}; give {least} or more")
        self.files = {"train": train, "validation": validation, "test": test}
        self.task = Translation() if task is _DEFAULT_TASK else task
        self.columns = dict(columns or {})
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.limit, self.eval_limit, self.skip = limit, eval_limit, skip
        self.seed = seed
        self.examples: dict[str, list[Example]] = {}
        self._order: TrainOrder | None = None
        self._state: dict[str, Any] = {}
        # A shard may be empty where there are more processes than validation rows.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def setup(self, stage: str) -> None:
        """Reads what the stage needs and is not read yet."""
        for message in _NOT_YOURS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        self._order, self._state = None, {}
        for part in _STAGES[stage]:
            if part not in self.examples and not (stage == "fit" and part == "validation" and not self.files[part]):
                self.examples[part] = self._load(part)

    def _load(self, part: str) -> list[Example]:
        file = self.files[part]
        if not file:
            raise ValueError(
                f"data.init_args.{part} is not set: name a .jsonl, .csv, .tsv, .parquet or .txt file, or a hub dataset "
                "owner/name, there"
            )
        rows = list(read(file, self.task.wanted(part, self.columns), split=part).items())
        skip, limit = (self.skip, self.limit) if part == "train" else (0, self.eval_limit)
        if skip >= len(rows):
            raise ValueError(f"data.init_args.skip is {skip}, but {file} has {len(rows)} rows; nothing would be left")
        return [self.task.example(row, id) for id, row in (rows[i] for i in subset(len(rows), self.seed, skip, limit))]

    def train_dataloader(self) -> StatefulDataLoader[Example]:
        """Batches of each epoch's order, from the place of the checkpoint if there is one."""
        examples = self.examples["train"]
        order = TrainOrder(examples, seed=self.seed, **self._process())
        if self.trainer:  # count an epoch's rows as the trainer does
            batches, limit = -(-len(order) // self.batch_size), self.trainer.limit_train_batches
            order.stop = min(len(order), self.batch_size * (limit if isinstance(limit, int) else int(batches * limit)))
        if self._state:
            order.load_state_dict(self._state)
        self._order, self._state = order, {}
        return StatefulDataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.batch_size,
            sampler=order,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def state_dict(self) -> dict[str, Any]:
        """The place in the training rows.

        The loader saves the same, but Lightning does not restore loaders where ``configure_optimizers`` has read
        ``trainer.estimated_stepping_batches``.
        """
        return self._order.state_dict() if self._order else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept for the training loader."""
        self._state = state_dict

    def _process(self) -> dict[str, int]:
        """This process among all; alone where no trainer is attached."""
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world_size": trainer.world_size if trainer else 1}

    def val_dataloader(self) -> DataLoader[Example] | list[Any]:
        """Batches in file order, or nothing where no validation corpus is set."""
        return self._eval_dataloader("validation") if "validation" in self.examples else []

    def test_dataloader(self) -> DataLoader[Example]:
        """Batches in file order."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Example]:
        """The test corpus."""
        return self._eval_dataloader("test")

    def _eval_dataloader(self, part: str) -> DataLoader[Example]:
        examples = self.examples[part]
        return DataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.eval_batch_size,
            sampler=EvalOrder(examples, **self._process()),
            collate_fn=list,
            generator=torch.Generator(),  # the loader would draw a seed from the global one
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves text where it is."""
        return batch
