"""Sentences of verdicts: they say what `frontier.verdicts` says, and without it nothing about loss."""

import copy
import json
import re
from pathlib import Path

import pytest
from helpers.frontier_study import Planted, write_frontiers

import semalign_pl
from semalign_pl.frontier.comparison import compare_study
from semalign_pl.report import load_results, verdict, verdicts, with_sentences

ENTRY = {
    "a": "strong_sft",
    "b": "semantic_grpo",
    "metric": "cmrc_f1",
    "less_is_better": False,
    "quality": 60.0,
    "range": [60.0, 60.0],
    "reach": [[48.0, 60.0], [62.0, 77.25]],
    "difference": -4.13,
    "ci": [-6.16, -2.1],
    "p": 0.001,
    "p_holm": 0.002,
    "seeds": 5,
    "items": 200,
    "item_set": "cmrc",
    "outcome": "a",
}
NLL = {"metric": "nll_change_mean", "less_is_better": True, "item_set": "drift"}
NLL |= {"difference": 0.0512, "ci": [0.0312, 0.0712], "outcome": "b"}
APART = {"outcome": "no common range", "range": None, "difference": None, "ci": None, "p": None, "p_holm": None}
TESTED = "(5 seeds, 200 questions)"


def with_entries(results, *entries, **frontier):
    """Results with a frontier of these verdicts."""
    return {**results, "frontier": {"quality": "chrf", "verdicts": [{**ENTRY, **e} for e in entries], **frontier}}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, f"At chrF 60, Strong SFT keeps 4.1 ± 2.0 more CMRC F1 points than Semantic GRPO {TESTED}."),
        (
            {"difference": 4.13, "ci": [2.1, 6.16], "outcome": "b"},
            f"At chrF 60, Semantic GRPO keeps 4.1 ± 2.0 more CMRC F1 points than Strong SFT {TESTED}.",
        ),
        (
            {"quality": None, "range": [50.25, 59.4]},
            "Over chrF 50.2–59.4, Strong SFT keeps on average 4.1 ± 2.0 more CMRC F1 points than Semantic GRPO "
            f"{TESTED}.",
        ),
        (
            NLL,
            "At chrF 60, NLL change of Semantic GRPO is 0.051 ± 0.020 nats/token lower than that of Strong SFT "
            "(5 seeds, 200 texts).",
        ),
        (
            {"difference": 1.0, "ci": [-1.0, 3.0], "p_holm": 0.4, "outcome": "not distinguishable"},
            "At chrF 60, Strong SFT and Semantic GRPO are not distinguishable in CMRC F1 (difference 1.0 ± 2.0; "
            "5 seeds, 200 questions).",
        ),
        (
            {"difference": 4.0, "ci": [0.5, 7.5], "p_holm": 0.061, "outcome": "not distinguishable"},
            "At chrF 60, Strong SFT and Semantic GRPO are not distinguishable in CMRC F1 (difference 4.0 ± 3.5; "
            "p 0.061 after Holm's correction; 5 seeds, 200 questions).",
        ),
        (
            {**APART, "quality": None},
            "No common range: Strong SFT reaches chrF 48–60, Semantic GRPO 62–77.2.",
        ),
        (APART, "No comparison at chrF 60: Strong SFT reaches chrF 48–60, Semantic GRPO 62–77.2."),
        (
            {**APART, "quality": 59.9, "reach": [[48.0, 60.0], [50.0, 77.0]]},
            "No comparison at chrF 59.9: Strong SFT reaches chrF 48–60, Semantic GRPO 50–77, but more than 5 % of the "
            "resamples do not reach both.",
        ),
        (
            {**APART, "quality": None, "reach": [[48.0, 20.0], [62.0, 77.0]]},
            "No common range: the seeds of Strong SFT reach no chrF in common.",
        ),
    ],
)
def test_sentence(results, changed, sentence: str) -> None:
    assert verdicts(with_entries(results, changed)) == [sentence]


