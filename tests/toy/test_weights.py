import json
import random

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.toy import evaluate, generator, grammar, reading
from semalign_pl.toy.corruption import corrupt
from semalign_pl.toy.write import WEIGHTS, write


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformer:
    return SentenceTransformer(str(WEIGHTS / "encoder"), device="cpu")


def test_shipped_size() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 16 * 2**20
    record = json.loads((WEIGHTS / "BUILD.json").read_text())
    assert record["base"]["exact_match"] >= 0.90


def test_base_reads_chinese() -> None:
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS / "base", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "base")
    ends = {tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")}
    assert set(model.generation_config.eos_token_id) == ends
    squad = reading.reading_comprehension(7, generator.SPLITS["test"], 100)
    assert evaluate.reading(model, tokenizer, squad)["exact_match"] >= 0.90


def _cos(encoder: SentenceTransformer, pairs: list[tuple[str, str]]) -> torch.Tensor:
    one, other = (encoder.encode([p[side] for p in pairs], convert_to_tensor=True) for side in (0, 1))
    return (one * other).sum(-1)


def test_encoder_grades_meaning(encoder: SentenceTransformer) -> None:
    rng = random.Random(0)
    held = [generator.draw(rng, generator.SPLITS["test"]) for _ in range(100)]
    bo = [grammar.tibetan(m) for m in held]
    same = _cos(encoder, list(zip(bo, bo, strict=True)))
    near = _cos(encoder, [(b, grammar.tibetan(generator.neighbour(rng, m))) for b, m in zip(bo, held, strict=True)])
    far = _cos(encoder, list(zip(bo[:-1], bo[1:], strict=True)))
    assert same.min() > 0.999
    assert 0.55 < near.mean() < 0.88
    assert far.mean() < 0.15


@pytest.mark.parametrize(("kind", "most"), [("shuffle", 0.3), ("repeat", 0.25), ("salad", 0.25), ("empty", 0.15)])
def test_encoder_is_not_fooled(encoder: SentenceTransformer, kind: str, most: float) -> None:
    rng = random.Random(0)
    held = [generator.draw(rng, generator.SPLITS["test"]) for _ in range(100)]
    texts = [(grammar.tibetan(m), grammar.chinese(m)) for m in held]
    assert _cos(encoder, [(bo, corrupt(rng, kind, bo, zh)[0]) for bo, zh in texts]).mean() < most


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    write(tmp_path / "world", seed=1)
    names = {
        str(p.relative_to(tmp_path / "world")) for p in (tmp_path / "world").rglob("*") if p.suffix != ".safetensors"
    }
    assert {
        "pairs/train.jsonl",
        "headlines/test.jsonl",
        "reading_comprehension.json",
        "reading_comprehension_dev.json",
        "source_only.txt",
        "chinese.txt",
        "tibetan.txt",
    } <= names
    assert len((tmp_path / "world/pairs/train.jsonl").read_text().splitlines()) == 5000
    with pytest.raises(ValueError, match="not empty"):
        write(tmp_path / "world")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "headlines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["world"]
