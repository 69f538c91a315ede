"""Measure everything on CUDA with one command, in at most 20 minutes: speed, memory, rollouts, quickstart, SmolLM2.

python benchmarks/gpu.py                                        # writes runs/gpu/gpu.json and gpu.html; needs CUDA
python benchmarks/gpu.py --size qwen3-0.6b --repetitions 1      # a first look
python benchmarks/gpu.py --sections card quickstart                # some of the sections

Each section is a process with a time limit, so that one that fails leaves the others. The same command goes on where an
earlier one ended: what is done is not run again, unless the program, the card or the options changed.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from gpu_page import write_page

HERE = Path(__file__).parent
Record = dict[str, Any]
"""Record of a section: name, about, command, status, seconds, limit_seconds, log, grounds, and result if it is done."""


@dataclass(frozen=True)
class Section:
    """One measurement, run as a process of its own.

    Attributes:
        name: Name of the section in gpu_sections.py.
        limit_seconds: Seconds after which it is ended.
        about: Sentence for the page.
    """

    name: str
    limit_seconds: float
    about: str


SECTIONS = (
    Section("card", 40, "Rates of a matrix product and of a copy."),
    Section("model", 90, "Draws the random model of the sections that follow."),
    Section(
        "translation_at_once", 150, "GRPO steps, all groups in one micro-batch, against TRL's; memory against the plan."
    ),
    Section("sft", 120, "SFT steps against TRL's with packing."),
    Section("rollouts", 150, "Rollouts against transformers' generate, in NF4 and in bfloat16."),
    Section("smollm2_study", 120, "Training steps and tests of two stages with SmolLM2-135M-Instruct."),
    Section("quickstart", 360, "The quickstart's study of three systems, whole."),
    Section("smollm2_translation", 90, "GRPO steps of SmolLM2 in bfloat16 against TRL's."),
    Section("smollm2_sft", 90, "SFT steps of SmolLM2 in bfloat16 against TRL's with packing."),
    Section("translation_bf16", 120, "The same GRPO steps with a bfloat16 base."),
    Section("headline", 150, "GRPO steps with long prompts against TRL's."),
    Section("translation", 150, "GRPO steps, one group per micro-batch, against TRL's."),
    Section("components", 120, "Components of a step, and decoding with and without a CUDA graph."),
)
"""In order of what would be missed most, as the last ones are left for the next call if time is short."""


def run_sections(
    sections: Sequence[Section],
    folder: Path,
    command: Callable[[Section], list[str]],
    grounds: Record,
    seconds: float,
    wanted: Collection[str] | None = None,
) -> list[Record]:
    """Run the sections that are not done yet, and keep a record of each in ``folder/sections``.

    Args:
        sections: Sections in order.
        folder: Folder of records, results and logs.
        command: Function from a section to its command, which gets the path of the result as its last argument.
        grounds: Versions and digests that a result depends on besides its command; others make a record void.
        seconds: Seconds for all sections; a section without time left is not run.
        wanted: Names of the sections to run; by default all.

    Returns:
        Record of each section that was to be run or is done.
    """
    end, records = time.monotonic() + seconds, []
    for section in sections:
        file = folder / "sections" / f"{section.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        own = {**grounds, "command": command(section)}
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if before.get("status") == "done" and before["grounds"] == own:
            records.append(before)
            print(f"{section.name}: done before", flush=True)
            continue
        if wanted is not None and section.name not in wanted:
            continue
        record: Record = {"name": section.name, "about": section.about, "limit_seconds": section.limit_seconds}
        record |= {"command": own["command"], "status": "no time left", "seconds": 0.0, "log": "", "grounds": own}
        left = end - time.monotonic()
        if left > 0:
            record |= run_section(own["command"], file, min(section.limit_seconds, left))
            file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{section.name}: {record['status']}, {record['seconds']:.0f} s", flush=True)
        records.append(record)
    return records


def run_section(command: list[str], file: Path, limit_seconds: float) -> Record:
    """Run a process and everything that it starts, for at most so many seconds; return status, seconds, log, result."""
    result, log = file.with_suffix(".result"), file.with_suffix(".log")
    result.unlink(missing_ok=True)
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(result)], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )  # fmt: skip
        try:
            code = process.wait(limit_seconds)
            status = "done" if code == 0 and result.is_file() else f"failed, exit status {code}"
        except subprocess.TimeoutExpired:
            status = "ended by its time limit"
        finally:
            end_group(process)  # also after an interrupt: what the section started would keep the card busy
    record: Record = {"status": status, "seconds": time.monotonic() - start}
    record["log"] = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    if status == "done":
        record["result"] = json.loads(result.read_text(encoding="utf-8"))
    return record


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def program_digest() -> str:
    """Hash of the package's and the benchmarks' sources, except for those that only run sections and make the page."""
    root = HERE.parent
    sources = [*(root / "semalign_pl").rglob("*.py"), *HERE.glob("*.py"), *(root / "configs" / "quickstart").glob("*")]
    digest = hashlib.sha256()
    for source in sorted(set(sources) - {Path(__file__)}):
        digest.update(str(source.relative_to(root)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:24]


def main() -> None:
    """Run the sections, and write ``gpu.json`` and ``gpu.html``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--sections", nargs="*", choices=[section.name for section in SECTIONS], help="by default all")
    parser.add_argument("--minutes", type=float, default=20.0, help="time for all sections")
    parser.add_argument("--repetitions", type=int, default=2, help="steps per contestant, after a warm-up")
    parser.add_argument("--size", default="qwen3-4b", help="size of the random model")
    parser.add_argument("--smollm2", default="data/smollm2", help="folder of SmolLM2 (semalign data smollm2)")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA here; run benchmarks/grpo.py and benchmarks/sft.py for the CPU")
    given = ["--folder", str(options.out), "--size", options.size, "--smollm2", options.smollm2]
    given += ["--repetitions", str(options.repetitions)]
    machine = harness.machine()
    records = run_sections(
        SECTIONS,
        options.out,
        lambda section: [sys.executable, str(HERE / "gpu_sections.py"), section.name, *given],
        {"program": program_digest(), "gpu": machine["gpu"], "versions": machine["versions"]},
        60 * options.minutes,
        options.sections,
    )
    content = {
        "date": datetime.date.today().isoformat(),
        "command": ["python", "benchmarks/gpu.py", *sys.argv[1:]],
        "machine": machine,
        "seconds": sum(record["seconds"] for record in records),
        "sections": records,
    }
    write_results(options.out, content)
    if any(record["status"] != "done" for record in records):
        sys.exit("benchmarks/gpu.py: some sections are missing; the same command runs them again")


def write_results(out: Path, content: Record) -> None:
    """Write ``gpu.json`` and ``gpu.html``."""
    file = out / "gpu.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_page(out / "gpu.html", content)
    print(f"written: {file} and {out / 'gpu.html'}", file=sys.stderr)


if __name__ == "__main__":
    main()
