"""Downloads from a real server on this machine: the expected file, or one line that says what went wrong."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from semalign_pl.example_data.download import download

BODY = bytes(range(256)) * 1000
SHA = hashlib.sha256(BODY).hexdigest()


def test_the_file_arrives_whole(server, tmp_path: Path) -> None:
    server.files["a/b.bin"] = BODY
    chunks: list[int] = []
    download(f"{server.root}/a/b.bin", tmp_path / "file", SHA, len(BODY), chunks.append)
    assert (tmp_path / "file").read_bytes() == BODY
    assert sum(chunks) == len(BODY) and len(chunks) > 1


def test_a_busy_server_is_asked_again(server, tmp_path: Path) -> None:
    server.files["file"], server.busy = BODY, 2
    download(f"{server.root}/file", tmp_path / "file", SHA, len(BODY))
    assert server.asked == ["file"] * 3 and (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize(
    ("name", "served", "message"),
    [
        ("gone", None, "the server answers 404 Not Found"),
        ("break", None, "the connection broke off before the end of the file$"),
        ("file", BODY[:-1] + b"x", "not the expected file: 256,000 bytes with SHA-256 "),
        ("file", b"<html>Please log in</html>", "not the expected file: 26 bytes with SHA-256 .* login page"),
        ("file", BODY + b"x", "not the expected file: more than 256,000 bytes"),
        ("file", b"", "not the expected file: 0 bytes with SHA-256 e3b0c442"),
    ],
)
def test_anything_else_is_refused(server, tmp_path: Path, name: str, served: bytes | None, message: str) -> None:
    if served is not None:
        server.files[name] = served
    with pytest.raises(ValueError, match=f"^{server.root}/{name}: {message}") as raised:
        download(f"{server.root}/{name}", tmp_path / "file", SHA, len(BODY))
    assert "\n" not in str(raised.value)


def test_a_server_that_stays_busy_is_named_with_its_answer(server, tmp_path: Path) -> None:
    server.busy = 99
    with pytest.raises(ValueError, match="file: the server answers 503 Service Unavailable$"):
        download(f"{server.root}/file", tmp_path / "file", SHA, len(BODY))
    assert len(server.asked) == 3


def test_no_more_is_read_than_expected(server, tmp_path: Path) -> None:
    server.files["file"] = bytes(50 * 2**20)
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        download(f"{server.root}/file", tmp_path / "file", SHA, 1000)
    assert (tmp_path / "file").stat().st_size <= 1000


def test_no_server_is_said_in_the_systems_words(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(ValueError, match=f"^{url}: the server cannot be reached \\(Connection refused\\)$"):
            download(url, tmp_path / "file", SHA, len(BODY))
