"""Small files with large content: they are read within a stated limit, with little memory, and refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from semalign_pl.data.cleaning.row_filter import take

READ = """
import json, sys
from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import stream

def memory(name):  # VmHWM: the peak of this process, in megabytes; VmRSS: what it holds now
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith(name))

columns = {"zh": "zh", "bo": "bo"}
list(stream("small.parquet", columns))  # imports
before = memory("VmRSS")
for name, where in json.loads(sys.argv[1]).items():
    good, messages = 0, []
    try:
        for _, row in stream(name, columns, where=where):
            good += not isinstance(row, BadRow)
            messages += [row.message] if isinstance(row, BadRow) else []
    except ValueError as error:
        messages.append(str(error))
    print(json.dumps([name, good, messages[:1], round(memory("VmHWM") - before)]), flush=True)
"""
MEGABYTE = "x" * 1_000_000


def parquet(**columns: Any) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    stream = io.BytesIO()
    plain = any(column[:1] == ["plain"] for column in columns.values() if isinstance(column, list))
    write_table(pyarrow.table(columns), stream, compression="zstd", store_schema=False, use_dictionary=not plain)
    return stream.getvalue()


def repeated(value: str, rows: int, lists: bool = False) -> Any:
    """Column of one repeated value, which the file stores once; or of lists of one value."""
    import pyarrow

    places = pyarrow.array([0] * rows, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(places, pyarrow.array([value]))
    return pyarrow.ListArray.from_arrays(pyarrow.array(range(rows + 1), pyarrow.int32()), column) if lists else column


def noise(size: int) -> str:
    return os.urandom(size // 2).hex()


def deep(*depths: int) -> bytes:
    return "".join(f'{{"zh": "一", "bo": "ཀ", "more": {"[" * n + "]" * n}}}\n' for n in depths).encode()


class Bomb(NamedTuple):
    """A file and the expected result of reading it.

    Attributes:
        content: Function that makes the file.
        size: Largest size of the file, in bytes.
        good: Number of good rows before the file is refused, or in total.
        said: Parts of the first message.
        where: Row filter.
    """

    content: Callable[[], bytes]
    size: int
    good: int
    said: str
    where: dict[str, Any] = {}


BOMBS = {
    "value.parquet": Bomb(
        lambda: parquet(zh=repeated(MEGABYTE, 5000), bo=repeated(MEGABYTE, 5000)), 900, 16,
        ": expands to 64,000,|or more, over 1,000 times the 486 of the file; |convert it to .jsonl",
    ),
    "nested.parquet": Bomb(
        lambda: parquet(zh=repeated("一", 5000), bo=repeated("ཀ", 5000), more=repeated(MEGABYTE, 5000, lists=True)),
        900, 0, ": expands to |over 1,000 times", {"more": "x"},
    ),
    "plain.parquet": Bomb(
        lambda: parquet(zh=["plain", *["x" * 10_000_000] * 10], bo=["x"] * 11), 20_000, 0,
        ": expands to 100,|over 1,000 times the |of the file",
    ),
    "column.parquet": Bomb(
        lambda: parquet(zh=repeated("x" * 50_000_000, 100), bo=[noise(100_000)] * 100), 200_000, 0,
        ": expands to 50,000,|over 100 times the |of column zh",
    ),
    "cell.parquet": Bomb(
        lambda: parquet(zh=[noise(40_000_000), "一"], bo=["ཀ"] * 2), 50_000_000, 1,
        ":1: a row of 40,|more than 32,000,000; split it, or drop it",
    ),
    # Not a bomb: many questions about one long text, as in reading comprehension.
    "context.parquet": Bomb(
        lambda: parquet(zh=[noise(64) for _ in range(50_000)], bo=[noise(3000)] * 50_000), 5_000_000, 50_000, ""
    ),
    "rows.parquet": Bomb(
        lambda: parquet(zh=repeated("", 5_000_000), bo=repeated("", 5_000_000)), 100_000, 0,
        ": 5,000,000 rows in |over 10 per byte: they can hold no texts",
    ),
    "deep.jsonl": Bomb(lambda: deep(1, 65, 980, 100_000), 300_000, 1, ":2: nested more than 64 deep"),
    "deep_where.jsonl": Bomb(lambda: deep(2, 980, 100_000), 300_000, 1, ":2: nested", {"more": "[[]]"}),
    "digits.jsonl": Bomb(
        lambda: b'{"zh": %s, "bo": "x"}\n' % (b"1" * 7_000_000), 7_000_100, 0, ":1: 'zh'|a number of 7,000,000 digits"
    ),
    "unit.tmx": Bomb(
        lambda: b"<tmx><body><tu>" + b"<tuv xml:lang='zh'><seg>%s</seg></tuv>" % MEGABYTE.encode() * 60, 61_000_000, 0,
        ": more than 8,000,000 bytes without the end of a unit, at unit 1; split the unit",
    ),
    "feeds.jsonl.gz": Bomb(
        lambda: gzip.compress(b"\n" * 5_000_000), 5_000, 0,
        ": decompresses to more than 10 lines, objects or tags per byte|decompress it first: gunzip feeds.jsonl.gz",
    ),
    "head.tmx": Bomb(
        lambda: b"<tmx><header>" + b"<prop/>" * 5_000_000, 36_000_000, 0, ": more than 8,000,000 bytes|at unit 0"
    ),
}  # fmt: skip


def test_small_files_that_are_large_inside(tmp_path: Path) -> None:
    (tmp_path / "small.parquet").write_bytes(parquet(zh=["一"], bo=["ཀ"]))
    for name, bomb in BOMBS.items():
        (tmp_path / name).write_bytes(bomb.content())
        assert (tmp_path / name).stat().st_size <= bomb.size, name
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps({name: bomb.where for name, bomb in BOMBS.items()})],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == BOMBS.keys(), done.stderr
    for name, (good, messages, peak) in told.items():
        said = messages[0] if messages else ""
        assert good == BOMBS[name].good, (name, good, said)
        assert [part for part in BOMBS[name].said.split("|") if part not in said] == [], (name, said)
        assert said.isprintable() and len(said) < 500 and bool(said) == bool(BOMBS[name].said)
        assert peak < 300, (name, peak)


def test_rows_held_at_a_time_are_bounded_by_their_characters() -> None:
    rows = iter([("id", {"zh": MEGABYTE, "bo": "x"})] * 100)
    assert len(take(rows, 10_000)) == 32 and len(take(rows, 10)) == 10 and len(list(rows)) == 58
    assert len(take(iter([("id", {"zh": "x"})] * 100), 10_000)) == 100
