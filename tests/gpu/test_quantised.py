"""4-bit NF4 with bitsandbytes' CUDA kernels: decoded weights, logits, gradients; and bf16 and NF4 runs end to end."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.small_runs import Runs
from helpers.tiny import CPU, gradient, relative, stir
from torch import Tensor

from semalign_pl.engine.logprobs import LogprobScorer, compute_logprobs
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.functional.losses import nll_sum
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

IDS = [5, 9, 77, 200, 31]
LOADED_BY_PEFT = """
import sys, torch
from peft import AutoPeftModelForCausalLM
from transformers import BitsAndBytesConfig
weights, folder, out = sys.argv[1:]
own = {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
       bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)} if weights == "nf4" else {}
model = AutoPeftModelForCausalLM.from_pretrained(folder, device_map={"": 0}, dtype=torch.bfloat16, **own).eval()
for name, weight in model.named_parameters():
    if "lora_" in name:
        weight.data = weight.data.float()
with torch.no_grad():
    torch.save(model(input_ids=torch.tensor([[5, 9, 77, 200, 31]], device="cuda")).logits.float().cpu(), out)
assert not any(name.startswith("semalign_pl") for name in sys.modules)
"""


def decode_weights(policy: Policy) -> dict[str, Tensor]:
    """Weights of the base as its kernels decode them, by name."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    decoded = {}
    for name, module in policy.causal_lm.named_modules():
        if isinstance(module, Linear4bit):
            state = module.weight.quant_state
            assert module.weight.dtype == torch.uint8 and state.quant_type == "nf4" and state.nested
            decoded[name.replace(".base_layer", "")] = dequantize_4bit(module.weight.data, state)
    return decoded


def load(base: str, weights, device: torch.device) -> Policy:
    torch.manual_seed(0)
    return stir(load_policy(base, weights, LoraSettings(4, 8, 0.0), None, device), seed=1)


def rows(prompts: list[list[int]]) -> Completions:
    return Completions([p for p in prompts for _ in range(2)], [[7, 8, 9 + i] for i in range(2 * len(prompts))])


def nll_gradient(policy: Policy, completions: Completions) -> Tensor:
    for batch in micro_batches(completions, 60):
        scorer = LogprobScorer(policy, completions, batch)
        for chunk in batch.chunks:
            out = scorer(chunk)
            nll_sum(out.logps, out.mask).backward()
        scorer.backward()
    return gradient(policy)


def test_codes_of_the_gpu_decode_to_those_of_the_cpu(base, cuda, within) -> None:
    here, there = (decode_weights(load(base, "nf4", device)) for device in (CPU, cuda))
    assert here.keys() == there.keys() and len(here) == 14
    worst = max(relative(there[name].float().cpu(), here[name].float()) for name in here)
    # CUDA quantises bfloat16 weights: a value between two codes may take either. NF4's own error is 0.1.
    within("decoded weights", worst, 5e-2)


def test_nf4_computes_with_the_decoded_weights(base, cuda, prompts, within) -> None:
    """Log-probs and gradients equal those of a bfloat16 base that holds the decoded weights."""
    policy, plain = load(base, "nf4", cuda), load(base, "bf16", cuda)
    decoded = decode_weights(policy)
    with torch.no_grad():
        for name, module in plain.causal_lm.named_modules():
            if name in decoded:
                module.base_layer.weight.copy_(decoded[name])
    completions = rows(prompts)
    logps = [compute_logprobs(one, completions, 60) for one in (policy, plain)]
    within("logps", relative(logps[0], logps[1]), 5e-3)
    gradients = [nll_gradient(one, completions) for one in (policy, plain)]
    assert gradients[1].norm() > 1e-2
    within("gradient", relative(gradients[0], gradients[1]), 5e-2)
    within("gradient of one token at a time", relative(*one_row_each(policy, plain, completions)), 5e-2)


def one_row_each(policy: Policy, plain: Policy, completions: Completions) -> tuple[Tensor, Tensor]:
    """Gradients of rows of one prompt token and one completion token, where bitsandbytes has a kernel of its own."""
    single = Completions([[5]] * 3, [[n, 8] for n in (7, 9, 11)])
    found = []
    for one in (policy, plain):
        one.zero_grad()
        found.append(nll_gradient(one, single))
    return found[0], found[1]


def test_decoding_reads_the_same_logits_as_training(base, cuda) -> None:
    """A batch of one token takes another kernel (gemv), which must give the same numbers up to bfloat16's rounding."""
    policy = load(base, "nf4", cuda)
    with policy.inference():
        whole = policy.model(input_ids=torch.tensor([IDS], device=cuda)).logits[0].float()
        cache, steps = None, []
        for token in IDS:
            out = policy.model(input_ids=torch.tensor([[token]], device=cuda), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[0, -1].float())
    assert relative(torch.stack(steps), whole) < 2e-2


@pytest.mark.parametrize("weights", ["bf16", "nf4"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_run_trains_exports_and_is_read_by_us_and_by_peft(runs: Runs, stage: str, weights, cuda, within) -> None:
    options = [f"model.init_args.weights={weights}", "trainer.max_steps=2", "trainer.accelerator=gpu"]
    cli = runs("fit", stage, "run", *options, callbacks=[runs.checkpoints("run", 1)])
    first, second = (
        torch.load(runs.folder / "run" / f"step={n}.ckpt", weights_only=True)["state_dict"] for n in (1, 2)
    )
    assert all(not torch.equal(first[key], second[key]) for key in first)
    assert {p.dtype for p in cli.model.parameters() if p.requires_grad} == {torch.float32}

    adapter = runs.folder / "run" / "adapter"
    trained = cli.model.policy
    trained.to(cuda)  # Lightning moves the model to the CPU when a run ends
    ours = load_policy(runs.base, weights, None, str(adapter), cuda)
    logits = []
    for policy in (trained, ours):
        with policy.inference():
            logits.append(policy.model(input_ids=torch.tensor([IDS], device=cuda)).logits.float().cpu())
    assert torch.equal(logits[0], logits[1])
    out = Path(runs.folder, "logits.pt")
    command = [sys.executable, "-c", LOADED_BY_PEFT, weights, str(adapter), str(out)]
    done = subprocess.run(command, cwd=runs.folder, env=runs.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    within("logits by PEFT alone", relative(torch.load(out), logits[0]), 1e-2)
    with ours.inference(), ours.acting_as("base"):
        base = ours.model(input_ids=torch.tensor([IDS], device=cuda)).logits.float().cpu()
    assert relative(base, logits[0]) > 0.02
