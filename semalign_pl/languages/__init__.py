"""Languages as data: script, consistency by Unicode rules, segmentation."""

from __future__ import annotations

from semalign_pl.languages.chinese import CHINESE
from semalign_pl.languages.english import ENGLISH
from semalign_pl.languages.profile import LanguageProfile
from semalign_pl.languages.tibetan import TIBETAN

__all__ = ["LanguageProfile", "get_language"]

_KNOWN = {profile.code: profile for profile in (TIBETAN, CHINESE, ENGLISH)}


def get_language(language: str | LanguageProfile) -> LanguageProfile:
    """The profile of a language code; a profile is returned as it is, so a user's own needs no registration.

    Raises:
        ValueError: If the code is not known.
    """
    if isinstance(language, LanguageProfile):
        return language
    if language not in _KNOWN:
        raise ValueError(f"language: {language!r} is not known; use one of {sorted(_KNOWN)} or pass a LanguageProfile")
    return _KNOWN[language]
