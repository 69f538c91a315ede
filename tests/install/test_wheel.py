"""Wheel and source distribution contain the whole package, and ``semalign`` works from the wheel alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("semalign_pl", "configs", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
STEP = [
    *("--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--data.init_args.batch_size", "4"),
    *("--trainer.default_root_dir", "runs/one_step", "--trainer.accelerator", "cpu"),
]


def package_files(folder: Path) -> set[str]:
    """Names of all files of a package, relative to the folder that contains it; links to folders are followed."""
    return {
        (Path(where) / file).relative_to(folder).as_posix()
        for where, _, files in os.walk(folder / "semalign_pl", followlinks=True)
        for file in files
        if not file.endswith(".pyc")
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the files to build from, so that nothing is written to the repository."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source distribution, built with the installed setuptools."""
    folder = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheels(checkout: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel built from the checkout, and the one built from the source distribution."""
    made = []
    for source in (checkout, sdist):
        folder = tmp_path_factory.mktemp("wheel")
        subprocess.run(
            [*PIP, "wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)], check=True
        )
        made += folder.iterdir()
    return made


@pytest.fixture(scope="module")
def semalign(
    wheels: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the installed wheel in an empty folder; the checkout cannot be imported there."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheels[0])], check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "400"}

    def run(*args: str, command: tuple[str, ...] = (str(site / "bin" / "semalign"),), folder: Path = empty):
        done = subprocess.run(
            [*command, *args], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert str(ROOT) not in done.stdout + done.stderr
        return done

    written = run("write", "runs/quickstart/world", command=(sys.executable, "-m", "semalign_pl.toy"))
    assert written.returncode == 0, written.stderr
    return run


def test_the_wheels_hold_every_file_of_the_package(checkout: Path, wheels: list[Path]) -> None:
    files = package_files(checkout)
    assert {"semalign_pl/configs/quickstart/cold_start.yaml", "semalign_pl/data/prompts.yaml"} <= files
    assert {f"semalign_pl/judge/rubrics/{name}.yaml" for name in ("translation", "headline")} <= files
    for wheel in wheels:
        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        assert names == files


def test_the_wheels_name_and_hold_every_licence(wheels: list[Path]) -> None:
    fonts = [f"semalign_pl/report/fonts/{path.stem}.txt" for path in (ROOT / "semalign_pl/report/fonts").glob("*.woff")]
    for wheel in map(zipfile.ZipFile, wheels):
        (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        lines = wheel.read(metadata).decode().splitlines()
        assert "License-Expression: Apache-2.0 AND OFL-1.1" in lines
        assert fonts and {f"License-File: {name}" for name in ("LICENSE", *fonts)} <= {*lines}
        licences = {name.partition(".dist-info/licenses/")[2] for name in wheel.namelist()}
        assert {"LICENSE", *fonts} <= licences


def test_the_source_distribution_holds_every_file_of_the_package(checkout: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if not member.isdir()}
    assert all(member.isfile() for member in members.values())  # a link would lead nowhere in an unpacked archive
    assert {name for name in members if name.startswith("semalign_pl/")} == package_files(checkout)
    assert "constraints.txt" in members  # the README's install command names it


def test_help_names_the_folder_of_the_recipes(semalign: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    shown = semalign("--help").stdout
    folder = next(Path(line.strip()) for line in shown.splitlines() if line.strip().endswith("semalign_pl/configs"))
    assert (folder / "paper" / "cold_start.yaml").is_file()


@pytest.mark.slow
def test_the_readmes_commands_run_from_the_wheel(semalign: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    fit = semalign("fit", "--config", "configs/quickstart/cold_start.yaml", *STEP)
    assert fit.returncode == 0, fit.stderr
    assert fit.stderr.count("configs/quickstart/cold_start.yaml is not in this folder; read from the package: ") == 1
    corpus = semalign("corpus", "--config=configs/quickstart/cold_start.yaml", "--out", "runs/corpus")
    assert corpus.returncode == 0, corpus.stderr  # data/prompts.yaml, languages/*.yaml, inspection/page.html.jinja


@pytest.mark.slow
def test_a_study_from_the_wheel_reads_recipes_beside_its_own_folder(
    semalign: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The ablation's study.yaml names ../quickstart/cold_start.yaml; without the world its first step is refused.

    One process runs all three, since loading the libraries takes longer than a study's first step.
    """
    firsts = {
        "ablation": "ablation/../quickstart/cold_start.yaml",
        "frontier": "frontier/../quickstart/cold_start.yaml",
        "quickstart": "quickstart/cold_start.yaml",
    }
    code = f"""
import sys
from semalign_pl.__main__ import main
for study in {[*firsts]}:
    status = main(["study", "--config", f"configs/{{study}}", "--out", f"runs/{{study}}"])
    for stream in (sys.stdout, sys.stderr):
        print("status", status, file=stream, flush=True)
"""
    done = semalign(command=(sys.executable, "-c", code), folder=tmp_path)
    printed, errors = (text.split("status 2\n") for text in (done.stdout, done.stderr))
    assert len(printed) == len(errors) == len(firsts) + 1, done.stderr
    for (study, first), out, error in zip(firsts.items(), printed, errors, strict=False):
        assert error.startswith(f"semalign: configs/{study} is not in this folder; read from the package: ")
        assert f"semalign_pl/configs/{first}" in out.splitlines()[0]
        assert "runs/quickstart/world" in error.splitlines()[-1], error
