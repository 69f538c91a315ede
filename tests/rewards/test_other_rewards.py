"""Overlap, length, repetition and users' own functions."""

import pytest
import torch
from sacrebleu.metrics.bleu import BLEU

from semalign_pl.languages import get_language
from semalign_pl.rewards import FunctionReward, LengthReward, OverlapReward, RepetitionReward
from semalign_pl.types import Example

WANTED = "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།"
WRITTEN = [WANTED, "དགེ་རྒན་གྱིས་ཡི་གེ་བལྟས།", "老师", ""]


def scores(reward, completions: list[str], reference: str = WANTED, **columns: str) -> list[float]:
    return reward([Example("0", "?", reference, columns)] * len(completions), completions).tolist()


def test_bleu_is_sacrebleus_sentence_bleu() -> None:
    cut = [" ".join(get_language("bo").segment(text)) for text in (*WRITTEN, WANTED)]
    oracle = BLEU(tokenize="none", effective_order=True)
    expected = [oracle.sentence_score(text, [cut[-1]]).score / 100 for text in cut[:-1]]
    assert scores(OverlapReward("bleu4"), WRITTEN) == pytest.approx(expected, abs=1e-6)
    assert expected[0] == pytest.approx(1.0) and 0 < expected[1] < 1


@pytest.mark.parametrize("metric", ["bleu4", "chrf", "rouge_l"])
def test_overlap_ranks_and_stays_in_its_range(metric: str) -> None:
    reward = OverlapReward(metric)
    got = scores(reward, WRITTEN)
    assert got[0] == pytest.approx(1.0) and 1 > got[1] > got[2] >= 0 and got[3] == 0
    assert all(torch.tensor(scores(reward, WRITTEN, reference=" ")).isnan())  # nothing to compare with
    assert reward.name == metric and reward.signature.startswith(f"reward:{metric}|weight:1|")


def test_length() -> None:
    assert scores(LengthReward(), ["a" * n for n in (10, 10, 10, 10, 40, 90)]) == pytest.approx([0, 0, 0, 0, -0.6, -1])
    assert LengthReward().signature == "reward:length|weight:0.2|start:2.5|end:5|unit:character"


def test_repetition_counts_syllables() -> None:
    again = "དགེ་རྒན་གྱིས་བལྟས་" * 3  # 12 syllables, 9 4-grams, 4 distinct
    assert scores(RepetitionReward(), [WANTED, again, ""]) == pytest.approx([0, -5 / 9, 0])
    assert "|n:4|threshold:0.15|unit:syllable|lang:bo" in RepetitionReward().signature
    with pytest.raises(ValueError, match="RepetitionReward.n: there are no 0-grams"):
        RepetitionReward(n=0)


FUNCTIONS = """
def plain(completions, **columns):
    assert set(columns) == {"prompts", "references", "zh"}
    return [float(len(text)) for text in completions]

def picky(completions, zh, weight=2.0):
    return [None if source == "skip" else weight for source in zh]

def needy(completions, topic):
    return [0.0 for _ in completions]

def sourced(completions, zh=None):
    return [float(len(text)) if text else None for text in zh or [None] * len(completions)]

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> None:
    (tmp_path / "functions_of_mine.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)


def test_functions_are_called_as_trl_calls_them(mine) -> None:
    assert scores(FunctionReward("functions_of_mine.plain"), ["a", "abc"], zh="x") == [1.0, 3.0]
    reward = FunctionReward("functions_of_mine.picky", weight=0.5)
    assert scores(reward, ["a"], zh="x") == [2.0]
    assert torch.tensor(scores(reward, ["a"], zh="skip")).isnan().all()
    assert (reward.name, reward.signature) == ("picky", "reward:picky|weight:0.5|function:functions_of_mine.picky")


def test_columns_do_not_depend_on_the_other_rows_of_a_batch(mine) -> None:
    reward = FunctionReward("functions_of_mine.sourced")
    pair, chat = Example("1", "p", "r", columns={"zh": "abc"}), Example("2", "p", "r")
    for batch, right in (([pair], [3.0]), ([pair, chat], [3.0, None]), ([chat, pair, chat], [None, 3.0, None])):
        given = reward(batch, ["x"] * len(batch)).tolist()
        assert [None if score != score else score for score in given] == right


def test_what_a_function_cannot_have(mine) -> None:
    with pytest.raises(ValueError, match="asks for 'topic', which no column of the corpus is called; there are .*zh"):
        scores(FunctionReward("functions_of_mine.needy"), ["a"], zh="x")
    for path in ("functions_of_mine.none", "no_module.f", "plain"):
        with pytest.raises(ValueError, match=f"FunctionReward.function: cannot import '{path}'"):
            FunctionReward(path)
    with pytest.raises(ValueError, match="is not a function but a int"):
        FunctionReward("functions_of_mine.number")
