"""Packing of raw text: a stream of documents, cut into rows of equal length."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.examples import LISTS, pack_example
from semalign_pl.data.limits import Limits
from semalign_pl.data.progress import track_rows
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.storing.table import TableWriter
from semalign_pl.types import Example

_CHUNK = 1000


class Document(NamedTuple):
    """Document of a corpus.

    Attributes:
        id: Id of its row.
        ids: Token ids, the last of which is the EOS token.
        bytes: Size of its text in bytes of UTF-8.
    """

    id: str
    ids: list[int]
    bytes: int


class PackedRow(NamedTuple):
    """Row of packed documents.

    Attributes:
        id: Id of the document of the first predicted token.
        prompt: First token, which is not predicted.
        completion: Predicted tokens.
        bytes: Size of the predicted tokens' text in bytes. A document's bytes are spread evenly over its tokens, and
            its end counts one byte, as a line end in a file.
    """

    id: str
    prompt: list[int]
    completion: list[int]
    bytes: int


def pack_documents(documents: Iterable[Document], tokens: int) -> Iterator[PackedRow]:
    """Join documents to a stream, and cut it into rows; every token but the first of the stream is predicted once.

    Args:
        documents: Documents in order.
        tokens: Number of predicted tokens per row; the last row may have fewer.

    >>> [row[1:] for row in pack_documents([Document("a", [1, 2, 0], 4), Document("b", [3, 0], 6)], 3)]
    [([1], [2, 0, 3], 9), ([3], [0], 1)]
    """
    ids, sizes, names = list[int](), list[int](), list[str]()
    for document in documents:
        length = len(document.ids) - 1
        if not length:
            continue
        ends = [document.bytes * place // length for place in range(length + 1)]
        ids += document.ids
        sizes += [*(end - start for start, end in itertools.pairwise(ends)), 1]
        names += [document.id] * len(document.ids)
        at = 0
        while at + tokens < len(ids):
            stop = at + tokens + 1
            yield PackedRow(names[at + 1], [ids[at]], ids[at + 1 : stop], sum(sizes[at + 1 : stop]))
            at += tokens
        del ids[:at], sizes[:at], names[:at]
    if len(ids) > 1:
        yield PackedRow(names[1], ids[:1], ids[1:], sum(sizes[1:]))


def pack_corpus(
    folder: Path, prepared: Prepared, field: str, encoder: PromptEncoder, limits: Limits, drop: bool
) -> dict[str, Any]:
    """Write the packed rows of a prepared corpus of raw text as a tokenised table.

    Args:
        folder: Folder to fill.
        prepared: Prepared corpus.
        field: Name of the field with the text.
        encoder: Tokenizer of the policy.
        limits: Limits on lengths: ``completion`` is the number of tokens per row, ``min_tokens`` and ``max_tokens``
            those of a document.
        drop: True for training rows, which may be dropped.

    Returns:
        Report, with the number of packed rows as ``packed``.

    Raises:
        ValueError: If nothing is left to train on.
    """
    dropped, source = Counter[str](), prepared.report["source"]
    listed = (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8")
    with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file, TableWriter(
        folder / "rows.arrow", LISTS
    ) as writer:  # fmt: skip
        file.write(listed)

        def documents() -> Iterator[Document]:
            rows = track_rows(prepared.table, f"tokenising {source}")
            while chunk := list(itertools.islice(rows, _CHUNK)):
                for row, ids in zip(chunk, encoder.encode_documents([row[field] for row in chunk]), strict=True):
                    verdict = limits.check_length("text", len(ids) - 1) if drop else None
                    if verdict is None:
                        yield Document(row["id"], ids, len(row[field].encode()))
                        continue
                    dropped[verdict[0]] += 1
                    line = {"id": row["id"], "reason": verdict[0], "detail": verdict[1], "row": {field: row[field]}}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")

        for row in pack_documents(documents(), limits.completion):
            (text,) = encoder.decode([row.completion])
            example = Example(row.id, "", text, text_bytes=row.bytes)
            writer.write(
                {
                    "id": row.id,
                    "example": pack_example(example),
                    "prompt_ids": row.prompt,
                    "completion_ids": row.completion,
                }
            )
    if not writer.rows:
        raise ValueError(f"{source}: its text has fewer than two tokens after preparation, so nothing can be predicted")
    return {
        **prepared.report,
        "kept": len(prepared.table) - dropped.total(),
        "dropped": dict((Counter(prepared.report["dropped"]) + dropped).most_common()),
        "packed": writer.rows,
        "prompts_cut": 0,
        "limits": dataclasses.asdict(limits),
    }
