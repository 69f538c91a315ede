"""The module hands its encoder and limits to the data module, and a task makes each row's example once."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.batch_recorder import Recorder, trainer
from helpers.tiny import fit

from semalign_pl.data import CorpusDataModule, Translation
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.modules import SFTModule
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.types import Example


class Counting(Translation):
    """Task that counts how often each row's example is made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()

    def example(self, row: Mapping[str, str], id: str) -> Example:
        self.made[id] += 1
        return super().example(row, id)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sft(base: str, **settings: Any) -> SFTModule:
    return SFTModule(base, weights="fp32", lora=LoraSettings(4, 8, 0.0), max_new_tokens=60, **settings)


def test_an_example_is_made_once_per_row(base: str, corpus: Path) -> None:
    """Tokenising and two epochs of reading; one more call, without an id, identifies the task in the cache."""
    task = Counting()
    data = CorpusDataModule(str(corpus / "train.jsonl"), task=task, batch_size=8)
    data.connect(load_prompt_encoder(base), 1000, 1000, True)
    data.setup("fit")
    for _ in range(2):
        read = [example for batch in data.train_dataloader() for example in batch]
    assert len(read) == 40 and all(example.prompt_ids and example.completion_ids for example in read)
    assert task.made == Counter(dict.fromkeys((f"train.jsonl:{line}" for line in range(1, 41)), 1) | {"": 2})


def test_a_stored_example_is_the_tasks_own(base: str, corpus: Path) -> None:
    texts = CorpusDataModule(str(corpus / "train.jsonl"))
    texts.setup("fit")
    tokens = CorpusDataModule(str(corpus / "train.jsonl"))
    encoder = load_prompt_encoder(base)
    tokens.connect(encoder, 1000, 1000, True)
    tokens.setup("fit")
    for plain, stored in zip(texts.load_examples("train"), tokens.load_examples("train"), strict=True):
        assert stored.prompt_ids == encoder.encode_prompt(plain.policy_prompt, 1000)
        assert stored.completion_ids == encoder.encode_completion(plain.reference)
        for name in ("id", "prompt", "reference", "columns", "source", "turns", "policy_prompt"):
            assert getattr(stored, name) == getattr(plain, name)


def test_the_module_connects_in_time(base: str, corpus: Path) -> None:
    """The rows of the first batch have token ids, cut to the module's limits."""
    seen: list[Example] = []

    class Watching(SFTModule):
        def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
            seen.extend(batch)
            return super().training_step(batch, batch_idx)

    data = CorpusDataModule(str(corpus / "train.jsonl"), batch_size=4)
    module = Watching(base, weights="fp32", lora=LoraSettings(4, 8, 0.0), max_prompt_tokens=20, max_new_tokens=60)
    trainer(max_steps=2).fit(module, data)
    assert len(seen) == 8
    assert all(0 < len(example.prompt_ids or ()) <= 20 and example.completion_ids for example in seen)


def test_a_module_without_a_policy_gets_texts(base: str, corpus: Path) -> None:
    """Also after a module with a policy used the same data module."""
    data = CorpusDataModule(str(corpus / "train.jsonl"), batch_size=4)
    trainer(max_steps=1).fit(sft(base), data)
    assert data.examples["train"][0].prompt_ids
    trainer(max_steps=1).fit(Recorder(), data)
    assert data.examples["train"][0].prompt_ids is None
    del data
    gc.collect()


def test_lengths_in_tokens_need_an_encoder(base: str, corpus: Path) -> None:
    data = CorpusDataModule(str(corpus / "train.jsonl"), prepare=Preparation(min_tokens=1), batch_size=4)
    with pytest.raises(
        ValueError, match=r"^data.init_args.prepare: min_tokens and max_tokens count tokens .*SFTModule"
    ):
        trainer(max_steps=1).fit(Recorder(), data)
    trainer(max_steps=1).fit(sft(base), data)


def test_a_data_module_of_the_users_own_is_encoded_by_the_module(base: str) -> None:
    module = sft(base)
    assert fit(module, [[Example("a:1", "书", "དེབ་"), Example("a:2", "山", "རི་")]]).global_step == 1
