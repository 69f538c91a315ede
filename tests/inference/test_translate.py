"""``semalign translate``: the answers of ``predict``, whole after a kill, and one line for each mistake."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.pairs import PAIRS

from semalign_pl.__main__ import main
from semalign_pl.inference.grounds import examine
from semalign_pl.inference.inputs import Inputs
from semalign_pl.inference.loaded_run import RunRecipe
from semalign_pl.run.finished import FinishedRun


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def give_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


@pytest.mark.parametrize("precision", [None, "bf16-mixed", "16-mixed"])
def test_answers_are_those_of_predict(own_run, corpus, tmp_path, monkeypatch, precision: str | None) -> None:
    monkeypatch.setattr("sys.argv", ["semalign"])
    recipe = yaml.safe_load((own_run / "fit.yaml").read_text())
    recipe["trainer"]["precision"] = precision
    (own_run / "fit.yaml").write_text(yaml.safe_dump(recipe))
    evaluation = "--trainer.callbacks=[{class_path: Evaluation, init_args: {language: bo}}]"
    flags = [f"--model.init_args.adapter={own_run / 'adapter'}", f"--trainer.default_root_dir={tmp_path / 'predicted'}"]
    assert main(["predict", "--config", str(own_run / "fit.yaml"), evaluation, *flags]) == 0
    predicted = read(tmp_path / "predicted" / "predictions.jsonl")
    out = tmp_path / "out.jsonl"
    assert main(["translate", str(own_run), "--file", str(corpus / "dev.jsonl"), "--out", str(out)]) == 0
    answers = read(out)
    assert [(row["id"], row["prediction"]) for row in answers] == [(row["id"], row["prediction"]) for row in predicted]
    assert [row["source"] for row in answers] == [pair["zh"] for pair in PAIRS[40:]]
    assert len({row["prediction"] for row in answers}) > 1, "equal answers would show nothing"
    assert {*tmp_path.glob("out.*")} == {out}, "nothing unfinished is left"


def test_a_run_with_an_anchor_is_used_from_any_folder(own_run, tmp_path, monkeypatch) -> None:
    recipe = yaml.safe_load((own_run / "fit.yaml").read_text())
    recipe["model"]["init_args"]["anchor"] = {"file": "data/general.txt"}
    (own_run / "fit.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    assert main(["translate", str(own_run), "--text", "老师"]) == 0


def test_texts_have_the_normal_form_of_the_recipe(run, tmp_path, capsys) -> None:
    plain, spaced = tmp_path / "plain.txt", tmp_path / "spaced.txt"
    plain.write_text("老师在学校看书。\n", encoding="utf-8")
    spaced.write_text("\ufeff老师在学校看书。\u200b\u3000\r\n", encoding="utf-8")
    for file in (plain, spaced):
        assert main(["translate", str(run), "--file", str(file)]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other


def test_a_text_that_is_blank_in_normal_form_is_a_blank_line(run, tmp_path, capsys, monkeypatch) -> None:
    text, file = "老师在学校看书。\n\u200b\n学生在家里吃饭。\n", tmp_path / "in.txt"
    file.write_text(text, encoding="utf-8")
    give_stdin(monkeypatch, text)
    for source in (str(file), "-"):
        assert main(["translate", str(run), "--file", source]) == 0
        assert [bool(line) for line in capsys.readouterr().out.splitlines()] == [True, False, True]


def test_unicode_text_of_excel_is_a_table(run, tmp_path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes("chinese\tbo\r\n老师\tདགེ་རྒན།\r\n".encode("utf-16"))
    inputs = Inputs(RunRecipe.of(FinishedRun.of(run)), {"zh": "chinese"})
    assert [example.source for example in inputs.read(str(file))] == ["老师"]


def test_answers_are_utf8_unless_they_go_to_a_terminal(run, tmp_path, capsys, monkeypatch) -> None:
    file = tmp_path / "in.txt"
    file.write_text("老师在学校看书。\n", encoding="utf-8")
    for flags in (["--file", str(file)], ["--text", "老师在学校看书。"]):
        assert main(["translate", str(run), *flags]) == 0
        expected = capsys.readouterr().out
        assert not expected.isascii(), "GBK has all of ASCII"
        for is_terminal, encoding in ((False, "utf-8"), (True, "gbk")):
            written = io.BytesIO()
            stdout = io.TextIOWrapper(written, "gbk", "backslashreplace")
            monkeypatch.setattr(stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
            with monkeypatch.context() as context:
                context.setattr(sys, "stdout", stdout)
                assert main(["translate", str(run), *flags]) == 0
            stdout.flush()
            assert written.getvalue() == expected.encode(encoding, "backslashreplace")


def test_text_and_stdin_go_to_stdout_line_by_line(run, capsys, monkeypatch) -> None:
    for text in ("老师在学校看书。", "学生在家里吃饭。"):
        assert main(["translate", str(run), "--text", text]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one != other
    give_stdin(monkeypatch, "老师在学校看书。\n\n\n学生在家里吃饭。\n")
    assert main(["translate", str(run), "--file", "-"]) == 0
    assert capsys.readouterr().out.splitlines() == [one, "", "", other], "lines belong together"


@pytest.mark.parametrize("name", ["in.txt", "in.TXT", "in.txt.gz"])
def test_lines_of_a_text_file_belong_together(run, tmp_path, capsys, name: str) -> None:
    text, file = "老师在学校看书。\n\n\n学生在家里吃饭。\n".encode(), tmp_path / name
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert main(["translate", str(run), "--file", str(file)]) == 0
    assert [bool(line) for line in capsys.readouterr().out.splitlines()] == [True, False, False, True]


def translate_in_batches_of_one(run: Path, file: Path, out: Path) -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")
    main(["translate", str(run), "--file", str(file), "--out", str(out)])


def test_a_killed_command_goes_on(own_run, tmp_path, capsys) -> None:
    recipe = yaml.safe_load((own_run / "fit.yaml").read_text())
    recipe["data"]["init_args"]["eval_batch_size"] = 1
    recipe["model"]["init_args"] |= {"max_new_tokens": 2, "max_prompt_tokens": 100}
    (own_run / "fit.yaml").write_text(yaml.safe_dump(recipe))
    file, whole, out = tmp_path / "in.jsonl", tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    texts = [pair["zh"] * times for times in (99, 1, 99) for pair in PAIRS]
    file.write_text("".join(json.dumps({"zh": text}) + "\n" for text in texts))
    assert main(["translate", str(own_run), "--file", str(file), "--out", str(whole)]) == 0
    assert [row["cut"] for row in read(whole)] == [long for long in (True, False, True) for _ in PAIRS]
    cut = f"{2 * len(PAIRS)} texts were longer than max_prompt_tokens 100: cut"
    assert cut in capsys.readouterr().err
    unfinished = tmp_path / "out.jsonl.unfinished"
    process = multiprocessing.get_context("fork").Process(
        target=translate_in_batches_of_one, args=(own_run, file, out), daemon=True
    )
    process.start()
    deadline = time.monotonic() + 120
    while not unfinished.exists() or unfinished.read_bytes().count(b"\n") < 5:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with unfinished.open("ab") as lines:
        lines.write(b'{"id": "half a li')
    done = unfinished.read_bytes().count(b"\n") - 1
    assert 0 < done < 3 * len(PAIRS) and not out.exists()
    capsys.readouterr()
    assert main(["translate", str(own_run), "--file", str(file), "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert f"going on after row {done} of {3 * len(PAIRS)}" in told
    cut_off = sum(not row["finished"] for row in read(whole))
    assert f"{cut_off} answers were cut off at max_new_tokens 2" in told, "those of the killed process count too"
    assert cut in told
    assert out.read_bytes() == whole.read_bytes() and not unfinished.exists()


def test_rows_of_a_version_without_cut_are_gone_on_with(own_run, tmp_path) -> None:
    file, whole, out = tmp_path / "in.jsonl", tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"zh": "老师"}\n{"zh": "学生"}\n', encoding="utf-8")
    assert main(["translate", str(own_run), "--file", str(file), "--out", str(whole)]) == 0
    first, second = read(whole)
    del first["cut"]
    _, grounds = examine(Inputs(RunRecipe.of(FinishedRun.of(own_run))), str(file))
    (tmp_path / "out.jsonl.unfinished").write_text(f"{json.dumps(grounds)}\n{json.dumps(first)}\n")
    assert main(["translate", str(own_run), "--file", str(file), "--out", str(out)]) == 0
    assert read(out) == [first, second]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("老师\r学生\r", r"stdin:1: a CR inside the line: '老师\\r学生'; end lines in LF"),
        (
            "老师\n学\0生\n",
            r"stdin:2: the text is not plain text, the control character U\+0000 in '学\\x00生'; take it out",
        ),
        (
            "\nzh\tbo\n老师\tདགེ་རྒན།\n",
            r"stdin:2: a tab in the first text, 'zh\\tbo': this is a table.*give it as --file FILE.tsv",
        ),
        ("\u200b\n", "stdin: there is no text in it"),
        ("\n", "stdin: there is no text in it"),
    ],
)
def test_stdin_is_checked_as_a_file_is(run, text, message, capsys, monkeypatch) -> None:
    give_stdin(monkeypatch, text)
    assert main(["translate", str(run), "--file", "-"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error), error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "one of the arguments --text --file is required"),
        (["--text", "a", "--file", "b.txt"], "not allowed with argument"),
        (["--text", " "], "--text: is blank"),
        (["--text", "a", "--out", "o.jsonl"], "--out: is for --file"),
        (["--file", "in.jsonl", "--out", "o.csv"], "give a name that ends in .jsonl"),
        (["--file", "in.jsonl", "--out", "there.jsonl"], "is there already; give another file, or delete it"),
        (["--file", "-", "--out", "o.jsonl"], "stdin cannot be read again"),
        (["--file", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--file", "other.jsonl"], "no column 'zh' .*--columns zh=chinese"),
        (["--file", "in.jsonl", "--columns", "en=x"], "--columns: 'en' is no field of the prompt, which has zh"),
        (["--file", "in.jsonl", "--columns", "zh"], "write field=column"),
        (["--file", "in.txt", "--columns", "zh=chinese"], "--columns: in.txt has one text per line, and no columns"),
        (["--file", "-", "--columns", "zh=chinese"], "--columns: - has one text per line"),
        (["--text", "a", "--columns", "zh=chinese"], "--columns: is for --file"),
        (["--file", "bad.jsonl", "--out", "o.jsonl"], "bad.jsonl.*2.*empty"),
        (
            ["--file", "blank.jsonl", "--out", "o.jsonl"],
            r"blank.jsonl:2: zh is blank in normal form: '\\u200b'; fill it in",
        ),
        (["--file", "blank.txt"], "blank.txt: there is no text in it"),
        (["--text", "\u200b"], r"zh is blank in normal form: '\\u200b'; fill it in"),
        (["--file", "pairs.txt"], r"pairs.txt:2: a tab in the first text, 'zh\\tbo': .*; rename its .txt to .tsv"),
        (["--text", "a", "--corpus", "x"], "--corpus: 'x' is no corpus with prompts"),
    ],
)
def test_mistakes_are_one_line_before_weights_are_loaded(
    own_run, flags, message, capsys, tmp_path, monkeypatch
) -> None:
    (own_run / "adapter" / "adapter_model.safetensors").write_bytes(b"damaged: loading would say so")
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"zh": "老师"}\n', encoding="utf-8")
    Path("other.jsonl").write_text('{"chinese": "老师"}\n', encoding="utf-8")
    Path("bad.jsonl").write_text('{"zh": "老师"}\n{"zh": ""}\n', encoding="utf-8")
    Path("blank.jsonl").write_text('{"zh": "老师"}\n{"zh": "\u200b"}\n', encoding="utf-8")
    Path("blank.txt").write_text("\u200b\n", encoding="utf-8")
    Path("pairs.txt").write_text("\nzh\tbo\n老师\tདགེ་རྒན།\n", encoding="utf-8")
    Path("there.jsonl").touch()
    assert main(["translate", str(own_run), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert re.search(message, error), error
    assert not Path("o.jsonl.unfinished").exists()


def test_rows_of_another_adapter_are_not_gone_on_with(own_run, sft_adapter, tmp_path, capsys) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"zh": "老师"}\n', encoding="utf-8")
    grounds = json.dumps({"adapter": "another one"})
    (tmp_path / "out.jsonl.unfinished").write_text(f'{grounds}\n{{"id": "in.jsonl:1"}}\n')
    assert main(["translate", str(own_run), "--file", str(file), "--out", str(out)]) == 2
    assert "out.jsonl.unfinished holds 1 rows that were made with other adapter" in capsys.readouterr().err


def test_grounds_are_all_that_answers_depend_on_and_no_more(own_run, tmp_path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"zh": "老师"}\n', encoding="utf-8")
    inputs, adapter = Inputs(RunRecipe.of(FinishedRun.of(own_run))), own_run / "adapter"
    before = examine(inputs, str(file))
    (adapter / "README.md").write_text("another card", encoding="utf-8")
    assert examine(inputs, str(file)) == before
    for name in ("adapter_config.json", "tokenizer_config.json"):
        (adapter / name).write_text((adapter / name).read_text(encoding="utf-8") + " ", encoding="utf-8")
        changed = examine(inputs, str(file))
        assert changed[1]["adapter"] != before[1]["adapter"], name
        before = changed
    mixed = Inputs(replace(inputs.recipe, precision="bf16-mixed"))
    assert examine(mixed, str(file)) == (1, before[1] | {"precision": "bf16-mixed"})
