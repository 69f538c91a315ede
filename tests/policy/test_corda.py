"""CorDA's knowledge-preserved mode: the same training as PEFT's own on the residual of the base, as plain LoRA."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import IDS, logits, pefts, roles
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.small_runs import Runs, weights
from helpers.tiny import CPU, gradient, relative
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.modules.parameter_groups import Groups, parameter_groups
from semalign_pl.policy.adapter import adapter_state, export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

TEXTS = [
    "老师在学校里读书，学生在家里写字。",
    "2024年，他们去了图书馆。",
    "The teacher\u2028reads.",  # a line of a file ends at a line feed only
    "今天天气很好，我们出去走走。",
]
RANK, QV = 4, ["q_proj", "down_proj"]


@pytest.fixture
def lora(tmp_path: Path) -> LoraSettings:
    file = tmp_path / "general.txt"
    file.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    return LoraSettings(RANK, 8, 0.0, QV, "corda", str(file))


def pefts_own(base: str) -> Any:
    """PEFT's CorDA on the same texts; its base is the residual."""
    model: Any = AutoModelForCausalLM.from_pretrained(base).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=8, target_modules=QV, init_lora_weights="corda",
        corda_config=CordaConfig(corda_method="kpm"),
    )  # fmt: skip

    def run() -> None:
        for text in TEXTS:
            model(torch.tensor([tokenizer(text)["input_ids"]]))

    preprocess_corda(model, config, run)
    return get_peft_model(model, config)


def train(model: Any, groups: Groups, steps: int = 4, decay: float = 0.0) -> None:
    """Steps of AdamW on a loss that every weight takes part in."""
    optimizer = torch.optim.AdamW(groups, lr=0.02, weight_decay=decay)
    for _ in range(steps):
        out = model(input_ids=IDS, use_cache=False).logits.float()
        (out * torch.arange(out.numel()).view(out.shape).sin()).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def halves(state: dict[str, torch.Tensor], second: bool) -> dict[str, torch.Tensor]:
    """First or second half along the rank of each factor."""
    return {name: weight.clone().chunk(2, 0 if "lora_A" in name else 1)[second] for name, weight in state.items()}


def fresh(base: str, lora: LoraSettings) -> Policy:
    return load_policy(base, "fp32", lora, None, CPU)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_training_is_pefts(decay: float, bases, lora: LoraSettings) -> None:
    """The policy starts as the base, and moves as PEFT's; the frozen half never moves, whatever the weight decay."""
    base = bases["tied"]
    policy, oracle_model = fresh(base, lora), pefts_own(base)
    start = roles(policy)
    assert relative(start["policy"], start["base"]) <= 1e-6 and torch.equal(start["reference"], start["base"])
    first = {n: w for n, w in oracle_model.named_parameters() if w.requires_grad}
    for name, half in halves(adapter_state(policy), second=False).items():
        layer, factor = name.rsplit(".lora_", 1)
        theirs = first[f"{layer}.lora_{factor[0]}.default.weight"]
        assert relative(half, theirs) <= 1e-6, name
    frozen = halves(adapter_state(policy), second=True)

    train(policy.model, parameter_groups(policy.named_parameters(), None, policy.half_frozen), decay=decay)
    train(oracle_model, list(first.values()))
    moved = roles(policy)
    assert relative(moved["policy"], start["policy"]) > 0.01
    assert relative(moved["policy"], logits(oracle_model)) <= 1e-5
    assert torch.equal(moved["base"], start["base"])
    for name, half in halves(adapter_state(policy), second=True).items():
        assert torch.equal(half, frozen[name]), name


