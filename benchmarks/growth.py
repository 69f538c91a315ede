"""Measure how our GRPO step grows with the group size and with the number of prompts, at a fixed token budget.

python benchmarks/growth.py   # writes results/growth.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model

FIXED = {**grpo.SHAPES["translation"], "budget": 352}
"""Token budget that the smallest group fills. A larger group is split, so memory should not grow with it."""
SIZES = {"generations": (4, 8, 16, 32), "prompts": (2, 4, 8)}
SHAPES = {
    **{f"generations_{k}": {**FIXED, "prompts": 2, "generations": k} for k in SIZES["generations"]},
    **{f"prompts_{n}": {**FIXED, "prompts": n} for n in SIZES["prompts"]},
}


def fit_line(sizes: tuple[int, ...], records: dict[int, list[harness.Record]]) -> dict[str, object]:
    """Linear fit of the seconds, and the memory at each size."""
    import numpy

    seconds = [harness.median(records[n], "ours", "seconds") for n in sizes]
    slope, start = numpy.polyfit(sizes, seconds, 1)
    residual = numpy.array(seconds) - (slope * numpy.array(sizes) + start)
    return {
        "sizes": list(sizes),
        "seconds": seconds,
        "above_model_mib": [harness.median(records[n], "ours", "above_model_mib") for n in sizes],
        "seconds_each": slope,
        "seconds_fixed": start,
        "r_squared": 1 - float((residual**2).sum() / numpy.var(seconds) / len(seconds)),
    }


def main() -> None:
    """Measure, print the fits and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--size", default="small", choices=model.SIZES)
    options = parser.parse_args()
    records, commands = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        model.make(Path(folder), options.size)
        for name, shape in SHAPES.items():
            print(f"{name}: {shape}", file=sys.stderr)
            worker = [sys.executable, str(Path(grpo.__file__)), "worker", "ours", folder, json.dumps(shape), "fp32"]
            records[name] = harness.side_by_side({"ours": worker}, options.repetitions)
            commands[name] = {"ours": ["python", "benchmarks/grpo.py", "worker", "ours", "MODEL", *worker[5:]]}
    ratios = {}
    for axis, sizes in SIZES.items():
        fit = ratios[axis] = fit_line(sizes, {n: records[f"{axis}_{n}"] for n in sizes})
        line = f"{fit['seconds_fixed']:.2f} s + {fit['seconds_each']:.3f} s each, R2 {fit['r_squared']:.3f}"
        rows = zip(sizes, fit["seconds"], fit["above_model_mib"], strict=True)
        harness.table(
            f"Growth with {axis}: {line}",
            [axis, "seconds", "MiB above the model"],
            [[str(n), f"{seconds:.2f}", f"{mib:.0f}"] for n, seconds, mib in rows],
        )
    runs = [{"shape": name, **record} for name, some in records.items() for record in some]
    harness.write("growth", ratios, runs, commands, shapes=SHAPES)


if __name__ == "__main__":
    main()
