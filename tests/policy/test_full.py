"""Full fine-tuning by ``lora: {variant: full}``: transformers' own training, kept as an adapter, and written whole."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import BASES, IDS, logits, pefts, roles
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.small_runs import Runs
from helpers.tiny import CPU, gradient, relative, stir
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.__main__ import main
from semalign_pl.plan.predict import predict
from semalign_pl.plan.recipe import settings_of
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.merged import export_model
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings

FULL = LoraSettings(variant="full")


def fresh(base: str, weights: Any = "fp32", vocabulary: VocabularySettings | None = None) -> Policy:
    return load_policy(base, weights, FULL, None, CPU, vocabulary)


def train(model: Any) -> None:
    """Steps of AdamW on a loss that every weight takes part in."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        out = model(input_ids=IDS, use_cache=False).logits.float()
        (out * torch.arange(out.numel()).view(out.shape).sin()).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family", [family for family in BASES if family != "gpt2"])
def test_training_is_transformers(family: str, bases, tmp_path) -> None:
    """Exactly the base at first; then as a plain model that is trained whole; PEFT, the next stage and scale agree."""
    base = bases[family]
    policy = fresh(base)
    plain: Any = AutoModelForCausalLM.from_pretrained(base)
    start = roles(policy)
    assert torch.equal(start["policy"], start["base"]) and torch.equal(start["reference"], start["base"])
    train(plain)
    train(policy.model)
    moved = roles(policy)
    assert relative(moved["policy"], start["base"]) > 0.01
    assert relative(moved["policy"], logits(plain)) <= 1e-5
    assert torch.equal(moved["base"], start["base"]) and torch.equal(moved["reference"], start["base"])

    folder = str(tmp_path / "adapter")
    export_adapter(policy, tmp_path / "adapter")
    assert relative(logits(pefts(base, folder)), moved["policy"]) <= 1e-6
    following = roles(load_policy(base, "fp32", FULL, folder, CPU))
    assert relative(following["policy"], moved["policy"]) == relative(following["reference"], moved["policy"]) == 0
    half: Any = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for weight, end in zip(half.parameters(), plain.parameters(), strict=True):
            weight.copy_((weight + end) / 2)
    found = roles(load_policy(base, "fp32", None, folder, CPU, None, 0.5))
    assert relative(found["policy"], logits(half)) <= 1e-5 and torch.equal(found["base"], start["base"])

    export_model(policy, tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert relative(logits(whole), moved["policy"]) <= 1e-6
    onwards = roles(load_policy(str(tmp_path / "model"), "fp32", LoraSettings(4, 8, 0.0), None, CPU))
    assert relative(onwards["base"], moved["policy"]) <= 1e-6


@pytest.mark.parametrize("family", ["tied", "untied"])
def test_shared_prompts_give_the_unshared_forward(family: str, bases) -> None:
    policy = stir(fresh(bases[family]), 1, 0.02)
    assert policy.prefix_sharing_unsupported_reason is None
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    for budget in BUDGETS:
        policy.zero_grad()
        for row, (logps, _) in score(policy, ROWS, budget).items():
            assert relative(logps.detach(), expected[row].detach()) < 1e-5
        assert relative(gradient(policy), slope) < 1e-5


def test_weights_are_trained_in_float32(bases, tmp_path) -> None:
    policy = fresh(bases["tied"], "bf16")
    assert {weight.dtype for weight in policy.parameters() if weight.requires_grad} == {torch.float32}
    assert torch.equal(*(roles(policy)[role] for role in ("policy", "base")))
    stir(policy, 1, 0.01)
    moved = roles(policy)["policy"]
    export_model(policy, tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert whole.dtype == torch.bfloat16 and relative(logits(whole), moved) < 0.03


def test_new_tokens_are_rows_of_the_whole_embedding(base, tmp_path) -> None:
    file = tmp_path / "tibetan.jsonl"
    file.write_text(json.dumps({"bo": "ཁྲིམས་ལུགས་ནི་ཁྲིམས་ལུགས་ཡིན། " * 3}, ensure_ascii=False), encoding="utf-8")
    policy = stir(fresh(base, vocabulary=VocabularySettings("bo", str(file), "bo", tokens=3, min_count=2)), 1, 0.02)
    moved = roles(policy)["policy"]
    export_adapter(policy, tmp_path / "adapter")
    following = load_policy(base, "fp32", None, str(tmp_path / "adapter"), CPU)
    assert len(following.encoder.tokenizer.encode("ཁྲིམས་")) == 1
    assert relative(roles(following)["policy"], moved) <= 1e-6
    export_model(policy, tmp_path / "model")
    assert relative(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model")), moved) <= 1e-6
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model").encode("ཁྲིམས་")) == 1


@pytest.mark.parametrize(("size", "is_kept"), [(1e-5, False), (0.03, True)])
def test_an_update_that_the_precision_cannot_hold_is_told(
    size: float, is_kept: bool, bases, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    base = AutoModelForCausalLM.from_pretrained(bases["untied"], dtype=torch.bfloat16)
    base.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9, repetition_penalty=1.1)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(bases["untied"]).save_pretrained(tmp_path / "base")
    policy = load_policy(str(tmp_path / "base"), "bf16", LoraSettings(4, 8, 0.0), None, CPU)
    for name, weight in policy.named_parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1 if "lora_A" in name else size)
    export_model(policy, tmp_path / "model")
    told = re.search(r"in bfloat16 hold (\d+) % of the adapter's update, .* --dtype fp32", caplog.text)
    assert (told is None) == is_kept and (told is None or int(told[1]) < 50)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "model").generation_config
    assert not written.do_sample and written.repetition_penalty in (None, 1.0)
    assert written.eos_token_id == list(policy.encoder.eos_ids)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_any_adapter_is_merged(variant: Any, bases, tmp_path) -> None:
    policy = stir(load_policy(bases["untied"], "fp32", LoraSettings(4, 8, 0.0, variant=variant), None, CPU), 1)
    moved = roles(policy)["policy"]
    export_model(policy, tmp_path / "model")
    assert relative(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model")), moved) <= 1e-5


def test_mistakes(bases, tmp_path) -> None:
    unused: list[dict[str, Any]] = [{"r": 8}, {"alpha": 8}, {"dropout": 0.0}, {"target_modules": ["q_proj"]}]
    for given in unused:
        with pytest.raises(ValueError, match=rf"^model\.init_args\.lora\.{next(iter(given))}: .* of no use to variant"):
            LoraSettings(variant="full", **given)
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: full .*quantised; use weights: bf16"):
        fresh(bases["tied"], "nf4")
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: full: PEFT cannot train the head"):
        fresh(bases["gpt2"])
    export_adapter(fresh(bases["tied"]), tmp_path / "full")
    export_adapter(load_policy(bases["tied"], "fp32", LoraSettings(4, 8, 0.0), None, CPU), tmp_path / "lora")
    for folder, lora, kind in (("full", LoraSettings(), "full"), ("lora", FULL, "LoRA")):
        with pytest.raises(ValueError, match=rf"^model\.init_args\.lora\.variant: \w+ contradicts .*, which is {kind}"):
            load_policy(bases["tied"], "fp32", lora, str(tmp_path / folder), CPU)
    with pytest.raises(ValueError, match="cannot be blended into one LoRA adapter"):
        load_policy(bases["tied"], "fp32", None, str(tmp_path / "full"), CPU, None, 0.5, str(tmp_path / "lora"))
    quantised = load_policy(bases["tied"], "nf4", None, str(tmp_path / "lora"), CPU)
    with pytest.raises(ValueError, match=r"^model.init_args.base: the base's weights are quantised.*weights: bf16"):
        export_model(quantised, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_runs_of_the_command_line(runs: Runs, capsys) -> None:
    """Resumed as straight, handed to GRPO, planned, and written as a model that is another run's base."""
    full = ["model.init_args.lora=null", "model.init_args.lora.variant=full"]
    slow = "model.init_args.optimizer.init_args.lr=1e-3"
    runs("fit", "sft", "straight", *full, slow, "trainer.max_steps=2", callbacks=[runs.checkpoints("straight", 1)])
    saved = runs.folder / "straight" / "step=1.ckpt"
    resumed = runs("fit", "sft", "resumed", *full, slow, "trainer.max_steps=2", f"ckpt_path={saved}").model.policy
    straight = runs.folder / "straight" / "adapter"
    assert relative(logits(pefts(runs.base, straight)), roles(resumed)["policy"]) == 0

    onwards = ["model.init_args.lora=null", f"model.init_args.adapter={straight}"]
    grpo = runs("fit", "grpo", "rl", "trainer.max_steps=1", slow, *onwards).model.policy
    assert relative(roles(grpo)["reference"], logits(pefts(runs.base, straight))) <= 1e-6
    planned = settings_of(runs.args("fit", "grpo", "rl", *onwards)[1:])
    assert planned.lora == FULL
    numbers = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(runs.base).parameters())
    for stage, given, policy in (("sft", full, resumed), ("grpo", onwards, grpo)):
        plan = predict(settings_of(runs.args("fit", stage, "plan", *given)[1:]))
        copies = sum(p.nbytes for name, p in policy.named_parameters() if ".modules_to_save." in name)
        assert (plan.weights, plan.adapters, plan.optimiser) == (4 * numbers, copies, 8 * numbers)

    args = runs.args("export", "sft", "whole", *onwards, "--whole", f"--out={runs.folder / 'whole'}")
    assert main(args) == 0 and "whole/model" in capsys.readouterr().out
    whole = AutoModelForCausalLM.from_pretrained(runs.folder / "whole" / "model")
    assert relative(logits(whole), logits(pefts(runs.base, straight))) <= 1e-6
    runs("fit", "sft", "next", "trainer.max_steps=1", f"model.init_args.base={runs.folder / 'whole' / 'model'}")
