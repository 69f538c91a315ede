"""Dense copies of the weights for rollouts, against the weights that the model holds."""

import pytest
import torch
from helpers.tiny import CPU, stir
from torch import nn

from semalign_pl.engine.generate import generate
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.rollout_weights import check_rollout_weights, dense_weights
from semalign_pl.policy.settings import LoraSettings

HOT = {"max_new_tokens": 10, "num_generations": 3, "temperature": 0.8, "top_p": 0.9, "seed": 7}


@pytest.mark.parametrize("weights", ["nf4", "fp32"])
def test_same_logits_and_tokens_and_the_layers_are_restored(base, prompts, weights) -> None:
    policy = load_policy(base, weights, LoraSettings(4, 8, 0.5), None, CPU)
    stir(policy, seed=1)
    forwards = {name: vars(module).get("forward") for name, module in policy.named_modules()}
    ids = torch.tensor([prompts[0]])
    with policy.inference():
        plain, stored = policy.model(ids).logits, generate(policy, prompts, **HOT)
        with policy.model.disable_adapter():
            bare = policy.model(ids).logits
        with dense_weights(policy) as copies:
            dense = policy.model(ids).logits
            assert torch.equal(generate(policy, prompts, **HOT).completion_ids, stored.completion_ids)
    linears = [m for m in policy.model.modules() if hasattr(m, "lora_A")]
    assert copies == len(linears) > 0
    torch.testing.assert_close(dense, plain, atol=2e-5, rtol=1e-4)
    assert (plain - bare).abs().max() > 1e-2  # the adapter counts
    assert {name: vars(module).get("forward") for name, module in policy.named_modules()} == forwards


def test_layers_in_nf4_without_an_adapter_are_dequantised_once_too(base, prompts) -> None:
    """Their product is that of bitsandbytes' own dequantised weight, to the last digit."""
    policy = load_policy(base, "nf4", LoraSettings(4, 8, 0.0, target_modules=["q_proj"]), None, CPU)
    layer = next(m for n, m in policy.model.named_modules() if n.endswith("mlp.down_proj"))
    x = torch.randn(3, layer.in_features)
    with policy.inference():
        expected = layer(x)
        with dense_weights(policy) as copies, pytest.raises(RuntimeError, match="inside"):
            assert torch.equal(layer(x), expected) and type(layer).__name__ == "Linear4bit"
            quantised = [m for m in policy.model.modules() if isinstance(m, nn.Linear) and hasattr(m, "quant_state")]
            assert copies == len(quantised)
            raise RuntimeError("inside")
        assert "forward" not in vars(layer)


def test_a_setting_that_would_copy_nothing_is_refused(base) -> None:
    policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="rollout_weights: dense would copy"):
        with dense_weights(policy):
            pass


@pytest.mark.parametrize(("setting", "weights"), [("dense", "bf16"), ("merged", "nf4")])
def test_other_settings_are_refused(setting: str, weights: str) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.rollout_weights: .*give") as caught:
        check_rollout_weights(setting, weights)
    assert "\n" not in str(caught.value)
