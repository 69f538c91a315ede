"""Files and folders are replaced whole: after any error or kill there is the old or the new one, and no leftover."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.filling import file_limit, in_process, killed_at, killed_at_event, room, small_disk, tree, unfinished

from semalign_pl.files import atomic
from semalign_pl.files.atomic import append_text, replace_file, replace_folder, temporary_folder, write_text
from semalign_pl.files.disk import WriteError, explain_full_disk
from semalign_pl.files.unfinished import PREFIX, create, remove_dead

SIZE = 100_000


def file(folder: Path, mark: str) -> None:
    with replace_file(folder / "target") as target:
        for _ in range(10):
            target.write(mark.encode() * (SIZE // 10))


def files(folder: Path, mark: str) -> None:
    with replace_folder(folder / "target") as made:
        (made / f"only in {mark}").write_text(mark)
        (made / "inner").mkdir()
        (made / "inner" / "a").write_text(mark * SIZE)
        (made / "b").write_text(mark * SIZE)


def files_in_two_steps(folder: Path, mark: str) -> None:
    """As on a file system that cannot exchange two folders in one step."""
    exchange, atomic._exchange = atomic._exchange, lambda *_: False
    try:
        files(folder, mark)
    finally:
        atomic._exchange = exchange


WRITERS = [file, files, files_in_two_steps]


@pytest.mark.parametrize("size", [0, 1, 50_000, SIZE - 1])
@pytest.mark.parametrize("write", WRITERS)
def test_a_kill_at_a_byte_leaves_the_old_content(write: Callable, size: int, tmp_path: Path) -> None:
    assert in_process(lambda: write(tmp_path, "a")) == 0
    old = tree(tmp_path)
    assert killed_at(size, lambda: write(tmp_path, "b")) == -25  # SIGXFSZ
    now = tree(tmp_path)
    assert {name: now[name] for name in old} == old and unfinished(tmp_path)
    assert in_process(lambda: write(tmp_path, "c")) == 0
    assert not unfinished(tmp_path) and b"b" not in b"".join(c or b"" for c in tree(tmp_path).values())


@pytest.mark.parametrize("write", WRITERS)
def test_a_kill_before_any_operation_leaves_the_old_or_the_new(write: Callable, tmp_path: Path) -> None:
    """If a folder is exchanged in two steps, the next process may have to restore the old one."""
    states = []
    for mark in "ab":
        write(tmp_path / mark, mark)
        states.append(tree(tmp_path / mark))
    number, outcomes = 0, []
    while True:
        folder = tmp_path / str(number)
        write(folder, "a")
        status = killed_at_event(number, lambda folder=folder: write(folder, "b"))
        between = write is files_in_two_steps and not (folder / "target").exists()
        remove_dead(folder)
        assert tree(folder) in states, f"killed before operation {number}"
        outcomes.append((status, between, tree(folder) == states[1]))
        if status == 0:
            break
        number += 1
    assert number > 4 and all(status == -9 for status, *_ in outcomes[:-1])
    assert {new for _, _, new in outcomes} == {False, True}  # kills before and after the exchange both occurred
    assert any(between for _, between, _ in outcomes) == (write is files_in_two_steps)


@pytest.mark.parametrize("free", [0, 4096, 65536])
@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_the_old_content(write: Callable, free: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 2**20) as mounted:
        write(disk, "a")
        old = tree(disk)
        with room(disk, free, mounted), pytest.raises(WriteError) as raised:
            write(disk, "b")
        assert tree(disk) == old
        write(disk, "b")  # the disk has space again
    message = str(raised.value)
    reason = "No space left on device" if mounted else "File too large"
    assert message.startswith(f"{disk / 'target'}: not written, because the disk is full ({reason}; free is ")
    assert f" in {disk})" in message and "free some space" in message and "\n" not in message


@pytest.mark.parametrize("write", WRITERS)
def test_an_error_within_leaves_the_old_content(write: Callable, tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "a")
    old = tree(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "b")
    assert tree(tmp_path) == old


def test_a_network_disk_may_say_only_at_the_end_that_it_is_full(tmp_path: Path, monkeypatch) -> None:
    file(tmp_path, "a")
    old = tree(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(122, os.strerror(122))))
    with pytest.raises(WriteError, match="Disk quota exceeded"):
        file(tmp_path, "b")
    assert tree(tmp_path) == old


# -- things that a plain open() would do -------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_a_plain_open(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "")
        with replace_folder(tmp_path / "folder") as made:
            (made / "inner").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "folder" / "inner").stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_mode_of_the_old_one_is_kept(tmp_path: Path) -> None:
    file(tmp_path, "a")
    (tmp_path / "target").chmod(0o640)
    file(tmp_path, "b")
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o640
    files(tmp_path / "f", "a")
    (tmp_path / "f" / "target").chmod(0o750)
    files(tmp_path / "f", "b")
    assert (tmp_path / "f" / "target").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_is_followed(write: Callable, tmp_path: Path) -> None:
    """Also to another disk, where a user may keep the results of a run."""
    with small_disk(tmp_path / "elsewhere", 2**21):
        write(tmp_path / "elsewhere", "a")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "target").symlink_to(tmp_path / "elsewhere" / "target")
        write(tmp_path / "run", "b")
        assert (tmp_path / "run" / "target").is_symlink() and not unfinished(tmp_path)
        write(tmp_path / "alone", "b")
        assert tree(tmp_path / "elsewhere") == tree(tmp_path / "alone")


def test_the_folder_may_be_a_link_and_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link" / "deep" / "x", "text")
    assert (tmp_path / "real" / "deep" / "x").read_text() == "text"


def test_names_of_the_longest_length(tmp_path: Path) -> None:
    name = "བོད" * 28 + "xyz"  # 255 bytes
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to_file", [True, False], ids=["file", "pipe"])
def test_streams_stay_what_they_are(stream: str, to_file: bool, tmp_path: Path) -> None:
    """A rename would leave the shell's file and the pipe's reader without content."""
    code = f"import pathlib, semalign_pl.files.atomic as a; a.write_text(pathlib.Path({stream!r}), 'text')"
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run([sys.executable, "-c", code], stdout=out if to_file else subprocess.PIPE, check=True)
    assert ((tmp_path / "out").read_bytes() if to_file else done.stdout) == b"text"
    assert Path("/dev/stdout").is_symlink()


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for write in (file, files):
        with pytest.raises(WriteError) as raised:
            write(tmp_path / "file", "a")
        assert str(raised.value).startswith(
            f"{tmp_path / 'file' / 'target'}: File exists: cannot be written; what was there before is"
        )
        assert "\n" not in str(raised.value) and raised.value.strerror
    assert tree(tmp_path) == {"file": b"no folder"}


# -- several processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS[:2])
def test_two_writers_at_once_leave_one_of_the_two(write: Callable, tmp_path: Path) -> None:
    errors = []

    def often(mark: str) -> None:
        try:
            for _ in range(20):
                write(tmp_path, mark)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=often, args=(mark,)) for mark in "ab"]
    for thread in threads:
        thread.start()
    children = [in_process(lambda: often("c")), in_process(lambda: often("d"))]
    for thread in threads:
        thread.join()
    assert not errors and children == [0, 0] and not unfinished(tmp_path)
    contents = {content for content in tree(tmp_path / "target").values() if content} or {
        (tmp_path / "target").read_bytes()
    }
    assert len({content[:1] for content in contents}) == 1


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder, replace_file(tmp_path / "x") as file:
        (folder / "y").write_text("y")
        file.write(b"x")
        assert in_process(lambda: remove_dead(tmp_path)) == 0
        remove_dead(tmp_path)
        assert (folder / "y").is_file()
    assert tree(tmp_path) == {"x": b"x"}


def test_what_a_user_calls_so_is_left_alone(tmp_path: Path) -> None:
    for name in (".hidden", ".cache-abcdefgh", "semalign-x"):
        (tmp_path / name).write_text("")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / ".hidden")
    remove_dead(tmp_path)
    assert len(tree(tmp_path)) == 4


# -- added lines -------------------------------------------------------------------------------------------------


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    append_text(log, "one\n")
    with file_limit(100), pytest.raises(WriteError, match="File too large"):
        append_text(log, "x" * 200 + "\n")
    assert log.read_text() == "one\n"
    assert killed_at(100, lambda: append_text(log, "x" * 200_000 + "\n")) == -25
    assert len(log.read_bytes()) == 100  # half a line, as a killed process leaves it
    append_text(log, "two\nthree\n")
    assert log.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("rest", [70_000, 65_536, 65_535, 5])
def test_a_long_half_line_is_removed(rest: int, tmp_path: Path) -> None:
    for before in ("", "whole\n"):
        (tmp_path / "log").write_text(before + "x" * rest)
        append_text(tmp_path / "log", "new\n")
        assert (tmp_path / "log").read_text() == before + "new\n"


# -- any library that writes -------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_whoever_wrote(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import torch
    from safetensors.torch import save_file

    tensor = torch.zeros(SIZE)

    def arrow() -> None:
        with pa.OSFile(str(tmp_path / "x"), "wb") as sink:
            sink.write(bytes(SIZE))

    def save_in_file() -> None:
        with (tmp_path / "x").open("wb") as target:
            torch.save({"x": tensor}, target)

    writers = {
        "text": lambda: (tmp_path / "x").write_bytes(bytes(SIZE)),
        "numpy": lambda: np.save(tmp_path / "x", tensor.numpy()),
        "arrow": arrow,
        "safetensors": lambda: save_file({"x": tensor}, tmp_path / "x"),
        "torch": save_in_file,
    }
    for name, write in writers.items():
        with file_limit(10_000), pytest.raises(Exception) as raised:  # noqa: B017
            write()
        message = explain_full_disk(raised.value)
        assert message is not None and "disk is full" in message and "\n" not in message, name
    assert explain_full_disk(ValueError("a model of 3 full disks")) is None
    assert explain_full_disk(FileNotFoundError(2, "No such file", "x")) is None


def test_import_is_light() -> None:
    code = (
        "import sys, semalign_pl.files.atomic; print([m for m in ('torch', 'numpy', 'lightning') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_folder_removed_before_it_is_opened_is_made_again(tmp_path: Path) -> None:
    made = []

    def make(path: Path) -> int:
        path.mkdir()
        made.append(path)
        if len(made) == 1:  # another process takes it for dead: it has no lock yet
            path.rmdir()
        return os.open(path, os.O_RDONLY)

    path, descriptor = create(tmp_path, make)
    os.close(descriptor)
    assert path == made[1] and path.is_dir()
