"""Prepared rows tokenised once: by the policy's own tokenizer and template, kept on disk beside the text."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from semalign_pl.data.cache import CACHE, Prepared, cached, opened
from semalign_pl.data.progress import counted
from semalign_pl.data.table import TableWriter
from semalign_pl.data.tasks import Task
from semalign_pl.types import CannotRender, Prompt

TooLong = Literal["cut_prompt", "drop", "error"]
UNUSED = "unused.npy"
_CHUNK = 1000
_LISTS = {"prompt_ids": pa.list_(pa.int32()), "completion_ids": pa.list_(pa.int32())}


class Encoder(Protocol):
    """What a policy does to text."""

    def encode_prompts(self, prompts: Sequence[Prompt], max_tokens: int) -> tuple[list[list[int]], list[bool]]:
        """Token ids of each prompt, none where it cannot be cut to fit, and whether it was cut."""
        ...

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each reference, its end included."""
        ...

    def text_signature(self) -> str:
        """A hash of all that the two depend on."""
        ...


@dataclass(frozen=True)
class Limits:
    """How long texts may be, in tokens, and what becomes of longer ones.

    Attributes:
        prompt: Longest prompt, chat template included.
        completion: Longest reference, its end included.
        too_long: ``cut_prompt``, ``drop`` or ``error``.
        trains_references: The references are trained on; if not, a long one does no harm.
        min_tokens: Fewest tokens of the source and of the reference.
        max_tokens: Most tokens of either.
    """

    prompt: int
    completion: int
    too_long: TooLong = "cut_prompt"
    trains_references: bool = True
    min_tokens: int | None = None
    max_tokens: int | None = None


def tokenise(
    prepared: Prepared, task: Task, policy: Encoder, limits: Limits, drop: bool, cache: Path = CACHE
) -> Prepared:
    """Adds ``prompt_ids`` and ``completion_ids`` to the rows of a prepared corpus, or takes them from the cache.

    The table keeps every row, so that a seed draws the same rows whatever the limits; ``UNUSED`` lists the places of
    those that are dropped. An answer is never cut: a row whose answer is too long is dropped, or refused where
    ``too_long`` is ``error``.

    Args:
        prepared: The rows.
        task: Makes the prompts.
        policy: Encodes them.
        limits: See there.
        drop: Rows may be dropped (training); evaluation rows are kept, their prompts cut.
        cache: Folder of all prepared corpora.

    Raises:
        ValueError: If ``too_long`` is ``error`` and a row is, or if no row is left.
    """
    identity = [prepared.folder.name, _task(task), policy.text_signature(), dataclasses.asdict(limits), drop]
    key = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:24]
    return opened(cached(cache / key, lambda folder: _tokenise(folder, prepared, task, policy, limits, drop)))


def _task(task: Task) -> str:
    shown = task.example({field: f"<{field}>" for field in task.fields}, "")
    return repr((type(task).__name__, shown.asked, shown.reference, sorted(task.optional)))


def _tokenise(
    folder: Path, prepared: Prepared, task: Task, policy: Encoder, limits: Limits, drop: bool
) -> dict[str, Any]:
    dropped, cut, first, unused = Counter[str](), 0, "", list[int]()
    rows = counted(prepared.table, f"tokenising {prepared.report['source']}")
    listed = (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8")
    with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file, TableWriter(
        folder / "rows.arrow", _LISTS
    ) as writer:  # fmt: skip
        file.write(listed)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            fields = [{k: v for k, v in row.items() if k != "id" and v is not None} for row in chunk]
            examples = [task.example(row, id["id"]) for row, id in zip(fields, chunk, strict=True)]
            try:
                prompts, shortened = policy.encode_prompts([e.asked for e in examples], limits.prompt)
            except CannotRender as error:
                raise ValueError(f"{examples[error.place].id}: {error}") from error
            answers = policy.encode_completions([e.reference for e in examples])
            ranged = limits.min_tokens is not None or limits.max_tokens is not None
            sources = policy.encode_completions([e.source for e in examples]) if ranged and drop else answers
            for row, prompt, answer, source, was_cut in zip(chunk, prompts, answers, sources, shortened, strict=True):
                verdict = _verdict(len(answer), len(source), was_cut, bool(prompt), limits, drop)
                if verdict is None:
                    cut += was_cut
                    writer.write({**row, "prompt_ids": prompt, "completion_ids": answer})
                    continue
                unused.append(writer.rows)
                writer.write({**row, "prompt_ids": [], "completion_ids": []})
                reason, detail = verdict
                dropped[reason] += 1
                first = first or f"{row['id']}: {detail}"
                line = {
                    "id": row["id"],
                    "reason": reason,
                    "detail": detail,
                    "row": {k: row[k] for k in row if k != "id"},
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if dropped and limits.too_long == "error" and not dropped.keys() <= {"too_many_tokens", "too_few_tokens"}:
        raise ValueError(
            f"data.init_args.too_long is error, and of {prepared.report['source']} {dropped.total()} rows are; the "
            f"first is {first}; raise that limit, or set too_long to cut_prompt or drop"
        )
    kept = len(prepared.table) - dropped.total()
    if unused:
        np.save(folder / UNUSED, np.array(unused, np.int64))
    if not kept:
        raise ValueError(
            f"{prepared.report['source']}: all {dropped.total()} rows are too long or too short, so nothing is left; "
            f"the first is {first}; raise that limit"
        )
    report = prepared.report
    return {
        **report,
        "kept": kept,
        "dropped": dict((Counter(report["dropped"]) + dropped).most_common()),
        "prompts_cut": cut,
        "limits": dataclasses.asdict(limits),
    }


def _verdict(answer: int, source: int, was_cut: bool, fits: bool, limits: Limits, drop: bool) -> tuple[str, str] | None:
    refuse = limits.too_long == "error"
    if was_cut and not fits:
        limit = f"model.init_args.max_prompt_tokens: {limits.prompt}"
        return "prompt_too_long", f"the chat template and the system turn alone have more tokens than {limit}"
    if was_cut and (refuse or (drop and limits.too_long == "drop")):
        return "prompt_too_long", f"the prompt has more than model.init_args.max_prompt_tokens: {limits.prompt} tokens"
    if not drop:
        return None
    if answer > limits.completion and (limits.trains_references or limits.too_long != "cut_prompt"):
        limit = f"model.init_args.max_new_tokens: {limits.completion}"
        return "answer_too_long", f"the answer has {answer} tokens, more than {limit}"
    for name, count in (("source", source - 1), ("reference", answer - 1)):
        if limits.max_tokens is not None and count > limits.max_tokens:
            limit = f"data.init_args.prepare.max_tokens: {limits.max_tokens}"
            return "too_many_tokens", f"the {name} has {count} tokens, more than {limit}"
        if limits.min_tokens is not None and count < limits.min_tokens and (count or name == "source"):
            limit = f"data.init_args.prepare.min_tokens: {limits.min_tokens}"
            return "too_few_tokens", f"the {name} has {count} tokens, fewer than {limit}"
    return None
