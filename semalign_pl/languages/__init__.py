"""Languages as data: script, language rule, normal form, segmentation."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.languages.language import Language
from semalign_pl.languages.read import known, near, read_profile, shipped

__all__ = ["Language", "get_language"]


def get_language(language: str | Language) -> Language:
    """Language profile of a code such as ``bo``, or of a YAML file; a profile is returned as it is.

    Args:
        language: Code from ``languages.yaml`` or ``han.yaml``, path that ends in ``.yaml``, or profile.

    Raises:
        ValueError: If the code is not known, or the file does not hold a profile.
    """
    if isinstance(language, Language):
        return language
    if language.endswith((".yaml", ".yml")):
        return read_profile(Path(language))
    if language not in known():
        names = [*known(), "the path of a .yaml file of your own"]
        raise ValueError(f"language: {language!r} is not known; {near(language, names)}")
    return shipped(language)
