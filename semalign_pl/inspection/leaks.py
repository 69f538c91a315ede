"""Rows that two files have in common, by the same definitions by which preparation drops leaked rows."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from semalign_pl.data.cleaning.exact_leaks import ExactIndex, Hashes, Mask, Texts
from semalign_pl.data.cleaning.leakage import Leak
from semalign_pl.data.cleaning.prepare import all_texts
from semalign_pl.data.cleaning.row_filter import HEAD, RowFilter, evaluation_texts, mark_rows, shared_fields, take
from semalign_pl.data.progress import track_rows
from semalign_pl.inspection.drops import DropCounts
from semalign_pl.inspection.lengths import Statistics, share
from semalign_pl.inspection.measure import Measure
from semalign_pl.inspection.rows import Account, Corpus, pick, rows

INDEXED_ROWS = 20_000
"""Maximum number of rows of the evaluation files for which near-duplicates are searched, unless the user names the
splits: their text is kept in memory."""
EXAMPLES = 5

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True)
class MeasuredFile:
    """A file and its counts.

    Attributes:
        corpus: File that was counted.
        measure: Counts of the file.
        account: Account of the file's lines.
        drops: Rows that preparation drops, without leaks.
    """

    corpus: Corpus
    measure: Measure
    account: Account
    drops: DropCounts


@dataclass(frozen=True)
class _Search:
    """Result of marking a file with evaluation rows: index and leak of each leaked row, and all drops."""

    leaks: list[tuple[int, Leak]]
    drops: DropCounts
    account: Account


def infer_splits(sources: Sequence[str], sizes: Sequence[int]) -> list[Split]:
    """Infer which files are trained on and which are held out.

    A word of the file's name tells (``train``, ``dev``, ``test``, …). If no file is named ``train``, the longest file
    without such a word is trained on, or the longest of all. All other files are held out.

    Args:
        sources: Files in the user's order.
        sizes: Number of rows of each file.
    """
    words = [re.split(r"[^a-z]+", Path(source).name.lower()) for source in sources]
    named: list[Split | None] = [next((_NAMES[word] for word in name if word in _NAMES), None) for name in words]
    if "train" not in named and named:
        unnamed = [place for place, split in enumerate(named) if split is None] or range(len(named))
        named[max(unnamed, key=lambda place: sizes[place])] = "train"
    held_out: Split = "test"
    return [split or held_out for split in named]


class LeakSearch:
    """Search for rows that files have in common.

    Args:
        files: Files in the user's order.
        splits: Split of each file, if the user names them; else they are inferred.
    """

    def __init__(self, files: Sequence[MeasuredFile], splits: Sequence[Split] | None = None) -> None:
        self.files, self._named = files, splits is not None
        sources = [file.corpus.request.source for file in files]
        self.splits = list(splits or infer_splits(sources, [file.measure.rows for file in files]))
        self._search = functools.cache(self._search_once)

    def pairs(self) -> list[Statistics]:
        """Rows in common of each pair of files, one of which counts as training file and the other as evaluation file.

        Returns:
            Dictionary per pair. ``of`` and ``in`` are the 0-based indices of the evaluation and of the training file.
            The training file is the one of the training split, else the longer one, else the first.
        """
        common = []
        for pair in itertools.combinations(range(len(self.files)), 2):
            other, train = sorted(pair, key=lambda i: (self.splits[i] == "train", self.files[i].measure.rows, -i))
            fields = shared_fields(self.files[train].corpus.request.fields, self.files[other].measure.columns)
            common.append({"of": other, "in": train, "fields": fields, **self._common(train, other, fields)})
        return common

    def preparation(self, file: int) -> Statistics:
        """Rows that preparation drops from a file if it is trained on, with leaks if it is of the training split.

        Args:
            file: Index of the file.

        Returns:
            Dictionary with ``settings`` (of the preparation), ``split``, ``against`` (indices of the files whose rows
            count as leaks), ``unsearched`` (number of their rows if they are too many to be searched for leaks, else
            0), and the keys of `DropCounts.result`.
        """
        one = self.files[file]
        held_out: list[int] = []
        if self.splits[file] == "train" and one.corpus.settings.decontaminate:
            held_out = [i for i, split in enumerate(self.splits) if split != "train"]
        total = sum(self.files[i].measure.rows for i in held_out)
        unsearched = total if total > INDEXED_ROWS and not self._named else 0
        drops, account = one.drops, one.account
        if (held_out and not unsearched) or one.corpus.settings.against:
            searched = self._search(file, () if unsearched else tuple(held_out), one.corpus.settings.against != [])
            drops, account = searched.drops, searched.account
        return {
            "settings": asdict(one.corpus.settings),
            "split": self.splits[file],
            "against": held_out,
            "unsearched": unsearched,
            **drops.result(account),
        }

    def _search_once(self, train: int, held_out: tuple[int, ...], against: bool) -> _Search:
        """Mark the rows of a file as preparation does, with the evaluation rows of others."""
        corpus = self.files[train].corpus
        held = (self._evaluation(corpus, self.files[i]) for i in held_out)
        further = map(all_texts, corpus.settings.against if against else ())
        account = Account()
        stream = track_rows(rows(corpus, account), "comparing files")
        head = take(stream, HEAD)
        row_filter = RowFilter.of(
            corpus.cleaner, corpus.request.fields, head, itertools.chain.from_iterable((*held, *further))
        )
        drops, leaks, place = DropCounts(corpus, row_filter, head), [], 0
        for chunk, marked in mark_rows(row_filter, itertools.chain(head, stream)):
            drops.add(chunk, marked)
            leaks += [(i, row.leak) for i, row in enumerate(marked, place) if row.leak is not None]
            place += len(chunk)
        return _Search(leaks, drops, account)

    @staticmethod
    def _evaluation(train: Corpus, held_out: MeasuredFile) -> Iterator[tuple[str, Texts]]:
        normal = held_out.corpus.cleaner.normal
        normal_rows = ({"id": id, **normal(row)} for id, row in rows(held_out.corpus))
        return evaluation_texts(train.request.fields, held_out.measure.columns, normal_rows)

    def _common(self, train_index: int, other_index: int, fields: Sequence[str]) -> Statistics:
        """Rows of the evaluation file that the training file repeats, counted over the rows of the evaluation file."""
        train, other = self.files[train_index], self.files[other_index]
        total, train_fields = other.measure.rows, list(train.corpus.request.fields)
        passed = train.measure.keys != 0  # a row that a filter drops is not trained on, so it leaks nothing
        other_texts, train_texts = _texts(other, fields), _texts(train, train_fields)
        in_train = ExactIndex([(train_texts[0][passed], train_texts[1][passed], np.flatnonzero(passed))]).find(
            *other_texts
        )
        comparable = train_fields == list(fields)
        whole = (in_train[:, 0] >= 0) & comparable
        columns = {field: (in_train[:, 1 + i] >= 0) | whole for i, field in enumerate(fields)}
        exact = whole | (in_train[:, 1:] >= 0).any(1)
        near_duplicates = None
        if total <= INDEXED_ROWS or (self._named and self.splits[other_index] != "train"):
            leaks = self._search(train_index, (other_index,), False).leaks
            leaking = len(leaks)
            best: dict[int, tuple[int, Leak]] = {}
            for place, leak in leaks:
                if not exact[leak.row] and (leak.row not in best or leak.similarity > best[leak.row][1].similarity):
                    best[leak.row] = (place, leak)
            near_duplicates = {
                **_amount(len(best), total),
                "examples": _similar_examples(train, other, best),
            }
        else:
            repeats = ExactIndex([(*other_texts, np.arange(total))]).find(*train_texts) >= 0
            leaking = int((passed & repeats.any(1)).sum())
        return {
            "rows": _amount(int(whole.sum()), total) if comparable else None,
            "columns": {field: _amount(int(mask.sum()), total) for field, mask in columns.items()},
            "examples": _examples(train, other, columns, in_train),
            "near": near_duplicates,
            "dropped": _amount(leaking, train.measure.rows),
        }


def _amount(rows: int, total: int) -> Statistics:
    return {"rows": rows, "share": share(rows, total)}


def _texts(file: MeasuredFile, fields: Sequence[str]) -> tuple[Hashes, Mask]:
    """Hashes of texts, and a mask of texts long enough to be a leak on their own; both ``(rows, fields)``."""
    columns = [file.measure.columns[field] for field in fields]
    return np.stack([c.hashes for c in columns], 1), np.stack([c.long for c in columns], 1)


def _examples(
    train: MeasuredFile, other: MeasuredFile, columns: dict[str, Mask], in_train: np.ndarray
) -> list[Statistics]:
    """First texts in common, with the ids of the evaluation row and of the first training row that repeats it."""
    wanted = [(i, int(at)) for i, mask in enumerate(columns.values()) for at in np.flatnonzero(mask)[:EXAMPLES]]
    wanted = wanted[:EXAMPLES]
    first = [int(in_train[at, 1 + i] if in_train[at, 1 + i] >= 0 else in_train[at, 0]) for i, at in wanted]
    texts, there = pick(other.corpus, [at for _, at in wanted]), pick(train.corpus, first)
    fields = list(columns)
    return [
        {"field": fields[i], "of": texts[place][0], "in": there[at][0], "text": texts[place][1][fields[i]]}
        for (i, place), at in zip(wanted, first, strict=True)
    ]


def _similar_examples(train: MeasuredFile, other: MeasuredFile, leaks: dict[int, tuple[int, Leak]]) -> list[Statistics]:
    """Near-duplicates with the highest similarity; ``leaks`` maps an evaluation row to a training row and its leak."""
    closest = sorted(leaks.items(), key=lambda item: -item[1][1].similarity)[:EXAMPLES]
    texts, there = pick(other.corpus, [at for at, _ in closest]), pick(train.corpus, [at for _, (at, _) in closest])
    return [
        {
            "of": texts[place][0],
            "in": there[at][0],
            "similarity": leak.similarity,
            "of_row": texts[place][1],
            "in_row": there[at][1],
        }
        for place, (at, leak) in closest
    ]
