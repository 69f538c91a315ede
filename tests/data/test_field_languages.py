"""Fields that are not in their languages stop a run, and a missing column's hint follows the script of the text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from semalign_pl.data import Conversation, Headline, Instruction, RawText, Task, Translation
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.data.cleaning.prepare import prepare as prepare_corpus

ZH = ["老师在看书。", "学生吃饭了。", "今天天气很好。", "他去了拉萨。"]
BO = ["དགེ་རྒན་གྱིས་དཔེ་ཆ་ལྟ།", "སློབ་མས་ཁ་ལག་ཟ།", "དེ་རིང་གནམ་གཤིས་བཟང་།", "ཁོ་ལྷ་ས་ལ་སོང་།"]
EN = ["The teacher reads.", "The student eats.", "It is fine today.", "He went to Lhasa."]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, **columns: Sequence[object]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def read(
    path: str,
    task: Task | None = None,
    prepare: Preparation | None = None,
    columns: Mapping[str, str] | None = None,
    filters: bool = True,
) -> int:
    """Number of prepared rows."""
    task = task or Translation()
    request = CorpusRequest(
        source=path,
        columns=task.columns_to_read("train", columns or {}),
        optional=task.optional,
        fields=task.fields,
        languages=task.languages,
        prepare=prepare,
        filters=filters,
        bad_rows="quarantine",
        chat=task.chat("train"),
    )
    return prepare_corpus(request, cache=Path("cache")).report["kept"]


PREPARE = Preparation(length_ratio=None)


@pytest.mark.parametrize("prepare", [None, PREPARE])
def test_exchanged_columns_stop_the_run(prepare: Preparation | None) -> None:
    swapped = write("pairs.jsonl", zh=BO, bo=ZH, note=["", "", "", "老师"])
    message = (
        r"^pairs\.jsonl: the field zh, column zh, is not in Chinese: 4 of 4 texts are not, such as '[^']+'; "
        r"set data\.init_args\.columns: \{zh: bo, bo: zh\}$"
    )
    with pytest.raises(ValueError, match=message):
        read(swapped, prepare=prepare)
    assert read(swapped, prepare=prepare, columns={"zh": "bo", "bo": "zh"}) == 4  # the columns that it names
    right = write("right.jsonl", zh=ZH, bo=BO)
    with pytest.raises(ValueError, match=r"the field zh, column bo, .*columns: \{zh: zh, bo: bo\}$"):
        read(right, prepare=prepare, columns={"zh": "bo", "bo": "zh"})
    with pytest.raises(ValueError, match="pairs.jsonl: the field zh"):  # validation and test rows too
        read(swapped, prepare=prepare, filters=False)


def test_one_wrong_column_and_a_language_of_another_name() -> None:
    three = write("three.jsonl", zh=ZH, bo=EN, tibetan=BO)
    with pytest.raises(ValueError, match=r"field bo, column bo, is not in Tibetan.*columns: \{bo: tibetan\}$"):
        read(three)
    english = write("english.jsonl", zh=EN, bo=BO)
    with pytest.raises(ValueError, match=r"it is English: name another column .*, or the language en in data"):
        read(english)
    mongol = write("mn.jsonl", zh=ZH, mn=["ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ ᠪᠢᠴᠢᠭ"] * 4)
    with pytest.raises(ValueError, match=r"in this script the code is mn-Mong; name it in data\.init_args\.task"):
        read(mongol, Translation(target="mn"))


MIXED = [
    (dict(zh=ZH[:2], bo=["Linux 2.6 OK", *BO[:1]]), Translation()),  # half of the texts
    (dict(zh=["12", "A4", "3.5", "2020"], bo=["12", "OK", "IBM", "2020"]), Translation()),  # names and numbers only
    (dict(zh=ZH, bo=["Microsoft Word ལག་དེབ་གཉིས་པ", *BO[1:]]), Translation()),  # English words within Tibetan
    (dict(en=["OK", "File", "Undo typing", "Quit"], dz=["OK", "ཡིག་སྣོད", "Undo typing", "ཕྱིར་འཐོན"]),
     Translation("en", "dz", prompt_language="en")),
    (dict(zh=ZH, answer=["A", "B", "C", "D"]), Instruction("{zh}", "{answer}", language="zh")),  # labels
    (dict(zh=ZH, answer=["A", "B", "C", "D"]), Instruction("{zh}", "{answer}")),
    (dict(article=BO, headline=["ལྷ་ས།", "Tibet", "བོད།", "2024"]), Headline()),
    (dict(text=ZH), RawText()),  # without a language
    (dict(prompt=ZH, completion=EN), Conversation()),
    (dict(zh=ZH, out=EN), Instruction("{zh}", "{out}", language=None)),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "task"), MIXED)
def test_real_texts_raise_no_alarm(columns: Mapping[str, Sequence[object]], task: Task) -> None:
    assert read(write("c.jsonl", **columns), task) == len(next(iter(columns.values())))


def test_a_corpus_of_another_task_has_its_own_languages() -> None:
    general = write("general.jsonl", q=ZH, a=EN)
    assert read(general, Instruction("{q}", "{a}", language="en")) == 4
    with pytest.raises(ValueError, match=r"general\.jsonl: the field a, column a, is not in Tibetan"):
        read(general, Instruction("{q}", "{a}"))
    with pytest.raises(ValueError, match="raw.jsonl: the field text"):
        read(write("raw.jsonl", text=ZH), RawText(language="bo"))
    assert read("raw.jsonl", RawText(language="zh")) == 4


def test_the_script_filter_switches_it_off() -> None:
    romanised = write(
        "wylie.jsonl", zh=ZH, bo=["dge rgan gyis dpe cha lta", "slob mas kha lag za", "de ring", "kho lha"]
    )
    with pytest.raises(ValueError, match="it is English"):
        read(romanised)
    assert read(romanised, prepare=Preparation(script=None, length_ratio=None)) == 4


HINTS = [
    (dict(id=[1, 2, 3, 4], 藏文=BO, 中文=ZH), {}, "{zh: 中文, bo: 藏文}"),
    (dict(zb=BO, b=ZH), {}, "{zh: b, bo: zb}"),  # names that mislead
    (dict(zh=ZH, text=["", *BO[1:]], notes=["ok", "", "check again", ""]), {}, "{bo: text}"),
    (dict(chinese=ZH, chinese_notes=["", "", "", "看书吧"], target=BO), {}, "{zh: chinese, bo: target}"),
    (dict(source=ZH, target=BO), {"bo": "target"}, "{zh: source}"),
    (dict(zh=ZH, en=EN), {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "named", "hint"), HINTS)
def test_a_hint_follows_the_script(
    columns: Mapping[str, Sequence[object]], named: Mapping[str, str], hint: str | None
) -> None:
    path = write("c.jsonl", **columns)
    with pytest.raises(ValueError) as caught:
        read(path, columns=dict(named))
    message = str(caught.value)
    assert "\n" not in message and message.startswith("c.jsonl:1: no column")
    if hint is None:
        assert "none of them has Tibetan text" in message
    else:
        assert message.endswith(f"say which one it is, e.g. data.init_args.columns: {hint}")
        chosen = dict(pair.split(": ") for pair in hint[1:-1].split(", "))
        assert read(path, columns={**named, **chosen}) >= 3
