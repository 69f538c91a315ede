"""``semalign init`` on real spreadsheets: what is guessed, which rows are written, and recipes that parse."""

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest
import yaml
from helpers.pairs import PAIRS

from semalign_pl.__main__ import main
from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.plan.recipe import settings_of
from semalign_pl.project import project
from semalign_pl.project.general import ANCHORED, General, own_text, read_general
from semalign_pl.project.pairs import find_columns
from semalign_pl.project.settings import SAMPLING
from semalign_pl.project.stages import schedule
from semalign_pl.project.write import RECIPES, render, scalar
from semalign_pl.study.study_file import read_study
from semalign_pl.study.tested_alike import check_tested_alike

STAGES = [name for name in RECIPES if name != "study.yaml"]


def write_sheet(path: Path, rows: Sequence[Sequence[object]]) -> str:
    """Write rows to the first sheet of a workbook; ``None`` is an empty cell."""
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(path)
    return str(path)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sheet(work) -> str:
    """A sheet as people have it: numbers, notes, blank rows, one row that is not translated yet."""
    rows: list[list[object]] = [["编号", "藏文", "汉文", "备注"]]
    for number, pair in enumerate(PAIRS):
        rows += [[None, None, " ", None]] if number in (7, 8, 30) else []
        rows.append([number, None if number == 3 else pair["bo"], pair["zh"], "已经校对" if number in (1, 9) else None])
    return write_sheet(work / "my.xlsx", [*rows, [None, None, " ", None], ["", "", "", ""]])


