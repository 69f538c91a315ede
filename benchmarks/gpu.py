"""Compare steps on CUDA with TRL's: a randomly initialised Qwen3-4B in NF4, with measured memory next to the plan's.

python benchmarks/gpu.py                                        # writes results/gpu.json; needs CUDA
python benchmarks/gpu.py --size qwen3-0.6b --repetitions 1      # a first look, a minute
python benchmarks/gpu.py --model /dev/shm/model                 # makes the model there once, for several calls
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
import sft

OPTIONS = {"recompute": True, "precision": "bf16-mixed"}
SHAPES = {
    "translation": {**grpo.SHAPES["translation"], **OPTIONS},
    "translation_at_once": {**grpo.SHAPES["translation"], "groups": 4, **OPTIONS},
    "headline": {**grpo.SHAPES["headline"], **OPTIONS},
    "sft": {**sft.SHAPES["translation"], "tokens": 16384, "micro": 4096, **OPTIONS},
}

ROLLOUTS = {"prompts": 4, "prompt": 96, "generations": 8, "completion": 64}


def measure(name: str, folder: str, repetitions: int, sides: tuple[str, ...]) -> dict[str, Any]:
    """Steps of all sides in turn; of ours alone if another side fails, with the reason."""
    compare = sft.compare if name == "sft" else grpo.compare
    try:
        return compare({name: SHAPES[name]}, folder, "nf4", repetitions, sides)
    except RuntimeError as error:
        if str(error).startswith("ours") or len(sides) == 1:
            raise
        print(error, file=sys.stderr)
        alone = compare({name: SHAPES[name]}, folder, "nf4", repetitions, ("ours",))
        return {**alone, "failed": str(error)[-600:]}


def planned_mib(name: str, folder: str) -> float:
    """Peak memory that ``semalign plan`` predicts for a shape."""
    from semalign_pl.plan.predict import predict
    from semalign_pl.plan.settings import Settings

    shape = SHAPES[name]
    common = {"base": folder, "with_reference": False, "recompute": True, "mixed": True, "cuda": True}
    if name == "sft":
        settings = Settings(
            stage="sft", prompt_tokens=shape["prompt"][1], completion_tokens=shape["completion"][1],
            rows=sft.rows_per_step(shape), num_generations=1, micro_batch_tokens=shape["micro"], **common,
        )  # fmt: skip
    else:
        rows = shape["prompts"] * shape["generations"]
        settings = Settings(
            stage="grpo", prompt_tokens=shape["prompt"], completion_tokens=shape["completion"], rows=rows,
            num_generations=shape["generations"], rollout_rows=4096, micro_batch_tokens=grpo.budget(shape),
            sampling=(("temperature", 0.8), ("top_p", 0.9)), **common,
        )  # fmt: skip
    return predict(settings).peak / 2**20


def rollouts(folder: str, repetitions: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Tokens per second of our generation and of transformers' ``generate``, per weights, in turn after a warm-up.

    Args:
        folder: Folder of the model.
        repetitions: Number of timed runs per side.

    Returns:
        Ratio of ours to theirs per weights, and all runs.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from semalign_pl.engine.generate import generate
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    prompts = [[3 + (7 * i + j) % 30000 for j in range(ROLLOUTS["prompt"])] for i in range(ROLLOUTS["prompts"])]
    tokens, count = ROLLOUTS["completion"], ROLLOUTS["generations"]
    ratios, runs = {}, []
    for weights in ("nf4", "bf16"):
        policy = load_policy(folder, weights, LoraSettings(64, 128, 0.05), None, torch.device("cuda", 0))
        policy.eos_ids = (-1,)
        lora = LoraConfig(
            task_type="CAUSAL_LM", r=64, lora_alpha=128, lora_dropout=0.05, target_modules="all-linear"
        )  # fmt: skip
        peer = get_peft_model(model.load_peer(folder, weights), lora).eval()
        ids = torch.tensor([prompt for prompt in prompts for _ in range(count)], device="cuda")

        def ours(policy: Any = policy) -> None:
            sampling = {"temperature": 0.8, "top_p": 0.9, "rows": 4096}
            generate(policy, prompts, max_new_tokens=tokens, num_generations=count, **sampling)

        def transformers(peer: Any = peer, ids: Any = ids) -> None:
            with torch.no_grad():
                peer.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
                    do_sample=True, temperature=0.8, top_p=0.9, top_k=0, pad_token_id=0,
                )  # fmt: skip

        seconds: dict[str, list[float]] = {"ours": [], "transformers": []}
        for repetition in range(-1, repetitions):
            for side, run in (("ours", ours), ("transformers", transformers)):
                torch.cuda.synchronize()
                start = time.perf_counter()
                with torch.autocast("cuda", torch.bfloat16):
                    run()
                torch.cuda.synchronize()
                if repetition >= 0:
                    seconds[side].append(time.perf_counter() - start)
                    runs.append({
                        "weights": weights, "contestant": side, "repetition": repetition, "seconds": seconds[side][-1],
                        "tokens": len(ids) * tokens,
                    })  # fmt: skip
        ratios[weights] = statistics.median(seconds["transformers"]) / statistics.median(seconds["ours"])
        del policy, peer
        torch.cuda.empty_cache()
    return ratios, runs


def rates() -> dict[str, float]:
    """The card's own limits: operations per second of a bf16 matrix product, bytes per second of a copy."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    copied = torch.empty(2**31, device="cuda", dtype=torch.uint8), torch.empty(2**31, device="cuda", dtype=torch.uint8)

    def seconds(run: Any) -> float:
        found = []
        for _ in range(8):
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return statistics.median(found[3:])

    return {
        "bf16_operations_per_second": 2 * 8192**3 / seconds(lambda: a @ a),
        "copied_bytes_per_second": 2 * 2**31 / seconds(lambda: copied[0].copy_(copied[1])),
    }


