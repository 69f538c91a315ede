"""Raw text: packing predicts every token once, counts bytes exactly, and trains and validates by the plain loss."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.batch_recorder import trainer
from helpers.tiny import plain_logps

from semalign_pl.data import CorpusDataModule, RawText
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.corpora import Corpora
from semalign_pl.data.packing import Document, PackedRow, pack_documents
from semalign_pl.modules import EmbedderModule, SFTModule
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.types import Example

LINES = ["བཀྲ་ཤིས་བདེ་ལེགས།", "老师看书。", "x", "a<|im_end|>b", "བོད་ཡིག་" * 9, "学生在家里吃饭。"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return str(path)


def connected(base: str, train: Corpora, trains_references: bool = True, **options: Any) -> CorpusDataModule:
    data = CorpusDataModule(train, **{"task": RawText(), **options})
    data.connect(load_prompt_encoder(base), 1000, 16, trains_references)
    data.setup("fit")
    return data


def tokens_of(row: Example) -> tuple[list[int], list[int]]:
    """Prompt and completion of a packed row."""
    assert row.prompt_ids is not None and row.completion_ids is not None
    return list(row.prompt_ids), list(row.completion_ids)


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 1000])
def test_every_token_but_the_first_is_predicted_once(tokens: int) -> None:
    random.seed(tokens)
    documents = [
        Document(str(i), [random.randrange(1, 99) for _ in range(random.randrange(1, 20))] + [0], random.randrange(90))
        for i in range(30)
    ]
    stream = [token for document in documents for token in document.ids]
    rows = list(pack_documents(documents, tokens))
    assert [stream[0]] + [token for row in rows for token in row.completion] == stream
    assert all(len(row.completion) == tokens for row in rows[:-1])
    before = [token for row in rows for token in [row.completion[-1]]]
    assert [row.prompt for row in rows[1:]] == [[token] for token in before[:-1]]
    first = documents[0].bytes // (len(documents[0].ids) - 1)
    assert sum(row.bytes for row in rows) == sum(document.bytes + 1 for document in documents) - first


def test_an_empty_document_and_a_single_token() -> None:
    assert list(pack_documents([Document("a", [0], 0), Document("b", [7, 0], 3)], 9)) == [PackedRow("b", [7], [0], 1)]
    assert list(pack_documents([Document("a", [0], 0)], 9)) == []


def test_rows_are_the_tokenizers_ids_without_a_template(base: str, text: str) -> None:
    data = connected(base, text)
    tokenizer = load_prompt_encoder(base).tokenizer
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    expected: list[int] = []
    for line in LINES:
        # A control token in the text is two pieces of plain text, never the token itself.
        pieces = line.replace("<|im_end|>", "<\0|im_end|>").split("\0")
        expected += [token for piece in pieces for token in tokenizer(piece)["input_ids"]] + [eos]
    examples = data.load_examples("train")
    rows = list(examples)
    assert tokens_of(rows[0])[0] + [token for row in rows for token in tokens_of(row)[1]] == expected
    assert all(len(tokens_of(row)[1]) == 16 for row in rows[:-1]) and all(row.is_raw_text for row in rows)
    assert expected.count(eos) == len(LINES)
    (prepared,) = data.prepared["train"]
    assert prepared.report.get("packed") == len(rows) and prepared.report["kept"] == len(LINES)
    assert rows[0].id == "text.txt:1" and rows[-1].id == "text.txt:5", "the document of the first token"
    assert examples[0].reference.startswith("ཀྲ་ཤིས་")


def test_limits_count_packed_rows_and_bounds_count_documents(base: str, text: str) -> None:
    every = list(connected(base, text).load_examples("train"))
    assert len(connected(base, text, limit=2).load_examples("train")) == 2
    assert len(every) == 8 > len(LINES) and len(connected(base, text, skip=7).load_examples("train")) == 1
    bounded = connected(base, text, prepare=Preparation(min_tokens=2, max_tokens=60))
    assert len(bounded.load_examples("train")) < len(every)
    (prepared,) = bounded.prepared["train"]
    assert prepared.report["dropped"] == {"too_few_tokens": 1, "too_many_tokens": 1}
    listed = [json.loads(line) for line in (prepared.folder / "dropped.jsonl").read_text().splitlines()]
    assert [line["id"] for line in listed] == ["text.txt:3", "text.txt:5"]


def test_training_and_validation_have_the_plain_next_token_loss(base: str, text: str) -> None:
    """Oracle: one forward per row with its first token as prompt; bits per byte from the size of the file."""
    data = CorpusDataModule(text, validation=[{"path": text, "name": "raw"}], task=RawText(), batch_size=100)
    module = SFTModule(base, weights="fp32", lora=LoraSettings(4, 8, 0.0), max_new_tokens=16)
    run = trainer(max_steps=1)
    run.fit(module, datamodule=data)
    logged = dict(run.callback_metrics)
    rows = list(data.examples["train"])
    with torch.no_grad(), module.policy.acting_as("base"):
        # The loss of the first step: a new adapter changes nothing.
        nll = -sum(plain_logps(module.policy.model, *tokens_of(row)).double().sum().item() for row in rows)
    tokens = sum(len(tokens_of(row)[1]) for row in rows)
    assert logged["train/loss"].item() == pytest.approx(nll / tokens, rel=1e-5)
    run.validate(module, datamodule=data, verbose=False)
    validated = run.callback_metrics
    assert validated["val/loss/raw"] == validated["val/loss"] and validated["val/rows_too_long"] == 0
    size = len(Path(text).read_bytes()) - len("བཀྲ་ཤིས་བདེ་ལེགས།".encode()) // (
        len(load_prompt_encoder(base).encode_documents(LINES[:1])[0]) - 1
    )
    bits = validated["val/loss"].item() * tokens / math.log(2) / size
    assert validated["val/bits_per_byte"].item() == pytest.approx(bits, rel=1e-6)


def test_raw_text_is_not_completed(base: str, text: str) -> None:
    data = CorpusDataModule(test=text, task=RawText())
    module = SFTModule(base, weights="fp32", max_new_tokens=16)
    run = trainer(max_steps=1)
    run.test(module, datamodule=data, verbose=False)
    assert module.test_step(list(data.examples["test"])[:3], 0) == {"examples": [], "predictions": []}


def test_raw_text_is_no_prompt_of_grpo(base: str, text: str) -> None:
    data = connected(base, text, trains_references=False)
    with pytest.raises(ValueError, match="is RawText, which has no prompt to complete; set replay: true"):
        data.load_examples("train")


def test_untokenised_raw_text_is_refused(base: str) -> None:
    module = SFTModule(base, weights="fp32")
    with pytest.raises(ValueError, match=r"a:1: raw text needs token ids"):
        module.encode([RawText().example({"text": "x"}, "a:1")])
    with pytest.raises(ValueError, match="a pair needs two texts"):
        EmbedderModule(base).training_step([RawText().example({"text": "x"}, "a:1")], 0)
