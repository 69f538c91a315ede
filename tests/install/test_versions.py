"""All places that name a Python version or a range of versions agree."""

from __future__ import annotations

import re

import pytest
from helpers.promised import PROJECT, PYPROJECT, PYTHONS, ROOT, pins, requirements
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_file_promises_the_same_pythons() -> None:
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    assert PYTHONS == [f"3.{minor}" for minor in range(int(oldest[2:]), int(newest[2:]) + 1)]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert PYPROJECT["tool"]["pyright"]["pythonVersion"] == oldest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    for name in ("README.md", "Makefile"):
        assert re.findall(r"Needs Python ([\d.]+) to ([\d.]+)", read(name)) == [(oldest, newest)], name
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in read("Makefile")
    assert f"Python {oldest} to {newest}" in read("constraints.txt").splitlines()[0]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_has_one_pin_within_its_range(python: str) -> None:
    pinned = pins(python)
    assert {name: versions for name, versions in pinned.items() if len(versions) > 1} == {}
    for wanted in requirements(python):
        (version,) = pinned[canonicalize_name(wanted.name)]
        assert version in SpecifierSet(str(wanted.specifier)), f"{wanted} is pinned to {version}"