def main() -> None:
    """Measure, print the ratios and write the results."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", default="qwen3-4b", choices=model.SIZES)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--rollouts", action="store_true", help="compare rollouts with transformers' too")
    parser.add_argument("--alone", action="store_true", help="measure ours without TRL")
    parser.add_argument("--model", help="folder to make the model in, or in which it is already")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA here; run benchmarks/grpo.py for the CPU")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or temporary
        if not (Path(folder) / "config.json").is_file():
            model.make(Path(folder), options.size, "bfloat16", "cuda")
        torch.cuda.empty_cache()
        merged: dict[str, Any] = {"ratios": {}, "runs": [], "commands": {}, "failed": {}}
        rows, peaks, plans = [], {}, {}
        for name in options.shapes:
            measured = measure(name, folder, options.repetitions, ("ours",) if options.alone else ("ours", "trl"))
            merged["ratios"] |= measured["ratios"]
            merged["runs"] += measured["runs"]
            merged["commands"] |= measured["commands"]
            if "failed" in measured:
                merged["failed"][name] = measured["failed"]
            seconds = {
                side: f"{harness.median(measured['runs'], side, 'seconds'):.2f}"
                for side in {run["contestant"] for run in measured["runs"]}
            }
            peaks[name] = harness.median(measured["runs"], "ours", "peak_mib")
            plans[name] = planned_mib(name, folder)
            ratio = measured["ratios"].get(name, {})
            rows.append([
                name, seconds["ours"], seconds.get("trl", "-"), f"{ratio.get('speedup', float('nan')):.2f} x",
                f"{ratio.get('memory', float('nan')):.2f} x", f"{peaks[name]:.0f}", f"{plans[name]:.0f}",
            ])  # fmt: skip
            print(json.dumps([rows[-1], measured["runs"]]), file=sys.stderr, flush=True)
        sampled = rollouts(folder, options.repetitions) if options.rollouts else None
    columns = ["shape", "seconds", "TRL's", "speed-up", "memory above the model", "peak MiB", "planned MiB"]
    harness.table(f"{options.size}, NF4, medians of {options.repetitions}", columns, rows)
    shapes = {name: SHAPES[name] for name in options.shapes}
    more: dict[str, Any] = {}
    if sampled is not None:
        ratios, runs = sampled
        more["rollouts"] = {"shape": ROLLOUTS, "over_generate": ratios, "runs": runs}
        print("rollouts over transformers' generate:", {name: f"{ratio:.2f} x" for name, ratio in ratios.items()})
    more["rates"] = rates()
    harness.write("gpu", **merged, size=options.size, shapes=shapes, peak_mib=peaks, planned_mib=plans, **more)


if __name__ == "__main__":
    main()
