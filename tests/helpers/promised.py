"""Promises of ``pyproject.toml`` and ``constraints.txt``: Python versions, requirements and pins."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  (installed on 3.10 alone)

ROOT = Path(__file__).parents[2]
PYPROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: Mapping[str, Any] = PYPROJECT["project"]
_CLASSIFIER = "Programming Language :: Python :: 3."
PYTHONS = [name.split(" :: ")[-1] for name in PROJECT["classifiers"] if name.startswith(_CLASSIFIER)]
"""Supported Python versions, oldest first, e.g. ``3.10``."""
EXTRAS = sorted(PROJECT["optional-dependencies"])


def requirements(python: str) -> list[Requirement]:
    """All requirements of the project and its extras that apply to a Python version, e.g. ``3.10``."""
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    return [wanted for line in lines if _holds(wanted := Requirement(line), python)]


def pins(python: str) -> dict[str, list[str]]:
    """Versions that ``constraints.txt`` pins for a Python version, by canonical name; two for a name are a mistake."""
    pinned: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and _holds(pin := Requirement(line), python):
            (exact,) = pin.specifier
            assert exact.operator == "==", line
            pinned.setdefault(canonicalize_name(pin.name), []).append(exact.version)
    return pinned


def _holds(requirement: Requirement, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return requirement.marker is None or requirement.marker.evaluate(environment)
