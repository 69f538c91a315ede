"""Language codes have their usual meaning: the script of each is the one that CLDR implies."""

from __future__ import annotations

import pytest

from semalign_pl.languages import get_language
from semalign_pl.languages.read import language_codes

LIKELY = {
    "bo": "Tibt", "dz": "Tibt", "zh": "Hans", "zh-Hans": "Hans", "zh-Hant": "Hant", "en": "Latn", "za": "Latn",
    "ug": "Arab", "kk": "Cyrl", "kk-Arab": "Arab", "mn": "Cyrl", "mn-Mong": "Mong", "ii": "Yiii", "th": "Thai",
    "lo": "Laoo", "my": "Mymr", "km": "Khmr", "ne": "Deva", "sa": "Deva",
}  # fmt: skip
"""Script subtags: CLDR 46, common/supplemental/likelySubtags.xml; a code that names its script has that script."""
SCRIPTS = {
    "Tibt": "Tibetan", "Hans": "Han", "Hant": "Han", "Latn": "Latin", "Arab": "Arabic", "Cyrl": "Cyrillic",
    "Mong": "Mongolian", "Yiii": "Yi", "Thai": "Thai", "Laoo": "Lao", "Mymr": "Myanmar", "Khmr": "Khmer",
    "Deva": "Devanagari",
}  # fmt: skip
"""Property value of each subtag: PropertyValueAliases.txt, sc."""


@pytest.mark.parametrize("code", language_codes())
def test_a_code_means_the_script_that_cldr_takes_as_given(code: str) -> None:
    assert get_language(code).scripts == (SCRIPTS[LIKELY[code]],)


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("kk", "Барлық адамдар тумысынан азат, һәм 1948 ж.", True),
        ("kk", "Ғылым Қазақстан Өңір Үй Ұлт Ікі", True),
        ("kk", "ٴبىر، ەكى", False),
        ("kk", "Київ", False),
        ("kk-Arab", "қазақ", False),
    ],
)
def test_kazakh_is_cyrillic_unless_its_code_says_otherwise(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent
    assert (get_language(code).share(text) == 1) is consistent
