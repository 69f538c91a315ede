"""Compare GRPO steps on CUDA: a randomly initialised Qwen3-4B in NF4, with measured memory next to the plan's.

python benchmarks/gpu.py   # writes results/gpu.json; needs CUDA
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model

SHAPES = {name: {**grpo.SHAPES[name], "recompute": True} for name in ("translation", "headline")}


def main() -> None:
    """Measure, print the ratios and write the results."""
    import torch

    from semalign_pl.plan.predict import predict
    from semalign_pl.plan.settings import Settings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", default="qwen3-4b", choices=model.SIZES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA here; run benchmarks/grpo.py for the CPU")
    with tempfile.TemporaryDirectory() as folder:
        model.make(Path(folder), options.size, "bfloat16")
        measured = grpo.compare(SHAPES, folder, "nf4", options.repetitions)
        plans = {
            name: predict(
                Settings(
                    folder, "grpo", "nf4", with_reference=False, prompt_tokens=shape["prompt"],
                    completion_tokens=shape["completion"], rows=shape["prompts"] * shape["generations"],
                    num_generations=shape["generations"], rollout_rows=4096, micro_batch_tokens=grpo.budget(shape),
                    recompute=True, cuda=True,
                )
            ).peak / 2**20
            for name, shape in SHAPES.items()
        }  # fmt: skip
    rows, peaks = [], {}
    for name, ratio in measured["ratios"].items():
        ours = [run for run in measured["runs"] if run["shape"] == name]
        peaks[name] = harness.median(ours, "ours", "peak_mib")
        rows.append([name, f"{ratio['speedup']:.2f} x", f"{peaks[name]:.0f}", f"{plans[name]:.0f}"])
    harness.table("Qwen3-4B, NF4", ["shape", "speedup", "peak MiB", "planned MiB"], rows)
    harness.write("gpu", **measured, shapes=SHAPES, peak_mib=peaks, planned_mib=plans)


if __name__ == "__main__":
    main()
