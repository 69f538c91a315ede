"""Measure the components of a step on CUDA: decoding with and without a graph, and micro-batches of GRPO and SFT.

python benchmarks/gpu_components.py --size qwen3-4b --layers 12   # writes results/gpu_components.json; needs CUDA

Fewer layers than the model has take a section of its time, so a first look takes a minute.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import gpu_sections
import harness
import model

SHAPE = {"prompts": 4, "prompt": 96, "generations": 8, "completion": 64}
FEW, MANY = 17, 57
"""Numbers of tokens whose difference gives the time per token, without prefill and without the making of a graph."""


def seconds(run: Callable[[], object], repetitions: int) -> float:
    """Median seconds of a function, after a warm-up."""
    import torch

    found = []
    for _ in range(repetitions + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def measure(size: str, layers: int, repetitions: int) -> dict[str, float]:
    """Median seconds per component of a step; milliseconds per decoded token.

    Args:
        size: Name of the random model's size.
        layers: Number of its layers.
        repetitions: Number of timed runs per component.
    """
    import torch

    from semalign_pl.engine.fixed_decoding import FixedStep
    from semalign_pl.engine.generate import generate
    from semalign_pl.engine.logprobs import LogprobScorer, compute_logprobs
    from semalign_pl.engine.micro_batches import Completions, micro_batches
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    model.SIZES[size]["num_hidden_layers"] = layers
    with tempfile.TemporaryDirectory() as folder:
        model.make(Path(folder), size, "bfloat16", "cuda")
        policy = load_policy(folder, "nf4", LoraSettings(64, 128, 0.05), None, torch.device("cuda", 0)).train()
    policy.eos_ids = (-1,)
    draw = random.Random(0)

    def ids(count: int) -> list[int]:
        return [draw.randrange(5, 30000) for _ in range(count)]

    prompts = [ids(SHAPE["prompt"]) for _ in range(SHAPE["prompts"])]
    repeated = [prompt for prompt in prompts for _ in range(SHAPE["generations"])]
    grpo = Completions(repeated, [ids(SHAPE["completion"]) for _ in repeated], [0.8] * len(repeated))
    rows: list[tuple[list[int], list[int]]] = []
    while sum(len(p) + len(c) for p, c in rows) < gpu_sections.SHAPES["sft"]["micro"] - 180:
        rows.append((ids(draw.randint(20, 100)), ids(draw.randint(10, 80))))
    sft = Completions([p for p, _ in rows], [c for _, c in rows])

    def sample(tokens: int) -> object:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            return generate(
                policy, prompts, max_new_tokens=tokens, num_generations=SHAPE["generations"], temperature=0.8,
                top_p=0.9, rows=4096,
            )  # fmt: skip

    def per_token() -> float:
        """Milliseconds."""
        few, many = (seconds(lambda n=n: sample(n), repetitions) for n in (FEW, MANY))
        return 1000 * (many - few) / (MANY - FEW)

    def update(completions: Completions, budget: int) -> None:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            for batch in micro_batches(completions, budget):
                scorer = LogprobScorer(policy, completions, batch, recompute=True)
                for chunk in batch.chunks:
                    scorer(chunk).logps.sum().backward()
                scorer.backward()

    def reference() -> None:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False), policy.acting_as("base"):
            compute_logprobs(policy, grpo, 10**6)

    group = SHAPE["prompt"] + SHAPE["generations"] * SHAPE["completion"]
    found = {
        "grpo_at_once": seconds(lambda: update(grpo, 10**6), repetitions),
        "grpo_by_group": seconds(lambda: update(grpo, group), repetitions),
        "sft": seconds(lambda: update(sft, 10**6), repetitions),
        "reference": seconds(reference, repetitions),
        "milliseconds_per_token": per_token(),
    }
    capture = FixedStep._capture
    FixedStep._capture = FixedStep._forward  # the same step without a graph
    found["milliseconds_per_token_without_graph"] = per_token()
    FixedStep._capture = capture
    return found


def main() -> None:
    """Measure, print a table and write the results."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="qwen3-4b", choices=model.SIZES)
    parser.add_argument("--layers", type=int, help="number of layers; by default the model's")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu_components.py: no CUDA here")
    layers = options.layers or model.SIZES[options.size]["num_hidden_layers"]
    found = measure(options.size, layers, options.repetitions)
    title = f"{options.size}, {layers} layers, NF4, {SHAPE}"
    harness.table(title, ["component", "value"], [[name, f"{value:.3f}"] for name, value in found.items()])
    harness.write("gpu_components", {}, [found], {}, size=options.size, layers=layers, shape=SHAPE)


if __name__ == "__main__":
    main()
