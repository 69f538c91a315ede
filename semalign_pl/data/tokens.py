"""Tokenisation of prepared rows with the policy's tokenizer and chat template, once; token ids are cached on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.examples import LISTS, UNUSED, make_example, pack_example
from semalign_pl.data.limits import KEYS, Limits, limit_that_keeps
from semalign_pl.data.packing import pack_corpus
from semalign_pl.data.progress import track_rows
from semalign_pl.data.raw_text import RawText
from semalign_pl.data.storing.cache import CACHE, Prepared, get_or_make, open_prepared
from semalign_pl.data.storing.table import TableWriter
from semalign_pl.data.tasks import Task
from semalign_pl.files.digest import digest
from semalign_pl.types import CannotRender, Example

_CHUNK = 1000


def tokenise(
    prepared: Prepared, task: Task, encoder: PromptEncoder, limits: Limits, drop: bool, cache: Path = CACHE
) -> Prepared:
    """Make the examples of a prepared corpus with their token ids, or take them from the cache.

    A row of the table has the ``example`` as JSON, its ``prompt_ids`` and its ``completion_ids``. The table keeps every
    row, so that a seed draws the same rows with any limits. The file ``UNUSED`` lists the indices of the dropped rows.
    A reference is never cut: a row with a too long reference is dropped, or refused if ``too_long`` is ``error``. Raw
    text is packed into rows of ``limits.completion`` tokens instead.

    Args:
        prepared: Prepared corpus.
        task: Task that makes prompts and references of the rows.
        encoder: Tokenizer and chat template of the policy.
        limits: Limits on lengths, and the treatment of longer texts.
        drop: True for training rows, which may be dropped. Evaluation rows are kept and their prompts cut,
            or refused if ``too_long`` is ``error``.
        cache: Folder of all prepared corpora.

    Raises:
        ValueError: If ``too_long`` is ``error`` and a row is too long, if no row is left, or if the chat template
            cannot render a conversation.
    """
    identity = [prepared.folder.name, _identify(task), encoder.signature(), dataclasses.asdict(limits), drop]

    def make(folder: Path) -> dict[str, Any]:
        if isinstance(task, RawText):
            return pack_corpus(folder, prepared, task.fields[0], encoder, limits, drop)
        return _tokenise(folder, prepared, task, encoder, limits, drop)

    return open_prepared(get_or_make(cache / digest(*identity), make))


def _identify(task: Task) -> str:
    """Text that identifies a task for the cache key: its example of placeholder fields, and the code of a user's class.

    The code counts because an example may depend on the text in a way that placeholders do not show. Tasks of this
    package have a format number instead.
    """
    shown, code = task.example({field: f"<{field}>" for field in task.fields}, ""), ""
    if not type(task).__module__.startswith("semalign_pl."):
        with contextlib.suppress(OSError, TypeError):  # a class without a file, as in an interactive session
            code = inspect.getsource(type(task))
    return repr((type(task).__name__, pack_example(shown), sorted(task.optional), code))


def _tokenise(
    folder: Path, prepared: Prepared, task: Task, encoder: PromptEncoder, limits: Limits, drop: bool
) -> dict[str, Any]:
    dropped, cut, first, unused = Counter[str](), 0, "", list[int]()
    lengths = {reason: Counter[int]() for reason in KEYS}
    rows = track_rows(prepared.table, f"tokenising {prepared.report['source']}")
    listed = (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8")
    with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file, TableWriter(
        folder / "rows.arrow", LISTS
    ) as writer:  # fmt: skip
        file.write(listed)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            examples = [make_example(row, task) for row in chunk]
            try:
                prompts, shortened = encoder.encode_prompts([e.policy_prompt for e in examples], limits.prompt)
            except CannotRender as error:
                raise ValueError(f"{examples[error.place].id}: {error}") from error
            answers = encoder.encode_completions([e.reference for e in examples])
            ranged = limits.min_tokens is not None or limits.max_tokens is not None
            sources = encoder.encode_completions([e.source for e in examples]) if ranged and drop else answers
            whole = iter(_whole_lengths(encoder, [e for e, was in zip(examples, shortened, strict=True) if was]))
            columns = zip(chunk, examples, prompts, answers, sources, shortened, strict=True)
            for row, example, prompt, answer, source, was_cut in columns:
                packed = {"id": row["id"], "example": pack_example(example)}
                asks_last = was_cut and task.chat("train") is None and _asks_last(example, task.fields)
                verdict = _verdict(len(answer), len(source), was_cut, bool(prompt), limits, drop, asks_last)
                length = next(whole) if was_cut else len(prompt)
                if verdict is None or verdict[0] in lengths:
                    lengths["prompt_too_long"][length] += 1
                    lengths["answer_too_long"][len(answer)] += 1
                if verdict is None:
                    cut += was_cut
                    writer.write({**packed, "prompt_ids": prompt, "completion_ids": answer})
                    continue
                # A dropped row is kept in the table without token ids, so that row indices do not depend on limits.
                unused.append(writer.rows)
                writer.write({**packed, "prompt_ids": [], "completion_ids": []})
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
            f"the first is {first}; raise that limit{_keeping(lengths)}"
        )
    report = prepared.report
    return {
        **report,
        "kept": kept,
        "dropped": dict((Counter(report["dropped"]) + dropped).most_common()),
        "prompts_cut": cut,
        "limits": dataclasses.asdict(limits),
        "keeping": {reason: limit_that_keeps(counts) for reason, counts in lengths.items()},
    }


def _keeping(lengths: Mapping[str, Counter[int]]) -> str:
    """End of a message that names the limits that would keep 99 % of the rows; empty if no row is too long."""
    named = [f"{KEYS[reason]}: {limit_that_keeps(counts)}" for reason, counts in lengths.items() if counts]
    return f" (99 % of the rows fit into {' and '.join(named)})" if named else ""


def _whole_lengths(encoder: PromptEncoder, examples: Sequence[Example]) -> list[int]:
    """Number of tokens of each example's prompt before it is cut."""
    return [len(ids) for ids in encoder.encode_prompts([e.policy_prompt for e in examples], sys.maxsize)[0]]


