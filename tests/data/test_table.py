"""Rows on disk and the set of hashes behave like lists and sets in memory."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from semalign_pl.data.cleaning.hashes import HashSet, hash64
from semalign_pl.data.cleaning.near_duplicates import find_near_duplicates
from semalign_pl.data.examples import Examples
from semalign_pl.data.storing.table import BATCH, Table, TableWriter
from semalign_pl.data.tasks import Translation


def written(path: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> Table:
    with TableWriter(path, types) as writer:
        for row in rows:
            writer.write(row)
    return Table(path)


@pytest.mark.parametrize("rows", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_a_table_is_its_rows(tmp_path: Path, rows: int) -> None:
    wanted = [{"id": f"a:{i}", "zh": "字" * (i % 7), "ids": list(range(i % 5))} for i in range(rows)]
    table = written(tmp_path / "t.arrow", wanted, ids=pa.list_(pa.int32()))
    assert len(table) == rows and list(table) == wanted and table[:] == wanted
    places = random.Random(0).choices(range(rows), k=20) if rows else []
    assert [table[i] for i in places] == [wanted[i] for i in places]
    assert not rows or table[-1] == wanted[-1]
    with pytest.raises(IndexError):
        table[rows]
    assert list(pickle.loads(pickle.dumps(table))) == wanted  # a worker process opens the table itself


def test_a_column_that_a_row_lacks_is_none(tmp_path: Path) -> None:
    table = written(tmp_path / "t.arrow", [{"id": "1", "a": "x"}, {"id": "2", "b": "y"}])
    assert list(table) == [{"id": "1", "a": "x", "b": None}, {"id": "2", "a": None, "b": "y"}]


def test_examples_of_two_corpora(tmp_path: Path) -> None:
    one = written(tmp_path / "1", [{"id": f"a:{i}", "zh": f"中{i}", "bo": f"བོད{i}"} for i in range(3)])
    two = written(tmp_path / "2", [{"id": f"b:{i}", "zh": f"文{i}", "bo": f"ཡིག{i}"} for i in range(4)])
    corpora = [(one, Translation("zh", "bo")), (two, Translation("bo", "zh"))]
    whole = Examples(corpora)
    assert [e.id for e in whole] == [f"a:{i}" for i in range(3)] + [f"b:{i}" for i in range(4)]
    assert whole[2].reference == "བོད2" and whole[3].reference == "文0" and whole.sizes == [3, 4]
    some = Examples(corpora, [1, 2, 3, 6])
    assert [e.id for e in some] == ["a:1", "a:2", "b:0", "b:3"] == [e.id for e in some[:]] and some.sizes == [2, 2]
    assert some[-1].source == "ཡིག3" and len(some) == 4


def test_hash_set_is_a_set() -> None:
    """Compared with Python's set, on batches with repeats within and between them, with 0 and the largest hash."""
    rng, ours, theirs = random.Random(0), HashSet(), set[int]()
    for _ in range(200):
        batch = [rng.choice([0, 2**64 - 1, rng.randrange(3000)]) for _ in range(rng.randrange(60))]
        wanted = []
        for value in batch:
            wanted.append(value in theirs)
            theirs.add(value)
        assert ours.add(batch) == wanted
    assert hash64("བོད") == hash64("བོད") != hash64("བོད་")


def test_near_duplicates(tmp_path: Path) -> None:
    """Rows with up to a tenth of their letters changed are found; rows with a third changed are not."""
    rng = random.Random(0)
    letters = "ཀཁགངཅཆཇཉཏཐདནཔཕབམཙཚཛཝཞཟཡརལཤསཧ"
    rows, wanted = [], set()
    for i in range(300):
        text = "".join(rng.choices(letters, k=60))
        rows.append(text)
        for share in (5, 20):
            other = list(text)
            for place in rng.sample(range(60), share):
                other[place] = rng.choice(letters)
            wanted |= {3 * i + 1} if share == 5 else set()
            rows.append("".join(other))
    table = written(tmp_path / "t.arrow", [{"id": str(i), "bo": text} for i, text in enumerate(rows)])
    found = {late: (early, alike) for late, early, alike in find_near_duplicates(table, ["bo"], 0.9)}
    assert found.keys() <= wanted and len(found) >= 0.98 * len(wanted)
    assert all(early == late - 1 and 0.9 <= alike < 1 for late, (early, alike) in found.items())
