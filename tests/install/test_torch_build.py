"""``make setup TORCH_BACKEND=cpu``: the CPU build satisfies the pin, and later installs keep it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from helpers.promised import PYTHONS, ROOT, pins

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
(VERSION,) = pins(PYTHONS[0])["torch"]


def write_wheel(folder: Path, version: str) -> None:
    """An empty wheel of torch: only the versions of the builds matter here."""
    about = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def make_setup(*variables: str) -> list[str]:
    """Commands of ``make setup``, not run. This also works within ``make test``, whose variables are inherited."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "TORCH_BACKEND"))}
    command = ["make", "--dry-run", "--always-make", "setup", *variables]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@needs_make
def test_the_build_for_cpus_is_taken_and_kept(tmp_path: Path) -> None:
    """Run the Makefile's own line, in a scratch environment without network, as if an index had both builds."""
    for build in (VERSION, f"{VERSION}+cpu"):
        write_wheel(tmp_path, build)
    scratch = tmp_path / "venv"
    venv.create(scratch, symlinks=True)
    (scratch / "bin" / "uv").symlink_to(Path(sys.executable).parent / "uv")
    lines = make_setup(f"VENV={scratch}", "TORCH_BACKEND=cpu")
    (install,) = [line for line in lines if "--torch-backend" in line]
    environment = os.environ | {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path)}
    subprocess.run(shlex.split(install), cwd=ROOT, env=environment, check=True)

    (next_line,) = [line for line in lines if "--editable" in line]
    assert lines.index(next_line) > lines.index(install) and "--constraint constraints.txt" in next_line
    pip = [sys.executable, "-m", "pip", "--python", str(scratch / "bin" / "python"), "install", "--dry-run"]
    offer = ["--no-index", "--find-links", str(tmp_path), "--constraint", "constraints.txt", "torch"]
    kept = subprocess.run([*pip, *offer], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert f"({VERSION}+cpu)" in kept and "Would install" not in kept, kept


@needs_make
def test_by_default_pip_takes_its_own_build() -> None:
    lines = make_setup()
    assert ".venv/bin/pip install --quiet --constraint constraints.txt torch" in lines
    assert not [line for line in lines if "--torch-backend" in line]
