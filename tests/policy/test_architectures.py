"""Shared equals unshared, in log-probs, gradients and tokens, for every architecture that the README names."""

import pytest
import torch
from test_score import BUDGETS, ROWS, oracle, score
from tiny import CPU, gradient, relative, stir

from semalign_pl.policy.load import LoraSettings, load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.sample import sample

SHAPE = {
    "vocab_size": 400,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "qwen3": {},
    "qwen2": {},
    "llama": {},
    "mistral": {"sliding_window": 6},  # shorter than prompts and completions: it acts in both, and across them
    "gemma3_text": {
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "query_pre_attn_scalar": 16,
    },
    "smollm3": {"no_rope_layers": [1, 0, 1, 0]},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 16},  # its attention is capped: falls back
    "granite": {"logits_scaling": 3.0},
}


@pytest.fixture(params=ARCHITECTURES)
def folder(request, tmp_path, tokenizer) -> tuple[str, str]:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, **SHAPE, **ARCHITECTURES[request.param])
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return request.param, str(tmp_path)


def load(folder: str, weights) -> Policy:
    return stir(load_policy(folder, weights, LoraSettings(4, 8, 0.0), None, CPU), seed=2, scale=0.05)


@pytest.mark.parametrize("weights", ["fp32", "nf4"])
def test_log_probs_and_gradients(folder, weights: str) -> None:
    name, path = folder
    policy = load(path, weights)
    assert (policy.cannot_share is None) == (name != "gemma2"), policy.cannot_share
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    assert slope.norm() > 1
    for budget in BUDGETS:
        for recompute in (False, True):
            policy.zero_grad()
            for row, (logps, _) in score(policy, ROWS, budget, recompute).items():
                assert relative(logps.detach(), expected[row].detach()) < 1e-5
            assert relative(gradient(policy), slope) < 1e-5


def test_greedy_tokens_are_transformers_own(folder) -> None:
    policy = load(folder[1], "fp32")
    policy.eos_ids = (-1,)
    prompts = list({tuple(prompt): prompt for prompt in ROWS.prompts}.values())
    found = sample(policy, prompts, max_new_tokens=20, num_generations=2).completion_ids
    policy.eval()
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        out = policy.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, eos_token_id=-1,
            pad_token_id=0,
        )  # fmt: skip
        assert out[0, len(prompt) :].tolist() == found[2 * row].tolist() == found[2 * row + 1].tolist()


def test_why_it_falls_back_is_logged_once(folder, caplog) -> None:
    name, path = folder
    load(path, "fp32")
    lines = [record.message for record in caplog.records if "do not share" in record.message]
    assert len(lines) == (name == "gemma2") and all("softcap" in line for line in lines)
