"""Data sets of the hub, by small local folders of the same layout that `datasets` itself loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.formats.locate import find_source_files
from semalign_pl.data.reading.licence import find_licence
from semalign_pl.data.reading.sources import content_key, read, stream
from semalign_pl.data.storing.cache import summary
from semalign_pl.files.example_folders import OWN_FILES, remedy
from semalign_pl.probes.reading_comprehension import Question, read_questions

ROOT = Path(__file__).parents[2]
ZH = ["老师在看书。", "学生吃饭了。", "今天天气很好。"]
BO = ["དགེ་རྒན་གྱིས་དཔེ་ཆ་ལྟ།", "སློབ་མས་ཁ་ལག་ཟ།", "དེ་རིང་གནམ་གཤིས་བཟང་།"]
COLUMNS = {"zh": "zho_Hans.text", "bo": "bod_Tibt.text"}


def card(folder: Path, licence: object, configs: list[dict[str, object]]) -> None:
    head = yaml.safe_dump({"license": licence, "configs": configs})
    (folder / "README.md").write_text(f"---\n{head}---\n# A card\n", encoding="utf-8")


@pytest.fixture
def sib200(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """SIB-200's layout: a configuration per language, with rows in different orders."""
    monkeypatch.chdir(tmp_path)
    folder, configs = tmp_path / "sib200", list[dict[str, object]]()
    for config, texts, order in (("zho_Hans", ZH, (0, 1, 2)), ("bod_Tibt", BO, (2, 0, 1))):
        (folder / config).mkdir(parents=True)
        rows = "".join(f"{place + 7}\tsport\t{texts[place]}\n" for place in order)
        (folder / config / "train.tsv").write_text(f"index_id\tcategory\ttext\n{rows}", encoding="utf-8")
        configs.append({"config_name": config, "data_files": [{"split": "train", "path": f"{config}/train.tsv"}]})
    card(folder, "cc-by-sa-4.0", configs)
    return str(folder)


def test_configurations_are_joined_by_id_with_their_licence(sib200: str, tmp_path: Path) -> None:
    source = f"{sib200}:{{zho_Hans,bod_Tibt}}@train"
    assert list(read(source, COLUMNS).values()) == [dict(zh=zh, bo=bo) for zh, bo in zip(ZH, BO, strict=True)]
    request = CorpusRequest(source, COLUMNS, fields=("zh", "bo"), languages={"zh": "zh", "bo": "bo"})
    prepared = prepare(request, cache=tmp_path / "cache")
    assert prepared.report.get("licence") == "cc-by-sa-4.0" and len(prepared.table) == 3
    assert summary(prepared.report).endswith(
        "sib200:{zho_Hans,bod_Tibt}@train: 3 rows read, 3 kept; licence: cc-by-sa-4.0"
    )
    before = content_key(source)
    assert content_key(source.replace("zho_Hans,bod_Tibt", "bod_Tibt,zho_Hans")) != before
    for config, id in (("zho_Hans", 99), ("bod_Tibt", 98)):
        with (Path(sib200) / config / "train.tsv").open("a", encoding="utf-8") as file:
            file.write(f"{id}\tsport\t一\n")
    assert content_key(source) != before
    counts = Counts()
    rows = [row for _, row in stream(source, COLUMNS, counts=counts)]
    assert isinstance(rows[3], BadRow) and "id 99 has none in bod_Tibt; drop it" in rows[3].message
    assert isinstance(rows[4], BadRow) and "row of bod_Tibt with the id 98 has none in zho_Hans" in rows[4].message
    assert counts.lines == len(rows) == 5


