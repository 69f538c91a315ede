"""Files of a world's folder, and texts that must not occur in several of them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from semalign_pl.toy import generator, lexicon
from semalign_pl.toy.__main__ import main


@pytest.fixture
def world(miniature: Path) -> Path:
    return miniature


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_source_only_text_is_new_and_like_the_sources_of_pairs(world):
    texts = lines(world / "source_only.txt")
    pairs = [json.loads(line) for split in generator.SPLITS for line in lines(world / "pairs" / f"{split}.jsonl")]
    assert len(texts) == len(set(texts)) == 2000
    assert not set(texts) & {pair["zh"] for pair in pairs}
    assert all(text.count("。") == 1 and text.endswith("。") for text in texts)
    held = {text for line in lines(world / "chinese.txt") for text in line.split("。")}  # these sentences measure drift
    assert not {text[:-1] for text in texts} & held


def test_steering_questions_are_not_the_test_questions(world):
    def contexts(name: str) -> tuple[set[str], int]:
        paragraphs = [p for item in json.loads((world / name).read_text())["data"] for p in item["paragraphs"]]
        sentences = {text for p in paragraphs for text in p["context"].split("。")} - {""}
        return sentences, sum(len(p["qas"]) for p in paragraphs)

    test, questions = contexts("reading_comprehension.json")
    dev, fewer = contexts("reading_comprehension_dev.json")
    assert (questions, fewer) == (200, 100)
    assert not test & dev


def read_squad(path: Path) -> list[tuple[str, str, str]]:
    """Context, question and answer of each question of a file."""
    paragraphs = [p for item in json.loads(path.read_text(encoding="utf-8"))["data"] for p in item["paragraphs"]]
    return [(p["context"], qa["question"], qa["answers"][0]["text"]) for p in paragraphs for qa in p["qas"]]


def turns(row: dict) -> list[str]:
    """Text of a row of an anchor, or those of its messages."""
    return [row["text"]] if "text" in row else [turn["content"] for turn in row["messages"]]


def sentences(texts: Iterable[str]) -> set[str]:
    """Different sentences of texts."""
    return {sentence for text in texts for sentence in text.split("。")} - {""}


def test_general_data_has_no_sentence_of_a_probe(world):
    general = world / "general"
    replay = [json.loads(line) for line in lines(general / "replay.jsonl")]
    assert len(replay) == len({(row["context"], row["question"]) for row in replay}) == 2000
    assert all(row["context"].count(row["answer"]) == 1 for row in replay)
    anchor = lines(general / "anchor.txt")
    assert len(anchor) == len(set(anchor)) == 2000
    rows = [json.loads(line) for line in lines(general / "anchor.jsonl")]
    assert len(rows) == 2000 and sum("text" in row for row in rows) == 666
    asked = [text.split("\n") for row in rows for text in turns(row)]
    said = [line.removeprefix("短文：") for text in asked for line in text]
    trained = sentences([*anchor, *said, *(row["context"] for row in replay)])
    names = ["reading_comprehension", "general/time_questions", "general/copying"]
    held = {}
    for suffix, drift in (("", "chinese.txt"), ("_dev", "general/chinese_dev.txt")):
        contexts = [context for name in names for context, _, _ in read_squad(world / f"{name}{suffix}.json")]
        held[suffix] = sentences([*contexts, *lines(world / drift)])
    assert not trained & (held[""] | held["_dev"]) and not held[""] & held["_dev"]
    assert min(map(len, held.values())) > 300


def test_no_general_data_touches_the_untouched_abilities(world):
    general = world / "general"
    asked = [json.loads(line)["question"] for line in lines(general / "replay.jsonl")]
    for word, share in {"什么时候": 0.0, "谁": 0.25, "哪里": 0.2, "什么": 0.2}.items():
        found = sum(word in question for question in asked) / len(asked)
        assert found >= share if share else not found
    assert not any("？" in text for text in lines(general / "anchor.txt"))
    talks = [text for line in lines(general / "anchor.jsonl") for text in turns(json.loads(line))]
    assert not any("什么时候" in text or "抄写" in text for text in talks)
    assert sum("？" in text for text in talks) == 667
    for suffix, size in (("", 100), ("_dev", 50)):
        rows = read_squad(general / f"time_questions{suffix}.json")
        assert len(rows) == len({context for context, _, _ in rows}) == size
        assert all("什么时候" in question and context.count(answer) == 1 for context, question, answer in rows)
        assert all(answer in lexicon.words("time") for _, _, answer in rows)
        rows = read_squad(general / f"copying{suffix}.json")
        assert len(set(rows)) == size and all(context == answer and not q for context, q, answer in rows)


def test_the_texts_that_published_figures_are_of(world):
    """Equal to the byte: a change here changes every figure measured on the miniature world."""
    texts = (path for path in world.rglob("*") if path.suffix in (".jsonl", ".txt") or "reading" in path.name)
    written = sorted(path for path in texts if path.parent.name != "general")
    assert len(written) == 11
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in written)).hexdigest()
    assert digest.startswith("c0836372543ea1d6")
    assert not (world / "world.json").exists()


def test_a_world_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["write", str(tmp_path / "file" / "world")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"semalign: error: {tmp_path}/file/world: File exists: cannot be written;")
    assert not said.out
