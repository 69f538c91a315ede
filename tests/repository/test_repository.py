"""Workflows, issue templates and Dockerfile name what exists: targets of the Makefile, files, commands, versions."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.promised import EXTRAS, PYTHONS, ROOT, pins

from semalign_pl.__main__ import COMMANDS
from semalign_pl.files.documents import load_yaml

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ACTIONS = {
    # inputs that we use, of the major version that we use
    "actions/checkout@v4": set(),
    "actions/setup-python@v5": {"python-version", "cache", "cache-dependency-path"},
    "actions/upload-artifact@v4": {"name", "path"},
}


def read(path: Path) -> dict[Any, Any]:
    content = load_yaml(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        assert set(job) <= {"runs-on", "timeout-minutes", "strategy", "steps"} and job["timeout-minutes"] <= 90
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_the_makefile_has(path: Path) -> None:
    workflow = read(path)
    # YAML 1.1 reads the key "on" as true, as GitHub's documentation knows.
    assert set(workflow) <= {"name", True, "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] == {"contents": "read"} and set(workflow[True]) <= {"push", "pull_request"}
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_0-9]+) \??:?=|ifdef ([A-Z_]+)", MAKEFILE, re.MULTILINE))
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            make, target, *settings = shlex.split(step["run"])
            assert make == "make" and target in targets
            assert {name.partition("=")[0] for name in settings} <= {one for pair in variables for one in pair}
        else:
            assert set(step.get("with", {})) <= ACTIONS[step["uses"]]
    assert set(workflow.get("env", {})) <= {one for pair in variables for one in pair}


def test_the_tests_run_on_the_oldest_and_the_newest_python() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.10", "3.12", "3.13"]
    assert (PYTHONS[0], PYTHONS[-1]) == ("3.10", "3.13")
    ours = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert set(ours) <= {step.get("run") for step in jobs["tests"]["steps"]}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_an_issue_asks_for_the_environment(path: Path) -> None:
    template = read(path)
    assert {"name", "description", "body"} <= set(template)
    ids = [field["id"] for field in template["body"]]
    assert len(set(ids)) == len(ids) and "env" in COMMANDS
    (env,) = [field for field in template["body"] if field["id"] == "env"]
    assert env["attributes"]["label"] == "Output of `semalign env`"
    for field in template["body"]:
        assert field["type"] == "textarea" and {"label", "description"} <= set(field["attributes"])


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] not in ("#", "")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines()]


def test_the_image_has_a_promised_python_and_every_file_it_copies() -> None:
    found = instructions()
    assert {name for name, _ in found} <= {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    (image,) = [rest for name, rest in found if name == "FROM"]
    assert image.removeprefix("python:").removesuffix("-slim") in PYTHONS
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for rest in (rest for name, rest in found if name == "COPY"):
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists() and f"!{source}" in allowed


def test_the_image_installs_the_pinned_torch_and_known_extras() -> None:
    text = "\n".join(rest for name, rest in instructions() if name == "RUN")
    assert "sed -n 's/^torch==//p' constraints.txt" in text
    pinned = re.findall(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned == pins(PYTHONS[0])["torch"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= set(EXTRAS)
    assert dict(instructions())["ENTRYPOINT"] == '["semalign"]' and dict(instructions())["USER"] == "semalign"


def test_the_changelog_and_the_citation_have_the_version() -> None:
    from semalign_pl import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog
    assert f"git tag -a v{__version__}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_no_file_of_a_run_is_tracked() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a checkout and git")
    tracked = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    of_runs = r"^.*(?:lightning_logs/|events\.out\.|/fit\.yaml$|/metrics\.csv$|\.ckpt$).*$"
    assert re.findall(of_runs, tracked, re.MULTILINE) == []
