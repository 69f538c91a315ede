"""QLoRA on the CPU: 4-bit base weights with double quantisation never change, the adapter is trained and exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.adapter_kinds import logits
from helpers.small_runs import Runs
from helpers.tiny import relative
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from semalign_pl.__main__ import main

LOADED_BY_PEFT = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], device_map="cpu", dtype=torch.float32).eval()
with torch.no_grad():
    torch.save(model(input_ids=torch.tensor([[5, 9, 77, 200, 31]])).logits, sys.argv[2])
assert not any(name.startswith("semalign_pl") for name in sys.modules)
"""


def base_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """All tensors except those of the adapter: the packed codes, and the data to decode them."""
    found = {}
    for name, weight in module.policy.model.named_parameters():
        if "lora_" not in name:
            found[name] = weight.detach().clone()
            state = getattr(weight, "quant_state", None)
            if state is not None:
                found |= {f"{name}.{key}": value.clone() for key, value in state.as_dict(packed=True).items()}
    return found


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_nf4_run(runs: Runs, stage: str) -> None:
    import bitsandbytes as bnb

    options = ["model.init_args.weights=nf4", "trainer.max_steps=2"]
    untouched = base_weights(runs("test", stage, "before", *options, callbacks=[{"class_path": "Evaluation"}]).model)
    cli = runs("fit", stage, "run", *options, callbacks=[runs.checkpoints("run", 1)])

    quantised = [m for m in cli.model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(quantised) == 2 * 7  # each attention and MLP linear of both layers
    for linear in quantised:
        state = linear.weight.quant_state
        assert linear.weight.dtype == torch.uint8 and state.quant_type == "nf4" and state.nested
    now = base_weights(cli.model)
    assert now.keys() == untouched.keys() and all(torch.equal(now[key], untouched[key]) for key in now)
    trainable = {name: p for name, p in cli.model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name and p.dtype == torch.float32 for name, p in trainable.items())
    first = torch.load(runs.folder / "run" / "step=1.ckpt", weights_only=True)["state_dict"]
    second = torch.load(runs.folder / "run" / "step=2.ckpt", weights_only=True)["state_dict"]
    assert len(first) == 2 * len(quantised) and all(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_checkpoint_holds_the_adapter_and_its_optimiser_alone(runs: Runs, stage: str) -> None:
    options = ["model.init_args.weights=nf4", "trainer.max_steps=1"]
    runs("fit", stage, "run", *options, callbacks=[runs.checkpoints("run", 1)])
    path = runs.folder / "run" / "step=1.ckpt"
    saved = torch.load(path, weights_only=True)
    assert all(".lora_A." in key or ".lora_B." in key for key in saved["state_dict"])
    assert _tensor_bytes(saved["optimizer_states"]) <= 2.01 * _tensor_bytes(saved["state_dict"])  # two moments, steps
    rest = {key: value for key, value in saved.items() if key not in ("state_dict", "optimizer_states")}
    assert _tensor_bytes(rest) < 10_000  # the loader's random state; the encoder's weights are 100 kB, the base's more
    # Lists, names and alignment have a fixed cost, which does not depend on the size of the weights.
    assert path.stat().st_size < _tensor_bytes(saved) + 600 * len(saved["state_dict"]) * 4 + 20_000


def test_a_merged_model_has_the_base_that_is_not_quantised(runs: Runs) -> None:
    """From an adapter at half its update, and from a checkpoint; the oracle is PEFT on the plain base."""
    quantised = ["model.init_args.weights=nf4", "trainer.max_steps=2"]
    runs("fit", "sft", "run", *quantised, callbacks=[runs.checkpoints("run", 2)])
    adapter = runs.folder / "run" / "adapter"
    scaled = [*quantised, "model.init_args.lora=null", f"model.init_args.adapter={adapter}"]
    scaled += ["model.init_args.adapter_scale=0.5"]
    assert main(runs.args("export", "sft", "half", *scaled, "--whole", f"--out={runs.folder / 'half'}")) == 0
    checkpoint = f"ckpt_path={runs.folder / 'run' / 'step=2.ckpt'}"
    assert (
        main(runs.args("export", "sft", "all", *quantised, checkpoint, "--whole", f"--out={runs.folder / 'all'}")) == 0
    )
    for name, scale in (("half", 0.5), ("all", 1.0)):
        peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(runs.base), str(adapter))
        for key, weight in peft.named_parameters():
            if "lora_B" in key:
                weight.data *= scale
        merged = AutoModelForCausalLM.from_pretrained(runs.folder / name / "model")
        assert relative(logits(merged), logits(peft)) <= 1e-6


def _tensor_bytes(value: object) -> int:
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_tensor_bytes(one) for one in inner)


@pytest.mark.slow
def test_peft_alone_loads_the_adapter(runs: Runs) -> None:
    cli = runs("fit", "sft", "run", "trainer.max_steps=2")
    with cli.model.policy.inference():
        here = cli.model.policy.model(input_ids=torch.tensor([[5, 9, 77, 200, 31]])).logits
        with cli.model.policy.acting_as("base"):
            base = cli.model.policy.model(input_ids=torch.tensor([[5, 9, 77, 200, 31]])).logits
    there = Path(runs.folder, "logits.pt")
    command = [sys.executable, "-c", LOADED_BY_PEFT, str(runs.folder / "run" / "adapter"), str(there)]
    subprocess.run(command, check=True, cwd=runs.folder, env=runs.environment(), capture_output=True, timeout=300)
    assert torch.equal(torch.load(there), here) and not torch.equal(base, here)
