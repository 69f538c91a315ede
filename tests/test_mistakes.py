"""Typical mistakes of newcomers: each is answered by one line with a remedy, and those of usage in under a second."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_errors import error_line
from helpers.mistakes import BROKEN, MISTAKES, Mistake
from helpers.small_runs import Runs


@pytest.fixture(scope="module")
def desk(base: str, encoder: str, corpus: Path, sft_adapter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a newcomer, with all that helpers/mistakes.py names."""
    folder = tmp_path_factory.mktemp("desk")
    for name, content in BROKEN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    for name, source in (("base", base), ("encoder", encoder), ("run/adapter", sft_adapter)):
        shutil.copytree(source, folder / name)
    shutil.copytree(sft_adapter, folder / "wide/adapter")
    _widen(folder / "wide/adapter/adapter_model.safetensors")
    for name in ("train.jsonl", "dev.jsonl"):
        shutil.copy(corpus / name, folder / name)
    runs = Runs(folder, "base", "encoder", Path())
    for stage in ("sft", "grpo"):
        runs.write({**runs.recipe(stage), "seed_everything": 1}, stage)
    embedder = {"class_path": "EmbedderModule", "init_args": {"base": "encoder"}}
    runs.write({**runs.recipe("sft"), "model": embedder}, "embedder")
    return folder


def _widen(file: Path) -> None:
    """Weights of an adapter for a base of another width."""
    import torch
    from safetensors.torch import load_file, save_file

    save_file({name: torch.cat([one, one], -1) for name, one in load_file(file).items()}, file)


@pytest.mark.parametrize("mistake", [one for one in MISTAKES if not one.usage], ids=lambda one: one.line)
def test_one_line_with_a_remedy(
    mistake: Mistake, desk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setattr("sys.argv", ["semalign"])
    check(mistake, error_line(capfd, command(mistake)))


@pytest.mark.parametrize("command", ["corpus", "reward-check --data.init_args.validation=train.jsonl"])
def test_a_class_that_refuses_a_setting_is_one_line(
    command: str, desk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    answer = error_line(capfd, [*command.split(), "--config", "grpo.yaml", "--model.init_args.max_grad_norm", "0"])
    assert answer.startswith("model.init_args.max_grad_norm: 0: a clipped gradient would be 0, or point uphill; give")


def command(mistake: Mistake) -> list[str]:
    """Command line of a mistake; a training gets a folder of its own, unless that is the mistake."""
    args = mistake.line.split()
    own = args[0] == "fit" and "default_root_dir" not in mistake.line
    return [*args, f"--trainer.default_root_dir=runs/{abs(hash(mistake.line))}"] if own else args


def check(mistake: Mistake, answer: str) -> None:
    """Compare an answer with what it must name."""
    assert answer.startswith(mistake.wrong) and len(answer) < 400, answer
    assert mistake.remedy and mistake.remedy in answer[len(mistake.wrong) :], answer


USAGE = """
import contextlib, io, json, sys, time
from semalign_pl.__main__ import main
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    start = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line.split())
    heavy = {"torch", "lightning", "transformers"} & set(sys.modules)
    print(json.dumps([line, status, out.getvalue(), err.getvalue(), time.process_time() - start, sorted(heavy)]))
"""
START_SECONDS = 0.25
"""CPU time that Python and the command's first module take, which the process below takes only once."""


def test_mistakes_of_usage_need_neither_torch_nor_a_second(desk: Path) -> None:
    """All in one new process; the first to load torch would be the last without it."""
    lines = [one.line for one in MISTAKES if one.usage]
    done = subprocess.run(
        [sys.executable, "-c", USAGE], input=json.dumps(lines), cwd=desk, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for mistake, answer in zip([one for one in MISTAKES if one.usage], done.stdout.splitlines(), strict=True):
        line, status, out, err, seconds, heavy = json.loads(answer)
        assert (line, status, out, heavy) == (mistake.line, 2, "", []), answer
        assert err.startswith("semalign: error: ") and err.count("\n") == 1, answer
        assert seconds + START_SECONDS < 1, answer
        check(mistake, err.removeprefix("semalign: error: ").rstrip("\n"))