@pytest.fixture
def init(base, encoder, capsys):
    """Run ``semalign init`` with the fixtures' models; its exit status, output and error message."""

    def run(*flags: str) -> tuple[int, str, str]:
        status = main(["init", "--base", base, "--encoder", encoder, *flags])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_sheet_becomes_a_folder(init, sheet, work) -> None:
    status, out, err = init(sheet)
    assert status == 0, err
    assert "'汉文' is Chinese, '藏文' is Tibetan; not used: 编号, 备注; change with --columns zh=汉文,bo=藏文" in out
    assert "from Chinese to Tibetan" in out and "exchange them with --columns bo=藏文,zh=汉文" in out
    assert "48 rows read, 47 kept" in out and "1 bad row" in out
    data = work / "my" / "data"
    splits = {name: lines(data / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 41, "dev": 2, "test": 4}
    written = sorted((row["zh"], row["bo"]) for rows in splits.values() for row in rows)
    assert written == sorted((pair["zh"], pair["bo"]) for i, pair in enumerate(PAIRS) if i != 3)
    (dropped,) = lines(data / "dropped.jsonl")
    assert dropped["id"] == "my.xlsx:5" and "'藏文'" in dropped["detail"]
    assert "prompts of" in out and "keep 100.0 %" in out
    commands = [line.split("  # ")[0].strip() for line in out.splitlines() if line.startswith("  semalign ")]
    assert [command.split()[1] for command in commands] == ["fit", "fit", "fit", "test"]
    assert all(command in (work / "my" / "README.md").read_text(encoding="utf-8") for command in commands)
    assert "advice: train sft.yaml instead of step 3" in out
    assert "Advice: train sft.yaml" in (work / "my" / "README.md").read_text(encoding="utf-8")
    assert "--general FILE" in out and "MISSING" in (work / "my" / "keep.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("memory", "names"), [([], STAGES), (["--memory", "12GiB"], ["grpo.yaml"])])
def test_every_recipe_parses(init, sheet, work, memory, names) -> None:
    status, out, err = init(sheet, *memory, "--out", "a folder, mine")
    assert status == 0, err
    folder = work / "a folder, mine"
    for name in names:
        recipe = parse_recipe(["--config", str(folder / name)])
        assert (str(recipe.settings.trainer.accelerator) == "gpu") == bool(memory)
        data = recipe.make_data()
        assert len(data.corpora["validation"]) == len(data.corpora["test"]) == 1
        assert Path(data.corpora["test"][0].path).is_file()
    assert [system.name for system in read_study(folder).systems] == ["cold_start", "sft", "grpo", "keep", "keep_grpo"]
    assert ("a card of 12.0 GiB" in out) == bool(memory) and ("CPU" in out) != bool(memory)
    assert "'a folder, mine'/embedder.yaml" in out


def test_the_cold_start_can_be_planned(init, sheet, work, capsys) -> None:
    """The proposal for the same card is what the recipe has."""
    assert init(sheet, "--memory", "12GiB")[0] == 0
    model = yaml.safe_load((work / "my" / "cold_start.yaml").read_text(encoding="utf-8"))["model"]["init_args"]
    assert main(["plan", "--config", "my/cold_start.yaml", "--memory", "12GiB"]) == 0
    assert f"micro_batch_tokens: {model['micro_batch_tokens']}\n" in capsys.readouterr().out
    assert main(["plan", "--config", "my/grpo.yaml"]) == 0
    assert "note: there is no encoder my/runs/embedder/encoder yet" in capsys.readouterr().out
    assert dict(settings_of(["--config", "my/grpo.yaml"]).sampling) == SAMPLING  # with which init has planned


@pytest.mark.parametrize(("rows", "interval"), [(2400, None), (2401, 100)])
def test_grpo_is_validated_however_many_pairs_there_are(init, sheet, work, monkeypatch, rows, interval) -> None:
    """It has at most 300 steps of eight pairs, which with more pairs end before the first epoch."""
    monkeypatch.setattr(project, "schedule", lambda _: schedule(rows))
    assert init(sheet)[0] == 0
    text = (work / "my" / "grpo.yaml").read_text(encoding="utf-8")
    trainer = yaml.safe_load(text)["trainer"]
    assert trainer["max_steps"] == 300 and trainer.get("val_check_interval") == interval
    assert trainer.get("check_val_every_n_epoch", "each") == (None if interval else "each")
    assert ("# scored every 100 steps" if interval else "# scored after each epoch") in text


def test_another_base_is_written_nowhere_else(init, sheet, work, base, encoder) -> None:
    """No path, language or number of the miniature is in a template."""
    assert init(sheet)[0] == 0
    for name in RECIPES:
        text = (work / "my" / name).read_text(encoding="utf-8")
        assert "quickstart" not in text and "world" not in text.replace(base, "").replace(encoder, "")


@pytest.mark.parametrize("kind", ["no header", "three languages", "bo first by flag"])
def test_columns_follow_the_script(init, work, kind) -> None:
    flags = list[str]()
    if kind == "no header":
        file = write_sheet(work / "p.xlsx", [[pair["bo"] * 3, pair["zh"] * 3] for pair in PAIRS])
        wanted, task = "'2' is Chinese, '1' is Tibetan", ("zh", "bo")
    elif kind == "three languages":
        rows = [[f"They read {i}.", pair["zh"], pair["bo"]] for i, pair in enumerate(PAIRS)]
        file = write_sheet(work / "p.xlsx", [["English", "a", "b"], *rows])
        wanted, task = "'English' is English, 'b' is Tibetan; not used: a", ("en", "bo")
    else:
        file = str(work / "p.tsv")
        rows = [f"{pair['zh']}\t{pair['bo']}" for pair in PAIRS]
        Path(file).write_text("zh\tbo\n" + "\n".join(rows) + "\n", encoding="utf-16")
        flags, wanted, task = ["--columns", "bo=bo,zh=zh"], "'bo' is Tibetan, 'zh' is Chinese", ("bo", "zh")
    status, out, err = init(file, *flags)
    assert status == 0, err
    assert wanted in out
    recipe = yaml.safe_load((work / "p" / "grpo.yaml").read_text(encoding="utf-8"))
    written = recipe["data"]["init_args"]["task"]["init_args"]
    assert (written["source"], written["target"]) == task
    callbacks = {one["class_path"]: one.get("init_args", {}) for one in recipe["trainer"]["callbacks"]}
    named = {callbacks[name].get("language") for name in ("LanguageReward", "RewardWatch", "Evaluation")}
    assert named == {task[1]}
    assert sum(len(lines(work / "p" / "data" / f"{name}.jsonl")) for name in ("train", "dev", "test")) == len(PAIRS)


ZH, BO = PAIRS[0]["zh"], PAIRS[0]["bo"]
OTHER_FORMS = {
    "semicolons": ("p.csv", f"zh;bo\n{ZH};{BO}\n".encode(), "p.csv: it has a single column, 'zh;bo', and pairs need"),
    "tabs in .txt": ("p.txt", f"zh\tbo\n{ZH}\t{BO}\n".encode(), "and pairs need two; save it as .xlsx, as .tsv with a"),
    "GB18030": ("p.csv", f"zh,bo\n{ZH},{ZH}\n".encode("gb18030"), "for this command, e.g. --encoding gb18030"),
    "title": ("p.xlsx", [["对照"], [ZH, BO]], "p.xlsx:2: 2 cells under a header of 1; name the column in the header, "
              "or empty the cell; if the header is a title, delete its row"),
    "numbers": ("p.xlsx", [[1, ZH, BO]], "or, if the sheet has no header, name columns by their numbers, such as 2"),
}  # fmt: skip
"""Files that are not as they must be: name, content, and what to do."""


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_file_of_another_form_is_refused_with_the_remedy(init, work, form) -> None:
    name, content, message = OTHER_FORMS[form]
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        write_sheet(work / name, content)
    status, _, err = init(name)
    assert status == 2 and message in err


def test_the_encoding_is_for_every_file_that_is_text(init, sheet, work) -> None:
    text = "".join(f"第{i}段，说的是别的事情。\n" for i in range(60))
    (work / "general.txt").write_text(text, encoding="gb18030")
    status, _, err = init(sheet, "--general", "general.txt")
    assert status == 2 and "for this command, e.g. --encoding gb18030" in err
    status, _, err = init(sheet, "--general", "general.txt", "--encoding", "gb18030")
    assert status == 0, err
    folder = work / "my" / "general"
    assert all(line in text for name in ("anchor", "probe") for line in (folder / f"{name}.txt").open(encoding="utf-8"))
    status, _, err = init(sheet, "--encoding", "gb18030", "--out", "second")
    assert status == 2 and "my.xlsx: encoding is gb18030, but .xlsx says its encoding itself" in err


def test_a_short_first_pair_may_be_a_header(init, work) -> None:
    """No length tells the pair from a header, so the flag that keeps it is printed."""
    file = write_sheet(work / "p.xlsx", [["བོད་ཡིག", "中文"], *([pair["bo"], pair["zh"]] for pair in PAIRS)])
    note = "p.xlsx: if these names are a pair, as in a file without a header, give --columns zh=2,bo=1"
    status, out, err = init(file, "--out", "first")
    assert status == 0 and note in out, err
    status, out, err = init(file, "--out", "second", *note.split()[-2:])
    assert status == 0 and note not in out, err
    rows = [len(lines(path)) for name in ("first", "second") for path in (work / name / "data").glob("t*.jsonl")]
    assert sum(rows[2:]) == sum(rows[:2]) + 1


def test_cells_without_a_translation_do_not_count_for_the_direction(init, work) -> None:
    """A sheet that is half translated: nothing is no short text."""
    whole = [[pair["zh"], pair["bo"]] for pair in PAIRS]
    said = []
    for name, rows in (("whole", whole), ("half", whole + [[f"{zh}{i}", ""] for i in range(1) for zh, _ in whole])):
        status, out, err = init(write_sheet(work / f"{name}.xlsx", [["zh", "bo"], *rows]), "--out", name)
        assert status == 0, err
        said.append(next(line for line in out.splitlines() if line.startswith("direction:")))
    assert said[0] == said[1]


@pytest.mark.parametrize("kind", ["no row has all", "few rows have all"])
def test_the_direction_is_that_of_rows_with_two_languages(base, tmp_path, kind) -> None:
    rows = []
    for i, pair in enumerate(PAIRS):
        whole = [f"They read {i}.", pair["zh"], pair["bo"]]
        left_out = (0 if i % 2 or i < 5 else 1) if kind == "no row has all" else 2 if i > 20 else None
        rows.append([None if place == left_out else text for place, text in enumerate(whole)])
    file = write_sheet(tmp_path / "p.xlsx", [["English", "Chinese", "Tibetan"], *rows])
    found = find_columns(file, {}, TokenCounter(base))
    source = "zh" if kind == "no row has all" else "en"  # the one with most pairs, or the first
    assert list(found.names) == [source, "bo"] and found.ratio > 1


def test_flags_can_be_pasted_into_a_shell(init, work) -> None:
    file = write_sheet(work / "p.xlsx", [["Chinese, text", "Tibetan (U)"], *([p["zh"], p["bo"]] for p in PAIRS)])
    status, out, err = init(file)
    assert status == 0, err
    assert "change with --columns 'zh=Chinese, text,bo=Tibetan (U)'" in out
    (command,) = [line for line in out.splitlines() if line.startswith("direction:")]
    flags = shlex.split(command)[-2:]
    assert flags == ["--columns", "bo=Tibetan (U),zh=Chinese, text"]
    assert init(file, "--out", "exchanged", *flags)[0] == 0


@pytest.mark.parametrize("text", ["no", "On", "null", "my/base", "run # 2", "模型", "a b", 'x "y"', "1e5", "~"])
def test_texts_are_the_same_in_yaml(text) -> None:
    values = {"general": General("own", [], [], []), "batch": 16, "anchor_rows": 5, "lengths": 1, "keep_lengths": 1}
    for folder in (text, f"{text}/inner"):
        study = render("study.yaml", {**values, "folder": folder, "shell_folder": shlex.quote(folder)})
        file = yaml.safe_load(study)["keep_grpo"]["set"]["anchor"]["file"]
        assert file == f"{folder}/general/anchor.txt" and yaml.safe_load(f"a: {scalar(text)} # b") == {"a": text}


def test_an_encoder_that_the_card_cannot_train_is_refused(init, sheet, work, encoder) -> None:
    """By its config alone: 24 layers of width 1024 are 300 million weights."""
    shutil.copytree(encoder, work / "large")
    place = work / "large" / "config.json"
    config = json.loads(place.read_text(encoding="utf-8"))
    wide = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    place.write_text(json.dumps({**config, **wide}), encoding="utf-8")
    status, _, err = init(sheet, "--memory", "3GiB", "--encoder", "large")
    assert status == 2 and "--encoder: to train large takes 4." in err and "name a smaller one" in err
    assert not (work / "my").exists()


def test_long_general_rows_widen_the_limits_or_are_left_out(init, sheet, work) -> None:
    """Limits of short pairs would cut the questions of the rows that keep.yaml replays."""
    long, longer = "说的是别的事情。" * 12, "说的是别的事情。" * 2000
    rows = [{"prompt": f"第{i}段，{longer if i % 20 == 3 else long}", "completion": "别的事情"} for i in range(60)]
    general = work / "general.jsonl"
    general.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    status, out, err = init(sheet, "--general", str(general))
    assert status == 0, err
    assert "'completion' is the answer, 'prompt' the question; " in out
    assert "of them are too long to be replayed" in out
    replay = lines(work / "my" / "general" / "replay.jsonl")
    assert {len(row["prompt"]) for row in replay} <= {len(long) + 4, len(long) + 5}
    data = parse_recipe(["--config", "my/keep.yaml"])
    train = data.make_data()
    settings, pairs = data.settings, yaml.safe_load((work / "my" / "sft.yaml").read_text(encoding="utf-8"))
    keep, sft = settings.model.init_args, pairs["model"]["init_args"]
    assert keep.max_prompt_tokens > sft["max_prompt_tokens"] and keep.max_new_tokens >= sft["max_new_tokens"]
    check_tested_alike(read_study(Path("my")), "my/study.yaml")  # the study has the wider limits for all systems
    # An epoch of 41 pairs and 20 % general rows has 52 rows, however many general rows there are.
    assert settings.trainer.limit_train_batches == 4 and train.batch_size == 16


@pytest.mark.parametrize("rows", [1, 19])
def test_general_text_of_a_few_lines_is_refused(init, sheet, work, rows) -> None:
    (work / "few.txt").write_text("".join(f"第{i}段。\n" for i in range(rows)), encoding="utf-8")
    status, _, err = init(sheet, "--general", "few.txt")
    assert status == 2 and f"--general: few.txt has only {rows} different texts; give 20 or more" in err


def test_limits_keep_99_percent(init, work, tokenizer) -> None:
    """Counted again with the tokenizer's own chat template; one row of ten times the length is given up."""
    pairs = [*PAIRS] * 5
    rows = [[f"{i}{pair['zh']}", f"{pair['bo']}{i}"] for i, pair in enumerate(pairs)]
    rows[100] = ["".join(pair["zh"] for pair in PAIRS[:12]), "".join(pair["bo"] for pair in PAIRS[:12])]
    assert init(write_sheet(work / "p.xlsx", [["zh", "bo"], *rows]))[0] == 0
    model = yaml.safe_load((work / "p" / "cold_start.yaml").read_text(encoding="utf-8"))["model"]["init_args"]
    train = lines(work / "p" / "data" / "train.jsonl")
    prompts = [
        len(tokenizer.apply_chat_template([{"role": "user", "content": f"把下面的中文翻译成藏文：{row['zh']}"}],
            add_generation_prompt=True, return_dict=False)) for row in train
    ]  # fmt: skip
    answers = [len(tokenizer(row["bo"])["input_ids"]) + 1 for row in train]
    both = [p <= model["max_prompt_tokens"] and a <= model["max_new_tokens"]
            for p, a in zip(prompts, answers, strict=True)]  # fmt: skip
    assert 0.99 <= sum(both) / len(both) < 1, (max(prompts), model)
    assert max(answers) > 5 * model["max_new_tokens"]


def test_general_texts_that_are_not_used_are_counted(tmp_path) -> None:
    texts = [f"第{i}段，说的是别的事情。" for i in range(ANCHORED + 300)]
    (tmp_path / "general.txt").write_text("\n".join([*texts, *texts[:7]]), encoding="utf-8")
    general = read_general(str(tmp_path / "general.txt"), seed=0)
    assert len(general.anchor) == ANCHORED and len(general.probe) == 100
    assert "of 5,300 different texts, 5,000 are for the anchor and 100 for the drift probe; 5,0" in general.guess


def test_sources_that_repeat_are_not_in_anchor_and_probe() -> None:
    """A short source with two translations may be a training row and a test row."""
    general = own_text(["是", "好", "不  是", "好"], ["不 是", "是"])
    assert (general.anchor, general.probe) == (["好"], ["不 是", "是"])


def test_short_answers_are_replayed(tmp_path) -> None:
    """Answers such as yes, B or 42 are no prose; a column that is not used is named."""
    rows = [{"id": f"q{i}", "instruction": f"第{i}题对不对？", "output": ["Yes", "B", "42"][i % 3]} for i in range(60)]
    (tmp_path / "general.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    general = read_general(str(tmp_path / "general.jsonl"), seed=0)
    assert general.kind == "instructions" and {row["completion"] for row in general.replay} == {"Yes", "B", "42"}
    assert "'output' is the answer, 'instruction' the question; not used: id; of 60" in general.guess


@pytest.mark.parametrize("kind", ["texts", "instructions"])
def test_general_text_is_kept_apart(init, sheet, work, kind) -> None:
    if kind == "texts":
        general = work / "general.txt"
        general.write_text("".join(f"第{i}段，说的是别的事情。\n" for i in range(200)), encoding="utf-8")
    else:
        general = work / "general.jsonl"
        rows = [
            {"context": f"第{i // 2}段，说的是别的事情。", "question": f"问{i}？", "answer": "别的事情"}
            for i in range(400)
        ]
        general.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    status, out, err = init(sheet, "--general", str(general))
    assert status == 0, err
    assert "no general text" not in out and "advice: train keep.yaml instead of steps 2 and 3" in out
    folder = work / "my" / "general"
    anchor, probe = ((folder / name).read_text("utf-8").splitlines() for name in ("anchor.txt", "probe.txt"))
    assert len(probe) == 40 and sorted(anchor + probe) == sorted({f"第{i}段，说的是别的事情。" for i in range(200)})
    recipe = parse_recipe(["--config", str(work / "my" / "keep.yaml")])
    pairs, replayed = recipe.make_data().corpora["train"]
    assert replayed.replay and not pairs.replay and Path(replayed.path).is_file()
    assert recipe.settings.model.init_args.anchor.file.endswith("general/anchor.txt")
    if kind == "instructions":
        replay = lines(folder / "replay.jsonl")
        assert len(replay) == 320 and not any(text in row["prompt"] for row in replay for text in probe)
        assert replay[0] == {"prompt": rows_of(general, replay[0]), "completion": "别的事情"}


def rows_of(general: Path, row: dict[str, str]) -> str:
    """Context and question of a general row with the question of ``row``, one per line."""
    question = row["prompt"].split("\n")[1]
    (found,) = [one for one in lines(general) if one["question"] == question]
    return f"{found['context']}\n{found['question']}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no columns in two languages"),
        (["--columns", "zh=zh,bo=nothing"], "has no column 'nothing'"),
        (["--columns", "zh,bo"], "--columns: 'zh,bo' does not name two"),
        (["--columns", "zh=zh,bo=other"], "is not in Tibetan"),
        (["--memory", "12"], "--memory: '12' has no unit"),
        (["--general", "none.txt"], "none.txt"),
        (["--out", "taken"], "--out: taken exists already"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(init, work, flags, message) -> None:
    (work / "taken").mkdir()
    pairs = [{**pair, "other": pair["zh"][::-1]} for pair in PAIRS]
    second = "bo" if "--general" in flags else "other"
    file = write_sheet(work / "p.xlsx", [["zh", second], *([pair["zh"], pair[second]] for pair in pairs)])
    status, _, err = init(file, *flags)
    assert status == 2 and message in err
    assert err.strip().splitlines()[-1].startswith("semalign: error: ")
    assert sorted(path.name for path in work.iterdir()) == ["p.xlsx", "taken"] and not [*(work / "taken").iterdir()]
