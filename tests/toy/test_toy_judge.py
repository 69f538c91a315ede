"""The toy world's judge: its questions, its reader, and its server."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.toy import generator, grammar, judge
from semalign_pl.toy.__main__ import main as toy
from semalign_pl.toy.build import WEIGHTS

RUBRIC = Path(__file__).parents[2] / "configs/study/quickstart/rubric.yaml"


@pytest.fixture(scope="module")
def reader() -> judge.Reader:
    return judge.Reader(WEIGHTS / "encoder")


@pytest.mark.parametrize("headline", [False, True])
def test_a_text_has_quality_1_if_and_only_if_it_is_the_reference(headline: bool) -> None:
    rng, write = random.Random(0), grammar.tibetan_headline if headline else grammar.tibetan
    seen = set()
    for _ in range(300):
        meaning = generator.draw(rng, generator.SPLITS["train"])
        text, quality = judge.draw_text(rng, meaning, headline)
        assert 0 <= quality <= 1
        if quality == 1:
            assert text == write(meaning)
        seen.add(quality == 1)
    assert seen == {True, False}


def test_answers_are_all_used_and_the_better_text_is_the_answer() -> None:
    cases = [judge.draw_case(random.Random(number), "dev") for number in range(200)]
    shares = [sum(case.answer == option for case in cases) / 200 for option in ("1", "2", "tie")]
    assert min(shares[:2]) > 0.25 and shares[2] > 0.05
    for case in cases:
        if (case.first == case.reference) != (case.second == case.reference):
            assert case.answer == ("1" if case.first == case.reference else "2")


def test_a_world_that_is_not_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy(["judge", str(tmp_path)]) == 2
    assert f"encoder is no folder; first run python -m semalign_pl.toy write {tmp_path}" in capsys.readouterr().err


def test_the_reader_knows_the_language(reader: judge.Reader) -> None:
    assert reader.accuracy(300) > 0.8  # a guess is right in two of five questions


def test_the_command_judge_can_ask_it(reader: judge.Reader, tmp_path: Path) -> None:
    """A is right in all rows but one, in which both say the same."""
    rng = random.Random(0)
    right = [grammar.tibetan(generator.draw(rng, generator.SPLITS["test"])) for _ in range(8)]
    for name, texts in (("a", right), ("b", [right[0], *right[:-1]])):
        rows = [
            {"id": str(place), "source": "x", "reference": reference, "prediction": text}
            for place, (reference, text) in enumerate(zip(right, texts, strict=True))
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with judge.serving(reader, port=0) as server:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        flags = ["--judge", f"world@{url}", "--rubric", str(RUBRIC), "--out", str(tmp_path / "judged")]
        assert main(["judge", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), *flags]) == 0
        with (
            pytest.raises(ValueError, match=f"port {server.server_port} cannot be used"),
            judge.serving(reader, server.server_port),
        ):
            pass
    [found] = json.loads((tmp_path / "judged/judge.json").read_text())["judges"].values()
    assert (found["wins_a"], found["ties"], found["wins_b"]) == (14, 2, 0)
    assert found["order_agreement"] == 1.0 and found["cost"]["prompt_tokens"] > 0
