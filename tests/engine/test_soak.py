"""Memory does not grow with the number of steps."""

import os
import subprocess
import sys

import pytest

SOAK = """
import sys
from pathlib import Path
import torch
from helpers.tiny import CPU, stir
from semalign_pl.functional.losses import LossInputs
from semalign_pl.functional.objective import Objective
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.engine.generate import generate
from semalign_pl.engine.logprobs import LogprobScorer, compute_logprobs

def mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

policy = stir(load_policy(sys.argv[1], "fp32", LoraSettings(4, 8, 0.05), None, CPU), seed=2)
optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-4)
objective = Objective()
for step in range(300):
    prompts = [[5 + step % 50] * (4 + (step * 7 + i) % 20) for i in range(4)]
    rollouts = generate(policy, prompts, max_new_tokens=8, num_generations=4, temperature=1.0, seed=step, rows=8)
    completions = [i[m].tolist() for i, m in zip(rollouts.completion_ids, rollouts.completion_mask)]
    rows = Completions([p for p in prompts for _ in range(4)], completions, [1.0] * 16)
    with policy.acting_as("reference"):
        reference = compute_logprobs(policy, rows, 64)
    advantages = torch.linspace(-1, 1, 16)
    for batch in micro_batches(rows, 64):
        scorer = LogprobScorer(policy, rows, batch, recompute=step % 2 == 0)
        for chunk in batch.chunks:
            out = scorer(chunk)
            ref_logps = reference[out.indices, : out.logps.shape[1]]
            old_logps, weights = out.logps.detach(), advantages[out.indices]
            loss = objective(LossInputs(out.logps, old_logps, ref_logps, weights, out.mask, out.entropy)).loss
            (loss / 16).backward()
        scorer.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step in (99, 299):
        print(mib())
"""


@pytest.mark.slow
def test_300_steps_stay_flat(base) -> None:
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__)), "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", SOAK, base], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    early, late = map(float, done.stdout.split())
    assert late - early < 4.0, (early, late)  # MiB in 200 steps; one leaked cache per step would be 10
