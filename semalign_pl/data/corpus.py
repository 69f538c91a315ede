"""Data module: corpora of one task or several, as batches of examples."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jsonargparse.typing import lazy_instance
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import BadRows, CorpusRequest, prepare
from semalign_pl.data.corpora import Corpora, Corpus, listed, weights_of
from semalign_pl.data.examples import Examples
from semalign_pl.data.order import EvalOrder, TrainOrder, by_temperature, subset
from semalign_pl.data.reading.sources import content_key
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.tasks import Task, Translation
from semalign_pl.data.tokens import UNUSED, Limits, TooLong, tokenise
from semalign_pl.types import Example

_STAGES = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}
_HELD_OUT = ("validation", "test")
# A lazy instance, so that a saved config spells out the default. Outside the command line it means Translation().
_DEFAULT_TASK: Any = lazy_instance(Translation)


# Warnings that a user cannot act on.
_NOT_YOURS = (
    "does not have many workers",  # reading rows is cheap: worker processes would cost more
    "Total length of `list` across ranks is zero",  # no validation corpus
    "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
)


class CorpusDataModule(LightningDataModule):
    """Training, validation and test corpora of one task, or of a mix of tasks.

    A batch is a list of `Example`. Rows are read, cleaned and tokenised once and then cached on disk, keyed by content
    and settings. So memory use is constant, and a second run starts at once. Training resumes from a checkpoint with
    the next row, also in the middle of an epoch.
    """

    def __init__(
        self,
        train: Corpora | None = None,
        validation: Corpora | None = None,
        test: Corpora | None = None,
        task: Task = _DEFAULT_TASK,
        columns: dict[str, str] | None = None,
        prepare: Preparation | None = None,
        bad_rows: BadRows = "error",
        too_long: TooLong = "cut_prompt",
        temperature: float | None = None,
        workers: int = 0,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        limit: int | None = None,
        eval_limit: int | None = None,
        skip: int = 0,
        seed: int = 0,
    ) -> None:
        """Set the corpora; a corpus is read only when a stage needs it.

        Args:
            train: File to train on (.jsonl, .json, .csv, .tsv, .parquet, .tmx, .xlsx; train.{zh,bo} for paired text;
                .txt for source-only text; text also compressed as .gz, .bz2, .xz, .zst, .zip; file.json#key,
                file.xlsx#Sheet and file.zip#member to select from a file), hub dataset or folder
                (owner/name:config@split), or a list of these. An item of the list may have settings of its own:
                {path, columns, task, weight, where, split, quoting}.
            validation: Corpora to validate on, given as for train; no validation if left out.
            test: Corpora for testing and predicting, given as for train.
            task: Task that makes prompts and references of rows: Translation, Headline, Summarisation, Instruction,
                Conversation (chat data), or a Task of your own.
            columns: Name of the corpus' column for each field, e.g. {zh: chinese, bo: tibetan}; by default the field's
                own name. A path selects from a nested column: {bo: translation.bo, answer: answers.text.0}. Fields that
                the task does not need are read too and passed to the rewards.
            prepare: Settings for cleaning training rows and keeping them apart from evaluation rows; {} for the
                defaults, left out to use rows as they are.
            bad_rows: Treatment of rows that cannot be read. error stops at the first; quarantine lists them with the
                dropped rows.
            too_long: Treatment of training rows longer than the model's max_prompt_tokens or max_new_tokens. cut_prompt
                cuts the user's message, and drops rows with too long references if references are trained on. drop
                drops rows with either. error refuses both. A reference is never cut.
            temperature: Temperature of a mix, which draws from corpora in proportion to size ** (1 / temperature). 1
                keeps the sizes, 5 favours small corpora; by default the sizes, or the weights if given.
            workers: Number of processes that clean the corpus besides this one; worth it from some 100,000 rows.
            batch_size: Number of training prompts per batch and process.
            eval_batch_size: Number of validation or test prompts per batch and process.
            limit: Maximum number of training rows, drawn by seed. A larger limit includes the rows of a smaller one.
            eval_limit: Maximum number of rows for validation and for test, drawn by seed.
            skip: Number of training rows to leave out. Leave out the first rows of the order that limit draws from:
                skip 5000 trains on exactly the rows that limit 5000 does not use, with the same train and seed.
            seed: Seed of the order of rows. Draws the rows of limit, eval_limit and skip, and shuffles each epoch.

        Raises:
            ValueError: If a number is out of range, or the weights of the training corpora are wrong.
        """
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("limit", limit, 1),
            ("eval_limit", eval_limit, 1),
            ("skip", skip, 0),
            ("workers", workers, 0),
            ("temperature", temperature, 0.1),
        ):
            if value is not None and value < least:
                raise ValueError(f"data.init_args.{name} is {value}; give {least} or more")
        self.corpora = {"train": listed(train), "validation": listed(validation), "test": listed(test)}
        self.weights = weights_of(self.corpora["train"], temperature)
        self.task = Translation() if task is _DEFAULT_TASK else task
        self.columns = dict(columns or {})
        self.prepare = prepare
        self.bad_rows: BadRows = bad_rows
        self.too_long: TooLong = too_long
        self.temperature, self.workers = temperature, workers
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.limit, self.eval_limit, self.skip = limit, eval_limit, skip
        self.seed = seed
        self.examples: dict[str, Examples] = {}
        self.prepared: dict[str, list[Prepared]] = {}
        self._prepared: dict[str, list[Prepared]] = {}
        self._order: TrainOrder | None = None
        self._state: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}  # batch size and content keys that a saved position depends on, plain values
        # A shard is empty if there are more processes than validation rows.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def prepare_data(self) -> None:
        """Read and clean the corpora of the stage, in one process; the other processes find them on disk."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            for part in self._parts(str(self.trainer.state.fn.value)):
                self._prepare(part)

    def setup(self, stage: str) -> None:
        """Read the corpora of the stage that are not read yet.

        Args:
            stage: Stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        for message in _NOT_YOURS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        self._order, self._state, self._kept = None, {}, {}
        for part in self._parts(stage):
            if part not in self.examples:
                self._use(part, self._prepare(part))

    def _parts(self, stage: str) -> list[str]:
        return [part for part in _STAGES[stage] if stage != "fit" or part == "train" or self.corpora[part]]

    def _prepare(self, part: str) -> list[Prepared]:
        """Prepare the split's corpora; for training, prepare the corpora that it must not repeat first."""
        if part not in self._prepared:
            if not self.corpora[part]:
                raise ValueError(
                    f"data.init_args.{part} is not set: name a .jsonl, .csv, .tsv, .parquet, .tmx or .txt file, or a "
                    "hub dataset owner/name, there"
                )
            kept_apart = part == "train" and self.prepare is not None and self.prepare.decontaminate
            others = [p for other in _HELD_OUT if kept_apart and self.corpora[other] for p in self._prepare(other)]
            self._prepared[part] = [
                prepare(self.request(part, corpus), others, workers=self.workers) for corpus in self.corpora[part]
            ]
        return self._prepared[part]

    def request(self, part: str, corpus: Corpus) -> CorpusRequest:
        """Describe how a corpus is read and prepared.

        Args:
            part: Split: ``train``, ``validation`` or ``test``.
            corpus: Corpus of ``corpora[part]``.
        """
        task = corpus.task or self.task
        return CorpusRequest(
            source=corpus.path,
            columns=task.wanted(part, self.columns if corpus.columns is None else corpus.columns),
            optional=task.optional,
            split=corpus.split or part,
            where=corpus.where,
            quoting=corpus.quoting,
            fields=task.fields,
            languages=task.languages,
            pair=(task.fields[0], task.fields[1]) if task.parallel else None,
            prepare=self.prepare,
            filters=part == "train",
            bad_rows=self.bad_rows,
            chat=task.chat(part),
        )

    def _use(self, part: str, prepared: Sequence[Prepared]) -> None:
        """Choose the split's rows by seed, among all prepared rows; too long rows are removed after the choice."""
        pairs = [(p.table, c.task or self.task) for p, c in zip(prepared, self.corpora[part], strict=True)]
        rows = sum(len(table) for table, _ in pairs)
        skip, limit = (self.skip, self.limit) if part == "train" else (0, self.eval_limit)
        if skip >= rows:
            paths = ", ".join(corpus.path for corpus in self.corpora[part])
            raise ValueError(f"data.init_args.skip is {skip}, but {paths} has {rows} rows; nothing would be left")
        self.examples[part] = Examples(pairs, _left(subset(rows, self.seed, skip, limit), prepared))
        self.prepared[part] = list(prepared)

    def _tokenised(self, part: str) -> Examples:
        """Examples of the split, with token ids if the trainer's module has a policy."""
        module: Any = self.trainer.lightning_module if self.trainer else None
        policy = getattr(module, "_policy", None)
        bounds = self.prepare or Preparation()
        if policy is None and (bounds.min_tokens or bounds.max_tokens) and part == "train":
            raise ValueError(
                "data.init_args.prepare: min_tokens and max_tokens count tokens of a policy, and "
                f"{type(module).__name__} has none; leave them out, or train an SFTModule or GRPOModule"
            )
        if policy is not None and (part == "train" or self.too_long == "error"):
            limits = Limits(
                module.max_prompt_tokens,
                module.max_new_tokens,
                self.too_long,
                module.trains_references,
                bounds.min_tokens,
                bounds.max_tokens,
            )
            both = zip(self._prepare(part), self.corpora[part], strict=True)
            self._use(
                part,
                [tokenise(p, c.task or self.task, policy, limits, drop=part == "train") for p, c in both],
            )
        return self.examples[part]

    def train_dataloader(self) -> StatefulDataLoader[Example]:
        """Batches in the order of each epoch, starting at the checkpoint's position if there is one."""
        examples = self._tokenised("train")
        sizes, weights = examples.sizes, self.weights
        if self.temperature is not None:
            weights = by_temperature(sizes, self.temperature)
        order = TrainOrder(examples, seed=self.seed, sizes=sizes, weights=weights, **self._process())
        if self.trainer:  # count the rows of an epoch as the trainer does
            batches, limit = -(-len(order) // self.batch_size), self.trainer.limit_train_batches
            order.stop = min(len(order), self.batch_size * (limit if isinstance(limit, int) else int(batches * limit)))
        if self._order is not None and not self._order.resumed:
            self._state = {}  # the checkpoint's position was used
        if not self._kept:
            paths = [(corpus.path, corpus.split or "train") for corpus in self.corpora["train"]]
            self._kept = {"batch_size": self.batch_size, "corpora": [content_key(*path) for path in paths]}
        if self._state:
            self._check_same(self._state)
            order.load_state_dict(self._state)
        self._order = order
        return StatefulDataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.batch_size,
            sampler=order,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Position in the training rows, and the identity of those rows.

        The loader saves the position too, but Lightning does not restore loaders if ``configure_optimizers`` has read
        ``trainer.estimated_stepping_batches``.
        """
        return {**self._order.state_dict(), **self._kept} if self._order else {}

    def _check_same(self, state: dict[str, Any]) -> None:
        """Refuse a position in other rows.

        Raises:
            ValueError: If the corpora's content or the batch size has changed since the checkpoint was written.
        """
        if state.get("batch_size", self.batch_size) != self.batch_size:
            raise ValueError(
                f"--ckpt_path: data.init_args.batch_size was {state['batch_size']} and is {self.batch_size}; set it "
                "back, or begin a new run from what was trained"
            )
        if state.get("corpora", self._kept["corpora"]) != self._kept["corpora"]:
            paths = ", ".join(corpus.path for corpus in self.corpora["train"])
            raise ValueError(
                f"--ckpt_path: data.init_args.train: the content of {paths} is not what the checkpoint was trained on; "
                "restore it, or begin a new run from what was trained"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a saved position for the training loader.

        Args:
            state_dict: State from ``state_dict``.
        """
        self._state = state_dict

    def _process(self) -> dict[str, int]:
        """Rank and number of processes; a single process if no trainer is attached."""
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world_size": trainer.world_size if trainer else 1}

    def val_dataloader(self) -> DataLoader[Example] | list[Any]:
        """Validation batches in file order; an empty list if no validation corpus is set."""
        return self._eval_dataloader("validation") if "validation" in self.examples else []

    def test_dataloader(self) -> DataLoader[Example]:
        """Test batches in file order."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Example]:
        """Test batches in file order, for predicting."""
        return self._eval_dataloader("test")

    def _eval_dataloader(self, part: str) -> DataLoader[Example]:
        examples = self._tokenised(part)
        return DataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.eval_batch_size,
            sampler=EvalOrder(examples, **self._process()),
            collate_fn=list,
            generator=torch.Generator(),  # else the loader draws a seed from the global generator
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch unchanged: it is text and lists of token ids."""
        return batch


def _left(rows: Sequence[int], prepared: Sequence[Prepared]) -> Sequence[int]:
    """Remove the rows that tokenising dropped from ``rows``, indices through all corpora."""
    offsets = np.cumsum([0, *(len(p.table) for p in prepared)])[:-1]
    dropped = [
        offset + np.load(p.folder / UNUSED, allow_pickle=False)
        for offset, p in zip(offsets, prepared, strict=True)
        if p.unused
    ]
    if not dropped:
        return rows
    left = np.setdiff1d(np.asarray(rows, np.int64), np.concatenate(dropped), assume_unique=True)
    if not len(left):
        raise ValueError("data.init_args.limit: all rows that it draws are too long; raise it, or the model's limits")
    return array("q", left.tolist())
