"""Pairs by pattern, members of archives, folders with configurations, and files that only a command can convert."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from semalign_pl.data.reading.formats import Counts
from semalign_pl.data.reading.sources import content_key, read, stream

COLUMNS = {"bo": "bo", "en": "en"}
BO, EN = "ཀ\nཁ\n", "a\nb\n"


def rows(source: object, **more: str) -> dict[str, tuple[str, ...]]:
    return {id: tuple(row.values()) for id, row in read(str(source), COLUMNS, **more).items()}


def put(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", ".").replace("_S_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "names", "wanted"),
    [
        ("*-{bo,en}.txt", ["a-{}.txt", "b-{}.txt"], ["a-{bo,en}.txt", "b-{bo,en}.txt"]),
        ("{bo,en}/*.txt", ["{}/b.txt", "{}/a.txt"], ["{bo,en}/a.txt", "{bo,en}/b.txt"]),
        ("*/t.{bo,en}", ["x/t.{}", "y/t.{}"], ["x/t.{bo,en}", "y/t.{bo,en}"]),
        ("[!c]?.{bo,en}.gz", ["a1.{}.gz"], ["a1.{bo,en}.gz"]),
    ],
)
def test_pairs_by_pattern(tmp_path: Path, pattern: str, names: list[str], wanted: list[str]) -> None:
    import gzip

    for name in names:
        for column, text in (("bo", BO), ("en", EN)):
            path = tmp_path / name.format(column)
            path.parent.mkdir(exist_ok=True)
            data = f"{text}{name}\n".encode()
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    source = f"{tmp_path}/{pattern}"
    found = rows(source)
    assert list(found) == [f"{name}:{line}" for name in wanted for line in (1, 2, 3)]
    assert [row for id, row in found.items() if id.endswith(("1", "2"))] == [("ཀ", "a"), ("ཁ", "b")] * len(names)
    assert all(bo == en for id, (bo, en) in found.items() if id.endswith(":3"))
    key = content_key(source)
    (tmp_path / names[0].format("en")).unlink()
    with pytest.raises(ValueError, match=r"has no partner .*; add it, or move the other away") as caught:
        read(source, COLUMNS)
    assert str(tmp_path / names[0].format("en")) in str(caught.value)
    shutil.copy(tmp_path / names[0].format("bo"), tmp_path / names[0].format("en"))
    assert content_key(source) != key


def test_pairs_by_pattern_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file matches"):
        read(f"{tmp_path}/*.{{bo,en}}", COLUMNS)
    put(tmp_path, a__bo="x\ny\n", a__en="x\n", t__bo__csv=BO, t__en__csv=EN)
    with pytest.raises(ValueError, match="a.bo 2 and a.en 1 lines"):
        read(f"{tmp_path}/*.{{bo,en}}", COLUMNS)
    with pytest.raises(ValueError, match="braces pair plain text files"):
        read(f"{tmp_path}/*.{{bo,en}}.csv", COLUMNS)


def archive(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


OPUS = {"README": "r", "LICENSE": "l", "NLLB.bo-en.bo": BO, "NLLB.bo-en.en": EN, "NLLB.bo-en.scores": "1\n1\n"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_two_aligned_files_of_an_archive(tmp_path: Path, method: int) -> None:
    path = archive(tmp_path / "bo-en.txt.zip", OPUS | {"NLLB.bo-en.xml": "<x/>", "__MACOSX/._a.tsv": ""}, method)
    assert rows(path) == {"bo-en.txt.zip:1": ("ཀ", "a"), "bo-en.txt.zip:2": ("ཁ", "b")}
    assert list(rows(f"{path}#NLLB.bo-en.{{en,bo}}").values()) == [("ཀ", "a"), ("ཁ", "b")]
    counts = Counts()
    list(stream(str(path), COLUMNS, counts=counts))
    assert counts == Counts(lines=2, good=2)
    key = content_key(str(path))
    archive(path, OPUS | {"NLLB.bo-en.en": "c\nd\n"}, method)
    assert content_key(str(path)) != key
    archive(path, OPUS | {"NLLB.bo-en.en": "c\n"}, method)
    with pytest.raises(ValueError, match="NLLB.bo-en.bo 2 and .*NLLB.bo-en.en 1 lines"):
        read(str(path), COLUMNS)


def test_an_archive_by_the_command(tmp_path: Path) -> None:
    if not shutil.which("zip"):
        pytest.skip("no zip")
    put(tmp_path, t__bo=BO, t__en=EN, README="r")
    subprocess.run(["zip", "-q", "t.zip", "t.bo", "t.en", "README"], cwd=tmp_path, check=True)
    subprocess.run(["zip", "-q", "-P", "secret", "locked.zip", "t.bo", "t.en"], cwd=tmp_path, check=True)
    assert list(rows(tmp_path / "t.zip").values()) == [("ཀ", "a"), ("ཁ", "b")]
    for source in ("locked.zip", "locked.zip#t.{bo,en}"):
        with pytest.raises(ValueError, match=r"t.bo is encrypted; unzip it with its password"):
            read(str(tmp_path / source), COLUMNS)


TSV, JSON = "bo\ten\nཀ\ta\nཁ\tb\n", '{"data": [{"bo": "ཀ", "en": "a"}, {"bo": "ཁ", "en": "b"}]}'


def test_a_member_of_an_archive(tmp_path: Path) -> None:
    one = archive(tmp_path / "A.ZIP", {"readme.txt": "r", "folder/T.TSV": TSV, "more/": ""})
    assert list(rows(one)) == ["A.ZIP:2", "A.ZIP:3"]
    two = archive(tmp_path / "b.zip", {"a.tsv": TSV, "../../d/c.json": JSON, "/etc/e.jsonl": '{"bo": "x", "en": "y"}'})
    assert list(rows(f"{two}#a.tsv")) == ["b.zip#a.tsv:2", "b.zip#a.tsv:3"]
    assert list(rows(f"{two}#../../d/c.json#data").values()) == [("ཀ", "a"), ("ཁ", "b")]
    assert list(rows(f"{two}#/etc/e.jsonl").values()) == [("x", "y")]
    assert sorted(os.listdir(tmp_path)) == ["A.ZIP", "b.zip"]
    assert len({content_key(f"{two}#{name}") for name in ("a.tsv", "../../d/c.json", "/etc/e.jsonl")}) == 3
    (tmp_path / "b.zip#a.tsv").write_text("bo\ten\nfile\tof that name\n", encoding="utf-8")
    assert list(rows(f"{two}#a.tsv").values()) == [("file", "of that name")]


INNER = io.BytesIO()
with zipfile.ZipFile(INNER, "w") as _file:
    _file.writestr("a.tsv", TSV)
ARCHIVES: list[tuple[dict[str, str | bytes], str, str]] = [
    (
        {"a.tsv": TSV, "b.csv": "x"},
        "",
        r"2 files in the archive \(a.tsv, b.csv\); say which one is read: .*t.zip#a.tsv",
    ),
    ({"a.bo": BO, "a.en": EN, "a.zh": EN}, "", r"3 files in the archive .*say which one is read"),
    ({"README": "x"}, "", "0 files in the archive"),
    ({"a.tsv": TSV}, "#b.tsv", "no members are called 'b.tsv'"),
    ({"in.zip": INNER.getvalue(), "x.docx": b""}, "", "2 files in the archive"),
    (
        {"in.zip": INNER.getvalue()},
        "#in.zip",
        "unknown suffix '.zip' in an archive, of which text is read; unzip .*t.zip and name",
    ),
    ({"a.xlsx": b""}, "#a.xlsx", "unknown suffix '.xlsx' in an archive"),
    ({"a.docx": b""}, "#a.docx", "unknown suffix '.docx' in an archive"),
]


@pytest.mark.parametrize(("members", "fragment", "said"), ARCHIVES)
def test_an_archive_that_leaves_a_choice(
    tmp_path: Path, members: dict[str, str | bytes], fragment: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read(f"{archive(tmp_path / 't.zip', members)}{fragment}", COLUMNS)
    assert "\n" not in str(caught.value)


def test_damaged_archives_and_bombs(tmp_path: Path) -> None:
    good = archive(tmp_path / "t.zip", {"a.tsv": TSV * 100}).read_bytes()
    middle = good.index(b"a.tsv") + 30
    for data in (good[:-30], b"", b"text", good[:middle] + b"\xff\xfe\xfd" + good[middle + 3 :]):
        (tmp_path / "t.zip").write_bytes(data)
        with pytest.raises(ValueError, match="t.zip.*: not a whole zip file"):
            read(str(tmp_path / "t.zip"), COLUMNS)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as file, file.open("a.jsonl", "w") as member:
        for _ in range(110):
            member.write(bytes(1_000_000))
    with pytest.raises(ValueError, match=r"a.jsonl: decompresses to more than 1,000 times its size.*unzip"):
        read(str(tmp_path / "t.zip"), COLUMNS)


def configured(folder: Path) -> Path:
    put(folder, a_S_train__jsonl='{"bo": "ཀ", "en": "a"}\n', a_S_test__jsonl='{"bo": "ཁ", "en": "b"}\n',
        b_S_train__jsonl='{"bo": "ག", "en": "c"}\n')  # fmt: skip
    configs = (
        "configs:\n- config_name: a\n  data_files:\n  - {split: train, path: a/train.jsonl}\n"
        "  - {split: test, path: a/test.jsonl}\n- config_name: b\n  data_files: b/*.jsonl\n"
    )
    put(folder, README__md=f"---\n{configs}---\n")
    return folder


def test_a_folder_with_configurations(tmp_path: Path) -> None:
    folder = configured(tmp_path / "in:a@b")
    assert list(rows(f"{folder}:a").values()) == [("ཀ", "a")]
    assert list(rows(f"{folder}:a@test").values()) == list(rows(f"{folder}:a", split="test").values()) == [("ཁ", "b")]
    assert list(rows(f"{folder}:b@train")) == ["in:a@b:b@train:1"]
    keys = {content_key(f"{folder}{choice}") for choice in ("", ":a", ":a@test", ":b")}
    assert len(keys) == 4
    with pytest.raises(ValueError, match=r"'a', 'b'.*name folder:config@split"):
        read(str(folder), COLUMNS)
    plain = tmp_path / "plain"
    put(plain, train__csv="bo,en\nག,c\n", test__csv="bo,en\nང,d\n")
    assert list(rows(f"{plain}@test").values()) == [("ང", "d")]
    with pytest.raises(ValueError, match="cannot load it, split 'dev'"):
        read(f"{plain}@dev", COLUMNS)


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    table = datasets.Dataset.from_list([{"bo": f"ཀ{i}", "en": f"{i}", "n": i} for i in range(9)])
    table.select([7, 3]).with_format("numpy").save_to_disk(tmp_path / "one")
    assert (
        rows(tmp_path / "one") == rows(tmp_path / "one", split="test") == {"one:1": ("ཀ7", "7"), "one:2": ("ཀ3", "3")}
    )
    with pytest.raises(ValueError, match="no split 'test'"):
        read(f"{tmp_path}/one@test", COLUMNS)
    with pytest.raises(ValueError, match="has no configurations; leave out :a"):
        read(f"{tmp_path}/one:a", COLUMNS)
    both = datasets.DatasetDict(train=table, test=table.select(range(2)))
    both.save_to_disk(tmp_path / "two")
    assert len(rows(tmp_path / "two")) == 9 and list(rows(f"{tmp_path}/two@test")) == ["two@test:1", "two@test:2"]
    assert len({content_key(f"{tmp_path}/two{split}") for split in ("", "@test", "@train")}) == 2
    with pytest.raises(ValueError, match="no split 'validation'; there are train, test; name one"):
        read(str(tmp_path / "two"), COLUMNS, "validation")
    with pytest.raises(ValueError, match="'n', the field n, is not text but 7"):
        list(read(str(tmp_path / "one"), {"n": "n"}, "train"))
    (tmp_path / "two" / "dataset_dict.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="dataset_dict.json: not valid JSON"):
        read(str(tmp_path / "two"), COLUMNS)


NAMED = """xls ods xlsb docx doc odt rtf html pdf arrow feather orc avro sqlite po xlf xliff sdltm srt yaml 7z rar tar
tar.gz tgz TAR.XZ ndjson lz4""".split()


@pytest.mark.parametrize("suffix", NAMED)
def test_every_other_format_is_told_its_command(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a corpus.{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"unknown suffix '\.\w+(\.\w+)?', .*(; convert it: |unpack)") as caught:
        read(str(path), COLUMNS)
    assert "\n" not in str(caught.value) and "{" not in str(caught.value).replace("{ RS", "").replace("{ sub", "")


def test_the_commands_convert(tmp_path: Path) -> None:
    """Commands whose programs are installed here."""
    import sys

    import pandas
    import pyarrow
    import yaml

    table = [{"bo": "ཀ", "en": "a"}, {"bo": "ཁ", "en": "b"}]
    frame = pandas.DataFrame(table)
    frame.to_feather(tmp_path / "f.feather")
    frame.to_feather(tmp_path / "file.arrow")
    frame.to_orc(tmp_path / "o.orc")
    with pyarrow.OSFile(str(tmp_path / "stream.arrow"), "wb") as out:
        with pyarrow.ipc.new_stream(out, pyarrow.Schema.from_pandas(frame)) as writer:
            writer.write_table(pyarrow.Table.from_pandas(frame))
    (tmp_path / "y.yaml").write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    for name in ("f.feather", "file.arrow", "o.orc", "stream.arrow", "y.yaml"):
        with pytest.raises(ValueError, match="convert it: ") as caught:
            read(str(tmp_path / name), COLUMNS)
        command = str(caught.value).partition("convert it: ")[2]
        command = command.replace("python -c", f"{shlex.quote(sys.executable)} -c", 1)
        subprocess.run(command, shell=True, check=True, timeout=120)
        made = tmp_path / name
        made = made.with_suffix(".jsonl" if name == "y.yaml" else ".parquet")
        assert list(rows(made).values()) == [("ཀ", "a"), ("ཁ", "b")], name
    cue = "{}\r\n00:00:0{},000 --> 00:00:02,000\r\n{}\r\n\r\n"
    (tmp_path / "s.srt").write_bytes((cue.format(1, 1, "ཀ\r\nཁ") + cue.format(2, 2, "ག")).encode())
    with pytest.raises(ValueError, match="convert it: ") as caught:
        read(str(tmp_path / "s.srt"), COLUMNS)
    subprocess.run(str(caught.value).partition("convert it: ")[2], shell=True, check=True)
    assert (tmp_path / "s.txt").read_text(encoding="utf-8") == "ཀ ཁ\nག\n"


def test_a_fragment_where_nothing_can_be_chosen(tmp_path: Path) -> None:
    put(tmp_path, a__csv="bo,en\nཀ,a\n", b__json=json.dumps([{"bo": "ཀ", "en": "a"}]))
    with pytest.raises(ValueError, match=r"# chooses a key of .json, sheet of .xlsx or file of .zip; leave out #x"):
        read(f"{tmp_path}/a.csv#x", COLUMNS)
    with pytest.raises(ValueError, match="an array, which has no keys; leave out #x"):
        read(f"{tmp_path}/b.json#x", COLUMNS)
