"""The command before it imports anything slow."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from semalign_pl import __version__
from semalign_pl.__main__ import COMMANDS, main


def seconds(*command: str) -> float:
    """Seconds that a Python process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=300)
    return time.perf_counter() - start


def test_version_is_quick() -> None:
    assert min(seconds("-m", "semalign_pl", "--version") for _ in range(3)) < 1


ROOT = Path(__file__).parents[2]
LATE = {"datasets", "peft", "nltk", "sacrebleu", "rouge_score", "bitsandbytes"}
"""Packages that are imported when they are first used."""
RECIPE = ["--config", str(ROOT / "configs" / "quickstart" / "cold_start.yaml")]


NOTHING_READ = "from semalign_pl.languages import read; assert not read._entries.cache_info().currsize"
STAGES = [
    # statements, and the packages that they must not import
    (f"import semalign_pl.rewards; {NOTHING_READ}", {*LATE, "sentence_transformers"}),
    ("import semalign_pl.metrics", {*LATE, "sentence_transformers"}),
    ("import semalign_pl.cli", {*LATE, "sentence_transformers"}),
    # jsonargparse runs the type-checking imports of every module that defines a setting.
    (f"from semalign_pl.cli.parsed_recipe import parse_recipe; parse_recipe({RECIPE})", LATE),
]


def test_the_cli_imports_no_more_than_it_needs() -> None:
    """One process goes through all stages: a later one may import more."""
    checks = [f"{code}\nlate = {late} & set(sys.modules)\nassert not late, ({code!r}, late)" for code, late in STAGES]
    check = "\n".join(["import sys", *checks])
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_command_builds_its_own_parser_alone(command: str) -> None:
    from semalign_pl.cli.parsed_recipe import parse_recipe

    assert list(parse_recipe(RECIPE, command)._subcommand_parsers) == [command]


def test_help_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--help"], ["-h"]):
        assert main(args) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"semalign {__version__}: ") and max(map(len, shown.splitlines())) <= 120
        for command in "fit validate test predict export frontier dial study report corpus plan".split():
            assert f"\n  {command} " in shown


def test_the_settings_in_the_help_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    from semalign_pl.modules import AlignModule, GRPOModule

    assert main(["--help"]) == 0
    examples = re.findall(r"--model\.init_args\.(\w+) (\w+)", capsys.readouterr().out)
    parameters = {**inspect.signature(AlignModule).parameters, **inspect.signature(GRPOModule).parameters}
    assert examples and all(str(parameters[name].default) == value for name, value in examples)


def test_every_command_of_the_help_has_a_module_that_runs_it() -> None:
    for name, command in COMMANDS.items():
        assert callable(import_module(command.module).run), name


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["report"], "folder: missing; see semalign report --help"),
        (["study"], "--config, --out: missing; see semalign study --help"),
        (["study", "--config", "x"], "--out: missing; see semalign study --help"),
    ],
)
def test_a_missing_argument_names_itself_and_the_help(args, message, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert capsys.readouterr().err == f"semalign: error: {message}\n"
