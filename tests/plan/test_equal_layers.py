"""Peaks extrapolated from few layers, against the simulation of all layers, equal to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.families import FAMILIES, SHAPE
from transformers import AutoConfig

from semalign_pl.plan import equal_layers
from semalign_pl.plan.meta_policy import meta_policy
from semalign_pl.plan.predict import predict
from semalign_pl.plan.settings import Settings
from semalign_pl.plan.simulate import simulate_rollout, simulate_update
from semalign_pl.plan.tracker import PeakBytes
from semalign_pl.policy.settings import LoraSettings

LAYERS = 7
RUNS = {
    "grpo": {"stage": "grpo", "rows": 16, "num_generations": 8, "rollout_rows": 16, "mixed": True, "weights": "bf16"},
    "recompute": {"stage": "sft", "rows": 6, "num_generations": 1, "recompute": True, "weights": "nf4"},
    "sft": {"stage": "sft", "rows": 6, "num_generations": 1, "weights": "fp32"},
}


def make(folder: Path, name: str, run: str, **options: object) -> Settings:
    """Settings of a run on a family with seven layers, of which only the config exists."""
    shape = {**SHAPE, **FAMILIES[name].options, "num_hidden_layers": LAYERS, **options}
    AutoConfig.for_model(FAMILIES[name].model_type, **shape).save_pretrained(folder)
    lora = LoraSettings(4, 8, 0.0)
    sizes = {"prompt_tokens": 100, "completion_tokens": 80, "micro_batch_tokens": 700}
    return Settings(str(folder), lora=lora, **sizes, **RUNS[run])  # type: ignore[arg-type]


@pytest.fixture
def counts(monkeypatch) -> list[int]:
    """Number of layers of each simulation that was extrapolated from."""
    seen: list[int] = []
    original = equal_layers._run_few
    monkeypatch.setattr(
        equal_layers, "_run_few", lambda decoder, count, run: seen.append(count) or original(decoder, count, run)
    )
    return seen


@pytest.mark.parametrize(
    ("name", "run", "options"),
    [
        ("Qwen3", "grpo", {}),
        ("Qwen3", "recompute", {}),
        ("Qwen3 MoE (30B-A3B)", "sft", {}),
        ("BLOOM", "grpo", {"n_layer": LAYERS}),
    ],
)
def test_equal_to_the_byte(name, run, options, counts, tmp_path, monkeypatch) -> None:
    settings = make(tmp_path, name, run, **options)
    results = []
    monkeypatch.setattr(equal_layers, "_extrapolate", _note(results, equal_layers._extrapolate))
    quick = predict(settings)
    assert counts and set(counts) == {3, 4} and len(results) == len(counts) // 2
    # transformers copies BLOOM's cache for every completion after the prefill, layer by layer outside the layers: there
    # the two runs differ in operations, and all layers are simulated.
    assert results.count(None) == (name == "BLOOM")
    monkeypatch.setattr(equal_layers, "FEW", LAYERS)
    simulate_rollout.cache_clear()
    simulate_update.cache_clear()
    counts.clear()
    assert predict(settings) == quick and not counts


def _note(results: list, function):
    return lambda *args: results.append(function(*args)) or results[-1]


def test_the_line_of_every_operation_counts_not_that_of_the_peaks() -> None:
    """Bytes by hand: with few layers the peak is outside them (90), with many in the last one (10 per layer)."""

    def run(layers: int) -> tuple[PeakBytes, int]:
        memory = PeakBytes()
        memory.allocations[None] = [(90, 90)]
        for index in range(layers):
            memory.allocations[index] = [(10, 10 * (index + 1))]
        return memory, 2 * layers

    assert equal_layers._extrapolate(run(3), run(4), 33) == (360, 72)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Gemma 3 (text)", {"layer_types": ["sliding_attention"] * 6 + ["full_attention"]}),
        ("SmolLM3", {"no_rope_layers": [1, 1, 1, 1, 1, 1, 0]}),
    ],
)
def test_unequal_layers_are_all_simulated(name, options, counts, tmp_path) -> None:
    settings = make(tmp_path, name, "sft", **options)
    assert equal_layers.equal_layers(meta_policy(settings.of_policy).decoder) == 0
    assert predict(settings).activations > 0 and not counts


def test_an_adapter_of_some_layers_makes_them_unequal(tmp_path) -> None:
    plain = make(tmp_path, "Qwen3", "sft")
    assert equal_layers.equal_layers(meta_policy(plain.of_policy).decoder) == LAYERS
    some = Settings(plain.base, "sft", "fp32", LoraSettings(4, 8, 0.0, r".*layers\.[56]\..*q_proj"))
    assert equal_layers.equal_layers(meta_policy(some.of_policy).decoder) == 0
