"""A user's own language in YAML, and all ways to write it wrong."""

import pickle
import textwrap

import pytest

from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4, LanguageConsistency
from semalign_pl.rewards import LanguageReward, RepetitionReward

JAPANESE = "code: ja\nname: Japanese\nnative: 日本語\nscripts: [Han, Hiragana, Katakana]\nunit: character\n"


def _write(tmp_path, text: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(path)


def test_five_lines_do(tmp_path) -> None:
    language = get_language(_write(tmp_path, JAPANESE))
    assert (language.code, language.native, language.chinese, language.unit) == (
        "ja",
        "日本語",
        "Japanese",
        "character",
    )
    assert language.is_consistent("日本語のテキスト。") and not language.is_consistent("日本語 text")
    assert language.segment("日本の が\u3099 12") == ["日", "本", "の", "が\u3099", "12"]
    assert language.normalise("か\u3099 \u200b\u3000の") == "が の"
    assert get_language(language) is language
    assert pickle.loads(pickle.dumps(language)) == language


def test_words_go_without_a_pattern(tmp_path) -> None:
    path = _write(tmp_path, "code: vi\nname: Vietnamese\nscripts: [Latin]\nunit: word")
    assert get_language(path).segment("Tiếng Việt, 2024.") == ["Tiếng", "Việt", ",", "2024", "."]


@pytest.mark.parametrize(
    ("script", "text", "words"),
    [
        ("Sinhala", "ශ්\u200dරී ලංකාව", ["ශ්\u200dරී", "ලංකාව"]),
        ("Arabic", "می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
        ("Arabic", "۱۰\u200cام خانه\u200c", ["۱۰\u200cام", "خانه"]),  # a joiner that joins nothing is no part of it
    ],
)
def test_a_joiner_inside_a_word_is_part_of_it(tmp_path, script: str, text: str, words: list[str]) -> None:
    language = get_language(_write(tmp_path, f"code: xx\nname: Own\nscripts: [{script}]\nunit: word"))
    assert language.segment(text) == words


def test_like(tmp_path) -> None:
    path = _write(tmp_path, "code: bo-amdo\nlike: bo\nname: Amdo Tibetan\nallowed: '\\p{Latin}'")
    amdo, tibetan = get_language(path), get_language("bo")
    assert (amdo.name, amdo.native, amdo.unit) == ("Amdo Tibetan", tibetan.native, "syllable")
    text = "DNA བོད༌ཡིག་།"
    assert amdo.segment(text) == tibetan.segment(text) and amdo.normalise(text) == tibetan.normalise(text)
    assert amdo.is_consistent(text) and not tibetan.is_consistent(text)
    assert not amdo.is_consistent("DNA") and not amdo.is_consistent(text + "中")
    for like in ("bo", "dz"):  # a language with another unit does not inherit the pattern, directly or indirectly
        language = get_language(_write(tmp_path, f"code: {like}-word\nlike: {like}\nunit: word"))
        assert language.segment("བོད་ཡིག ཡོད") == ["བོད", "་", "ཡིག", "ཡོད"]


def test_joiners_are_kept_unless_the_file_says_otherwise(tmp_path) -> None:
    """Persian and Sinhala need them, and a file of one's own names no invisible characters unless told to."""
    persian = "code: fa\nname: Persian\nscripts: [Arabic]\nunit: word"
    text = "می\u200cخواهم"
    assert get_language(_write(tmp_path, persian)).normalise(f"{text}\u200b") == text
    (tmp_path / "none").mkdir()
    none = get_language(_write(tmp_path / "none", f"{persian}\nkeeps: ''"))
    assert none.normalise(text) == text.replace("\u200c", "")


def test_every_key(tmp_path) -> None:
    path = _write(
        tmp_path,
        r"""
        code: xx
        name: Test
        chinese: 试文
        scripts: [Latin]
        letters: '[a-g
                  x-z]'
        keeps: '\u200D'
        unit: syllable
        pattern: |
          [a-z]{2}   # two letters ( and a comment
          | \S
        compatibility: '[\uFF41-\uFF5A]'
        replacements:
          - ['(a)(b)?  # a comment', '\2\1']
        order: ['[x]  # last but one', '[y]']
        """,
    )
    language = get_language(path)
    assert language.normalise("\uff43ab yx") == "cba xy"
    assert language.segment("cbax y") == ["cb", "ax", "y"]
    assert language.is_consistent("bx\u200d") and not language.is_consistent("hb")
    assert language.share("abhi") == 0.5


def test_a_path_goes_wherever_a_code_does(tmp_path) -> None:
    path = _write(tmp_path, JAPANESE)
    assert "lang:ja" in Bleu4(path).signature and "lang:ja" in LanguageConsistency(path).signature
    assert LanguageReward(path).score(completions=["日本の", "中a"]) == [1.0, 0.0]
    assert RepetitionReward(language=path).language.code == "ja"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping such as `code: xx`, one key per line, not 'None'"),
        ("- a", r"not \"\['a'\]\""),
        ("code: [", "not valid YAML .*line 1.*mend that line"),
        ("name: X\nscripts: [Latin]\nunit: word", "code: it is missing; write it, or `like: bo`"),
        ("code: x\nname: X\nunit: word", "scripts: it is missing"),
        ("code: x\nname: X\nscripts: [Latin]", "unit: it is missing"),
        ("code: no\nlike: bo", "code: 'False' is not text; put it in quotes"),
        ("code: ''\nlike: bo", "code: '' is not text"),
        ("code: bo\nlike: bo", "code: 'bo' is a shipped language's; choose another"),
        ("code: x\nlike: tibetan", "like: 'tibetan' is not a shipped language; give one of bo, dz"),
        ("code: x\nlike: zh-hant", "like: 'zh-hant' is not a shipped language; did you mean zh-Hant\\?"),
        ("code: x\nlike: [bo]", "is not a shipped language"),
        ("code: x\nlike: bo\nscript: [Latin]", "script: there is no such key; did you mean scripts\\?"),
        ("code: x\nlike: bo\n3: 4", "3: there is no such key; give one of code, name"),
        ("code: x\nlike: bo\nscripts: Latin", "scripts: 'Latin' is not a list of texts, such as \\[Tibetan\\]"),
        ("code: x\nlike: bo\nscripts: []", "scripts: '\\[\\]' is not a list"),
        ("code: x\nlike: bo\nscripts: [Tibetish]", "scripts: 'Tibetish' is no .*write a script's name as Unicode does"),
        ("code: x\nlike: bo\nunit: syllabe", "unit: 'syllabe' is none of syllable, character, word"),
        ("code: x\nname: X\nscripts: [Latin]\nunit: syllable", "pattern: it is missing; a syllable needs a regex"),
        ("code: x\nlike: bo\npattern: '[a'", "pattern: '\\[a' is no pattern .*mend it"),
        ("code: x\nlike: bo\npattern: '(a)'", "captures a group; write \\(\\?:\\.\\.\\.\\)"),
        ("code: x\nlike: bo\npattern: 'a*'", "matches nothing, or a space"),
        ("code: x\nlike: bo\npattern: '.'", "matches nothing, or a space"),
        ("code: x\nlike: bo\npattern: 3", "pattern: '3' is not text"),
        ("code: x\nlike: bo\nletters: '[a'", "letters: '\\[a' is no pattern"),
        ("code: x\nlike: bo\nallowed: 'a]b'", "allowed: 'a\\]b' is more than one set; write what is in \\[ \\]"),
        ("code: x\nlike: bo\nkeeps: '\\p{Nothing}'", "keeps: .* is no pattern"),
        ("code: x\nlike: bo\nreplacements: {a: b}", "replacements: .* is not a list of \\[pattern, replacement\\]"),
        ("code: x\nlike: bo\nreplacements: [[a]]", "is not a list of \\[pattern, replacement\\]"),
        ("code: x\nlike: bo\nreplacements: [['(', b]]", "replacements: '\\(' is no pattern"),
        ("code: x\nlike: bo\nreplacements: [[a, '\\1']]", "is no replacement .*first group"),
        ("code: x\nlike: bo\nreplacements: [[a, '\\q']]", "is no replacement"),
        ("code: x\nlike: bo\norder: ['(a)']", "order: '\\(a\\)' captures a group"),
        ("code: x\nlike: bo\norder: a", "order: 'a' is not a list of texts"),
    ],
)
def test_mistakes(tmp_path, text: str, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        get_language(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(path)


def test_mistakes_with_the_file(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"gone.yaml: cannot be read \(No such file.*check the path"):
        get_language(str(tmp_path / "gone.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ValueError, match=r"folder.yaml: cannot be read \(Is a directory"):
        get_language(str(tmp_path / "folder.yaml"))
    (tmp_path / "latin.yml").write_bytes("name: Caf\xe9".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.yml: byte 9 is not UTF-8; save the file as UTF-8"):
        get_language(str(tmp_path / "latin.yml"))


def test_replacements_that_undo_each_other_are_found(tmp_path) -> None:
    language = get_language(_write(tmp_path, "code: x\nlike: en\nreplacements: [[a, aa]]"))
    assert language.normalise("bc") == "bc"
    with pytest.raises(ValueError, match=r"language 'x': replacements: they never settle on 'aaaa"):
        language.normalise("a")
