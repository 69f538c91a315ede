import pytest

from semalign_pl.toy import sandhi
from semalign_pl.toy.lexicon import words

# word, genitive, ergative, la-don: written by hand
TABLE = [
    ("གཡག", "གཡག་གི", "གཡག་གིས", "གཡག་ཏུ"),
    ("ཚེ་རིང", "ཚེ་རིང་གི", "ཚེ་རིང་གིས", "ཚེ་རིང་དུ"),
    ("བོད", "བོད་ཀྱི", "བོད་ཀྱིས", "བོད་དུ"),
    ("རྒྱབ", "རྒྱབ་ཀྱི", "རྒྱབ་ཀྱིས", "རྒྱབ་ཏུ"),
    ("བཀྲ་ཤིས", "བཀྲ་ཤིས་ཀྱི", "བཀྲ་ཤིས་ཀྱིས", "བཀྲ་ཤིས་སུ"),
    ("དབྱངས", "དབྱངས་ཀྱི", "དབྱངས་ཀྱིས", "དབྱངས་སུ"),
    ("པེ་ཅིན", "པེ་ཅིན་གྱི", "པེ་ཅིན་གྱིས", "པེ་ཅིན་དུ"),
    ("ཁྱིམ", "ཁྱིམ་གྱི", "ཁྱིམ་གྱིས", "ཁྱིམ་དུ"),
    ("མར", "མར་གྱི", "མར་གྱིས", "མར་དུ"),
    ("ནགས་ཚལ", "ནགས་ཚལ་གྱི", "ནགས་ཚལ་གྱིས", "ནགས་ཚལ་དུ"),
    ("སྒྲོལ་མ", "སྒྲོལ་མའི", "སྒྲོལ་མས", "སྒྲོལ་མར"),
    ("རྟ", "རྟའི", "རྟས", "རྟར"),
    ("སྦྲ", "སྦྲའི", "སྦྲས", "སྦྲར"),
    ("པདྨ", "པདྨའི", "པདྨས", "པདྨར"),
    ("རི་བོ", "རི་བོའི", "རི་བོས", "རི་བོར"),
    ("ར", "རའི", "རས", "རར"),
    ("ནམ་མཁའ", "ནམ་མཁའི", "ནམ་མཁས", "ནམ་མཁར"),
]


@pytest.mark.parametrize(("word", "genitive", "ergative", "ladon"), TABLE)
def test_case_particles(word: str, genitive: str, ergative: str, ladon: str) -> None:
    assert (sandhi.genitive(word), sandhi.ergative(word), sandhi.ladon(word)) == (genitive, ergative, ladon)


@pytest.mark.parametrize(
    ("past", "nominal"),
    [
        ("བཀླགས", "བཀླགས་པ"),
        ("བཤད", "བཤད་པ"),
        ("བཏབ", "བཏབ་པ"),
        ("ཕྱིན", "ཕྱིན་པ"),
        ("བཙལ", "བཙལ་བ"),
        ("འཕུར", "འཕུར་བ"),
        ("བཏང", "བཏང་བ"),
        ("ཟ", "ཟ་བ"),
    ],
)
def test_nominaliser(past: str, nominal: str) -> None:
    assert sandhi.nominal(past) == nominal


@pytest.mark.parametrize(
    ("verb", "connected"),
    [
        ("ཀློག", "ཀློག་གི"),
        ("འཐུང", "འཐུང་གི"),
        ("བྱེད", "བྱེད་ཀྱི"),
        ("འདེབས", "འདེབས་ཀྱི"),
        ("ལེན", "ལེན་གྱི"),
        ("འཕུར", "འཕུར་གྱི"),
        ("འགྲོ", "འགྲོ་གི"),
    ],
)
def test_connective(verb: str, connected: str) -> None:
    assert sandhi.connective(verb) == connected


def test_shad_after_nga_and_ga() -> None:
    assert sandhi.shad("ཚེ་རིང") == "ཚེ་རིང་།"
    assert sandhi.shad("གཡག") == "གཡག"
    assert sandhi.shad("རེད") == "རེད།"


def test_every_word_is_tibetan_syllables_without_a_loose_tsheg() -> None:
    for category in ("name", "person", "kin", "animal", "place", "noun", "verb", "time", "adjective", "number"):
        for word in words(category).values():
            for form in filter(None, (word.bo, word.past)):
                assert all("\u0f40" <= c <= "\u0fbc" or c == sandhi.TSHEG for c in form), word
                assert all(form.split(sandhi.TSHEG)), word
