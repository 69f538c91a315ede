"""Licence of a corpus, as its source states it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semalign_pl.data.reading.formats.joined_configs import parse_joined
from semalign_pl.data.reading.formats.locate import hub_name
from semalign_pl.files.documents import read_json
from semalign_pl.files.example_folders import RECORD


def find_licence(source: str) -> str | None:
    """Licence of a corpus: of its dataset's card, or of the record of ``semalign data``; ``None`` if none is stated.

    Args:
        source: Corpus, as for `stream`: a file, a folder with a dataset's card, or a hub dataset.
    """
    joined = parse_joined(source)
    name = joined.name if joined else source
    if Path(name).is_file():
        licence = read_record(name).get("licence")
        return licence if isinstance(licence, str) else None
    folder = Path(name.partition("@")[0].partition(":")[0] if not Path(name).is_dir() else name)
    if folder.is_dir():
        return _of_card(str(folder / "README.md")) if (folder / "README.md").is_file() else None
    dataset = hub_name(name)
    return _of_card(dataset) if dataset else None


def read_record(file: str) -> dict[str, Any]:
    """Record that ``semalign data`` wrote beside a file; empty if there is none, or it does not list the file.

    Args:
        file: File of a corpus. A user's own file in that folder is not of the data set, and has not its licence.

    Raises:
        ValueError: If the record cannot be read.
    """
    record = Path(file).parent / RECORD
    read = read_json(record, "run `semalign data` again") if record.is_file() else None
    listed = read.get("files") if isinstance(read, dict) else None
    return read if isinstance(read, dict) and isinstance(listed, dict) and Path(file).name in listed else {}


def _of_card(name: str) -> str | None:
    """Licence of a dataset's card, of the hub or in a file; ``None`` if there is no card, or it cannot be read."""
    from huggingface_hub import DatasetCard

    try:
        licence = DatasetCard.load(name, ignore_metadata_errors=True).data.get("license")
    except Exception:  # a card is a courtesy: the data has been read without it
        return None
    return ", ".join(map(str, licence)) if isinstance(licence, list) else licence and str(licence)
