"""Output of real processes: hostile text, closed streams, a reader that ends, a terminal with few characters."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from semalign_pl.__main__ import main
from semalign_pl.messages.console import Console, Text
from semalign_pl.messages.terminal import visible

HOSTILE = "[/] [bold]x[/bold] :smile: \x1b[2J\x1b]0;title\x07 \u202egnp.exe $\\frac{$"
"""Markup, an emoji code, escape sequences, a change of the direction of writing, and half a formula."""


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in which ``semalign`` is this package."""
    semalign = f"{shlex.quote(sys.executable)} -m semalign_pl"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        ["bash", "-c", command.replace("semalign ", f"{semalign} ")],
        cwd=folder,
        capture_output=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def acts_on_a_terminal(content: bytes | str) -> bool:
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    return any(c in text for c in ("\x1b", "\x07", "\u202e"))


def test_control_characters_are_written_out_and_scripts_stay() -> None:
    assert visible("a\x1b[31m\x9b\x7f\u202e\u2028\udcff\r") == r"a\x1b[31m\x9b\x7f\u202e\u2028\udcff\x0d"
    untouched = "བོད་ཡིག\tक्‍ष می‌خواهم\n"
    assert visible(untouched) == untouched  # joiners are needed to write words


def test_text_in_a_table_is_text() -> None:
    console = Console(file=io.StringIO(), width=200)
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, "bold"))
    console.print(table, HOSTILE)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert out.count(visible(HOSTILE)) == 6 and not acts_on_a_terminal(out)


def corpus(folder: Path, rows: int = 3) -> Path:
    """A corpus whose name and column look like markup."""
    file = folder / "a[/]b.jsonl"  # the file ]b.jsonl in the folder a[
    file.parent.mkdir()
    lines = [json.dumps({"x[/]": f"བོད་ཡིག་{i}", "y\x1b[31m": "文"}, ensure_ascii=False) for i in range(rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_names_of_files_and_columns_are_text(tmp_path, capfd) -> None:
    assert main(["corpus", str(corpus(tmp_path)), "--out", str(tmp_path / "o[/]\x1b[31m")]) == 0
    done = capfd.readouterr()
    assert "]b.jsonl" in done.out and "x[/]" in done.out and "o[/]" in done.out
    assert not acts_on_a_terminal(done.out + done.err)
    assert (tmp_path / "o[/]\x1b[31m" / "corpus.html").is_file()


def test_an_error_writes_control_characters_out(tmp_path, capfd) -> None:
    assert main(["corpus", str(tmp_path / "none\x1b[2J[/].jsonl")]) == 2
    error = capfd.readouterr().err
    assert "none\\x1b[2J[/].jsonl" in error and not acts_on_a_terminal(error) and error.count("\n") == 1


def test_a_label_is_text_in_the_table_the_page_and_the_pictures(tmp_path, capfd) -> None:
    def metric(value: float) -> dict:
        return {"value": value, "ci": None, "signature": HOSTILE}

    names = ("semantic_similarity", "nll_change_mean", "cmrc_f1", HOSTILE)
    metrics = {name: metric(0.5) for name in names}
    systems = {
        "base": {"from": None, "metrics": metrics},
        "one": {"from": "base", "label": HOSTILE, "metrics": metrics},
        "two": {"from": "one", "label": f"2{HOSTILE}", "metrics": metrics},
    }
    results = {"systems": systems, "run": {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}}}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    log = tmp_path / "seed-0" / "one" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("step,train/reward,train/reward/$\\frac{$,train/reward/_b\n0,1,1,2\n1,2,1,2\n", encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 0
    done = capfd.readouterr()
    assert "$\\frac{$" in done.out.replace("\n", "") and not acts_on_a_terminal(done.out + done.err)
    assert "<bold>" not in (page := (tmp_path / "report.html").read_text(encoding="utf-8")) and "[bold]" in page
    assert (tmp_path / "quality_against_tax.png").is_file()


SOURCE = "semalign corpus x.jsonl --out out"


@pytest.mark.parametrize(
    ("command", "status", "environment"),
    [
        pytest.param(f"{SOURCE} 2>&1 | true; exit ${{PIPESTATUS[0]}}", 0, {}, id="a reader that ends"),
        pytest.param("semalign --help | true; exit ${PIPESTATUS[0]}", 0, {}, id="help to a reader that ends"),
        pytest.param(f"{SOURCE} >&- 2>&- <&-", 0, {}, id="all closed"),
        pytest.param("semalign --version >&-", 0, {}, id="version, stdout closed"),
        pytest.param("semalign none >&- 2>&-", 2, {}, id="an error, all closed"),
        pytest.param(SOURCE, 0, {"PYTHONIOENCODING": "ascii"}, id="ASCII"),
        pytest.param("semalign བོད", 2, {"PYTHONIOENCODING": "ascii"}, id="an error in ASCII"),
        pytest.param("semalign --help", 0, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, id="C"),
    ],
)
def test_no_stream_ends_in_a_traceback(tmp_path, command, status, environment) -> None:
    corpus(tmp_path, 200).rename(tmp_path / "x.jsonl")
    done = shell(command, tmp_path, **environment)
    assert done.returncode == status, done.stderr
    assert b"Traceback" not in done.stderr and b"Broken pipe" not in done.stderr and b"Exception" not in done.stderr
    if command.startswith(SOURCE):
        assert json.loads((tmp_path / "out" / "corpus.json").read_text(encoding="utf-8"))["files"][0]["good"] == 200
        assert not done.stderr
    elif status == 2 and ">&-" not in command:
        assert b"\\u0f56\\u0f7c\\u0f51" in done.stderr and done.stderr.count(b"\n") == 1
