"""Compare our GRPO step with the least time that its arithmetic needs at this machine's matrix-multiply rate.

python benchmarks/floor.py   # writes results/floor.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model

DENSE = {"settings": {"rollout_weights": "dense"}}
SHAPES: dict[str, dict[str, Any]] = {
    "headline": {**grpo.SHAPES["headline"], **DENSE},
    "translation": {**grpo.SHAPES["translation"], "budget": 4096, **DENSE},
}
RANK = 64


def operations(size: str, shape: dict[str, Any]) -> dict[str, float]:
    """Least number of multiplications and additions of a step, per phase.

    Each prompt is forwarded once per phase, each completion token once, and the head only where a token is predicted.
    The backward pass computes gradients of activations and adapters only, as the base is frozen. Norms, softmax,
    sampling and the optimiser are not counted.
    """
    m = model.SIZES[size]
    hidden, heads, layers = m["hidden_size"], m["num_attention_heads"] * m["head_dim"], m["num_hidden_layers"]
    kv, inner = m["num_key_value_heads"] * m["head_dim"], m["intermediate_size"]
    attending = [(hidden, heads), (hidden, kv), (hidden, kv), (heads, hidden)]
    linears = [*attending, (hidden, inner), (hidden, inner), (inner, hidden)]
    base = layers * sum(a * b for a, b in linears)
    adapter = layers * RANK * sum(a + b for a, b in linears)
    head = hidden * m["vocab_size"]
    prompts, prompt, length = shape["prompts"], shape["prompt"], shape["completion"]
    rows = prompts * shape["generations"]
    tokens = prompts * prompt + rows * (length - 1)  # the last token is only predicted, not an input
    seen = prompts * prompt * prompt / 2 + rows * length * (prompt + length / 2)  # pairs of query and key
    attention = 4 * heads * layers * seen
    forward = 2 * tokens * base + attention + 2 * rows * length * head
    lora = 2 * tokens * adapter
    return {
        "rollout": forward + lora,
        "reference": forward,  # with a fresh adapter the reference is the base itself
        "update": forward + lora + (2 * tokens * base + 2 * attention + 2 * rows * length * head + 2 * lora),
    }


def rate(size: int = 2048, repetitions: int = 5) -> float:
    """Operations per second of a square float32 matrix product, the median of several runs."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds)


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", default="larger", choices=model.SIZES)
    options = parser.parse_args()
    ratios, runs, commands, floors = {}, [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        model.make(Path(folder), options.size)
        for name, shape in SHAPES.items():
            print(f"{name}: {shape}", file=sys.stderr)
            worker = [sys.executable, str(Path(grpo.__file__)), "worker", "ours", folder, json.dumps(shape), "fp32"]
            rates: list[float] = []
            measured = harness.side_by_side({"ours": worker}, options.repetitions, lambda r=rates: r.append(rate()))
            records = [{"shape": name, **record} for record in measured]
            runs += records
            commands[name] = {"ours": ["python", "benchmarks/grpo.py", "worker", "ours", "MODEL", *worker[5:]]}
            needed, median = operations(options.size, shape), statistics.median(rates)
            floors[name] = {"operations": needed, "operations_per_second": median, "rates": rates}
            seconds = harness.median(records, "ours", "seconds")
            ratios[name] = {"over_floor": seconds * median / sum(needed.values())}
            for phase, count in needed.items():
                ratios[name][phase] = harness.median(records, "ours", f"{phase}_seconds") * median / count
    harness.table(
        f"GRPO step over its floor ({options.size} model, fp32, medians of {options.repetitions})",
        ["shape", "step", "rollout", "reference", "update"],
        [[name, *(f"{value:.2f} x" for value in r.values())] for name, r in ratios.items()],
    )
    harness.write("floor", ratios, runs, commands, shapes=SHAPES, floors=floors)


if __name__ == "__main__":
    main()
