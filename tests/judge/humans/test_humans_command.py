"""``semalign judge --humans`` from the command line: the page, the merged figures, and one line per mistake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.reader_answers import answers_of, write_answers

from semalign_pl.__main__ import main
from semalign_pl.judge.humans.blinding import blind
from semalign_pl.judge.pairs import Pair
from semalign_pl.judge.records import read_judgements


@pytest.fixture
def command(pairs: list[Pair], tmp_path: Path) -> list[str]:
    """Command line for the pairs, as files of two systems."""
    files = []
    for side in ("a", "b"):
        rows = [
            {"id": p.id, "source": p.source, "reference": p.reference, "prediction": getattr(p, side)} for p in pairs
        ]
        files.append(tmp_path / f"{side}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ["judge", *map(str, files), "--humans", "--out", str(tmp_path / "out")]


def test_page_and_merge(
    command: Sequence[str], pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--seed", "5"]) == 0
    page = (tmp_path / "out" / "readers.html").read_text(encoding="utf-8")
    assert '"seed":5' in page and "choose Tie" in page and "a.jsonl" not in page
    assert "20 pairs" in capsys.readouterr().out

    half = answers_of(pairs, "Tashi", choice="second")
    half["answers"] = half["answers"][:5] + answers_of(pairs, "Tashi")["answers"][5:15]
    files = [write_answers(tmp_path, answers_of(pairs), "1.json"), write_answers(tmp_path, half, "2.json")]
    assert main([*command, "--merge", *map(str, files)]) == 0
    printed = capsys.readouterr().out
    assert "Dolma: win rate of A 50.0 % [" in printed and "A 10 / tie 0 / B 10, 20 of 20 pairs" in printed
    first = {shown.pair.id: shown.first for shown in blind(pairs, 3)}
    judgements = read_judgements(tmp_path / "out" / "readers.jsonl")
    assert len(judgements) == 35 and all(one.first == first[one.id] for one in judgements)
    assert [one.winner == one.first for one in judgements] == [True] * 20 + [False] * 5 + [True] * 10
    figures = json.loads((tmp_path / "out" / "readers.json").read_text(encoding="utf-8"))
    assert figures["agreement"]["items"] == 15 and figures["agreement"]["unanimous"] == 10
    # Two values, 30 of them in units of two; o_ab = 5: alpha = 1 - 29 * 5 / (n_a * n_b).
    values = [first[p.id] for p in pairs[:15]]
    n_a = sum(2 if one == "a" else 0 for one in values[5:]) + 5
    assert figures["agreement"]["alpha"] == pytest.approx(1 - 29 * 5 / (n_a * (30 - n_a)))
    assert f"{figures['agreement']['alpha']:.3f}, on 15 pairs that two or more readers judged" in printed
    assert figures["readers"].keys() == {"Dolma", "Tashi", "all readers"}


def test_mistakes_are_one_line(
    command: Sequence[str], pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = answers_of(pairs)
    changed["answers"][2]["choice"] = "second"
    file = write_answers(tmp_path, changed)
    own = tmp_path / "own.yaml"
    own.write_text('pairwise: "{{ first }} {{ second }} VERDICT:"\n', encoding="utf-8")
    for flags, message in (
        (["--merge", str(file)], f"{file}: answer 3 (test.jsonl:3): check: "),
        (["--judge", "m@http://127.0.0.1:1/v1"], "--judge: is for models, and --humans asks people; leave it out"),
        (["--max-tokens", "9"], "--max-tokens: is for models, and --humans asks people; leave it out"),
        (["--weights", "fp32"], "--weights: is for models, and --humans asks people; leave it out"),
        (
            ["--seed", str(2**53)],
            "--seed: 9007199254740992 is larger than a browser keeps; give at most 900719925474099",
        ),
        (["--merge", str(file), "--rubric", "headline"], "--rubric: is for the page, and --merge reads what readers"),
        (["--merge", str(file), "--language", "Tibetan"], "--language: is for the page, and --merge reads what"),
        (["--merge", str(file), "--seed", "5"], "--seed: is for the page, and --merge reads what readers exported"),
        (["--rubric", str(own)], f"--rubric: {own}: people: missing; write what readers are to look for"),
        (["--out", str(own)], f"--out: {own} is a file; give a folder"),
    ):
        assert main([*command, *flags]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"semalign: error: {message}") and error.count("\n") == 1, error
    assert main([*(flag for flag in command if flag != "--humans"), "--merge", str(file)]) == 2
    assert "--merge: is for --humans" in capsys.readouterr().err
