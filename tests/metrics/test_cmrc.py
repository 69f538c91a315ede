"""CMRC 2018 scoring against the official script.

The expected numbers were printed by ``cmrc2018_evaluate.py`` v6 (commit c0eb1b6 of github.com/ymcui/cmrc2018) with NLTK
3.10.4 and its English sentence model (``punkt_tab``).
"""

import pytest

from semalign_pl.metrics.cmrc import exact_match, f1, segments

OFFICIAL = [
    ("范廷颂枢机", ["范廷颂"], 0.0, 0.75),
    ("《范廷颂》", ["范廷颂枢机", "范廷颂"], 1.0, 1.0),
    ("1963年", ["在1963年"], 0.0, 0.8),
    ("ＮＢＡ总冠军", ["NBA总冠军"], 0.0, 0.75),
    ("nba总冠军", ["NBA总冠军"], 1.0, 1.0),
    ("", ["中国"], 0.0, 0.0),
    ("", [""], 1.0, 0.0),
    ("，。", ["！"], 1.0, 0.0),
    ("北京 上海", ["北京上海"], 0.0, 1.0),
    ("a-b", ["ab"], 1.0, 1.0),
    ("3.5公里", ["3.5 公里"], 0.0, 1.0),
    ("约3.5公里。", ["3.5公里"], 0.0, 0.857143),
    ("……", ["…"], 0.0, 0.0),
    ("“是”", ["‘是’"], 0.0, 0.666667),
    ("don't stop", ["do n't stop"], 0.0, 1.0),
    ("1,000人", ["1000人"], 0.0, 0.5),
    ("他来自美国纽约", ["美国的纽约"], 0.0, 0.333333),
    ("iPhone 4S", ["iphone 4s。"], 1.0, 1.0),
    ("ω-force和光荣", ["光荣和ω-force"], 0.0, 0.5),
    ("(2010年)", ["2010年"], 0.0, 0.666667),
    ("中中中国", ["中国中"], 0.0, 0.571429),
    ("U.S. Army", ["U.S. Army."], 0.0, 0.8),
    ("香港、澳门", ["香港", "澳门"], 0.0, 0.666667),
    ("xxx", ["中"], 0.0, 0.0),
    ("５０％", ["50%"], 0.0, 0.0),
    ("他说:“好”", ["他说好"], 1.0, 1.0),
    ("龥龦", ["龦"], 0.0, 0.666667),
    ("龦龦", ["龦"], 0.0, 0.0),
    ("美国的纽约", ["他来自美国纽约"], 0.0, 0.333333),
    ("a_b*c", ["abc", "a b c"], 1.0, 1.0),
    (" 答案 ", ["答案"], 1.0, 1.0),
    ("C++语言", ["c语言"], 1.0, 1.0),
]
SENTENCES = [
    ("It was Rome. It was old.", ["Rome"], 0.0, 0.222222),
    ("It was Rome. It was old.", ["Rome."], 0.0, 0.4),
    ("Rome! Was it? Yes.", ["rome"], 0.0, 0.25),
    ('He said "No." Then left.', ["no"], 0.0, 0.2),
    ("no. 5", ["No. 5."], 0.0, 0.857143),
    ("J.R.R. Tolkien", ["j. r. r. tolkien"], 0.0, 0.285714),
    ("e.g. Rome", ["Rome"], 0.0, 0.5),
    ("wait... Rome", ["Rome"], 0.0, 0.5),
    ("it costs 3.5. Then 4.", ["3.5"], 0.0, 0.0),
    ("See http://a.b/c.html. Then go.", ["http://a.b/c.html"], 0.0, 0.285714),
    ("他说：Yes. No.", ["No."], 0.0, 0.5),
    # Abbreviations do not end a sentence, so their full stop is kept.
    ("It was Dr. Smith. He came.", ["Dr. Smith"], 0.0, 0.4),
    ("the U.S. Army. In 1945.", ["U.S. Army"], 0.0, 0.444444),
    ("at 5 p.m. in Rome. Then", ["5 p.m."], 0.0, 0.2),
    ("他是Dr. Virginia Apgar。", ["Virginia Apgar"], 0.0, 0.571429),
]


@pytest.mark.parametrize(("prediction", "answers", "em", "official_f1"), OFFICIAL)
def test_same_as_the_official_script(prediction: str, answers: list[str], em: float, official_f1: float) -> None:
    assert exact_match(prediction, answers) == em
    assert f1(prediction, answers) == pytest.approx(official_f1, abs=1e-6)


@pytest.mark.parametrize(("prediction", "answers", "em", "official_f1"), SENTENCES)
def test_sentences_are_cut_before_words(prediction: str, answers: list[str], em: float, official_f1: float) -> None:
    assert exact_match(prediction, answers) == em
    assert f1(prediction, answers) == pytest.approx(official_f1, abs=1e-6)


def test_sentences_need_no_model_of_this_machine(monkeypatch) -> None:
    """The score does not depend on NLTK's downloaded models."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    assert segments("It was Dr. Smith. No.") == ["it", "was", "dr.", "smith", ".", "no", "."]


def test_segments() -> None:
    assert segments(" 《iPhone 4S》 don't用C++ 3.5% ") == ["iphone", "4s", "do", "n't", "用", "c", "3.5", "%"]
    assert segments("4S》，do") == ["4sdo"]  # punctuation is removed before segmentation, as in the official script
    assert segments("") == segments("，") == segments("  ") == []


def test_a_question_without_answers_is_refused() -> None:
    for score in (exact_match, f1):
        with pytest.raises(ValueError, match="without an answer"):
            score("答案", [])