def test_joined_configurations_that_cannot_be(sib200: str) -> None:
    with pytest.raises(ValueError, match=r"`datasets` cannot load it, split 'test'"):
        read(f"{sib200}:{{zho_Hans,bod_Tibt}}@test", COLUMNS)
    with pytest.raises(ValueError, match="none is no folder and no hub dataset owner/name; name one"):
        read("none:{zho_Hans,bod_Tibt}@train", COLUMNS)
    for text, message in (
        ("id\ttext\n1\ta\n1\tb\n", "zho_Hans has the id 1 twice"),
        ("text\na\n", "no column id or in"),
    ):
        (Path(sib200) / "zho_Hans" / "train.tsv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read(f"{sib200}:{{zho_Hans,bod_Tibt}}@train", COLUMNS)


def test_cmrc_by_the_columns_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's questions, and leaks of them, from the columns of ``hfl/cmrc2018``."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cmrc2018"
    folder.mkdir()
    context = "拉萨是西藏自治区的首府，位于雅鲁藏布江支流拉萨河的北岸，海拔三千六百多米，全年日照充足。"
    asked = (("首府是哪里？", ["拉萨", "拉萨是"], [0, 0]), ("海拔多少？", ["三千"], [31]))
    rows = [
        {"id": f"DEV_{n}", "context": context, "question": question, "answers": {"text": texts, "answer_start": starts}}
        for n, (question, texts, starts) in enumerate(asked)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "validation.jsonl").write_text(lines, encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: [cc-by-sa-4.0, other]\n---\n", encoding="utf-8")
    for name in (str(folder), f"{folder}@validation"):
        assert list(read_questions(name, None, 0)) == [
            Question("DEV_0", context, "首府是哪里？", ("拉萨", "拉萨是")),
            Question("DEV_1", context, "海拔多少？", ("三千",)),
        ]
        assert find_licence(name) == "cc-by-sa-4.0, other"
    pairs = [{"zh": context, "bo": BO[0]}, *({"zh": zh, "bo": bo} for zh, bo in zip(ZH, BO, strict=True))]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    settings = Preparation(length_ratio=None, against=[f"{folder}@validation"])
    request = CorpusRequest("pairs.jsonl", {"zh": "zh", "bo": "bo"}, fields=("zh", "bo"), prepare=settings)
    assert prepare(request, cache=tmp_path / "cache").report["dropped"] == {"leak": 1}
    with pytest.raises(ValueError, match="ReadingComprehensionProbe.file: there is no file none.json"):
        read_questions("none.json", None, 0)


def test_a_licence_is_that_of_the_source_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}", encoding="utf-8")
    assert find_licence(str(tmp_path / "a.jsonl")) is None and find_licence(str(tmp_path)) is None
    record = {"licence": "CC BY 4.0", "files": {"a.jsonl": {"sha256": ""}}}  # as `semalign data` writes it
    (tmp_path / "SOURCE.json").write_text(json.dumps(record), encoding="utf-8")
    assert find_licence(str(tmp_path / "a.jsonl")) == "CC BY 4.0"
    (tmp_path / "own.jsonl").write_text("{}", encoding="utf-8")
    assert find_licence(str(tmp_path / "own.jsonl")) is None, "a user's own file in the folder of a data set"


def test_hub_names_in_recipes_are_read_by_datasets() -> None:
    """Without a network: the names are those of hub data sets, so that `datasets` is asked, and no file is sought."""
    recipe = yaml.safe_load((ROOT / "configs/hub/sft.yaml").read_text(encoding="utf-8"))
    settings = recipe["data"]["init_args"]
    for name in (settings["train"], settings["test"], *settings["prepare"]["against"]):
        (source_file,) = find_source_files(name, "train")
        assert not source_file.files and source_file.source == name


def test_every_file_of_the_papers_recipes_is_fetched_made_or_explained() -> None:
    """Fetched by `semalign data`, made by a command that the recipe names, or explained in one line."""
    seen = set()
    for path in sorted((ROOT / "configs/paper").glob("*.yaml")):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = recipe["data"]["init_args"]
        files = {data[split] for split in ("train", "validation", "test")} | set(data["prepare"]["against"])
        for callback in recipe["trainer"]["callbacks"]:
            arguments = callback.get("init_args", {})
            files |= {arguments[key] for key in ("file", "encoder") if key in arguments}
        for file in files:
            line = remedy(file)
            assert line.startswith("; ") and "\n" not in line, f"{path.name}: {file}"
        adapter = recipe["model"]["init_args"].get("adapter")
        assert adapter is None or (ROOT / f"configs/paper/{Path(adapter).parent.name}.yaml").is_file()
        seen |= files
    real = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "configs/real").rglob("*.yaml"))
    assert [name for name in OWN_FILES if name not in seen and name not in real] == []
