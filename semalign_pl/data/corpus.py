"""Data module: corpora of one task or several, as batches of examples."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

import torch
from jsonargparse.typing import lazy_instance
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import BadRows, CorpusRequest, prepare
from semalign_pl.data.corpora import Corpora, Corpus, label_corpora, list_corpora, sampling_weights
from semalign_pl.data.examples import Examples, choose_rows
from semalign_pl.data.limits import KEYS, Limits, TooLong, check_dropped
from semalign_pl.data.order import EvalOrder, TrainOrder, rows_per_corpus, temperature_weights
from semalign_pl.data.position import State, TrainPosition
from semalign_pl.data.raw_text import RawText
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.tasks import Task, Translation
from semalign_pl.data.tokens import tokenise
from semalign_pl.types import Example

_SPLITS = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}
_HELD_OUT = ("validation", "test")
MOST_REPEATED = 10
"""Number of times per epoch above which a warning names a corpus whose few drawn rows are repeated."""
# A lazy instance, so that a saved config spells out the default. Outside the command line it means Translation().
_DEFAULT_TASK: Task = lazy_instance(Translation)
# Warnings that a user cannot act on.
_NOT_YOURS = (
    "does not have many workers",  # reading rows is cheap: worker processes would cost more
    "Total length of `list` across ranks is zero",  # no validation corpus
    "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
)
T = TypeVar("T")
log = logging.getLogger(__name__)


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
                {path, columns, task, weight, where, split, quoting, encoding, name, replay}.
            validation: Corpora to validate on, given as for train; no validation if left out.
            test: Corpora for testing and predicting, given as for train.
            task: Task that makes prompts and references of rows: Translation, Headline, Summarisation, Instruction,
                Conversation (chat data), RawText (continued pretraining), or a Task of your own.
            columns: Name of the corpus' column for each field, e.g. {zh: chinese, bo: tibetan}; by default the field's
                own name. A path selects from a nested column: {bo: translation.bo, answer: answers.text.0}. Fields that
                the task does not need are read too and passed to the rewards.
            prepare: Settings for cleaning training rows and keeping them apart from evaluation rows; {} for the
                defaults, left out to use rows as they are.
            bad_rows: Treatment of rows that cannot be read. error stops at the first; quarantine lists them with the
                dropped rows.
            too_long: Treatment of training rows longer than the model's max_prompt_tokens or max_new_tokens. cut_prompt
                cuts the end of the user's message, and drops rows that ask there, after their longest field, and rows
                with too long references if references are trained on. drop drops rows with either. error refuses both.
                A reference is never cut.
            temperature: Temperature of a mix, which draws from corpora in proportion to size ** (1 / temperature). 1
                keeps the sizes, 5 favours small corpora; by default the sizes, or the weights if given.
            workers: Number of processes that clean the corpus besides this one; worth it from some 100,000 rows.
            batch_size: Number of training prompts per batch and process.
            eval_batch_size: Number of validation or test prompts per batch and process.
            limit: Maximum number of training rows, drawn by seed. A larger limit includes the rows of a smaller one.
            eval_limit: Maximum number of rows for validation and for test, the same ones whatever the seed.
            skip: Number of training rows to leave out. Leave out the first rows of the order that limit draws from:
                skip 5000 trains on exactly the rows that limit 5000 does not use, with the same train and seed.
            seed: Seed of the order of training rows. Draws the rows of limit and skip, and shuffles each epoch.

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
        self.corpora = {
            "train": list_corpora(train),
            "validation": list_corpora(validation),
            "test": list_corpora(test),
        }
        self.weights = sampling_weights(self.corpora["train"], temperature)
        self.task = Translation() if task is _DEFAULT_TASK else task
        self.labels = {split: label_corpora(listed, self.task, split) for split, listed in self.corpora.items()}
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
        self._cleaned: dict[str, list[Prepared]] = {}
        self._encoder: PromptEncoder | None = None
        self._limits = Limits(0, 0)
        self._position = TrainPosition(self.corpora["train"])
        # A shard is empty if there are more processes than validation rows.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def connect(
        self, encoder: PromptEncoder, max_prompt_tokens: int, max_new_tokens: int, trains_references: bool
    ) -> None:
        """Take the encoder of a policy, with which rows are tokenised from then on.

        A module with a policy calls this before its loaders are made. Without an encoder, examples have no token ids.

        Args:
            encoder: Tokenizer and chat template of the policy.
            max_prompt_tokens: Maximum number of tokens per prompt.
            max_new_tokens: Maximum number of tokens per reference.
            trains_references: True if references are trained on.
        """
        bounds = self.prepare or Preparation()
        self._encoder = encoder
        self._limits = Limits(
            max_prompt_tokens, max_new_tokens, self.too_long, trains_references, bounds.min_tokens, bounds.max_tokens
        )

    @property
    def corpus_names(self) -> dict[str, list[str]]:
        """Names of the corpora of each split, in the order of the recipe; none for a single corpus without a name."""
        names = {split: [label.corpus for label in labels] for split, labels in self.labels.items()}
        return {split: list(dict.fromkeys(filter(None, listed))) for split, listed in names.items()}

    def prepare_data(self) -> None:
        """Read and clean the corpora of the stage, in one process; the other processes find them on disk."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            for split in self._splits(str(self.trainer.state.fn.value)):
                self._clean(split)

    def setup(self, stage: str) -> None:
        """Read the corpora of the stage that are not read yet.

        Args:
            stage: Stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        for message in _NOT_YOURS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        self._position.reset()
        if self.trainer is not None:
            self._encoder = None  # the module of this run connects its own after this hook, if it has one
        for split in self._splits(stage):
            self._use(split, self._clean(split))

    def _splits(self, stage: str) -> list[str]:
        return [split for split in _SPLITS[stage] if stage != "fit" or split == "train" or self.corpora[split]]

    def _clean(self, split: str) -> list[Prepared]:
        """Prepare the split's corpora; for training, prepare the corpora that it must not repeat first."""
        if split not in self._cleaned:
            if not self.corpora[split]:
                raise ValueError(
                    f"data.init_args.{split} is not set: name a .jsonl, .csv, .tsv, .parquet, .tmx or .txt file, or a "
                    "hub dataset owner/name, there"
                )
            kept_apart = split == "train" and self.prepare is not None and self.prepare.decontaminate
            others = [p for other in _HELD_OUT if kept_apart and self.corpora[other] for p in self._clean(other)]
            self._cleaned[split] = [
                prepare(self.request(split, corpus), others, workers=self.workers) for corpus in self.corpora[split]
            ]
        return self._cleaned[split]

    def request(self, split: str, corpus: Corpus) -> CorpusRequest:
        """Describe how a corpus is read and prepared.

        Args:
            split: Split: ``train``, ``validation`` or ``test``.
            corpus: Corpus of ``corpora[split]``.
        """
        task = corpus.task or self.task
        return CorpusRequest(
            source=corpus.path,
            columns=task.columns_to_read(split, self.columns if corpus.columns is None else corpus.columns),
            optional=task.optional,
            split=corpus.split or split,
            where=corpus.where,
            quoting=corpus.quoting,
            encoding=corpus.encoding,
            fields=task.fields,
            languages=task.languages,
            pair=(task.fields[0], task.fields[1]) if task.parallel else None,
            prepare=self.prepare,
            filters=split == "train",
            bad_rows=self.bad_rows,
            chat=task.chat(split),
        )

    def _use(self, split: str, prepared: Sequence[Prepared], packed: bool = False) -> None:
        """Choose the split's rows among all prepared rows; too long rows are removed after the choice.

        Training rows are drawn by the run's seed, those of an evaluation by a fixed one.
        All documents of raw text are used until they are ``packed``: only then their rows can be counted.
        """
        corpora = [(p.table, c.task or self.task) for p, c in zip(prepared, self.corpora[split], strict=True)]
        rows = sum(len(table) for table, _ in corpora)
        skip, limit = (self.skip, self.limit) if split == "train" else (0, self.eval_limit)
        if not packed and any(isinstance(task, RawText) for _, task in corpora):
            skip, limit = 0, None
        if skip >= rows:
            paths = ", ".join(corpus.path for corpus in self.corpora[split])
            raise ValueError(f"data.init_args.skip is {skip}, but {paths} has {rows} rows; nothing would be left")
        seed = self.seed if split == "train" else 0  # runs of several seeds are tested on the same rows
        self.examples[split] = Examples(corpora, choose_rows(prepared, seed, skip, limit), self.labels[split])
        self.prepared[split] = list(prepared)

    def load_examples(self, split: str) -> Examples:
        """Examples of a split after ``setup``, with token ids if an encoder is connected.

        Rows of an evaluation split are tokenised only to refuse long ones: the module tokenises the others.

        Args:
            split: Split: ``train``, ``validation`` or ``test``.

        Raises:
            ValueError: If rows are too long and ``too_long`` is ``error``, if no row is left, or if lengths in tokens
                are limited without an encoder.
        """
        bounds, trains = self.prepare or Preparation(), split == "train"
        if self._encoder is None and (bounds.min_tokens or bounds.max_tokens) and trains:
            raise ValueError(
                "data.init_args.prepare: min_tokens and max_tokens count tokens of a policy, and the module that is "
                "trained has none; leave them out, or train an SFTModule or GRPOModule"
            )
        if self._encoder is not None:
            tokenised = [self._tokenise(split, *of) for of in zip(self._clean(split), self.corpora[split], strict=True)]
            self._use(split, tokenised, packed=True)
        return self.examples[split]

    def _tokenise(self, split: str, prepared: Prepared, corpus: Corpus) -> Prepared:
        """Tokenised corpus, or an evaluation corpus as it is: the module tokenises its rows, except raw text."""
        task, trains = corpus.task or self.task, split == "train"
        assert self._encoder is not None, "the caller has checked it"
        samples = trains and not self._limits.trains_references
        if samples and isinstance(task, RawText) and not corpus.replay:
            raise ValueError(
                f"data.init_args.train: {corpus.path} is RawText, which has no prompt to complete; set replay: true "
                "for SFT's loss on it, or train an SFTModule"
            )
        if samples and all(listed.replay for listed in self.corpora[split]):
            raise ValueError(
                "data.init_args.train: every corpus has replay: true, so there is no prompt to sample completions of; "
                "add a corpus without it, or train an SFTModule"
            )
        if not (trains or self.too_long == "error" or isinstance(task, RawText)):
            return prepared
        # Replayed rows are trained on by every stage.
        limits = replace(self._limits, trains_references=self._limits.trains_references or corpus.replay)
        tokenised = tokenise(prepared, task, self._encoder, limits, drop=trains)
        if trains and "keeping" in tokenised.report:
            dropped, keeping = tokenised.report["dropped"], tokenised.report["keeping"]
            rows = tokenised.report["kept"] + sum(dropped.get(reason, 0) for reason in KEYS)
            now = {"prompt_too_long": limits.prompt, "answer_too_long": limits.completion}
            check_dropped(corpus.path, rows, dropped, now, keeping)
        return tokenised

    def train_dataloader(self) -> StatefulDataLoader[Example]:
        """Batches in the order of each epoch, starting at the checkpoint's position if there is one."""
        examples = self.load_examples("train")
        sizes, weights = examples.sizes, self.weights
        if self.temperature is not None:
            weights = temperature_weights(sizes, self.temperature)
        process = self._process()
        limit = self._limit_rows(len(examples) // process["world_size"])
        order = TrainOrder(examples, seed=self.seed, sizes=sizes, weights=weights, limit=limit, **process)
        if weights is not None:
            self._check_drawn(sizes, rows_per_corpus(order.rows_per_epoch * process["world_size"], weights))
        self._position.follow(order, self.batch_size)
        return StatefulDataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.batch_size,
            sampler=order,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def _limit_rows(self, rows: int) -> int:
        """Maximum number of a process' rows that an epoch has, as the trainer counts them."""
        batches, limit = -(-rows // self.batch_size), self.trainer.limit_train_batches if self.trainer else 1.0
        return self.batch_size * (limit if isinstance(limit, int) else int(batches * limit))

    def _check_drawn(self, sizes: Sequence[int], shares: Sequence[int]) -> None:
        """Refuse a weight of a corpus without a drawn row, and warn of drawn rows that are repeated very often."""
        tables = [prepared.table for prepared in self.prepared["train"]]
        for corpus, table, size, wanted in zip(self.corpora["train"], tables, sizes, shares, strict=True):
            key = f"data.init_args.limit: {self.limit}" if self.limit else f"data.init_args.skip: {self.skip}"
            if not size:
                raise ValueError(
                    f"{key} draws no row of {corpus.path}, which has a weight; raise limit or lower skip, or leave the "
                    "corpus out"
                )
            elif self.limit and size < len(table) and wanted > MOST_REPEATED * size and not self._process()["rank"]:
                log.warning(
                    "%s draws %d of the %d rows of %s, and its weight repeats each %d times per epoch; raise limit, or "
                    "give the corpus a smaller weight",
                    key, size, len(table), corpus.path, wanted // size,
                )  # fmt: skip

    def state_dict(self) -> State:
        """Position in the training rows, and the identity of those rows."""
        return self._position.state_dict()

    def load_state_dict(self, state_dict: State) -> None:
        """Keep a saved position for the training loader.

        Args:
            state_dict: State from ``state_dict``.
        """
        self._position.load_state_dict(state_dict)

    def _process(self) -> dict[str, int]:
        """Rank and number of processes; a single process if no trainer is attached."""
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world_size": trainer.world_size if trainer else 1}

    def val_dataloader(self) -> DataLoader[Example] | list[Example]:
        """Validation batches in file order; an empty list if no validation corpus is set."""
        return self._eval_dataloader("validation") if "validation" in self.examples else []

    def test_dataloader(self) -> DataLoader[Example]:
        """Test batches in file order."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Example]:
        """Test batches in file order, for predicting."""
        return self._eval_dataloader("test")

    def _eval_dataloader(self, split: str) -> DataLoader[Example]:
        examples = self.load_examples(split)
        return DataLoader(
            cast(Dataset[Example], examples),
            batch_size=self.eval_batch_size,
            sampler=EvalOrder(examples, **self._process()),
            collate_fn=list,
            generator=torch.Generator(),  # else the loader draws a seed from the global generator
        )

    def transfer_batch_to_device(self, batch: T, device: torch.device, dataloader_idx: int) -> T:
        """Return the batch unchanged: it is text and lists of token ids."""
        return batch
