"""Files of a world's folder, and texts that must not occur in several of them."""

import hashlib
import json
from pathlib import Path

import pytest

from semalign_pl.toy import generator
from semalign_pl.toy.__main__ import main
from semalign_pl.toy.write import write


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "world"
    write(folder)
    return folder


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


def test_the_texts_that_published_figures_are_of(world):
    """Equal to the byte: a change here changes every figure measured on the miniature world."""
    written = sorted(path for path in world.rglob("*") if path.suffix in (".jsonl", ".txt") or "reading" in path.name)
    assert len(written) == 11
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in written)).hexdigest()
    assert digest.startswith("c0836372543ea1d6")


def test_a_world_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["write", str(tmp_path / "file" / "world")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"semalign: error: {tmp_path}/file/world: File exists: cannot be written;")
    assert not said.out
