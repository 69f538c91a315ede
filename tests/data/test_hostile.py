"""Malformed corpora give one clear line, or good and bad rows that together account for all rows written."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_errors import error_line
from helpers.malformed_files import CASES, FAULT, LINE, PAIR, Case, write
from helpers.small_runs import Runs

from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import read, stream

COMMANDS = ["utf32.tsv", "gbk.jsonl", "cut.jsonl", "deep.jsonl", "no_text.jsonl", "key_twice.jsonl", "empty.jsonl",
            "array.json", "open_quote.csv", "no_header.tsv", "cut.jsonl.gz", "cut.parquet", "bomb.tmx", "t.{zh,bo}",
            "loop.jsonl", "pipe.jsonl"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def counted(source: str, columns: dict[str, str]) -> tuple[list[str], list[BadRow], str]:
    """Ids of the good rows, bad rows, and the error that ended reading."""
    good, bad, ids = [], [], []
    try:
        for id, row in stream(source, columns):
            ids.append(id)
            if isinstance(row, BadRow):
                assert id.endswith(f":{row.number}")
                bad.append(row)
            else:
                assert row.keys() == columns.keys()
                good.append(id)
    except ValueError as error:
        return good, bad, str(error)
    places = [id.rsplit(":", 1) for id in ids]
    assert all(int(a[1]) < int(b[1]) for a, b in zip(places, places[1:], strict=False) if a[0] == b[0])
    return good, bad, ""


def clear(message: str) -> bool:
    """Check that a message is one printable line with a remedy."""
    return message.isprintable() and "; " in message and len(message) < 1000


@pytest.mark.parametrize("case", CASES, ids=[ascii(case.name)[1:40] for case in CASES])
def test_one_clear_line_or_every_row_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    monkeypatch.chdir(tmp_path)
    source = write(case, tmp_path)

    good, bad, fault = counted(source, case.columns)
    assert (len(good), FAULT if fault else len(bad)) == (case.good, case.bad)
    messages = [row.message for row in bad] + ([fault] if fault else [])
    assert all(clear(message) and str(tmp_path) in message for message in messages)
    assert [part for part in case.said.split("|") if part not in (messages or [""])[0]] == []
    for row in bad:
        assert len(row.raw) <= 200 and isinstance(row.raw.encode(), bytes) and f":{row.number}: " in row.message

    if messages:
        with pytest.raises(ValueError) as caught:
            read(source, case.columns)
        assert str(caught.value) == messages[0]
    else:
        assert list(read(source, case.columns)) == good


def test_what_may_not_be_read(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "c.jsonl"
    path.write_text(LINE)
    path.chmod(0)
    with pytest.raises(ValueError, match="cannot be read .Permission denied.; check its path and permissions"):
        read(str(path), PAIR)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in COMMANDS], ids=lambda case: case.name)
def test_the_command_says_it_in_one_line(runs: Runs, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    recipe = runs.recipe("sft")
    recipe["data"]["init_args"]["train"] = write(case, runs.folder)
    answer = error_line(
        capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}"]
    )
    assert clear(answer) and str(runs.folder) in answer
    assert [part for part in case.said.split("|") if part not in answer] == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "an empty name"),
        ("~nobody_of_that_name/c.jsonl", "no such user"),
        ("nobody/nothing", "`datasets` cannot load it, split 'train'"),
        ("nobody/nothing:config@split[:1%]", "split 'split[:1%]'"),
        ("/proc/self/mem", "unknown suffix"),
        ("..", "`datasets` cannot load it"),
    ],
)
def test_names_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    _, bad, fault = counted(source, PAIR)
    assert not bad and reason in fault and clear(fault)
