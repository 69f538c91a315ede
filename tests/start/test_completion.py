"""Completion: the script of bash completes in a real bash; zsh and fish parse theirs where they are installed."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from semalign_pl.__main__ import COMMANDS, main
from semalign_pl.start.completion import SHELLS, command_flags


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fi"], "fit"),
        ([""], " ".join([*COMMANDS, "--help", "--version"])),
        (["plan", "--m"], "--memory"),
        (["plan", "--con"], "--config"),
        (["fit", "--trainer.max_s"], "--trainer.max_steps"),
        (["fit", "--config", "x.yaml", "--model.init_args.num_g"], "--model.init_args.num_generations"),
        (["fit", "--res"], "--resume"),
        (["test", "--res"], ""),
        (["fit", "configs/qu"], ""),  # bash then completes the file
    ],
)
def test_bash(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], expected: str) -> None:
    file = tmp_path / "semalign"
    file.write_text(script("bash", capsys))
    typed = " ".join(f"'{word}'" for word in ["semalign", *words])
    code = f'source "{file}"; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _semalign; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_can_read_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str) -> None:
    text = script(shell, capsys)
    assert all(name in text for name in COMMANDS) and text.count("'") % 2 == 0
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_fish_expects_values_where_the_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    lines = script("fish", capsys).splitlines()
    for name, flag, takes_value in [
        ("judge", "judge", True),
        ("export", "merge", False),
        ("export", "gguf", True),
        ("runs", "json", False),
        ("plan", "json", True),
        ("fit", "resume", False),
        ("study", "dry-run", False),
    ]:
        ending = " -r" if takes_value else ""
        assert f"complete -c semalign -n '__fish_seen_subcommand_from {name}' -l {flag}{ending}" in lines


def test_every_flag_of_a_commands_help_is_completed(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in COMMANDS.items():
        if command.module.endswith(("start.training", "cli.lightning_cli")):
            continue
        with contextlib.suppress(SystemExit):  # argparse's end after its help
            main([name, "--help"])
        shown = re.findall(r"^  (?:-\w, |-\w \w+, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
        assert shown and set(shown) <= set(command_flags(name, command.module)), name