def _asks_last(example: Example, fields: Sequence[str]) -> bool:
    """Return true if a prompt has words after its longest field, such as a question, which a cut would remove."""
    texts = [example.columns.get(field, "") for field in fields]
    longest = max((text for text in texts if text.strip() and text in example.prompt), key=len, default="")
    return bool(longest) and any(map(str.isalnum, example.prompt.rpartition(longest)[2]))


def _verdict(
    answer: int, source: int, was_cut: bool, fits: bool, limits: Limits, drop: bool, asks_last: bool
) -> tuple[str, str] | None:
    """Reason and measure for dropping or refusing a row; ``None`` if it is kept.

    Args:
        answer: Number of tokens of the reference, with the end-of-turn token.
        source: Number of tokens of the source, with the end-of-turn token.
        was_cut: True if the prompt was too long.
        fits: True if the prompt fits, cut or not.
        limits: Limits on lengths.
        drop: True for training rows.
        asks_last: True if a cut would remove what the prompt asks.
    """
    refuse = limits.too_long == "error"
    by_reference = limits.check_length("reference", answer - 1) if answer > 1 else None
    if drop and (chosen := limits.check_length("source", source - 1) or by_reference):
        return chosen  # first, as rows that the user leaves out are not the fault of the model's limits
    if was_cut and not fits:
        limit = f"model.init_args.max_prompt_tokens: {limits.prompt}"
        return "prompt_too_long", f"the chat template and the system turn alone have more tokens than {limit}"
    if was_cut and (refuse or (drop and (asks_last or limits.too_long == "drop"))):
        detail = f"the prompt has more than model.init_args.max_prompt_tokens: {limits.prompt} tokens"
        return "prompt_too_long", detail + (", and asks after its longest field" if asks_last else "")
    if not drop:
        return None
    if answer > limits.completion and (limits.trains_references or limits.too_long != "cut_prompt"):
        limit = f"model.init_args.max_new_tokens: {limits.completion}"
        return "answer_too_long", f"the answer has {answer} tokens, more than {limit}"
    return None
