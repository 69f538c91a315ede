"""``semalign env``: versions, devices and memory, and what is missing; for reports of a fault, and for a first look."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

from semalign_pl import __version__
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.memory_amount import gib
from semalign_pl.messages.terminal import visible

_DISTRIBUTION = "semalign-pl"
_FOR_DEVELOPMENT = ("dev", "docs")
"""Extras that no user needs."""
_VARIABLES = re.compile(r"(OMP_|MKL_|KMP_|GOMP_|CUDA_VISIBLE|NVIDIA_VISIBLE|PYTORCH_|HF_HUB_OFFLINE|SLURM_JOB_NUM)")
"""Environment variables that change speed or results; none of them can hold a secret."""
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def run(args: Sequence[str]) -> int:
    """Run ``semalign env``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign env",
        description="Print versions, devices, memory, and what is missing. It has no tokens, and ~ for your home "
        "folder: paste all of it into a report of a fault.",
    )
    with one_line(args) as status:
        parser.parse_args(list(args[1:]))
        for section in (programs(), machine(), missing(), devices()):  # devices last: they load torch
            for name, value in section:
                print(f"{name:<22} {_hide_home(visible(value))}", flush=True)
    return status.code


def _hide_home(text: str) -> str:
    """Text with ~ for the home folder, which is in some variables and in errors of libraries."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


def programs() -> Iterator[tuple[str, str]]:
    """Names and versions of this package and those that it requires."""
    yield "semalign-pl", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    for name in sorted({name for name, _, _ in _requirements() if _find_version(name)}):
        yield name, str(_find_version(name))


def machine() -> Iterator[tuple[str, str]]:
    """Processor, memory and disk."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "CPU cores", f"{usable} usable of {os.cpu_count()}"
    yield "memory", _memory()
    yield "disk free here", gib(shutil.disk_usage(".").free)
    for name, value in sorted(os.environ.items()):
        if _VARIABLES.match(name):
            yield name, value


def find_memory() -> tuple[int, int] | None:
    """Memory of this computer, and as much of it as this container may use, in bytes; ``None`` if it is unknown."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [Path(file).read_text().strip() for file in _LIMITS if Path(file).is_file()]
    return total, min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _memory() -> str:
    if (found := find_memory()) is None:
        return "unknown"
    total, usable = found
    text = gib(total)
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        text += f", {gib(os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} free"
    return f"{text}, {gib(usable)} allowed for this container" if usable < total else text


def missing() -> Iterator[tuple[str, str]]:
    """Requirements that are not met, and extras that are not installed."""
    extras: dict[str, list[str]] = {}
    for name, wanted, extra in _requirements():
        found = _find_version(name)
        fault = "is not installed" if found is None else "" if _fits(found, wanted) else f"is {found}, not {wanted}"
        if fault and extra is None:
            yield "missing", f"{name} {fault}; pip install '{name}{wanted}'"
        elif extra is not None:
            extras.setdefault(extra, []).extend([f"{name} {fault}"] if fault else [])
    for extra, faults in extras.items():
        if extra not in _FOR_DEVELOPMENT:
            remedy = f"{', '.join(faults)}; pip install '{_DISTRIBUTION}[{extra}]'"
            yield f"extra {extra}", remedy if faults else "installed"


def _requirements() -> list[tuple[str, str, str | None]]:
    """Requirements of the installed package that apply to this Python: name, range of versions, extra."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        one = Requirement(line)
        extra = re.search(r"extra == ['\"](.+?)['\"]", line)
        name = extra[1] if extra else None
        if one.marker is None or one.marker.evaluate({"extra": name or ""}):
            found.append((one.name, str(one.specifier), name))
    return found


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str, wanted: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(wanted).contains(version, prereleases=True)


def devices() -> Iterator[tuple[str, str]]:
    """Accelerators, as torch sees them; what keeps torch from seeing any is said."""
    try:
        import torch
    except Exception as error:  # a broken installation is what this command is to show
        yield "torch", f"cannot be loaded ({' '.join(str(error).split())})"
        return
    yield "torch's build", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    yield "threads of a step", str(torch.get_num_threads())
    if torch.cuda.is_available():
        yield from _cuda(torch)
    elif torch.backends.mps.is_available():
        yield "GPU", "Apple (MPS)"
    elif torch.version.cuda:
        yield "GPU", "none that torch can use; nvidia-smi says whether there is a driver"
    elif shutil.which("nvidia-smi"):
        yield "GPU", "there is an NVIDIA driver, but this torch has no CUDA; see docs/install.md"
    else:
        yield "GPU", "none"


def _cuda(torch: ModuleType) -> Iterator[tuple[str, str]]:
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        capability = f"compute capability {facts.major}.{facts.minor}"
        yield f"GPU {number}", f"{facts.name}, {gib(free)} free of {gib(total)}, {capability}"
    native = torch.cuda.is_bf16_supported(including_emulation=False)  # emulated, it is slow
    yield "bfloat16", "yes" if native else "no; use precision: 16-mixed"
    try:
        import bitsandbytes  # noqa: F401
    except Exception as error:
        yield "bitsandbytes", f"cannot be loaded ({' '.join(str(error).split())}); weights: nf4 needs it"
