"""Commands that convert files of unsupported formats to supported ones."""

from __future__ import annotations

import shlex
from pathlib import Path

from semalign_pl.data.reading.formats.record import COMPRESSIONS, escape

_OFFICE = "libreoffice --headless --convert-to {to} {file}"
_TEXT = "'txt:Text (encoded):UTF8'"
_PANDOC = "pandoc --to plain --wrap none {file} --output {stem}.txt"
_CUES = (
    "tr -d '\\r' < {file} | "
    r"""awk 'BEGIN {{ RS = "" }} {{ sub(/^[^\n]*\n[^\n]*\n/, ""); gsub(/\n/, " "); print }}' > {stem}.txt"""
)

_COMMANDS: dict[str, tuple[str, str]] = {
    # suffixes: (kind of file, command)
    ".xls .xlsm .xlsb .ods .fods .numbers": ("a spreadsheet", _OFFICE.format(to="xlsx", file="{file}")),
    ".doc .rtf .pages": ("a document", _OFFICE.format(to=_TEXT, file="{file}")),
    ".docx .odt .html .htm .epub": ("a document", _PANDOC),
    ".pdf": ("a document", "pdftotext -enc UTF-8 {file} {stem}.txt"),
    ".arrow": (
        "an Arrow table",
        "python -c \"import datasets; datasets.Dataset.from_file({path!r}).to_parquet('{name}.parquet')\"",
    ),
    ".feather": (
        "an Arrow table",
        "python -c \"import pandas; pandas.read_feather({path!r}).to_parquet('{name}.parquet')\"",
    ),
    ".orc": ("an ORC table", "python -c \"import pandas; pandas.read_orc({path!r}).to_parquet('{name}.parquet')\""),
    ".avro": ("Avro", "pip install fastavro && python -m fastavro {file} > {stem}.jsonl"),
    ".sqlite .sqlite3 .db": ("an SQLite database", "sqlite3 -header -csv {file} 'SELECT * FROM <table>' > {stem}.csv"),
    ".sdltm": ("a memory of Trados Studio", "there: Translation Memories > Export to TMX"),
    ".po": ("a gettext catalogue", "pip install translate-toolkit && po2tmx --language <code> {file} {stem}.tmx"),
    ".xlf .xliff .sdlxliff": (
        "XLIFF",
        "pip install translate-toolkit && xliff2po {file} {stem}.po && po2tmx --language <code> {stem}.po {stem}.tmx",
    ),
    ".srt": ("subtitles", _CUES),
    ".yaml .yml": (
        "YAML",
        'python -c "import json, yaml; [print(json.dumps(r)) for r in yaml.safe_load(open({path!r}))]" > {stem}.jsonl',
    ),
    ".ndjson .jsonlines .jl": ("JSON with an object per line", "mv {file} {stem}.jsonl"),
    ".tab": ("cells between tabs", "mv {file} {stem}.tsv"),
    ".7z": ("an archive", "7z x {file}"),
    ".rar": ("an archive", "unrar x {file}"),
    ".tar .tgz .tbz2 .txz": ("an archive", "tar -xf {file}"),
    ".lzma": ("compressed", "unlzma {file}"),
    ".lz4": ("compressed", "unlz4 {file}"),
    ".z": ("compressed", "uncompress {file}"),
}
_BY_SUFFIX = {suffix: entry for suffixes, entry in _COMMANDS.items() for suffix in suffixes.split()}


def suggest_conversion(path: Path) -> str | None:
    """Kind of a file of an unsupported format and the command that converts it, for a message.

    Args:
        path: Path of the file. Its suffix decides, without `COMPRESSIONS`; for ``.arrow`` its first bytes as well.

    Returns:
        Text of kind and command, or None if no command is known.
    """
    name = path.name
    while Path(name.lower()).suffix in COMPRESSIONS:
        name = Path(name).stem
    suffix = Path(name).suffix.lower()
    if suffix not in _BY_SUFFIX:
        return None
    if suffix == ".arrow" and path.is_file() and path.open("rb").read(6) == b"ARROW1":  # not Arrow's stream format
        suffix = ".feather"
    kind, command = _BY_SUFFIX[suffix]
    stem = str(path.parent / Path(name).stem)
    return f"{kind}; convert it: {command.format(file=_word(path), stem=_word(stem), path=str(path), name=stem)}"


def _word(path: object) -> str:
    """Quote a path for a shell."""
    return shlex.quote(escape(path))
