"""Languages as data: script, language rule, normal form, segmentation."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.languages.language import Language
from semalign_pl.languages.read import language_codes, load_shipped, read_language, suggest_name

__all__ = ["Language", "get_language"]


def get_language(language: str | Language) -> Language:
    """Language of a code such as ``bo``, or of a YAML file; a `Language` is returned as it is.

    Args:
        language: Code from ``languages.yaml`` or ``han.yaml``, path that ends in ``.yaml``, or a language.

    Raises:
        ValueError: If there is no language of this code, or the file does not hold one.
    """
    if isinstance(language, Language):
        return language
    if language.endswith((".yaml", ".yml")):
        return read_language(Path(language))
    if language not in language_codes():
        names = [*language_codes(), "the path of a .yaml file of your own"]
        raise ValueError(f"language: {language!r} is not known; {suggest_name(language, names)}")
    return load_shipped(language)
