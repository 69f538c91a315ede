"""Memory predicted without weights, against the resident memory of a real run."""

import json
from dataclasses import replace
from multiprocessing import Pipe

import pytest
import torch
from helpers.plan_measure import measure
from helpers.small_runs import forked
from helpers.tiny import CPU

from semalign_pl.engine import sampler
from semalign_pl.plan.predict import largest_settings, predict
from semalign_pl.plan.settings import Settings
from semalign_pl.plan.tracker import PeakBytes
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings

MIB = 2**20


@pytest.fixture(scope="session")
def wide(tokenizer, tmp_path_factory) -> str:
    """Folder of a random Qwen3 of 20 M parameters, large enough to tell memory from noise."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=16384, hidden_size=384, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=3,
        head_dim=64, intermediate_size=1152, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("wide")
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def worded(tokenizer, tmp_path_factory) -> str:
    """Folder of a small random Qwen3 with 49,152 tokens and nothing else of size, and a corpus with new ones."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    known = raw["model"]["vocab"]
    known |= {f"@{index}@": index for index in range(len(known), 49152)}
    many = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(raw)), eos_token="<|im_end|>")
    many.chat_template = tokenizer.chat_template
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=49152, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=64, intermediate_size=256, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("worded")
    Qwen3ForCausalLM(config).save_pretrained(folder)
    many.save_pretrained(folder)
    letters = [chr(code) for code in range(0x0F40, 0x0F68) if code not in (0x0F43, 0x0F48, 0x0F4D, 0x0F52, 0x0F57)]
    syllables = "".join(f"{a}{b}{c}་" for a in letters for b in letters[:6] for c in letters[:4])
    (folder / "corpus.jsonl").write_text(json.dumps({"bo": syllables}), encoding="utf-8")
    return str(folder)


@pytest.fixture
def settings(wide) -> Settings:
    return Settings(
        wide,
        "grpo",
        "fp32",
        LoraSettings(16, 32, 0.05),
        False,
        192,
        48,
        16,
        8,
        16,
        768,
        sampling=(("temperature", 0.8),),
    )


def test_live_and_peak_by_hand() -> None:
    with PeakBytes() as memory:
        a = torch.empty(1000, device="meta")
        b = a.view(10, 100) + 1
        c = b * 2
        assert (memory.live, memory.peak) == (12000, 12000)
        del b, c
        assert (memory.live, memory.peak) == (4000, 12000)


@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
def test_weights_and_adapters_are_those_of_the_loaded_model(settings, weights: str) -> None:
    plan = predict(replace(settings, weights=weights))
    policy = load_policy(settings.base, weights, settings.lora, None, CPU)
    adapters = sum(p.nbytes for name, p in policy.named_parameters() if "lora_" in name)
    assert plan.adapters == adapters and plan.optimiser == 2 * adapters and plan.gradients == adapters
    held = sum(p.nbytes for name, p in policy.named_parameters() if "lora_" not in name)
    if weights == "nf4":
        states = [p.quant_state for p in policy.parameters() if getattr(p, "quant_state", None) is not None]
        assert len(states) == 42
        held += sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    assert plan.weights == pytest.approx(held, rel=0.01)


def test_a_second_adapter_and_a_bigger_budget_cost_what_they_must(settings) -> None:
    plan = predict(settings)
    assert predict(replace(settings, with_reference=True)).adapters == 2 * plan.adapters
    larger = predict(replace(settings, micro_batch_tokens=2 * 576))
    assert 1.7 < (larger.activations + larger.head) / (plan.activations + plan.head) < 2.3
    assert predict(replace(settings, recompute=True)).activations < 0.5 * plan.activations
    assert predict(replace(settings, rows=64)).activations == plan.activations
    assert predict(replace(settings, rows=64, rollout_rows=32)).cache == 2 * plan.cache
    keys_and_values = 2 * 6 * 3 * 64 * 4
    assert plan.cache == keys_and_values * (2 * 192 + 16 * 64)  # the cache's size doubles: 32, then 64


def test_a_larger_group_costs_no_more_activations_at_the_same_budget(settings) -> None:
    tight = replace(settings, num_generations=24, rows=24)  # two full chunks
    larger = replace(settings, num_generations=64, rows=64)
    assert predict(larger).activations == pytest.approx(predict(tight).activations, rel=0.01)


@pytest.mark.slow
def test_a_gpu_sorts_all_rows_to_sample(settings, monkeypatch) -> None:
    monkeypatch.setattr(sampler, "SORTED_ELEMENTS", 16384)  # a CPU sorts one row at a time
    asked, sorted_rows = replace(settings, sampling=(("temperature", 0.8), ("top_p", 0.9))), set()
    whole = sampler.TruncatedSampler.sort

    def count(self: sampler.TruncatedSampler, logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        sorted_rows.add(len(logits))
        return whole(self, logits, uniforms)

    monkeypatch.setattr(sampler.TruncatedSampler, "sort", count)
    for cuda, rows in ((False, 1), (True, settings.rollout_rows)):
        sorted_rows.clear()
        predict(replace(asked, cuda=cuda))
        assert sorted_rows == {rows}


SFT = {"stage": "sft", "num_generations": 1, "rollout_rows": 1}
VOCABULARY = {"base": "worded", "new_tokens": 600, "prompt_tokens": 64, "completion_tokens": 32, "rows": 8}


@pytest.mark.parametrize(
    "change",
    [{}, {"recompute": True}, {"weights": "nf4"}, SFT, SFT | VOCABULARY],
    ids=["grpo", "recompute", "nf4", "sft", "vocabulary"],
)
def test_within_15_percent_of_measured_peak(settings, change: dict, base, request) -> None:
    given = {**change, "base": request.getfixturevalue(change.get("base", "wide"))}
    asked = replace(settings, **given)
    warm = replace(asked, base=base, prompt_tokens=8, completion_tokens=4, new_tokens=0)
    here, there = Pipe(duplex=False)
    process = forked(measure, (warm, asked, there))
    there.close()  # so that the end of the process ends the wait
    measured = here.recv()
    process.join()
    assert predict(asked).peak / MIB == pytest.approx(measured, rel=0.15)


def test_proposals_fit_and_are_the_largest(settings) -> None:
    plenty, tight = 4 * 2**30, 450 * MIB
    roomy, _ = largest_settings(settings, plenty)
    proposed, plan = largest_settings(settings, tight)
    assert plan.peak <= tight and predict(proposed).peak == plan.peak
    assert roomy.micro_batch_tokens > proposed.micro_batch_tokens
    assert predict(replace(proposed, micro_batch_tokens=2 * proposed.micro_batch_tokens)).peak > tight
    assert largest_settings(settings, 50 * MIB) is None
