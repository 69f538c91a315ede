"""``semalign data`` as a process: the list, the help, a set without a network, mistakes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from semalign_pl.example_data.command import SETS
from semalign_pl.files.example_folders import remedy

ROOT = Path(__file__).parents[2]


def semalign(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | variables
    command = [sys.executable, "-m", "semalign_pl", *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_list_says_what_each_set_is(tmp_path: Path) -> None:
    shown = semalign(tmp_path, "data")
    assert shown.returncode == 0 and shown.stderr == ""
    for name, data_set in SETS.items():
        block = f"\n{shown.stdout}".split(f"\n{name}\n    ")[1].split("\n\n")[0]
        for text in (data_set.what, data_set.rows, data_set.licence, data_set.used_by):
            assert text in block
    assert max(map(len, shown.stdout.splitlines())) <= 120
    assert list(tmp_path.iterdir()) == []


def cpu_seconds() -> float:
    """CPU time of all processes that this one has waited for; other processes on the machine do not change it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        start = cpu_seconds()
        assert "NAME" in semalign(tmp_path, "data", "--help").stdout
        seconds.append(cpu_seconds() - start)
    assert min(seconds) < 1


def test_the_command_is_in_the_table_of_commands(tmp_path: Path) -> None:
    assert "\n  data  " in semalign(tmp_path, "--help").stdout
    assert "did you mean data?" in semalign(tmp_path, "dota").stderr


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from semalign_pl.__main__ import main;"
        "assert [main(['data', *names]) for names in ([], ['x'], ['sample'])] == [0, 2, 0];"
        "heavy = {'torch', 'lightning', 'transformers', 'jsonargparse'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["sib"], "'sib': there is no such data set; did you mean sib200?"),
        (["sample", "zzz"], f"'zzz': there is no such data set; there are {', '.join(SETS)}"),
        (["x.gguf"], "x.gguf: there is no such file; give the path of a model's GGUF file"),
        (["--out", "x", "sample"], "--out: there is no such flag; write semalign data NAME"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, args: list[str], message: str) -> None:
    done = semalign(tmp_path, "data", *args)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"semalign: error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    """The proxy is a closed port, so no connection leaves this machine."""
    done = semalign(tmp_path, "data", "cmrc2018", HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="", no_proxy="")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "cmrc2018_trial.json: the server cannot be reached (Connection refused)" in done.stderr
    assert "run `semalign data cmrc2018` where there is one and copy the folder data/cmrc2018 here" in done.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_the_sample_is_made_and_then_checked(tmp_path: Path) -> None:
    made, again = semalign(tmp_path, "data", "sample"), semalign(tmp_path, "data", "sample", "sample")
    assert made.stdout.startswith("data/sample: made; 300 pairs") and "licence: Apache-2.0" in made.stdout
    assert again.stdout.startswith("data/sample: already there, checksums verified;") and again.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/sib200/train.jsonl", "sib200"),
        ("./data/mitra/dev.jsonl", "mitra"),
        (str(Path.cwd() / "data" / "sample" / "x.json"), "sample"),
        ("data/other/train.jsonl", None),
        ("my/data/sib200/train.jsonl", None),
        ("../data/sib200/train.jsonl", None),
        ("data", None),
    ],
)
def test_the_remedy_for_a_missing_file(path: str, name: str | None) -> None:
    assert remedy(path) == (f"; `semalign data {name}` gets it" if name else "")


def test_a_missing_corpus_or_probe_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semalign_pl.data.reading.sources import read
    from semalign_pl.probes.reading_comprehension import read_questions

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no such file, nor is there a folder.*; `semalign data sib200` gets it$"):
        read("data/sib200/train.jsonl", {"zh": "zh"})
    with pytest.raises(ValueError, match="there is no file data/cmrc2018/.*; `semalign data cmrc2018` gets it$"):
        read_questions("data/cmrc2018/cmrc2018_trial.json", None, 0)
    (tmp_path / "data" / "sample").mkdir(parents=True)
    with pytest.raises(ValueError, match="the folder is empty; `semalign data sample` gets it$"):
        read("data/sample/train.jsonl", {"zh": "zh"})
