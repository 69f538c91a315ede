"""Variants of LoRA chosen by ``lora: {variant: …}``: exact on the fast path, read by PEFT, continued and scaled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.adapter_kinds import logits, pefts, roles
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.small_runs import Runs
from helpers.tiny import CPU, gradient, relative, stir
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from semalign_pl.plan.predict import predict
from semalign_pl.plan.recipe import settings_of
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.new_adapter import lora_config
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, Variant

FLAGS: dict[Variant, dict[str, Any]] = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}


def fresh(base: str, variant: Variant) -> Policy:
    torch.manual_seed(0)
    return load_policy(base, "fp32", LoraSettings(4, 8, 0.0, variant=variant), None, CPU)


@pytest.mark.parametrize("variant", FLAGS)
def test_a_new_adapter_is_pefts_own(variant: Variant, bases) -> None:
    """Same settings, first weights and logits after the same change as PEFT's; with the default, no setting is new."""
    policy = fresh(bases["tied"], variant)
    model: Any = AutoModelForCausalLM.from_pretrained(bases["tied"])
    given = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", **FLAGS[variant]
    )
    assert lora_config(LoraSettings(4, 8, 0.0, variant=variant), model).to_dict() == given.to_dict()
    torch.manual_seed(0)
    peft_model: Any = get_peft_model(model, given)
    found = roles(policy)
    assert torch.equal(found["policy"], logits(peft_model)) and torch.equal(found["base"], found["policy"])

    ours = {name: weight for name, weight in stir(policy, 1).model.named_parameters() if ".default." in name}
    with torch.no_grad():
        for name, weight in peft_model.named_parameters():
            if ".default." in name:
                weight.copy_(ours[name])
    assert relative(roles(policy)["policy"], found["policy"]) > 0.01
    assert relative(roles(policy)["policy"], logits(peft_model)) <= 1e-6


@pytest.mark.parametrize("variant", FLAGS)
def test_shared_prompts_give_the_unshared_forward(variant: Variant, bases) -> None:
    policy = stir(fresh(bases["tied"], variant), 1)
    assert policy.prefix_sharing_unsupported_reason is None
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    for budget in BUDGETS:
        policy.zero_grad()
        for row, (logps, _) in score(policy, ROWS, budget).items():
            assert relative(logps.detach(), expected[row].detach()) < 1e-5
        assert relative(gradient(policy), slope) < 1e-5


@pytest.mark.parametrize("variant", FLAGS)
def test_exported_continued_and_scaled(variant: Variant, bases, tmp_path) -> None:
    base = bases["tied"]
    policy = stir(fresh(base, variant), 1)
    folder = str(tmp_path / "adapter")
    export_adapter(policy, tmp_path / "adapter")
    whole = roles(policy)["policy"]
    assert relative(logits(pefts(base, folder)), whole) <= 1e-6
    settings = LoraSettings(4, 8, 0.0, variant=variant)
    following = roles(load_policy(base, "fp32", settings, folder, CPU))
    assert relative(following["policy"], whole) <= 1e-6 and relative(following["reference"], whole) <= 1e-6
    if variant == "dora":
        with pytest.raises(ValueError, match=r"adapter_scale: 0\.5 of .*use_dora.*use 0 or 1"):
            load_policy(base, "fp32", None, folder, CPU, None, 0.5)
        return
    half: Any = pefts(base, folder)
    for layer in half.modules():
        if isinstance(layer, LoraLayer):
            layer.scaling["default"] *= 0.5
    assert relative(roles(load_policy(base, "fp32", None, folder, CPU, None, 0.5))["policy"], logits(half)) <= 1e-5


@pytest.mark.parametrize("variant", FLAGS)
def test_another_variant_than_that_of_the_adapter_is_refused(variant: Variant, bases, tmp_path) -> None:
    export_adapter(fresh(bases["tied"], variant), tmp_path / "adapter")
    for other in FLAGS.keys() - {variant}:
        settings = LoraSettings(4, 8, 0.0, variant=other)
        message = rf"^model\.init_args\.lora\.variant: {other} contradicts .*, which is {variant}; leave `lora` out"
        with pytest.raises(ValueError, match=message):
            load_policy(bases["tied"], "fp32", settings, str(tmp_path / "adapter"), CPU)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_a_run_of_the_command_line(variant: str, runs: Runs) -> None:
    runs("fit", "sft", "run", "trainer.max_steps=1", f"model.init_args.lora.variant={variant}")
    onwards = ["model.init_args.lora=null", f"model.init_args.adapter={runs.folder / 'run/adapter'}"]
    planned = settings_of(runs.args("fit", "grpo", "on", *onwards)[1:])
    assert planned.lora.variant == variant
    policy = runs("fit", "grpo", "on", "trainer.max_steps=1", *onwards).model.policy
    config = policy.model.peft_config["default"]
    assert {name: getattr(config, name) for name in ("use_rslora", "use_dora")} == {
        name: name == f"use_{variant}" for name in ("use_rslora", "use_dora")
    }


def test_the_plan_of_dora_and_corda(base: str, tmp_path) -> None:
    file = tmp_path / "general.txt"
    file.write_text("今天天气很好。\n", encoding="utf-8")
    kinds = [LoraSettings(4, 8, 0.0), LoraSettings(4, 8, 0.0, variant="dora")]
    kinds.append(LoraSettings(4, 8, 0.0, variant="corda", file=str(file)))
    plain, *others = (predict(Settings(base, "sft", "fp32", lora, False, 20, 10, 4, 1, 1, 120)) for lora in kinds)
    for lora, plan in zip(kinds[1:], others, strict=True):
        policy = load_policy(base, "fp32", lora, None, CPU)
        assert plan.adapters == sum(p.nbytes for p in policy.parameters() if p.requires_grad) > plain.adapters
        assert plan.peak > plain.peak
