"""Rule 2 against rule 1 on all target-language texts here: real rows get the same result except for the named kinds."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import regex

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.rule import is_unit

FIRST_NEUTRAL = r"[\p{P}\p{N}\p{Sm}\p{Sc}\p{Zs}\t\n\r°℃&&\p{Script_Extensions=Common}]"


def first_rule(language: Language) -> regex.Pattern[str]:
    """Characters that rule 1 accepted (it also required one letter of the language)."""
    used = "".join(rf"\p{{Script_Extensions={script}}}" for script in language.scripts)
    own = "".join(rf"\p{{Script={script}}}" for script in language.scripts)
    outside = rf"--[[\p{{L}}\p{{M}}]&&[{own}]--{language.letters}]" if language.letters else ""
    return regex.compile(rf"[[[{used}]{outside}]{FIRST_NEUTRAL}{language.allowed}{language.keeps}]++", regex.V1)


def kind_of_change(language: Language, first: regex.Pattern[str], text: str, now: bool) -> str | None:
    """The named kind that explains a result other than rule 1's; ``None`` if no kind does."""
    if now:
        rest = regex.sub(r"[\u200B\u200C\uFEFF\u00AD]", "", text)
        if rest != text and first.fullmatch(rest):
            return "invisible character"
        rest = regex.sub(r"[、。「」·]", "", rest)
        if first.fullmatch(rest):
            return "East Asian punctuation"
        spans = [found.span() for found in regex.finditer(r"[\p{Latin}µμ]+", rest)]
        kept = "".join(
            one for i, one in enumerate(rest) if not any(a <= i < b and is_unit(rest, a, b) for a, b in spans)
        )
        return "unit" if first.fullmatch(kept) else None
    if regex.search(r"(?<![\p{L}\p{M}])\p{M}", text):
        return "mark without a letter"
    if regex.search(r"\p{M}{4}", text):
        return "stack"
    return "padding" if 5 * len(regex.findall(r"\p{L}", text)) < len(regex.findall(r"[^\p{L}\p{M}]", text)) else None


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _texts(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Texts under these keys, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in keys:
                yield inner
            else:
                yield from _texts(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, keys)


def _corpora(shared: Path) -> Iterator[tuple[str, str, list[str]]]:
    for part in ("train", "dev"):
        mitra = _jsonl(shared / f"mitra_bo_zh/{part}.jsonl")
        sib = _jsonl(shared / f"sib200_flores_bo_zh/{part}.jsonl")
        ui = _jsonl(shared / f"en_dz_ui/{part}.jsonl")
        for code in ("bo", "zh"):
            yield f"mitra {part}", code, [row[code] for row in mitra]
        for column, code in (("bo", "bo"), ("zh", "zh-Hans"), ("zh_hant", "zh-Hant"), ("en", "en")):
            yield f"sib200 {part}", code, [row[column] for row in sib]
        for code in ("dz", "en"):
            yield f"en_dz_ui {part}", code, [row[code] for row in ui]
    for code in ("bo", "zh"):
        yield "udhr", code, [row[code] for row in _jsonl(shared / "udhr_bo_zh/pairs.jsonl")]
    for column in ("title", "body"):
        yield f"nanhai {column}", "bo", [row[column] for row in _jsonl(shared / "nanhai_headlines_bo/headlines.jsonl")]
    cmrc = json.loads((shared / "cmrc2018/cmrc2018_trial.json").read_text(encoding="utf-8"))
    yield "cmrc", "zh", list(_texts(cmrc, ("context", "context_text", "question", "query_text", "text")))
    tables = [csv.DictReader(path.open(encoding="utf-8")) for path in sorted((shared / "cmmlu/dev").glob("*.csv"))]
    yield "cmmlu", "zh", [row[key] for table in tables for row in table for key in ("Question", *"ABCD")]
    choices = [row for path in sorted((shared / "english_choices").glob("*.jsonl")) for row in _jsonl(path)]
    english = [text for row in choices for text in (*_texts(row, ("query", "good", "bad")), *row.get("choices", ()))]
    yield "english_choices", "en", english


def test_real_rows_keep_their_verdict_but_for_the_named_kinds(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, all_rows, unnamed = [], 0, []
    for name, code, texts in _corpora(shared):
        language = get_language(code)
        first, kinds = first_rule(language), Counter[str | None]()
        for text in texts:
            before, now = bool(first.fullmatch(text)) and language.has_letter(text), language.is_consistent(text)
            if before is not now:
                kinds[kind := kind_of_change(language, first, text, now)] += 1
                unnamed += [text] if kind is None else []
        all_rows += len(texts)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if kind)
        lines.append(f"{name:18} {code:8} {len(texts):6} rows, {kinds.total():3} changed: {named or '–'}")
        assert kinds[None] <= 0.001 * len(texts), (name, unnamed[:5])
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert all_rows > 200_000 and len(unnamed) < 0.0001 * all_rows
