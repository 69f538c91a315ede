"""The data module: when files are read, batches, subsets, real corpora, and Lightning's wrappers."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.batch_recorder import Recorder, ids, train_ids, trainer

from semalign_pl.data import CorpusDataModule, EvalOrder, Headline, TrainOrder, Translation
from semalign_pl.types import Example


def test_fit_without_validation(corpus: Path) -> None:
    data, module = CorpusDataModule(train=str(corpus / "train.jsonl"), batch_size=16), Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec")  # a warning of Lightning itself
        trainer().fit(module, data)
    assert [len(batch) for batch in module.seen["train"]] == [16, 16, 8]
    assert sorted(ids(module.seen["train"])) == sorted(f"train.jsonl:{line}" for line in range(1, 41))
    assert module.seen["val"] == []


def test_every_stage_reads_only_what_it_needs(corpus: Path) -> None:
    train, dev, gone = str(corpus / "train.jsonl"), str(corpus / "dev.jsonl"), str(corpus / "gone.jsonl")
    module = Recorder()
    trainer(num_sanity_val_steps=0).fit(module, CorpusDataModule(train, dev, gone, eval_batch_size=5))
    trainer().validate(module, CorpusDataModule(gone, dev, gone), verbose=False)
    trainer().test(module, CorpusDataModule(gone, gone, dev, eval_batch_size=5), verbose=False)
    everything = [f"dev.jsonl:{line}" for line in range(1, 9)]
    assert module.seen["val"] == [everything[:5], everything[5:], everything]
    assert module.seen["test"] == [everything[:5], everything[5:]]
    assert trainer().predict(module, CorpusDataModule(test=dev)) == [everything]
    with pytest.raises(ValueError, match="gone.jsonl: no such file"):
        trainer().fit(module, CorpusDataModule(gone))


@pytest.mark.parametrize(
    ("stage", "part"), [("fit", "train"), ("validate", "validation"), ("test", "test"), ("predict", "test")]
)
def test_a_corpus_that_is_not_set(stage: str, part: str) -> None:
    with pytest.raises(ValueError, match=rf"data.init_args.{part} is not set: name a"):
        getattr(trainer(), stage)(Recorder(), CorpusDataModule())


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "limit", "eval_limit", "skip"])
def test_numbers_that_make_no_sense(name: str) -> None:
    with pytest.raises(ValueError, match=rf"data.init_args.{name} is -1; give [01] or more"):
        CorpusDataModule(**{name: -1})


def test_task_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("chinese\ttibetan\ttopic\n一\tཀ\tx\n", encoding="utf-8")
    data = CorpusDataModule(
        train=str(path), task=Translation("bo", "zh"), columns={"zh": "chinese", "bo": "tibetan", "topic": "topic"}
    )
    data.setup("fit")
    row = {"zh": "一", "bo": "ཀ", "topic": "x"}
    assert list(data.examples["train"]) == [Example("c.tsv:2", "把下面的藏文翻译成中文：ཀ", "一", row, source="ཀ")]


def test_source_only(tmp_path: Path) -> None:
    (tmp_path / "zh.txt").write_text("一\n\n二\r\n", encoding="utf-8")
    (tmp_path / "pairs.jsonl").write_text('{"zh": "三", "bo": "ཀ"}\n', encoding="utf-8")
    task = Translation(source_only=True)
    for train, sources in (("zh.txt", ["一", "二"]), ("pairs.jsonl", ["三"])):
        data = CorpusDataModule(str(tmp_path / train), test=str(tmp_path / "pairs.jsonl"), task=task)
        data.setup("fit")
        data.setup("test")
        assert [example.source for example in data.examples["train"]] == sources
        assert all(e.reference == "" and e.columns == {"zh": e.source} for e in data.examples["train"])
        assert [example.reference for example in data.examples["test"]] == ["ཀ"]  # rows that are scored need references
    with pytest.raises(
        ValueError, match=r"zh.txt: a .txt file holds one text per line, and 2 columns .*source_only: true"
    ):
        CorpusDataModule(str(tmp_path / "zh.txt")).setup("fit")


def test_limit_and_skip(corpus: Path) -> None:
    train = str(corpus / "train.jsonl")
    cold, wide = train_ids(CorpusDataModule(train, limit=10)), train_ids(CorpusDataModule(train, limit=30))
    rest = train_ids(CorpusDataModule(train, skip=10))
    assert len(cold) == 10 and cold < wide and len(wide) == 30
    assert not cold & rest and len(cold | rest) == 40
    assert train_ids(CorpusDataModule(train, skip=10, limit=20)) == wide - cold
    assert train_ids(CorpusDataModule(train, limit=10, seed=1)) != cold
    assert len(train_ids(CorpusDataModule(train, limit=99))) == 40
    with pytest.raises(ValueError, match="data.init_args.skip is 40, but .*train.jsonl has 40 rows"):
        train_ids(CorpusDataModule(train, skip=40))

    data = CorpusDataModule(validation=train, test=train, limit=1, skip=39, eval_limit=5)
    data.setup("validate")
    data.setup("test")
    assert list(data.examples["validation"]) == list(data.examples["test"]) and len(data.examples["test"]) == 5
    other = CorpusDataModule(test=train, eval_limit=5, seed=7)
    other.setup("test")
    assert list(other.examples["test"]) == list(data.examples["test"]), "seeds are compared on the same rows"


def weighted(corpus: Path, folder: Path, few: int, limit: int | None) -> CorpusDataModule:
    """Mix of 40 rows and of a few others, with equal weights."""
    path, lines = folder / "few.jsonl", (corpus / "train.jsonl").read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(lines[:few]), encoding="utf-8")
    data = CorpusDataModule([{"path": str(p), "weight": 1.0} for p in (corpus / "train.jsonl", path)], limit=limit)
    data.setup("fit")
    return data


def test_a_weight_without_a_row_is_one_line(corpus: Path, tmp_path: Path) -> None:
    data = weighted(corpus, tmp_path, 2, 5)
    with pytest.raises(
        ValueError, match=r"^data.init_args.limit: 5 draws no row of .*few.jsonl, which has a weight; .*$"
    ):
        data.train_dataloader()


@pytest.mark.parametrize(("few", "limit", "told"), [(2, 35, True), (2, None, False), (20, 35, False)])
def test_a_row_that_fills_an_epoch_is_told(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, few: int, limit: int | None, told: bool
) -> None:
    """Without a limit, the weight alone says how often a row is repeated."""
    weighted(corpus, tmp_path, few, limit).train_dataloader()
    wanted = (
        f"data.init_args.limit: {limit} draws 1 of the {few} rows of {tmp_path / 'few.jsonl'}, and its weight repeats"
    )
    assert (wanted in caplog.text) == told and ("repeats" in caplog.text) == told


def test_a_field_with_the_name_of_a_rows_id_is_refused(tmp_path: Path) -> None:
    """The code of Indonesian: its references would be taken for ids, and the model would learn to answer nothing."""
    file = tmp_path / "train.jsonl"
    file.write_text('{"en": "good morning friend", "id": "selamat pagi teman"}\n', encoding="utf-8")
    language = tmp_path / "id.yaml"
    language.write_text("{code: id, name: Indonesian, scripts: [Latin], unit: word}", encoding="utf-8")
    data = CorpusDataModule(str(file), task=Translation("en", str(language)))
    with pytest.raises(ValueError, match=r"train\.jsonl: a field cannot be called id, .* another code, such as ind"):
        data.setup("fit")


def test_randomness_outside_is_untouched(corpus: Path) -> None:
    """More frequent validation must not change the training samples."""
    data = CorpusDataModule(str(corpus / "train.jsonl"), str(corpus / "dev.jsonl"))
    data.setup("fit")
    before = torch.get_rng_state()
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_lightning_keeps_our_samplers(corpus: Path) -> None:
    class Keep(Recorder):
        def on_train_start(self) -> None:
            assert isinstance(self.trainer.train_dataloader.sampler, TrainOrder)
            assert isinstance(self.trainer.val_dataloaders.sampler, EvalOrder)

    data = CorpusDataModule(str(corpus / "train.jsonl"), str(corpus / "dev.jsonl"))
    trainer(fast_dev_run=True, use_distributed_sampler=True).fit(Keep(), data)


def test_two_processes(corpus: Path, tmp_path: Path) -> None:
    """Under DDP each training row is seen once, except for an odd last one, and each validation row exactly once."""

    class Shards(Recorder):
        def on_train_end(self) -> None:
            torch.save(self.seen, tmp_path / f"{self.global_rank}.pt")

    train = CorpusDataModule(str(corpus / "train.jsonl"), str(corpus / "dev.jsonl"), batch_size=6, eval_batch_size=1)
    train.limit, train.eval_limit = 39, 7
    trainer(strategy="ddp_fork", devices=2, num_sanity_val_steps=0).fit(Shards(), train)
    shards = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [len(ids(shard["train"])) for shard in shards] == [19, 19]
    assert max(Counter(ids(shards[0]["train"] + shards[1]["train"])).values()) == 1
    assert [len(ids(shard["val"])) for shard in shards] == [4, 3]
    assert len(set(ids(shards[0]["val"] + shards[1]["val"]))) == 7


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"precision": "bf16-mixed"}, 4),
        ({"overfit_batches": 1}, 1),
        ({"limit_train_batches": 3}, 3),
        ({"limit_train_batches": 0.8}, 3),
    ],
)
def test_trainer_options(corpus: Path, options: dict[str, Any], batches: int) -> None:
    module = Recorder()
    trainer(max_epochs=3, **options).fit(module, CorpusDataModule(str(corpus / "train.jsonl"), batch_size=10))
    assert len(module.seen["train"]) == 3 * batches


@pytest.mark.parametrize(
    ("file", "rows", "settings"),
    [
        ("sib200_flores_bo_zh/train.jsonl", 701, {}),
        ("sib200_flores_bo_zh/dev.jsonl", 99, {"task": Translation("en", "bo")}),
        ("udhr_bo_zh/pairs.jsonl", 80, {"columns": {"unit": "unit"}}),
        ("mitra_bo_zh/dev.jsonl", 1000, {"task": Translation("bo", "zh")}),
        ("nanhai_headlines_bo/headlines.jsonl", 635, {
            "task": Headline(), "columns": {"article": "body", "headline": "title"}}),
    ],
)  # fmt: skip
def test_real_corpora(shared: Path, file: str, rows: int, settings: dict[str, Any]) -> None:
    data = CorpusDataModule(train=str(shared / file), **settings)
    data.setup("fit")
    seen = [example for batch in data.train_dataloader() for example in batch]
    assert sorted(int(example.id.rpartition(":")[2]) for example in seen) == list(range(1, rows + 1))
    assert all(example.columns[data.task.fields[0]] in example.prompt and example.reference for example in seen)
