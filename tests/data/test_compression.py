"""Compressed text is read like plain text, in full or not at all, and never beyond a size limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semalign_pl.data.reading.sources import content_key, read, stream

COLUMNS = {"zh": "zh", "bo": "bo"}
ROWS = [("一", "ཀ"), ("二", "ཁ")]
TEXTS = {
    "c.jsonl": '{"zh": "一", "bo": "ཀ"}\n{"zh": "二", "bo": "ཁ"}\n',
    "c.json": '[{"zh": "一", "bo": "ཀ"},\n{"zh": "二", "bo": "ཁ"}]',
    "c.csv": "zh,bo\n一,ཀ\n二,ཁ\n",
    "c.tsv": "\ufeffzh\tbo\r\n一\tཀ\r\n二\tཁ\r\n",
    "c.tmx": "<tmx version='1.4'><header/><body>"
    + "".join(
        f"<tu><tuv xml:lang='zh'><seg>{zh}</seg></tuv><tuv xml:lang='bo'><seg>{bo}</seg></tuv></tu>" for zh, bo in ROWS
    )
    + "</body></tmx>",
}


def zstd(data: bytes) -> bytes:
    import pyarrow

    return pyarrow.compress(data, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
TOOLS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
CODECS = list(COMPRESS)
UNPACK = ("gunzip", "bunzip2", "unxz", "unzstd")


def rows(source: object) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in read(str(source), COLUMNS).values()]


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("name", TEXTS)
def test_compressed_text_is_read(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXTS[name].encode()))
    assert rows(path) == ROWS
    upper = tmp_path / f"{name}{suffix}".upper()
    path.rename(upper)
    assert rows(upper) == ROWS


@pytest.mark.parametrize("suffix", CODECS)
def test_compressed_by_the_command(tmp_path: Path, suffix: str) -> None:
    if not shutil.which(TOOLS[suffix]):
        pytest.skip(f"no {TOOLS[suffix]}")
    path = tmp_path / "c.jsonl"
    path.write_text(TEXTS["c.jsonl"] * 5_000, encoding="utf-8")
    with (tmp_path / f"c.jsonl{suffix}").open("wb") as out:
        subprocess.run([TOOLS[suffix], "-c", str(path)], stdout=out, check=True)
    assert rows(tmp_path / f"c.jsonl{suffix}") == rows(path) == ROWS * 5_000


@pytest.mark.parametrize("suffix", CODECS)
def test_streams_one_after_the_other_and_compressed_twice(tmp_path: Path, suffix: str) -> None:
    compress, text = COMPRESS[suffix], TEXTS["c.jsonl"].encode()
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(text) + compress(text))
    assert rows(tmp_path / f"a.jsonl{suffix}") == ROWS * 2
    (tmp_path / f"b.jsonl.gz{suffix}").write_bytes(compress(gzip.compress(text)))
    assert rows(tmp_path / f"b.jsonl.gz{suffix}") == ROWS
    for name in ("zh", "bo"):
        (tmp_path / f"t.{name}{suffix}").write_bytes(compress(f"{name} 1\n{name} 2\n".encode()))
    pair = read(f"{tmp_path}/t.{{zh,bo}}{suffix}", COLUMNS)
    assert list(pair.values()) == [{"zh": f"zh {i}", "bo": f"bo {i}"} for i in (1, 2)]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-5],
    "half": lambda data: data[: len(data) // 2],
    "followed": lambda data: data + b"and something else",
    "not at all": lambda data: TEXTS["c.jsonl"].encode(),
}


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_one_line(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"c.jsonl{suffix}"
    path.write_bytes(DAMAGE[damage](COMPRESS[suffix](TEXTS["c.jsonl"].encode() * 99)))
    with pytest.raises(ValueError, match=f"not a whole {TOOLS[suffix]} file") as caught:
        read(str(path), COLUMNS)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no rows in it"):
        read(str(path), COLUMNS)


def test_the_key_follows_the_compressed_content(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.xz"
    path.write_bytes(lzma.compress(TEXTS["c.jsonl"].encode()))
    key = content_key(str(path))
    path.write_bytes(lzma.compress(TEXTS["c.jsonl"].replace("一", "三").encode()))
    assert content_key(str(path)) != key


def test_an_xz_file_that_asks_for_too_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = lzma.compress(TEXTS["c.jsonl"].encode(), filters=filters)
    path.write_bytes(data)
    assert rows(path) == ROWS
    # Block header: the byte of the dictionary's size (xz format 1.2, 5.3.1) is followed by padding and a CRC32.
    import zlib

    header = bytearray(data[12:24])
    assert header[2:4] == b"\x21\x01"
    header[4] = 40  # 4 GiB
    header[8:12] = zlib.crc32(bytes(header[:8])).to_bytes(4, "little")
    path.write_bytes(data[:12] + bytes(header) + data[24:])
    with pytest.raises(ValueError, match=r"not a whole xz file \(Memory usage limit exceeded\)"):
        read(str(path), COLUMNS)


def test_text_that_repeats_itself_is_no_bomb(tmp_path: Path) -> None:
    """Rows that differ in 200 of 20,200 characters compress to a hundredth; real rows reach at most 1 : 510."""
    random_ = random.Random(0)
    signs = "ཀཁགངཅཆཇཉཏཐདནཔཕབམ་"
    prompt = "".join(random_.choices(signs, k=20_000))
    texts = ("".join(random_.choices(signs, k=200)) for _ in range(1_700))
    text = "".join(f'{{"zh": "{own}", "bo": "{prompt}"}}\n' for own in texts).encode()
    path = tmp_path / "c.jsonl.zst"
    path.write_bytes(zstd(text))
    assert len(text) > 100_000_000 and len(text) > 100 * path.stat().st_size
    assert sum(1 for _ in stream(str(path), COLUMNS)) == 1_700


READ = """
import resource, sys, time
from semalign_pl.data.reading.sources import stream
import pyarrow, lxml.etree
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (held() + (300 << 20), -1))
for name in sys.argv[1:]:
    begun = time.monotonic()
    try:
        rows = sum(1 for _ in stream(name, {"zh": "zh"}))
        print(name, rows, "rows")
    except ValueError as error:
        print(error)
    assert time.monotonic() - begun < 10, (name, time.monotonic() - begun)
"""


def bombs(folder: Path) -> list[str]:
    """At most 10 MB each, for 10 GB of zeros or of blanks in a JSON array."""
    made = {
        f"zeros.jsonl{suffix}": compress(b'{"zh": "x"}\n') + compress(b"\0" * 10_000_000) * 1000
        for suffix, compress in COMPRESS.items()
    }
    made["blanks.json.gz"] = gzip.compress(b'[{"zh": "x"},') + gzip.compress(b" " * 10_000_000) * 1000
    made["two.txt.gz.gz"] = gzip.compress(gzip.compress(b"\0" * 10_000_000) * 1000)
    made["two.txt.xz.gz"] = gzip.compress(lzma.compress(b"\0" * 10_000_000) * 1000)
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return list(made)


def test_bombs_stop_soon_in_little_memory(tmp_path: Path) -> None:
    names = bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ, *names],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    told = done.stdout.splitlines()
    assert len(told) == len(names), done.stderr
    for name, line in zip(names, told, strict=True):
        assert line.startswith(f"{name}: decompresses to more than 1,000 times its size"), line
        assert any(f"decompress it first: {command} {name}" in line for command in UNPACK), line
