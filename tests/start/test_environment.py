"""``semalign env``: versions, memory and what is missing, without anything private."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from helpers.promised import ROOT
from packaging.requirements import Requirement

from semalign_pl import __version__
from semalign_pl.project.settings import Machine
from semalign_pl.start.environment import devices, find_memory, machine, missing, programs


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    environment = os.environ | {"HF_TOKEN": "hf_secret", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PYTORCH_KERNEL_CACHE_PATH"] = str(Path.home() / "kernels")
    done = subprocess.run(
        [sys.executable, "-m", "semalign_pl", "env"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "hf_secret" not in done.stdout and str(Path.home()) not in done.stdout
    return {line[:22].strip(): line[23:] for line in done.stdout.splitlines()}


def test_versions_are_those_installed(shown: dict[str, str]) -> None:
    assert shown["semalign-pl"] == __version__
    names = [Requirement(line).name for line in metadata.requires("semalign-pl") or [] if "extra ==" not in line]
    assert {"torch", "lightning", "peft"} <= set(names)
    for name in names:
        assert shown[name] == metadata.version(name)


def test_the_machine(shown: dict[str, str]) -> None:
    assert shown["CPU cores"] == f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"
    assert shown["memory"].startswith(f"{psutil.virtual_memory().total / 2**30:.1f} GiB, ")
    assert shown["OMP_NUM_THREADS"] == "1" and shown["threads of a step"] == "1"
    assert shown["torch's build"] == (f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU")
    assert torch.cuda.is_available() or shown["GPU"].startswith(("none", "there is", "Apple"))


def test_the_memory_that_a_container_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    for limits, usable in ((["max"], total), ([str(2**30)], 2**30), (["max", str(2**62)], total)):
        files = [tmp_path / str(place) for place in range(len(limits))]
        for file, limit in zip(files, limits, strict=True):
            file.write_text(f"{limit}\n")
        monkeypatch.setattr("semalign_pl.start.environment._LIMITS", (*map(str, files), str(tmp_path / "none")))
        assert find_memory() == (total, usable)
        assert torch.cuda.is_available() or Machine.detect(None) == Machine(usable, False, False)


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a made-up installation: one requirement is absent, another too old, an extra absent."""
    lines = ["semalign-none>=2", "torch>=99", "openpyxl>=3", 'semalign-none2>=1; extra == "excel"']
    lines += ['semalign-none3>=1; python_version < "3"', 'semalign-none4; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    version = metadata.version("torch")
    assert list(missing()) == [
        ("missing", "semalign-none is not installed; pip install 'semalign-none>=2'"),
        ("missing", f"torch is {version}, not >=99; pip install 'torch>=99'"),
        ("extra excel", "semalign-none2 is not installed; pip install 'semalign-pl[excel]'"),
    ]


def test_it_works_from_a_folder_without_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert dict(programs())["semalign-pl"] == __version__ and dict(machine()) and list(missing()) == []


def test_a_card_that_only_emulates_bfloat16_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T4, made up: torch counts its emulation as support unless it is asked not to."""
    card = SimpleNamespace(name="Tesla T4", major=7, minor=5)
    answers = {"is_available": True, "device_count": 1, "current_device": 0, "get_device_properties": card}
    answers |= {"mem_get_info": (14 * 2**30, 15 * 2**30), "_check_bf16_tensor_supported": True}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    assert next(value for name, value in devices() if name == "bfloat16") == "no; use precision: 16-mixed"
