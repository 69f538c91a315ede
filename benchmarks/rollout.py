"""Compare sampling from the most likely candidates with sorting the vocabulary, in turn, on the same logits.

python benchmarks/rollout.py     # writes "nucleus" into results/rollout.json; CPU, about a minute
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness
import torch

ROWS, TEMPERATURE, TOP_P = 64, 0.8, 0.9
VOCABULARIES = (49152, 151936)
SHAPES = {"peaked": (1.5, 2.5), "wide": (1.2, 1.4), "flat": (0.0, 0.1)}
"""Range of the exponent of Zipf's law over the rows: a token's probability falls with this power of its rank.

The nucleus has 2 to 60 tokens if peaked, about a hundred to tens of thousands if wide, nearly all if flat: the worst
case, in which every row is sorted after all.
"""


def draw_logits(vocabulary: int, seed: int, exponents: torch.Tensor) -> torch.Tensor:
    """Logits of a batch whose probabilities after the temperature follow Zipf's law."""
    draw, ranks = torch.Generator().manual_seed(seed), torch.arange(1, vocabulary + 1).log()
    noise = 0.01 * torch.randn(vocabulary, generator=draw)
    return torch.stack([noise - TEMPERATURE * s * ranks[torch.randperm(vocabulary, generator=draw)] for s in exponents])


def main() -> None:
    """Measure, print the ratios and write the results."""
    from semalign_pl.engine.sampler import TruncatedSampler

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    choose = TruncatedSampler(TEMPERATURE, TOP_P, top_k=0, min_p=0.0)
    sides = {"candidates": choose, "sorted": choose.sort}
    measured, rows = [], []
    for vocabulary in VOCABULARIES:
        for shape, exponents in SHAPES.items():
            seconds: dict[str, list[float]] = {side: [] for side in sides}
            for repetition in range(-1, options.repetitions):
                logits = draw_logits(vocabulary, repetition + 1, torch.linspace(*exponents, ROWS))
                uniforms = torch.rand(ROWS, generator=torch.Generator().manual_seed(repetition + 1))
                chosen = []
                for side, sample in list(sides.items())[:: 1 if repetition % 2 else -1]:
                    start = time.perf_counter()
                    chosen.append(sample(logits, uniforms))
                    if repetition >= 0:
                        seconds[side].append(time.perf_counter() - start)
                if not torch.equal(*chosen):
                    sys.exit(f"{shape}, {vocabulary}: the tokens differ")
            of = {side: statistics.median(values) for side, values in seconds.items()}
            speedup = of["sorted"] / of["candidates"]
            measured.append({"vocabulary": vocabulary, "shape": shape, "rows": ROWS, "seconds": seconds,
                             "speedup": speedup})  # fmt: skip
            rows.append([f"{vocabulary:,}", shape, *(f"{of[side] * 1000:.0f}" for side in sides), f"{speedup:.1f} x"])
    harness.table(
        f"a token for each of {ROWS} rows, temperature {TEMPERATURE}, top-p {TOP_P}, {torch.get_num_threads()} threads",
        ["vocabulary", "distribution", "from candidates, ms", "sorted, ms", "speed-up"],
        rows,
    )
    path = harness.RESULTS / "rollout.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    nucleus = {"runs": measured, "temperature": TEMPERATURE, "top_p": TOP_P, "exponents": SHAPES}
    path.write_text(json.dumps({**content, "nucleus": nucleus, "machine": harness.machine()}, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
