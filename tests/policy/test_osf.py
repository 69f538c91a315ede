"""OSF: PEFT's subspace and projection of gradients, as plain LoRA that PEFT reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import IDS, logits, pefts, roles
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.tiny import CPU, gradient, relative
from peft import OSFConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from semalign_pl.modules.parameter_groups import parameter_groups
from semalign_pl.policy.adapter import adapter_state, export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

RANK, ALPHA, SMALLER = 6, 9, 32
LAYERS = ["q_proj", "gate_proj", "down_proj"]
"""A square weight, one with more outputs, and one with more inputs; the smaller side is 32."""
OSF = LoraSettings(RANK, ALPHA, 0.0, LAYERS, "osf")


def fresh(base: str, lora: LoraSettings = OSF) -> Policy:
    return load_policy(base, "fp32", lora, None, CPU)


def loss(model: Any) -> Tensor:
    out = model(input_ids=IDS, use_cache=False).logits.float()
    return (out * torch.arange(out.numel()).view(out.shape).sin()).mean()


def train(policy: Policy, optimizer: type[torch.optim.Optimizer], lr: float) -> None:
    """Four steps on a loss that every weight takes part in."""
    made = optimizer(parameter_groups(policy.named_parameters(), None, policy.half_frozen), lr=lr)
    for _ in range(4):
        loss(policy.model).backward()
        made.step()
        made.zero_grad()


def updates(policy: Policy, base: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Weight of the base and update of each adapted layer."""
    weights = AutoModelForCausalLM.from_pretrained(base).state_dict()
    state = {name: weight.double() for name, weight in adapter_state(policy).items()}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, down in state.items():
        if ".lora_A." in name:
            up = state[name.replace(".lora_A.", ".lora_B.")]
            path = name.split(".lora_A.")[0].removeprefix("base_model.model.")
            found[path] = weights[f"{path}.weight"].double(), ALPHA / RANK * up @ down
    return found


def kept_share(weight: Tensor, update: Tensor) -> float:
    """Share of an update between the kept directions, the singular vectors of all but the smallest values."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    kept = len(values) - RANK
    return ((left[:, :kept].t() @ update @ right[:kept].t()).norm() / update.norm()).item()


def test_the_subspace_and_the_gradients_are_pefts(bases) -> None:
    base = bases["tied"]
    policy = fresh(base)
    start = roles(policy)
    assert relative(start["policy"], start["base"]) <= 1e-6 and torch.equal(start["reference"], start["base"])
    config = OSFConfig(target_modules=LAYERS, effective_rank=SMALLER - RANK)
    theirs: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    loss(theirs).backward()
    loss(policy.model).backward()
    layers = {path: one for path, one in theirs.get_base_model().named_modules() if hasattr(one, "osf_svd_params")}
    assert len(layers) == 2 * len(LAYERS)
    for path, layer in layers.items():
        own, factors = policy.causal_lm.get_submodule(path), layer.osf_svd_params["default"]
        u, s, v = (factors[name] for name in ("U_low", "S_low", "V_low"))
        down, up = own.lora_A["default"].weight, own.lora_B["default"].weight
        product = ALPHA / RANK * up[:, :RANK] @ down[:RANK]
        assert relative(product.detach(), ((u * s) @ v).detach()) <= 1e-5, path
        # B = U sqrt(S / scale) and A = sqrt(S / scale) V, so the gradients by U and V are theirs times that root.
        root = (s.detach() / (ALPHA / RANK)).sqrt()
        assert relative(up.grad[:, :RANK] * root, u.grad) <= 1e-4, path
        assert relative(root.unsqueeze(1) * down.grad[:RANK], v.grad) <= 1e-4, path
        assert not up.grad[:, RANK:].any() and not down.grad[RANK:].any()


def test_the_kept_directions_stay(bases) -> None:
    """Exactly, with plain gradient steps; Adam scales each weight's step, so that a part leaks, as in the paper."""
    base = bases["tied"]
    for optimizer, lr, most in ((torch.optim.SGD, 20.0, 1e-4), (torch.optim.AdamW, 1e-3, 0.2)):
        shares = {}
        for lora in (OSF, replace(OSF, variant="lora")):
            policy = fresh(base, lora)
            train(policy, optimizer, lr)
            assert relative(roles(policy)["policy"], roles(policy)["base"]) > 1e-4
            shares[lora.variant] = [kept_share(*one) for one in updates(policy, base).values()]
        assert max(shares["osf"]) < most < min(shares["lora"])


def test_gradients_are_projected_in_float32_under_autocast(bases) -> None:
    policy = fresh(bases["tied"])
    with torch.autocast("cpu", torch.bfloat16):
        loss(policy.model).backward()
    for layer in (layer for layer in policy.modules() if hasattr(layer, "lora_B")):
        kept = torch.linalg.svd(layer.base_layer.weight, full_matrices=False).U[:, :-RANK]
        slope = layer.lora_B["default"].weight.grad[:, :RANK]
        assert slope.dtype == torch.float32 and (kept.t() @ slope).norm() < 1e-4 * slope.norm()


def test_shared_prompts_exported_and_continued(bases, tmp_path) -> None:
    base = bases["tied"]
    policy = fresh(base)
    train(policy, torch.optim.AdamW, 0.02)
    expected, slope = oracle(policy, ROWS), gradient(policy)
    policy.zero_grad()
    for row, (logps, _) in score(policy, ROWS, BUDGETS[0]).items():
        assert relative(logps.detach(), expected[row].detach()) < 1e-5
    assert relative(gradient(policy), slope) < 1e-5
    export_adapter(policy, tmp_path / "adapter")
    found, folder = roles(policy), str(tmp_path / "adapter")
    assert relative(logits(pefts(base, folder)), found["policy"]) <= 1e-6
    following = load_policy(base, "fp32", None, folder, CPU)
    assert relative(roles(following)["policy"], found["policy"]) <= 1e-6 and not following.half_frozen
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: osf is the start of a new adapter"):
        load_policy(base, "fp32", OSF, folder, CPU)


def test_a_transposed_weight(bases) -> None:
    """GPT-2's layers keep their weights as (inputs, outputs)."""
    base = bases["gpt2"]
    policy = fresh(base, replace(OSF, target_modules=["c_attn"]))
    start = roles(policy)
    assert relative(start["policy"], start["base"]) <= 1e-6
    train(policy, torch.optim.SGD, 20.0)
    found = updates(policy, base).values()
    assert all(kept_share(weight.t(), update) < 1e-4 < update.norm() for weight, update in found)


def test_mistakes(bases) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.r: 32 are all 32 singular values of .*lower `r`"):
        fresh(bases["tied"], replace(OSF, r=32))
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: osf .*quantised.*weights: bf16"):
        load_policy(bases["tied"], "nf4", OSF, None, CPU)
    with pytest.raises(ValueError, match="osf adapts linear layers only; leave .*embed_tokens out"):
        fresh(bases["tied"], replace(OSF, target_modules=["q_proj", "embed_tokens"]))
