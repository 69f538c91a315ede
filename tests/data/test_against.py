"""Files with texts that training must not contain: all their texts count, in any column, or the file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, all_texts, prepare

ROW = {
    "text": "甲",
    "question": "乙",
    "choices": {"text": ["丙", "丁"], "label": ["A"]},
    "turns": [{"content": "戊"}],
    "n": 1,
}
TEXTS = ["甲", "乙", "丙", "丁", "A", "戊"]


def parquet(path: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist([ROW]), path)


TMX = (
    "<tmx><body><tu><tuv xml:lang='zh'><seg>甲</seg></tuv><tuv xml:lang='en'><seg>乙</seg></tuv>"
    "<tuv xml:lang='en'><seg>丙</seg></tuv></tu></body></tmx>"
)
FILES: dict[str, tuple[Callable[[Path], object] | str, list[str]]] = {
    "c.jsonl": (json.dumps(ROW), TEXTS),
    "c.json": (json.dumps([ROW], indent=1), TEXTS),
    "c.parquet": (parquet, TEXTS),
    "c.tmx": (TMX, ["甲", "乙", "丙"]),
    "header.tsv": ("text\tzh\n甲\t乙\n", ["text", "zh", "甲", "乙"]),
    "no_header.csv": ("甲,乙\n丙,丁\n", ["甲", "乙", "丙", "丁"]),
    "c.txt": ("甲\n\n乙", ["甲", "乙"]),
    "c.{zh,bo}": (
        lambda path: [path.with_suffix(suffix).write_text("甲\n乙\n") for suffix in (".zh", ".bo")],
        ["甲", "乙"] * 2,
    ),
    "folder": (lambda path: path.mkdir() or (path / "test.jsonl").write_text(json.dumps(ROW)), TEXTS),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_text_counts(tmp_path: Path, name: str) -> None:
    content, texts = FILES[name]
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert sorted(text for _, (text,) in all_texts(str(tmp_path / name))) == sorted(texts)


def test_a_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{{\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^data\.init_args\.prepare\.against: .*c\.jsonl:2: not JSON"):
        list(all_texts(str(path)))


NOT_NORMAL = {
    "bo": "ༀ་མ་ཎི་པདྨེ་ཧཱུྃ་ཞེས་བརྗོད།",
    "th": "ฉันไปดูนํ้าตกแล้วกลับมาทํางานที่บ้าน",
    "ug": "\u0645\u0647\u0643\u062a\u0647\u067e\u062a\u0647 \u0626\u0648\u0642\u06c7\u062f\u06c7\u0645",
}
"""Text per language whose normal form has other letters."""


def one_row(path: Path, row: dict[str, str], **more: object) -> CorpusRequest:
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    return replace(CorpusRequest(str(path), {field: field for field in row}, fields=tuple(row)), **more)


@pytest.mark.parametrize("language", NOT_NORMAL)
@pytest.mark.parametrize("normalise", [True, False])
def test_a_copy_is_found_though_its_normal_form_differs(tmp_path: Path, language: str, normalise: bool) -> None:
    """Training rows are in normal form, and neither the texts of a file nor held-out fields without a language are."""
    text, probe = NOT_NORMAL[language], tmp_path / "probe.jsonl"
    held_out = prepare(one_row(probe, {"passage": text}, prepare=Preparation(), filters=False), cache=tmp_path)
    settings = Preparation(normalise=normalise, script=None)
    for against, evaluation in (([str(probe)], []), ([], [held_out])):
        wanted = one_row(
            tmp_path / "train.jsonl",
            {language: text, "zh": "另一句话"},
            languages={language: language, "zh": "zh"},
            prepare=replace(settings, against=against),
        )
        with pytest.raises(ValueError, match=r"none of its 1 rows is left: 1 leak.*exact 1.00 of probe.jsonl:1"):
            prepare(wanted, evaluation, tmp_path)