def test_it_moves_the_preserved_texts_less_than_lora(bases, lora: LoraSettings) -> None:
    """What the method is for: at the same first step on another text, the outputs on preserved text change less."""
    tokenizer = AutoTokenizer.from_pretrained(bases["tied"])
    texts = [torch.tensor([tokenizer(text)["input_ids"]]) for text in TEXTS]
    changes = {}
    for settings in (lora, replace(lora, variant="lora", file=None)):
        torch.manual_seed(0)
        policy = fresh(bases["tied"], settings)
        with torch.no_grad():
            before = [policy.model(input_ids=text).logits for text in texts]
            own = logits(policy.model)
        train(policy.model, [p for p in policy.parameters() if p.requires_grad])
        with torch.no_grad():
            after = [policy.model(input_ids=text).logits for text in texts]
        preserved = torch.stack([(a - b).norm() / b.norm() for a, b in zip(after, before, strict=True)]).mean()
        changes[settings.variant] = (preserved / relative(logits(policy.model), own)).item()
    assert changes["corda"] < changes["lora"]


def test_shared_prompts_give_the_unshared_forward(bases, lora: LoraSettings) -> None:
    policy = fresh(bases["tied"], lora)
    train(policy.model, parameter_groups(policy.named_parameters(), None, True))
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    for budget in BUDGETS:
        policy.zero_grad()
        for row, (logps, _) in score(policy, ROWS, budget).items():
            assert relative(logps.detach(), expected[row].detach()) < 1e-5
        assert relative(gradient(policy), slope) < 1e-5


def test_exported_continued_and_scaled(bases, lora: LoraSettings, tmp_path) -> None:
    base = bases["tied"]
    policy = fresh(base, lora)
    train(policy.model, parameter_groups(policy.named_parameters(), None, True))
    folder = str(tmp_path / "adapter")
    export_adapter(policy, tmp_path / "adapter")
    found = roles(policy)
    assert relative(logits(pefts(base, folder)), found["policy"]) <= 1e-6
    following = load_policy(base, "fp32", None, folder, CPU)
    assert relative(roles(following)["policy"], found["policy"]) <= 1e-6 and not following.half_frozen
    own: Any = AutoModelForCausalLM.from_pretrained(base)
    half, whole = copy.deepcopy(own), pefts(base, folder).merge_and_unload()
    with torch.no_grad():
        for weight, start, end in zip(half.parameters(), own.parameters(), whole.parameters(), strict=True):
            weight.copy_((start + end) / 2)
    assert relative(roles(load_policy(base, "fp32", None, folder, CPU, None, 0.5))["policy"], logits(half)) <= 1e-5
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: corda is the start of a new adapter"):
        load_policy(base, "fp32", lora, folder, CPU)


def test_mistakes(bases, lora: LoraSettings, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: corda: names no text to preserve"):
        LoraSettings(variant="corda")
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.file: is for variant corda only"):
        LoraSettings(file=lora.file)
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: corda .*quantised.*weights: bf16"):
        load_policy(bases["tied"], "nf4", lora, None, CPU)
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.variant: corda cannot decompose.*lower `r`"):
        fresh(bases["tied"], replace(lora, r=33))
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    for name, message in (
        ("empty.txt", ".*empty.txt is empty; give one text per line"),
        ("none.txt", "there is no file .*none.txt; check the path"),
        ("latin.txt", ".*latin.txt is not UTF-8 text"),
    ):
        with pytest.raises(ValueError, match=rf"^model\.init_args\.lora\.file: {message}"):
            fresh(bases["tied"], replace(lora, file=str(tmp_path / name)))


def test_a_run_of_the_command_line(runs: Runs, lora: LoraSettings) -> None:
    """The frozen half is the same after one step and after three; a resumed run equals a straight one."""
    given = [f"model.init_args.lora.{key}={value}" for key, value in (("variant", "corda"), ("file", lora.file))]
    runs("fit", "sft", "straight", *given, callbacks=[runs.checkpoints("straight", 1)])
    runs("fit", "sft", "short", "trainer.max_steps=1", *given)
    runs("fit", "sft", "resumed", *given, f"ckpt_path={runs.folder / 'straight' / 'step=1.ckpt'}")
    ends = {name: weights(runs.folder / name) for name in ("straight", "short", "resumed")}
    for name, weight in ends["straight"].items():
        assert torch.equal(ends["resumed"][name], weight)
        assert torch.equal(halves(ends["short"], True)[name], halves(ends["straight"], True)[name])
        assert not torch.equal(halves(ends["short"], False)[name], halves(ends["straight"], False)[name])
