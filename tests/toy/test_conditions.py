"""Conditions of a training corpus: nested, as large as asked, and of the world they say."""

import json
from pathlib import Path

import pytest

from semalign_pl.toy import grammar
from semalign_pl.toy.__main__ import main
from semalign_pl.toy.conditions import KINDS, Conditions, domain, style_speech, training_meanings, training_pairs
from semalign_pl.toy.parser import parse, style_of
from semalign_pl.toy.speech import TIBETAN
from semalign_pl.toy.style import NAMED, PLAIN

MEANINGS = training_meanings(0, Conditions(pairs=600), TIBETAN)


def references(size: int = 600, style: float = 0.0, noise: float = 0.0) -> list[str]:
    return [row["bo"] for row in training_pairs(MEANINGS[:size], style_speech(0, style), 0, noise)[0]]


def test_corpora_are_nested() -> None:
    assert references(100, 0.5, 0.3) == references(600, 0.5, 0.3)[:100]
    plain = [grammar.tibetan(meaning) for meaning in MEANINGS]
    shares = []
    narrow: set[int] = set()
    for style in (0.0, 0.5, 1.0):
        own = {i for i, text in enumerate(references(style=style)) if text == plain[i]}
        assert narrow <= own
        narrow = own
        shares.append(len(own) / 600)
    assert shares[0] < 0.15 and 0.45 < shares[1] < 0.65 and shares[2] == 1
    inside = {breadth: [domain(0, breadth)(meaning) for meaning in MEANINGS] for breadth in (0.04, 0.5, 1.0)}
    assert all(inside[1.0]) and 0 < sum(inside[0.04]) < sum(inside[0.5]) < 450
    assert all(wide for narrow, wide in zip(inside[0.04], inside[0.5], strict=True) if narrow)
    narrower = training_meanings(0, Conditions(pairs=100, breadth=0.5), TIBETAN)
    assert narrower == [meaning for meaning in MEANINGS if domain(0, 0.5)(meaning)][:100]


def test_wrong_references_are_wrong_and_of_each_kind_alike() -> None:
    clean = references()
    wrong: set[int] = set()
    for noise in (0.1, 0.5, 1.0):
        rows, counts = training_pairs(MEANINGS, style_speech(0, 0.0), 0, noise)
        own = {i for i, row in enumerate(rows) if row["bo"] != clean[i]}
        assert wrong <= own and sum(counts.values()) == len(own) and abs(len(own) / 600 - noise) < 0.05
        wrong = own
    assert wrong == set(range(600)) and all(170 < counts[kind] < 240 for kind in KINDS)
    for row, meaning in zip(rows, MEANINGS, strict=True):
        reading = parse(row["bo"])
        assert row["bo"] == row["zh"] if reading is None else reading.meaning.key() != meaning.key()


def test_a_styled_world(tmp_path: Path) -> None:
    options = "--pairs 50 --source-only 300 --target-only 200 --style 1 --noise 0.2 --breadth 0.5"
    assert main(["write", str(tmp_path / "world"), *options.split()]) == 0

    def rows(name: str) -> list[dict]:
        return [json.loads(line) for line in (tmp_path / "world" / name).read_text(encoding="utf-8").splitlines()]

    world = json.loads((tmp_path / "world/world.json").read_text())
    train = rows("pairs/train.jsonl")
    assert len(train) == world["pairs"] == 50 and 2 <= sum(world["wrong_references"].values()) <= 20
    assert (world["style"], world["models"]) == (1, "shipped")
    assert 0.3 < world["share_in_training_domain"]["test"] < 0.7
    read = [style_of(row["bo"]) for row in train]
    assert all(style is None or set(vars(style).values()) <= {"", *vars(PLAIN).values()} for style in read)

    sources = set((tmp_path / "world/source_only.txt").read_text(encoding="utf-8").splitlines())
    targets = (tmp_path / "world/target_only.txt").read_text(encoding="utf-8").splitlines()
    spoken = [reading for text in targets if (reading := parse(text))]
    meant = {grammar.chinese(reading.meaning) for reading in spoken}
    assert len(sources) == 300 and len(spoken) == len(meant) == 200
    assert not meant & sources and not meant & {row["zh"] for row in train}
    assert len({reading.style for reading in spoken}) > 10, "references are narrow, and these sentences are not"
    for split, size in (("dev", 200), ("test", 300)):
        assert not meant & {row["zh"] for row in rows(f"pairs/{split}.jsonl")}
        held, several = rows(f"pairs/{split}.jsonl"), rows(f"pairs/{split}_references.jsonl")
        assert len(held) == size and not sources & {row["zh"] for row in held}
        for pair, both in zip(held, several, strict=True):
            keys = {reading.meaning.key() for text in both["references"] if (reading := parse(text))}
            assert pair["zh"] == both["zh"] and pair["bo"] in both["references"] and len(keys) == 1
            assert len(both["references"]) == len(set(both["references"])) in (2, 4, 8, 16, 32)
    other = {(row["zh"], row["bo"]) for row in rows("pairs/alternatives.jsonl")}
    assert len(other) == len(rows("pairs/alternatives.jsonl")) > 2000
    assert not other & {(pair["zh"], pair["bo"]) for pair in held}
    texts = [(tmp_path / f"world/styles/{name}.txt").read_text(encoding="utf-8").splitlines() for name in NAMED]
    for same in zip(*texts, strict=True):
        readings = [parse(text) for text in same]
        assert [reading.style for reading in readings if reading] == list(NAMED.values())
        assert len({reading.meaning.key() for reading in readings if reading}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pairs 0", "--pairs 0: give 1 or more"),
        ("--source-only -1", "--source-only -1: give 0 or more"),
        ("--target-only -1", "--target-only -1: give 0 or more"),
        ("--style 1.5", "--style 1.5: give a probability from 0 to 1"),
        ("--noise nan", "--noise nan: give a probability from 0 to 1"),
        ("--breadth 0", "--breadth 0.0: give a share above 0, up to 1"),
        ("--style 1 --language th", "--style 1.0: only bo has styles, not --language th; leave one out"),
        ("--models nowhere", "nowhere holds no weights of base and encoder;"),
        ("--pairs 60 --breadth 0.01", "--pairs 60: with --breadth 0.01 and this seed there are only "),
    ],
)
def test_a_mistake_is_one_line(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semalign_pl.toy.generator.PATIENCE", 20)
    assert main(["write", str(tmp_path / "world"), *options.split()]) == 2
    assert f"semalign: error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
