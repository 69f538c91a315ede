"""Names, docstrings, messages and documentation are in the field's plain English, and stay so."""

import pytest
from helpers.english import check_python, check_text, hits

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Reason for each name or phrase that stays, by file and text."""


def test_no_name_or_phrase_of_the_former_dialect() -> None:
    remaining = [hit for hit in hits() if (hit.file, hit.text) not in EXCEPTIONS]
    lines = [f"{hit.file}:{hit.line}: {hit.text!r}: write {hit.remedy}" for hit in remaining]
    assert not lines, "\n".join(lines)


def test_every_exception_is_needed() -> None:
    found = {(hit.file, hit.text) for hit in hits()}
    assert not set(EXCEPTIONS) - found


@pytest.mark.parametrize(
    "phrase",
    [
        "the loss a token",
        "KL a token",
        "is embedded once a corpus",
        "16 bytes a weight",
        "tokens a syllable",
        "for what stands behind them",
        "Where tokens lie in the batch",
        "keys that come out of the cache",
        "what was lost",
        "the bill of GRPO",
        "Seed of the draw. See there.",
    ],
)
def test_phrases_are_found(phrase) -> None:
    assert list(check_text(phrase))


@pytest.mark.parametrize(
    "phrase",
    [
        "the loss of a token",
        "per-token loss",
        "once per corpus",
        "BO stands for Tibetan",
        "one of the rows is a pair",
        "a list of tokens, a row per text",
        "before the first step",
    ],
)
def test_plain_sentences_are_accepted(phrase) -> None:
    assert not list(check_text(phrase))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(behind): pass", "behind"),
        ("class A:\n    loss_behind: int", "loss_behind"),
        ("parts = [1]", "parts"),
        ("for file_part in []: pass", "file_part"),
        ("self.profile = 1", "profile"),
        ("near = suggest()", "near"),
        ("class Found: pass", "class Found"),
        ("def counted(rows): pass", "def counted"),
        ("def _shown(rows): pass", "def _shown"),
        ('def f():\n    """Whether it fits."""', "Whether … (first line of a docstring)"),
        ('def f(a):\n    """Do.\n\n    Args:\n        a: Of the phase.\n    """', "a: Of …"),
        ("x = 1  # the loss a token", "loss a token"),
        ('raise ValueError("what was lost")', "what was lost"),
    ],
)
def test_names_docstrings_comments_and_messages_are_read(source, text) -> None:
    assert [hit[1] for hit in check_python(source)] == [text]


@pytest.mark.parametrize(
    "source",
    [
        "def f(near_duplicates, prompt_cache): pass",
        "class A:\n    @property\n    def finished(self): pass",
        "partition = department = 1",
        "found = shown = 1",
        "from x import parts",
        'def f(a):\n    """Return the loss.\n\n    Args:\n        a: Loss per token.\n    """',
    ],
)
def test_plain_names_are_accepted(source) -> None:
    assert not list(check_python(source))
