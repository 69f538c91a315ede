"""The sentence depends on the numbers, not on the paper."""

import math

import pytest

from semalign_pl.report import verdict
from semalign_pl.report.results import Metric
from semalign_pl.report.sentence import margin


def swap(results, one: str, other: str) -> None:
    systems = results["systems"]
    systems[one], systems[other] = systems[other], systems[one]


def test_says_who_learned_more_who_lost_less_and_what_is_noise(results):
    said = verdict(results)
    assert (
        "Strong SFT has the higher semantic similarity (0.828 against 0.716 for Semantic GRPO, by 0.112 ±0.014)" in said
    )
    assert "Semantic GRPO lost less by NLL change (+0.240 against +0.640 nats/token for Strong SFT" in said
    assert "difference in CMRC F1 is within noise (Semantic GRPO 65.8, Strong SFT 62.9; difference 2.9 ±4.2)" in said
    assert "with one seed, noise between training runs" in said
    assert said.count(".\n") == 0 and said.endswith(".")


def test_flips_when_the_numbers_flip(results):
    swap(results, "strong_sft", "semantic_grpo")
    said = verdict(results)
    assert "Semantic GRPO has the higher semantic similarity" in said
    assert "Strong SFT lost less by NLL change" in said


def test_noisy_seeds_make_a_difference_noise(results):
    for system, seeds in (("strong_sft", [0.7, 0.828, 0.95]), ("semantic_grpo", [0.6, 0.716, 0.83])):
        results["systems"][system]["metrics"]["semantic_similarity"]["seeds"] = seeds
    said = verdict(results)
    assert "The difference in semantic similarity is within noise" in said and "one seed" not in said


def test_without_spread_it_says_so(results):
    for body in results["systems"].values():
        for metric in body["metrics"].values():
            metric["ci"] = None
    assert "by 0.112, with no comparable spread to tell it from noise" in verdict(results)
    assert "±" not in verdict(results)


def test_where_nobody_lost_it_does_not_speak_of_loss(results):
    results["systems"]["strong_sft"]["metrics"]["nll_change_mean"] = {"value": -0.1, "ci": [-0.11, -0.09]}
    results["systems"]["semantic_grpo"]["metrics"]["nll_change_mean"] = {"value": -0.3, "ci": [-0.31, -0.29]}
    assert "Semantic GRPO gained more by NLL change, where none lost" in verdict(results)


def test_few_systems_and_few_metrics(results):
    systems = results["systems"]
    assert "Only Base was measured" in verdict({"systems": {"base": systems["base"]}})
    pair = {"systems": {name: systems[name] for name in ("base", "cold_start")}}
    assert "Cold start has the higher chrF (40.0 against 5.0 for Base" in verdict(pair)
    bare = {"systems": {name: {"metrics": {}} for name in ("strong_sft", "semantic_grpo")}}
    said = verdict(bare)
    assert said == "Quality was not measured for two systems; general ability lost was not measured for two systems."


def test_three_systems_name_the_first_two(results):
    third = {"semantic_similarity": {"value": 0.9, "ci": [0.89, 0.91]}}
    results["systems"]["bleu_grpo"] = {"metrics": third}
    assert "Bleu grpo has the highest semantic similarity (0.900 against 0.828 for Strong SFT" in verdict(results)


def test_a_chain_compares_all_that_was_trained(results):
    starts = {"cold_start": "base", "strong_sft": "cold_start", "semantic_grpo": "strong_sft"}
    for system, start in starts.items():
        results["systems"][system]["from"] = start
    assert "Cold start lost least by NLL change" in verdict(results)


def test_labels_are_said(results):
    results["systems"]["strong_sft"]["label"] = "All pairs"
    assert "All pairs has the higher semantic similarity" in verdict(results)


def test_margin_by_hand():
    a, b = Metric(2.0, seeds=(1.0, 2.0, 3.0)), Metric(5.0, seeds=(4.0, 5.0, 6.0))
    assert margin(a, b) == pytest.approx(2.776445 * math.sqrt(2 / 3))  # Welch: 4 degrees of freedom
    both = Metric(2.0, ci=(1.0, 3.0)), Metric(5.0, ci=(5.0, 5.0))
    assert margin(*both) == pytest.approx(1.0)
    assert margin(Metric(1.0), both[0]) is None
    same = Metric(1.0, seeds=(1.0, 1.0))
    assert margin(same, same) == 0.0
