"""A mix of corpora: loss and share per corpus are exact, cost no other forward, and change no weight."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import Batches, Recorded, plain_logps, trained
from lightning.pytorch import Trainer

from semalign_pl.data import CorpusDataModule, Translation
from semalign_pl.data.corpora import Corpus, Label, label_corpora
from semalign_pl.modules import Constant, SFTModule
from semalign_pl.types import Example

MIX = [
    Example("p:1", "老师看书。", "དགེ་རྒན་དེབ།", corpus="pairs"),
    Example("q:1", "你好吗？", "我很好。", corpus="chat", replay=True),
    Example("p:2", "书", "ད", corpus="pairs"),
    Example("q:2", "谁看书？", "x" * 300, corpus="chat", replay=True),
]


class Recording(Recorded, SFTModule):
    stirred = 0.05


class Mixed(Batches):
    corpus_names = {"train": ["pairs", "chat", "absent"]}


@pytest.fixture
def sft(base: str, sft_adapter: str) -> Any:
    def run(data: Batches) -> Recording:
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        module = Recording(base, sgd, weights="fp32", adapter=sft_adapter, lr_scheduler=Constant, micro_batch_tokens=40)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        Trainer(accelerator="cpu", max_epochs=1, **quiet).fit(module, datamodule=data)
        return module

    return run


def test_the_loss_of_each_corpus_is_its_nll_per_token(sft: Any) -> None:
    """Oracle: plain forwards of each row. The fourth reference is too long, so its tokens are in no loss."""
    module = sft(Mixed([MIX]))
    logged = module.trainer.callback_metrics
    encoder = module.policy.encoder
    with torch.no_grad():
        for name, weight in trained(module.policy).items():
            weight.copy_(module.weights[0][name])
        nll: dict[str, float] = {"pairs": 0.0, "chat": 0.0}
        tokens: dict[str, int] = {"pairs": 0, "chat": 0}
        for row in MIX[:3]:
            prompt, completion = encoder.encode_prompt(row.prompt, 1000), encoder.encode_completion(row.reference)
            nll[row.corpus] -= plain_logps(module.policy.model, prompt, completion).sum().item()
            tokens[row.corpus] += len(completion)
    for name in ("pairs", "chat"):
        assert logged[f"train/loss/{name}"].item() == pytest.approx(nll[name] / tokens[name], rel=1e-5)
        assert logged[f"train/token_share/{name}"].item() == pytest.approx(tokens[name] / sum(tokens.values()))
    assert logged["train/loss"].item() == pytest.approx(sum(nll.values()) / sum(tokens.values()), rel=1e-5)
    assert math.isnan(logged["train/loss/absent"]) and logged["train/token_share/absent"] == 0


def test_logging_per_corpus_changes_no_gradient(sft: Any) -> None:
    mixed, plain = sft(Mixed([MIX, MIX[:2]])), sft(Batches([MIX, MIX[:2]]))
    assert not any("token_share" in name or "/loss/" in name for name in plain.trainer.callback_metrics)
    for ours, theirs in zip(mixed.gradients, plain.gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_a_mix_of_pairs_and_chat_turns_logs_shares(runs: Any, tmp_path: Path) -> None:
    """By the recipe, a fifth of an epoch's rows are replayed; over an epoch, the shares of the steps have this mean."""
    chat = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "你好吗？"}, {"role": "assistant", "content": "我很好。"}]
    chat.write_text((json.dumps({"messages": turns}) + "\n") * 10, encoding="utf-8")
    recipe = runs.recipe("sft", [{"class_path": "CorpusReport"}])
    recipe["data"]["init_args"] |= {
        "train": [
            {"path": str(runs.corpus / "train.jsonl"), "weight": 4},
            {"path": str(chat), "task": {"class_path": "Conversation"}, "weight": 1, "name": "replay", "replay": True},
        ],
        "batch_size": 10,
    }
    del recipe["trainer"]["max_steps"]
    recipe["trainer"] |= {"max_epochs": 1, "log_every_n_steps": 1}
    path = runs.write(recipe, "mix")
    from semalign_pl.cli import main

    cli = main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / 'mix'}"])
    rows = [row for row in runs.metrics("mix") if row["train/share/replay"]]
    shares = [float(row["train/share/replay"]) for row in rows]
    assert len(shares) == 5 and sum(shares) / 5 == pytest.approx(0.2)
    for row in rows:
        assert float(row["train/share/train"]) + float(row["train/share/replay"]) == pytest.approx(1)
        parts = [
            float(row[f"train/token_share/{name}"]) * float(row[f"train/loss/{name}"])
            for name in ("train", "replay")
            if float(row[f"train/token_share/{name}"])
        ]
        assert float(row["train/loss"]) == pytest.approx(sum(parts), rel=1e-5)
    examples = cli.datamodule.examples["train"]
    assert {(e.corpus, e.language, e.replay) for e in examples} == {("train", "bo", False), ("replay", "", True)}
    assert len(examples.rewarded) == 40 and not any(example.replay for example in examples.rewarded)


def test_corpora_without_a_name_get_their_files() -> None:
    paths = ["a/train.jsonl", "b/train.{zh,bo}", "owner/name:config@split", "c/x.tsv"]
    corpora = [*map(Corpus, paths), Corpus("d/train.csv", name="train_2", replay=True)]
    labels = label_corpora(corpora, Translation(), "train")
    assert [label.corpus for label in labels] == ["train", "train_3", "name", "x", "train_2"]
    assert {label.language for label in labels} == {"bo"} and [label.replay for label in labels] == [False] * 4 + [True]
    assert label_corpora([Corpus("a/train.jsonl")], Translation(), "train") == [Label()]


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ([{"path": "a.jsonl", "name": "a b"}], "train: the name 'a b' cannot be part of a log name"),
        (
            [{"path": "a.jsonl", "name": "a", "replay": True}, {"path": "b.jsonl", "name": "a"}],
            "'a' names a corpus with replay and one without",
        ),
    ],
)
def test_a_wrong_name_is_refused(corpora: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusDataModule(corpora)
