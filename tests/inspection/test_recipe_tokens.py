"""``semalign corpus --config`` shows what tokenising drops and what new tokens do, without reading weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from semalign_pl.__main__ import main
from semalign_pl.data import CorpusDataModule, Translation
from semalign_pl.policy.load_encoder import load_prompt_encoder

# Fewer than a fifth of the rows are too long: more would stop the run.
ROWS = [
    *({"zh": f"第{n}个老师看书。", "bo": "བཀྲ་ཤིས་བདེ་ལེགས། " * (n if n < 7 else 1)} for n in range(1, 37)),
    {"zh": "书" * 90, "bo": "དེབ།"},
]
VOCABULARY = {"language": "bo", "corpus": "train.jsonl", "column": "bo", "tokens": 4, "min_count": 2}


@pytest.fixture
def recipe(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Recipe whose base has a config and a tokenizer, and a weight file that is cut off."""
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    Path("train.jsonl").write_text(text, encoding="utf-8")
    model = {"base": str(folder), "weights": "fp32", "max_prompt_tokens": 100, "max_new_tokens": 100}
    return {
        "model": {"class_path": "SFTModule", "init_args": model},
        "data": {"class_path": "CorpusDataModule", "init_args": {"train": "train.jsonl"}},
    }


def corpus(recipe: dict[str, Any]) -> dict[str, Any]:
    """Account of the training corpus."""
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["corpus", "--config", "recipe.yaml", "--out", "out"]) == 0
    (train,) = json.loads(Path("out/corpus.json").read_text(encoding="utf-8"))["preparation"]
    return train


@pytest.mark.parametrize("too_long", ["cut_prompt", "drop"])
def test_rows_that_are_too_long(recipe: dict[str, Any], too_long: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe["data"]["init_args"]["too_long"] = too_long
    encoder = load_prompt_encoder(recipe["model"]["init_args"]["base"])
    examples = [Translation().example(row, "") for row in ROWS]
    answers = sum(len(encoder.encode_completion(example.reference)) > 100 for example in examples)
    prompts = sum(len(encoder.encode_prompt(example.prompt, 10_000)) > 100 for example in examples)
    assert answers and prompts == 1
    train = corpus(recipe)
    expected = {"answer_too_long": answers} | ({"prompt_too_long": prompts} if too_long == "drop" else {})
    assert train["dropped"] == expected and train["kept"] == len(ROWS) - sum(expected.values())
    assert train["prompts_cut"] == (prompts if too_long == "cut_prompt" else 0)
    out = " ".join(capsys.readouterr().out.split())
    assert f"{answers} answer too long" in out and ("1 prompts cut" in out) == (too_long == "cut_prompt")


def test_new_tokens(recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    recipe["model"]["init_args"] |= {"vocabulary": VOCABULARY, "max_new_tokens": 1000}
    new = corpus(recipe)["new_tokens"]
    base = load_prompt_encoder(recipe["model"]["init_args"]["base"])
    tokens = sum(len(base.encode_completion(text)) - 1 for row in ROWS for text in row.values())
    characters = sum(len(text) for row in ROWS for text in row.values())
    assert new["added"] == 4
    assert new["tokens_per_row"][0] == pytest.approx(tokens / len(ROWS))
    assert new["tokens_per_character"][0] == pytest.approx(tokens / characters)
    before, after = new["tokens_per_row"]
    syllables = sum(row["bo"].count("བདེ་") for row in ROWS)  # each of the four syllables occurs as often
    assert (before - after) * len(ROWS) >= 4 * syllables
    assert "4 new tokens: " in " ".join(capsys.readouterr().out.split())


def test_the_counts_are_those_of_training(recipe: dict[str, Any]) -> None:
    train = corpus(recipe)
    data = CorpusDataModule("train.jsonl")
    data.connect(load_prompt_encoder(recipe["model"]["init_args"]["base"]), 100, 100, True)
    data.setup("fit")
    assert len(data.load_examples("train")) == train["kept"]
    assert data.prepared["train"][0].report["dropped"] == train["dropped"]


def test_a_base_that_cannot_be_read(recipe: dict[str, Any], base: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The account of the files is still shown, with the tokenizer that ``--model`` names."""
    recipe["model"]["init_args"]["base"] = "./nowhere"
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["corpus", "--config", "recipe.yaml", "--model", base]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "preparing all splits stops: model.init_args.base: there is no folder ./nowhere" in out
