"""A limit that drops more than a fifth of the rows stops the run, and names the key and the value that keeps 99 %."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from semalign_pl.data import CorpusDataModule
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.limits import TooLong, limit_that_keeps
from semalign_pl.policy.load_encoder import load_prompt_encoder

ROWS = 100


def test_limit_that_keeps_is_the_nearest_rank_percentile() -> None:
    draw = random.Random(3)
    for share in (0.05, 0.5, 0.99, 1.0):
        for rows in (1, 2, 99, 100, 101, 1000):
            lengths = [draw.randrange(1, 400) for _ in range(rows)]
            assert limit_that_keeps(lengths, share) == np.percentile(lengths, 100 * share, method="inverted_cdf")
    assert limit_that_keeps([5] * 100 + [9]) == 5


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows of which 25 % have a long answer, and one of them a far longer one."""
    monkeypatch.chdir(tmp_path)
    answers = ["ཀ་" * (12 if n % 4 == 0 else 2) for n in range(ROWS - 1)] + ["ཀ་" * 80]
    lines = [json.dumps({"zh": f"书{n}", "bo": answer}, ensure_ascii=False) for n, answer in enumerate(answers)]
    Path("pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def load(base: str, prompt: int, answer: int, too_long: TooLong = "cut_prompt", max_tokens: int | None = None) -> int:
    """Number of training rows."""
    bounds = None if max_tokens is None else Preparation(max_tokens=max_tokens)
    data = CorpusDataModule(train="pairs.jsonl", too_long=too_long, prepare=bounds)
    data.connect(load_prompt_encoder(base), prompt, answer, trains_references=True)
    data.setup("fit")
    return len(data.load_examples("train"))


def test_dropped_answers(corpus: Path, base: str) -> None:
    encoder = load_prompt_encoder(base)
    short, keeps, longest = (len(encoder.encode_completion("ཀ་" * syllables)) for syllables in (2, 12, 80))
    wanted = (
        r"^pairs\.jsonl: 26 of 100 rows are longer than the model's limits and would be dropped; to keep 99 % "
        rf"set model\.init_args\.max_new_tokens: {keeps} \(now {short}\); to leave long rows out on purpose, set "
        r"data\.init_args\.prepare\.max_tokens$"
    )
    for _ in range(2):  # the second time, the tokenised corpus is in the cache
        with pytest.raises(ValueError, match=wanted):
            load(base, 1000, short)
    assert load(base, 1000, keeps) == 99  # the value that it names keeps 99 %
    assert load(base, 1000, longest) == 100
    assert load(base, 1000, short, max_tokens=short - 1) == 74  # left out on purpose


def test_dropped_prompts(corpus: Path, base: str) -> None:
    encoder = load_prompt_encoder(base)
    data = CorpusDataModule(train="pairs.jsonl")
    data.setup("fit")
    prompts = sorted(len(encoder.encode_prompt(example.prompt, 1000)) for example in data.examples["train"])
    assert load(base, prompts[5], 1000) == 100  # prompts are cut
    with pytest.raises(ValueError, match=rf"set model\.init_args\.max_prompt_tokens: {prompts[98]} \(now {prompts[5]}"):
        load(base, prompts[5], 1000, "drop")
    with pytest.raises(ValueError, match=rf"max_prompt_tokens: {prompts[98]} \(now.* and model.init_args.max_new_tok"):
        load(base, prompts[5], 10, "drop")
