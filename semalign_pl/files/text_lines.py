"""Text files with one text per line."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.files.example_folders import remedy


def read_text_lines(option: str, file: str, unit: str = "text") -> dict[str, str]:
    """Read the lines of a text file in UTF-8, without the blank ones.

    Args:
        option: YAML key, for messages.
        file: Path of the file.
        unit: Name of the content of a line, for messages.

    Returns:
        Lines by their place, such as ``text.txt:17``.

    Raises:
        ValueError: If there is no such file, it is not UTF-8, or all its lines are blank.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(
            f"{option}: there is no file {file}; check the path, it is relative to the working folder{remedy(file)}"
        )
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {file} is not UTF-8 text ({error}); convert it") from error
    found = {f"{path.name}:{number}": line for number, line in enumerate(lines, start=1) if line.strip()}
    if not found:
        raise ValueError(f"{option}: {file} is empty; give one {unit} per line")
    return found
