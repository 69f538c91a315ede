"""Measure, in its own process, how much resident memory a step with the longest rows of the settings adds."""

import ctypes
import warnings
from pathlib import Path
from typing import Any

import torch

from semalign_pl.engine.generate import generate
from semalign_pl.engine.logprobs import LogprobScorer, compute_logprobs
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.functional.losses import nll_sum
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import VocabularySettings

CPU = torch.device("cpu")


def mib(field: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def step(settings: Settings, device: torch.device = CPU) -> None:
    corpus = str(Path(settings.base, "corpus.jsonl"))
    wanted = VocabularySettings("bo", corpus, "bo", settings.new_tokens, 1) if settings.new_tokens else None
    policy = load_policy(settings.base, settings.weights, settings.lora, None, device, wanted)
    assert len(policy.encoder.new_tokens) == settings.new_tokens
    policy.eos_ids = (-1,)
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-6)
    groups = settings.rows // settings.num_generations
    # The first step is short: it makes the optimiser's state, which is there at the peak of the second.
    for prompt_tokens, completion_tokens in ((4, 2), (settings.prompt_tokens, settings.completion_tokens)):
        prompts = [[5 + group] * prompt_tokens for group in range(groups)]
        if settings.stage == "grpo":
            options = dict(settings.sampling or [("temperature", 1.0)])
            k, rows = settings.num_generations, settings.rollout_rows
            generate(policy, prompts, max_new_tokens=completion_tokens, num_generations=k, rows=rows, **options)
        repeated = [prompt for prompt in prompts for _ in range(settings.num_generations)]
        scored = Completions(repeated, [[7] * completion_tokens] * len(repeated))
        if settings.stage == "grpo":
            compute_logprobs(policy, scored, settings.micro_batch_tokens)
        for batch in micro_batches(scored, settings.micro_batch_tokens):
            scorer = LogprobScorer(policy, scored, batch, settings.recompute)
            for part in batch.chunks:
                out = scorer(part)
                nll_sum(out.logps, out.mask).backward()
                del out
            scorer.backward()
        optimizer.step()
        optimizer.zero_grad()


def measure(warm: Settings, wanted: Settings, answer: Any) -> None:
    """Send the MiB that a step adds through a connection; run it in a process of its own.

    Args:
        warm: Small settings of a step before, in which libraries allocate memory on first use.
        wanted: Settings of the measured step.
        answer: Connection, as of ``multiprocessing.Pipe``.
    """
    warnings.simplefilter("ignore")
    # Freed memory is returned at once; otherwise the C library's gaps would be measured too.
    ctypes.CDLL(None).mallopt(-3, 65536)  # M_MMAP_THRESHOLD
    step(warm)
    before = mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step(wanted)
    answer.send(mib("VmHWM") - before)
