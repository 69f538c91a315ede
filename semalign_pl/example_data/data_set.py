"""Description of a data set: where its files come from, and how they become the files that recipes read."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Download:
    """Public file, fixed by its checksum.

    Attributes:
        path: Path below the data set's ``root``.
        sha256: SHA-256 of the content, in hexadecimal.
        size: Size in bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class DataSet:
    """Data set that recipes read.

    Attributes:
        name: Name on the command line and of the folder.
        what: Description in one line.
        rows: Number of rows of each file, in words.
        licence: Licence, as its source states it.
        source: Page of the source, for people.
        changes: Changes that ``make`` makes to the source's rows, as licences ask to state.
        used_by: Recipes and benchmarks that read it.
        make: Function from the downloaded files, by path, to the content of the files to write, by name.
        root: URL that the paths of ``downloads`` are relative to; it names one version, so that the files never change.
        downloads: Files to download; none if the data is generated.
        package: Python package that carries the same files; they are taken from it if it is installed.
    """

    name: str
    what: str
    rows: str
    licence: str
    source: str
    changes: str
    used_by: str
    make: Callable[[Mapping[str, Path]], Mapping[str, bytes]]
    root: str = ""
    downloads: tuple[Download, ...] = ()
    package: str = ""

    def url(self, download: Download) -> str:
        """URL of a file to download."""
        return f"{self.root}/{download.path}"

    def installed(self, download: Download) -> Path | None:
        """Path of a file in the installed ``package``; ``None`` if it is not there."""
        spec = importlib.util.find_spec(self.package) if self.package else None
        folders = (spec.submodule_search_locations or ()) if spec else ()
        return next((file for folder in folders if (file := Path(folder, download.path)).is_file()), None)


def jsonl(rows: Iterable[Mapping[str, object]]) -> bytes:
    """JSON Lines of rows, in UTF-8."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
