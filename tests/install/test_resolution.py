"""``constraints.txt`` can be installed on every supported Python; only metadata is read, no interpreter is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.promised import PYTHONS, ROOT, pins
from packaging.utils import canonicalize_name

SOURCE_ONLY = ("langdetect", "rouge-score", "sqlitedict", "word2number")
"""Requirements without wheels; they are pure Python. All others need a wheel, since users may have no compiler."""
CUDA = re.compile(r"(cuda|nvidia)-.*|triton")
"""Packages that torch requires on Linux with pins of its own; its CPU build requires none of them."""


def resolve(python: str, constraints: Path) -> subprocess.CompletedProcess[str]:
    """Resolve the project with all extras for a Python version, in seconds and some 80 MB of metadata."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras"),
            *("--constraint", str(constraints), "--python-version", python, "--python", sys.executable),
            *("--only-binary", ":all:", "--no-python-downloads"),
            *(word for name in SOURCE_ONLY for word in ("--no-binary", name)),
            *("--quiet", "--no-header", "--no-annotate"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "Failed to fetch" in done.stderr and not os.environ.get("CI"):
        pytest.skip("no package registry can be reached")
    return done


@pytest.mark.parametrize("python", PYTHONS)
def test_every_promised_python_resolves_to_pinned_versions_alone(python: str) -> None:
    done = resolve(python, ROOT / "constraints.txt")
    assert done.returncode == 0, f"Python {python}: {done.stderr}"
    found = [line.partition("==") for line in done.stdout.splitlines()]
    pinned = pins(python)
    loose = {name: version for name, _, version in found if pinned.get(canonicalize_name(name)) != [version]}
    assert [name for name in loose if not CUDA.fullmatch(name)] == []


def test_a_pin_that_a_promised_python_cannot_install_is_found(tmp_path: Path) -> None:
    """The check itself: numpy 2.4.6 has no wheel for Python 3.10."""
    wrong = tmp_path / "constraints.txt"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong.write_text("\n".join(line for line in lines if not line.startswith("numpy==")) + "\nnumpy==2.4.6\n")
    done = resolve("3.10", wrong)
    assert done.returncode != 0 and "numpy==2.4.6" in done.stderr
