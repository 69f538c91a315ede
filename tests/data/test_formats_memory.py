"""Reading a file needs little memory, whatever its content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

READ = """
import gzip, sys
from pathlib import Path
from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import stream

def memory(name):  # VmHWM: the peak of this process, in megabytes; VmRSS: what it holds now
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith(name))

x = b"x" * 1_000_000
variant = b"<tuv xml:lang='zh'><seg>" + b"x" * 200 + b"</seg></tuv>"
unit = b"<tu>" + variant + variant.replace(b"zh", b"bo") + b"</tu>"
row = b'{"zh": "x", "bo": "' + b"y" * 2000 + b'"}\\n'
files = {
    "zeros.jsonl.gz": [b"\\0" * 1_000_000] * 100,
    "zeros.csv.gz": [b"zh,bo\\n", *[b"\\0" * 1_000_000] * 100],
    "quote.csv.gz": [b'zh,bo\\n"', *[x] * 100],
    "array.json.gz": [b'[{"zh": "', *[x] * 100],
    "line.txt.gz": [x] * 100,
    "text.tmx.gz": [b"<tmx><body><tu><tuv><seg>", *[x] * 100],
    "units.tmx.gz": [b"<tmx><body>", *[unit * 1000] * 60, b"</body></tmx>"],
    "rows.jsonl.gz": [row * 100] * 300,
    "rows.json.gz": [b"[", *[(row + b",") * 100] * 300, row + b"]"],
    "rows.csv.gz": [b"zh,bo\\n", *[(b"x," + b"y" * 2000 + b"\\n") * 100] * 300],
}
Path("small.tmx").write_bytes(b"<tmx>" + unit + b"</tmx>")
list(stream("small.tmx", {"zh": "zh", "bo": "bo"}))  # imports
for name, chunks in files.items():
    zipped = {chunk: gzip.compress(chunk) for chunk in chunks}
    Path(name).write_bytes(b"".join(zipped[chunk] for chunk in chunks))
del files, chunks, zipped
before = memory("VmRSS")
for name in sys.argv[1:]:
    good, bad, fault = 0, 0, ""
    try:
        for _, record in stream(name, {"zh": "zh"} if "txt" in name else {"zh": "zh", "bo": "bo"}):
            good, bad = good + (not isinstance(record, BadRow)), bad + isinstance(record, BadRow)
    except ValueError as error:
        fault = str(error).split(":", 1)[1]
    print(name, good, bad, fault, round(memory("VmHWM") - before), sep="|")
"""
WANTED = {
    # file: good rows, bad rows, error that ends it
    "zeros.jsonl.gz": ("0", "1", ""),
    "zeros.csv.gz": ("0", "1", ""),
    "quote.csv.gz": ("0", "1", ""),
    "array.json.gz": ("0", "0", "not JSON"),
    "line.txt.gz": ("0", "1", ""),
    "text.tmx.gz": ("0", "0", "more than 8,000,000 bytes"),
    "units.tmx.gz": ("60000", "0", ""),
    "rows.jsonl.gz": ("30000", "0", ""),
    "rows.json.gz": ("30001", "0", ""),
    "rows.csv.gz": ("30000", "0", ""),
}


def test_a_hundred_megabytes_behind_a_small_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, *WANTED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines()}
    assert told.keys() == WANTED.keys(), done.stderr
    for name, (good, bad, fault) in WANTED.items():
        assert told[name][:2] == [good, bad] and fault in told[name][2]
        assert float(told[name][3]) < 50, (name, told[name])
