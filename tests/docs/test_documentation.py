"""The documentation: the site builds, no link is broken, and the README's Python example trains."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.small_runs import finish, forked

import semalign_pl
from semalign_pl.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/*.md")])


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, in the form that GitHub and MkDocs share for plain headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", prose)
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        inside = DOCS not in page.parents or DOCS in target.parents
        assert inside, f"{page.name}: {link}: the site is made of docs alone; name the file without a link to it"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def code_of(page: Path) -> str:
    """Code blocks and inline code of a page."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_files_in_code_exist(page) -> None:
    code = code_of(page)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", code)) <= targets
    assert set(re.findall(r"(?:^|`)semalign ([a-z][a-z-]*)", code, re.MULTILINE)) <= set(COMMANDS)
    for path in re.findall(r"\b(?:benchmarks|tests|configs|semalign_pl)/[\w./-]*\w", code):
        assert (ROOT / path).exists(), path


def test_every_phony_target_has_a_rule() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(phony.split()) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_site_builds_without_a_warning(tmp_path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in ROOT.glob("docs/*.md")} - {"index"}
    assert pages <= {folder.name for folder in (tmp_path / "site").iterdir()}


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    for page in ROOT.glob("docs/*.md"):
        assert re.search(rf"\b{re.escape(page.name)}\b", navigation), page.name


def test_every_recipe_has_a_line() -> None:
    listed = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").iterdir():
        if path.suffix != ".md":
            assert f"| `{path.name}{'/' if path.is_dir() else ''}` |" in listed, path.name


def run_script(folder: Path) -> None:
    """Run a folder's example.py as Python does, in this process, with what it prints in the file ``log``."""
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    sys.argv = ["example.py"]
    torch.set_num_threads(1)
    runpy.run_path("example.py", run_name="__main__")


@pytest.mark.slow
def test_the_readmes_python_example_trains(tmp_path, miniature) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Python")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert len(code.strip().splitlines()) <= 10
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    shutil.copytree(miniature, tmp_path / "runs" / "quickstart" / "world")
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    status = finish(forked(run_script, (tmp_path,)), 300)
    assert status == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    assert (tmp_path / "runs" / "python" / "adapter" / "adapter_model.safetensors").is_file()


def test_public_names_are_those_of_their_modules() -> None:
    from semalign_pl.modules import SFTModule

    assert semalign_pl.SFTModule is SFTModule
    assert {"CorpusDataModule", "GRPOModule", "Policy", "Probe", "Reward"} <= set(dir(semalign_pl))
    with pytest.raises(AttributeError, match="no attribute 'SFT'"):
        _ = semalign_pl.SFT
