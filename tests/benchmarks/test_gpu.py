"""benchmarks/gpu.py without a GPU: its sections are run, ended and not run again, and the page shows what there is."""

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import gpu
import gpu_sections
from gpu_page import write_page

ROOT = Path(__file__).parents[2]
MEASURED = """
import json, sys
from pathlib import Path
count = Path({count!r})
count.write_text(str(int(count.read_text()) + 1) if count.exists() else "1")
Path(sys.argv[1]).write_text(json.dumps({{"tables": [], "data": {{}}}}))
"""
HANGS = """
import subprocess, sys, time
from pathlib import Path
print("before it hangs", flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path({pid!r}).write_text(str(child.pid))
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """Return true unless the process is gone or a zombie that waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_section_that_fails_or_hangs_leaves_the_others_and_only_those_run_again(tmp_path: Path) -> None:
    count, pid = tmp_path / "count", tmp_path / "pid"
    programs = {
        "hangs": HANGS.format(pid=str(pid)),
        "fails": "raise MemoryError('the card is full')",
        "silent": "",
        "good": MEASURED.format(count=str(count)),
    }
    sections = [gpu.Section(name, 4 if name == "hangs" else 60, "") for name in programs]

    def run(grounds: str = "one program", seconds: float = 60, wanted=None) -> dict[str, gpu.Record]:
        of, command = {"program": grounds}, [sys.executable, "-c"]
        records = gpu.run_sections(sections, tmp_path, lambda p: [*command, programs[p.name]], of, seconds, wanted)
        return {record["name"]: record for record in records}

    first = run()
    assert first["hangs"]["status"] == "ended by its time limit" and "before it hangs" in first["hangs"]["log"]
    assert not is_running(int(pid.read_text()))
    assert first["fails"]["status"] == "failed, exit status 1" and "the card is full" in first["fails"]["log"]
    assert first["silent"]["status"] == "failed, exit status 0"
    assert first["good"]["status"] == "done" and first["good"]["result"] == {"tables": [], "data": {}}

    del sections[0], programs["hangs"]
    programs["fails"] = MEASURED.format(count=str(tmp_path / "other"))
    second = run()
    assert second["fails"]["status"] == second["good"]["status"] == "done" and count.read_text() == "1"
    assert run("another program")["good"]["status"] == "done" and count.read_text() == "2"
    late = run("a third program", seconds=0)
    assert {record["status"] for record in late.values()} == {"no time left"} and count.read_text() == "2"
    some = run("another program", seconds=0, wanted=["silent"])  # what is done is kept, although it was not asked for
    statuses = {name: record["status"] for name, record in some.items()}
    assert statuses == {"fails": "done", "silent": "no time left", "good": "done"}


def test_every_section_has_its_measurement_and_the_first_sections_fit() -> None:
    assert {section.name for section in gpu.SECTIONS} == set(gpu_sections.MEASURES)
    assert [section.name for section in gpu.SECTIONS].index("model") < min(
        place for place, section in enumerate(gpu.SECTIONS) if section.name in ("rollouts", *gpu_sections.SHAPES)
    )
    essential = [section.name for section in gpu.SECTIONS].index("quickstart") + 1
    assert sum(section.limit_seconds for section in gpu.SECTIONS[:essential]) <= 20 * 60


def test_the_study_of_smollm2_can_be_read(tmp_path: Path, capsys) -> None:
    from semalign_pl.study.command import print_commands

    gpu_sections.write_study(tmp_path, gpu_sections.SMOLLM2_STUDY, {"base": "a/model", "weights": "bf16"})
    print_commands(tmp_path, tmp_path / "out", 1)
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("semalign ")]
    assert len(commands) == 5  # the base is tested, two systems are trained and tested
    assert all("--trainer.accelerator auto --trainer.devices 1" in command for command in commands)
    assert all("--model.init_args.base a/model" in command for command in commands)


def test_without_cuda_one_line_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "benchmarks/gpu.py: no CUDA here; run benchmarks/grpo.py and benchmarks/sft.py for the CPU"
    ]


class Page(HTMLParser):
    """Cells of the tables, texts by tag, and whatever the page would load."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.loaded: list[str] = []
        self.policy = ""
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href") and value != "data:,"]
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)
            if self.open[-1] in ("td", "th"):
                self.rows[-1].append(data)


def test_the_page_shows_what_an_h100_measured_and_what_failed(tmp_path: Path) -> None:
    recorded = json.loads((ROOT / "benchmarks/results/gpu.json").read_text(encoding="utf-8"))
    records: list[gpu.Record] = []
    for name in recorded["ratios"]:
        data = {key: recorded[key][name] for key in ("peak_mib", "planned_mib")}
        runs = [run for run in recorded["runs"] if run["shape"] == name]
        data |= {"runs": runs, "ratios": recorded["ratios"], "weights": "nf4"}
        if name == "sft":
            data["failed"] = "Traceback\ntrl ended: <b>no memory</b>"
        result = {"tables": [gpu_sections.step_table(name, "qwen3-4b", data)], "data": data}
        record = {"name": name, "about": "Steps.", "limit_seconds": 150, "seconds": 90.0, "log": "", "grounds": {}}
        records.append({**record, "command": ["python"], "status": "done", "result": result})
    failed = {"name": "quickstart", "status": "failed, exit status 1", "log": "<script>alert(1)</script> no world"}
    records.append({**{k: v for k, v in records[0].items() if k != "result"}, **failed})
    content = {"date": "2026-01-01", "machine": recorded["machine"], "seconds": 400.0, "sections": records}
    write_page(tmp_path / "gpu.html", content)
    source = (tmp_path / "gpu.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.loaded == [] and "<script" not in source and page.policy.startswith("default-src 'none'; ")
    assert page.texts["h1"] == ["semalign-pl on NVIDIA H100 80GB HBM3"]
    assert page.texts["h2"] == ["Training steps against TRL's, medians", "Parts", "Machine"]
    (summary,) = [text for text in page.texts["p"] if "sections ran" in text]
    assert summary == "3 of 4 sections ran. Not: quickstart (failed, exit status 1)."
    assert page.rows[0] == gpu_sections.STEPS
    at_once = next(row for row in page.rows if row[0] == "translation_at_once")
    assert at_once[1:3] == ["qwen3-4b", "nf4"] and at_once[5:] == ["0.81 ×", "0.84 ×", "5,316", "5,789"]
    assert page.texts["caption"] == ["sft: TRL failed: trl ended: <b>no memory</b>"]
    assert any(text == failed["log"] for text in page.texts["pre"])
