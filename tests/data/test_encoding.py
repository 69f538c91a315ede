"""A corpus in a legacy encoding, or in another script of its language, is never prepared without a warning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare

UNICODE = ["သီဟိုဠ်မှ ဉာဏ်ကြီးရှင်သည်။", "ဇလွန်ဈေးဘေးဗာဒံပင်ထက်။", "မြန်မာနိုင်ငံ", "ကျောင်းသားများ လာကြသည်။"]
ZAWGYI = ["သီဟိုဠ္မွ ဉာဏ္ႀကီးရွင္သည္။", "ဇလြန္ေဈးေဘးဗာဒံပင္ထက္။", "ျမန္မာႏိုင္ငံ", "ေက်ာင္းသားမ်ား လာၾကသည္။"]
WORDS = ["one and two", "three of them", "four for you", "five and more"]


def write(path: Path, texts: list[str]) -> str:
    rows = [{"en": word, "my": text} for word, text in zip(WORDS, texts, strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def request(source: str, filters: bool = True, code: str = "my") -> CorpusRequest:
    return CorpusRequest(
        source, {"en": "en", "my": "my"}, fields=("en", "my"), languages={"en": "en", "my": code},
        prepare=Preparation(length_ratio=None), filters=filters,
    )  # fmt: skip


@pytest.mark.parametrize("filters", [True, False])
def test_a_column_in_a_legacy_encoding_stops_with_the_converters_name(tmp_path: Path, filters: bool) -> None:
    source = write(tmp_path / "z.jsonl", [*ZAWGYI[:3], UNICODE[3]])
    message = (
        r"z\.jsonl: my: 3 of 4 texts are Zawgyi, not Unicode; convert it first, with ICU's tr.* Zawgyi-my \(`uconv"
    )
    with pytest.raises(ValueError, match=message) as caught:
        prepare(request(source, filters), cache=tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_rows_in_a_legacy_encoding_are_dropped_with_a_reason_of_their_own(tmp_path: Path) -> None:
    prepared = prepare(request(write(tmp_path / "z.jsonl", [*UNICODE[:3], ZAWGYI[3]])), cache=tmp_path / "c")
    assert [row["my"] for row in prepared.table] == UNICODE[:3] and prepared.report["dropped"] == {"encoding": 1}
    (line,) = map(json.loads, (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines())
    assert line["row"]["my"] == ZAWGYI[3] and line["detail"].startswith("my is Zawgyi, not Unicode; convert it first")


def test_what_is_in_unicode_is_prepared_as_ever(tmp_path: Path) -> None:
    prepared = prepare(request(write(tmp_path / "u.jsonl", UNICODE)), cache=tmp_path / "c")
    assert [row["my"] for row in prepared.table] == UNICODE and prepared.report["dropped"] == {}


def test_corpus_says_it_in_one_line(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["corpus", write(tmp_path / "z.jsonl", [*ZAWGYI[:3], UNICODE[3]]), "--columns", "en,my"]) == 0
    said = "my: 3 of 4 texts are Zawgyi, not Unicode; convert it first, with ICU's transliterator Zawgyi-my"
    assert [line.count(said) for line in capsys.readouterr().out.splitlines() if said in line] == [1]
    columns = json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))["files"][0]["columns"]
    assert columns["my"]["encoding"].startswith(said) and columns["en"]["encoding"] is None
    assert "my: 3 of 4 texts are Zawgyi" in Path("runs/corpus/corpus.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("code", "text", "own", "hint"),
    [
        (
            "kk",
            "ٴبىر ەكى ٴۇش تورت",
            "бір екі үш төрт",
            "0.00 of the words of my are Kazakh (Cyrillic); in this script the code is kk-Arab",
        ),
        ("mn", "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ", "нэг хоёр гурав", "are Mongolian (Cyrillic); in this script the code is mn-Mong"),
        ("my", "ภาษาไทย", UNICODE[0], "0.00 of the words of my are Burmese"),
    ],
)
def test_a_code_that_means_another_script_is_said_with_the_right_code(
    tmp_path, code: str, text: str, own: str, hint: str
) -> None:
    source = write(tmp_path / "k.jsonl", [text] * 4)
    with pytest.raises(ValueError, match="the field my, column my, is not in .*: 4 of 4 texts are not") as caught:
        prepare(request(source, code=code), cache=tmp_path / "c")
    assert hint.partition("; ")[2] in str(caught.value)
    half = prepare(request(write(tmp_path / "h.jsonl", [own, text, own, text]), code=code), cache=tmp_path / "c")
    assert half.report["dropped"] == {"script": 2}
    assert f'{hint}"' in (half.folder / "dropped.jsonl").read_text(encoding="utf-8")