def test_limits_follow_the_verdicts_once(results) -> None:
    said = verdicts(with_entries(results, {"seeds": 1}, {**NLL, "seeds": 1}))
    assert len(said) == 3 and "(1 seed, 200 questions)" in said[0]
    assert said[2] == "With one seed, noise between trainings is not in these intervals."
    assert "With two seeds" in verdicts(with_entries(results, {"seeds": 2}))[-1]
    said = verdicts(with_entries(results, {}, quality_seen_by={"semantic_grpo": ["reward:chrf"]}))
    assert said[1].startswith("chrF was part of the reward of Semantic GRPO")
    apart = {**APART, "quality": None}
    assert len(verdicts(with_entries(results, apart, {**apart, **NLL, **apart}))) == 1


def test_a_swept_system_without_a_curve_is_left_out(results) -> None:
    """No pair compares a system of another task, so it may have variants and no curve."""
    swept = {"sweeps": {"strong_sft": {"lr-1": {}, "lr-2": {}}, "headline": {"headline.lr-1": {}}}}
    curves = {"curves": {"strong_sft": {"variant": "lr-2"}}}
    told = verdicts(with_entries(results, {}, **swept, **curves))
    assert told[1:] == ["Strong SFT is lr-2, chosen of 2: by hypervolume on the test set, for all systems alike."]
    alone = {**with_entries(results, {}, curves={}), "choice": {"sweeps": {"headline": {"headline.lr-1": {}}}}}
    assert len(verdicts(alone)) == 1


def test_labels_are_used(results) -> None:
    results["systems"]["strong_sft"]["label"] = "All pairs"
    assert "All pairs keeps 4.1" in verdict(with_entries(results, {}))


def test_without_a_frontier_no_loss_is_compared(results) -> None:
    said = verdict(results)
    assert "Cold start, Strong SFT and Semantic GRPO were measured." in said and "key frontier" in said
    assert not re.search(r"less|more by|higher|lost|lower|noise", said)
    systems = results["systems"]
    assert "Only Base was measured" in verdict({"systems": {"base": systems["base"]}})


def test_older_results_load(tmp_path: Path) -> None:
    old = Path(semalign_pl.__file__).parents[1] / "benchmarks" / "quickstart" / "results.json"
    results = load_results(old)
    results.pop("frontier", None)
    assert "end points of unequal quality" in verdict(results)
    assert with_sentences(results) == results


@pytest.mark.parametrize(
    "damage", [{"a": 3, "difference": "x"}, {"ci": [1]}, {"reach": None, **APART}, {"seeds": None, "range": 4}]
)
def test_a_malformed_frontier_is_one_line(results, damage) -> None:
    broken = with_entries(results, damage)
    if "seeds" in damage:
        del broken["frontier"]["verdicts"][0]["outcome"]
    with pytest.raises(ValueError, match='"frontier" is not of the form') as error:
        verdict(broken)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match='"frontier" is not of the form'):
        verdict({**results, "frontier": 3})


def test_from_items_to_sentences(results, tmp_path: Path) -> None:
    cheap = {"end": Planted(64, 92, 0.1), "scale-0.5": Planted(32, 96, 0.02)}
    dear = {"end": Planted(64, 20, 0.3), "scale-0.5": Planted(32, 60, 0.1)}
    folder = write_frontiers(tmp_path, {"strong_sft": cheap, "semantic_grpo": dear}, seeds=3, spread=1.0)
    variants = {"strong_sft": ["strong_sft"], "semantic_grpo": ["semantic_grpo"]}
    results["frontier"] = compare_study(folder, variants, {"semantic_grpo": "cold_start", "strong_sft": "cold_start"})
    written = with_sentences(results)
    (folder / "results.json").write_text(json.dumps(written), encoding="utf-8")
    loaded = load_results(folder / "results.json")
    sentences = [entry["sentence"] for entry in loaded["frontier"]["verdicts"]]
    assert sentences == verdicts(copy.deepcopy(loaded))
    assert all(re.search("Strong SFT (keeps|is)", sentence) for sentence in sentences)


def test_no_other_file_claims_who_lost_less() -> None:
    claims = re.compile(r"\b(lost|loses?|has the) (less|least|lower|higher|highest)\b|\bkeeps [^w]*more")
    package = Path(semalign_pl.__file__).parent
    advice = package / "project" / "advice.py"  # of published results, which tests/project/test_advice.py reads
    files = [file for kind in ("py", "jinja") for file in package.rglob(f"*.{kind}") if file != advice]
    claiming = [str(file.relative_to(package)) for file in files if claims.search(file.read_text(encoding="utf-8"))]
    assert claiming == ["report/verdict.py"]
