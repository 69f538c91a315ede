"""Cache of prepared corpora: damaged entries are remade with a warning, leftovers of killed processes are removed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.filling import in_process, tree, unfinished
from helpers.pairs import PAIRS

from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.storing.cache import Prepared, get_or_make
from semalign_pl.data.tasks import Translation
from semalign_pl.data.tokens import Limits, tokenise


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [*PAIRS, {"zh": "长" * 999, "bo": "རིང་པོ།"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


class Letters:
    """Encoder of characters; the prompt of one row is too long for it, and the row is dropped."""

    def encode_prompts(self, prompts, max_tokens: int) -> tuple[list[list[int]], list[bool]]:
        texts = [str(prompt) for prompt in prompts]
        return [[ord(c) for c in text][-max_tokens:] for text in texts], [len(text) > max_tokens for text in texts]

    def encode_completions(self, texts) -> list[list[int]]:
        return [[ord(c) for c in text] for text in texts]

    def signature(self) -> str:
        return "letters"


def make(source: Path, cache: Path) -> dict[str, Prepared]:
    """The two kinds of entries: prepared rows, and their tokens."""
    rows = prepare(CorpusRequest(str(source), {"zh": "zh", "bo": "bo"}), cache=cache)
    limits = Limits(prompt=800, completion=500, too_long="drop")
    tokens = tokenise(rows, Translation(), Letters(), limits, True, cache)
    return {"rows": rows, "tokens": tokens}


def content(entries: dict[str, Prepared]) -> dict[str, tuple]:
    return {kind: (list(entry.table), entry.report, tree(entry.folder)) for kind, entry in sorted(entries.items())}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "a page zeroed": lambda content: content[: len(content) // 2] + bytes(16) + content[len(content) // 2 + 16 :],
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "one bit in the middle": lambda c: c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 4]) + c[len(c) // 2 + 1 :],
    "longer": lambda content: content + b"x",
}
FILES = {
    "rows": ["rows.arrow", "report.json", "dropped.jsonl", "checksums.json"],
    "tokens": ["rows.arrow", "unused.npy", "checksums.json"],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_damaged_entries_are_made_anew(
    source: Path, tmp_path: Path, kind: str, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = make(source, tmp_path / "c")
    before = content(right)
    assert before["tokens"][1]["dropped"] == {"prompt_too_long": 1} and not caplog.records
    path = right[kind].folder / name
    old = path.read_bytes() or b"0123456789"  # dropped.jsonl is empty if nothing was dropped
    path.write_bytes(DAMAGE[damage](old))
    if path.read_bytes() == before[kind][2][name]:
        pytest.skip("an empty file cannot be emptied")
    assert content(make(source, tmp_path / "c")) == before
    (message,) = [record.getMessage() for record in caplog.records]
    named = "" if name == "checksums.json" else f"{name}: "  # damaged checksums may blame another file
    assert message.startswith(f"{right[kind].folder}: the prepared corpus is damaged ({named}")
    assert message.endswith("; it is prepared anew") and "\n" not in message
    caplog.clear()
    assert content(make(source, tmp_path / "c")) == before and not caplog.records


@pytest.mark.parametrize("name", ["rows.arrow", "report.json", "dropped.jsonl"])
def test_missing_and_strange_files_are_made_anew(
    source: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = make(source, tmp_path / "c")
    before = content(right)
    (right["rows"].folder / name).unlink()
    assert content(make(source, tmp_path / "c")) == before
    if name != "dropped.jsonl":  # empty in both
        shutil.copy(right["tokens"].folder / name, right["rows"].folder / name)  # the file of another entry
        assert content(make(source, tmp_path / "c")) == before
    shutil.rmtree(right["rows"].folder)
    shutil.copytree(right["tokens"].folder, right["rows"].folder)  # another entry as a whole
    assert content(make(source, tmp_path / "c")) == before
    assert "it is missing" in caplog.text or "No such file" in caplog.text
    assert f"checksums.json: it is that of {right['tokens'].folder.name}" in caplog.text


def test_a_process_keeps_a_damaged_entry_that_it_has_open(source: Path, tmp_path: Path) -> None:
    """Also if a worker opens the rows by path: it reads the new rows."""
    import pickle

    opened = make(source, tmp_path / "c")["rows"]
    first = opened.table[0]
    (opened.folder / "report.json").write_text("damaged")
    assert in_process(lambda: make(source, tmp_path / "c")) == 0
    assert (opened.folder / "report.json").read_text() != "damaged"
    assert opened.table[0] == first and len(list(opened.table)) == len(PAIRS) + 1
    assert list(pickle.loads(pickle.dumps(opened.table))) == list(opened.table)


# -- processes ---------------------------------------------------------------------------------------------------


def slowly(folder: Path, started: Path, go: Path) -> None:
    """Make an entry in a process that waits in the middle of it."""

    def fill(made: Path) -> dict[str, object]:
        (made / "rows.arrow").write_bytes(b"half")
        started.write_text("")
        while not go.exists():
            time.sleep(0.01)
        (made / "rows.arrow").write_bytes(b"whole")
        return {"source": "x"}

    get_or_make(folder, fill)


def start(folder: Path, started: Path, go: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=slowly, args=(folder, started, go), daemon=True)
    process.start()
    while not started.exists() and process.is_alive():
        time.sleep(0.01)
    return process


def test_killed_preparations_leave_nothing_behind(tmp_path: Path) -> None:
    """The next run removes what dead processes left, in any entry; the work of a running process is kept."""
    cache = tmp_path / "c"
    alive = start(cache / "b", tmp_path / "alive", tmp_path / "go")
    dead = start(cache / "a", tmp_path / "dead", tmp_path / "never")
    dead.kill()
    dead.join()
    assert dead.exitcode == -signal.SIGKILL and len(list(cache.iterdir())) == 2
    old = cache / f".{'0123456789abcdef01234567'}-abcd_123" / "made"  # as version 0.1.0 named it
    old.mkdir(parents=True)
    (old / "rows.arrow").write_text("half")

    get_or_make(cache / "c", lambda made: {"source": "y"})
    assert sorted(path.name for path in cache.iterdir() if not path.name.startswith(".")) == ["c"]
    assert len(unfinished(cache)) == 1  # that of the running process

    (tmp_path / "go").write_text("")
    alive.join(30)
    assert alive.exitcode == 0 and (cache / "b" / "rows.arrow").read_bytes() == b"whole"
    assert sorted(path.name for path in cache.iterdir()) == ["b", "c"]
    get_or_make(cache / "c", lambda made: pytest.fail("it is there"))


@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_at_once_both_end_well(tmp_path: Path, damaged: bool) -> None:
    folder = tmp_path / "c" / "a"
    if damaged:
        get_or_make(folder, lambda made: {"source": "old"})
        (folder / "report.json").write_text("damaged")
    processes = [start(folder, tmp_path / f"started {i}", tmp_path / "go") for i in range(2)]
    (tmp_path / "go").write_text("")
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (folder / "rows.arrow").read_bytes() == b"whole"
    assert json.loads((folder / "report.json").read_text()) == {"source": "x"}
    assert [path.name for path in folder.parent.iterdir()] == ["a"]
