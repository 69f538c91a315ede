"""Parts of benchmarks/gpu.py: each measures one thing on CUDA, and returns the page's tables and the raw numbers.

python benchmarks/gpu_sections.py SECTION [--folder runs/gpu] [--size qwen3-4b] RESULT   # started by gpu.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model
import planned
import sft
import yaml

Options = argparse.Namespace
Result = dict[str, Any]
"""``tables``: title, columns, rows and note of each table. ``data``: the numbers that they were made from."""

MIXED = {"precision": "bf16-mixed"}
RECOMPUTED = {**MIXED, "recompute": True}
SHAPES: dict[str, dict[str, Any]] = {
    "translation": {**grpo.SHAPES["translation"], **RECOMPUTED},
    "translation_at_once": {**grpo.SHAPES["translation"], "groups": 4, **RECOMPUTED},
    "headline": {**grpo.SHAPES["headline"], **RECOMPUTED},
    "sft": {**sft.SHAPES["translation"], "tokens": 16384, "micro": 4096, **RECOMPUTED},
    "smollm2_translation": {**grpo.SHAPES["translation"], "groups": 4, **MIXED},
    "smollm2_sft": {**sft.SHAPES["translation"], "prompt": (45, 100), "tokens": 16384, "micro": 4096, **MIXED},
}
ROLLOUTS = {"prompts": 4, "prompt": 96, "generations": 8, "completion": 64}
STEPS = [
    "step",
    "model",
    "weights",
    "seconds",
    "TRL's",
    "speed-up",
    "memory above the model",
    "peak MiB",
    "planned MiB",
]
QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart"
SMOLLM2_STUDY = {"cold_start": {"from": "base"}, "semantic_grpo": {"from": "cold_start"}}


def base_of(options: Options, name: str) -> str:
    """Folder of the model of a shape: SmolLM2's if the shape's name says so, else a random one, drawn if missing."""
    if name.startswith("smollm2"):
        if not Path(options.smollm2, "config.json").is_file():
            sys.exit(f"{options.smollm2}: no model there; semalign data smollm2 makes data/smollm2")
        return options.smollm2
    folder = options.folder / options.size
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.unfinished")  # a killed section leaves no half of a model
        model.make(unfinished, options.size, "bfloat16", "cuda")
        unfinished.rename(folder)
    return str(folder)


def make_model(options: Options) -> Result:
    """Draw the random model, so that no other section needs time for it."""
    return {"tables": [], "data": {"folder": base_of(options, "random")}}


def compare_step(name: str, weights: str, options: Options) -> Result:
    """Steps of ours and of TRL's in turn; of ours alone if TRL fails, with the reason."""
    folder, stage = base_of(options, name), "sft" if name.endswith("sft") else "grpo"
    shape, module = SHAPES[name], sft if stage == "sft" else grpo
    data: dict[str, Any] = {"shape": shape, "weights": weights}
    try:
        data |= module.compare({name: shape}, folder, weights, options.repetitions, ("ours", "trl"))
    except RuntimeError as error:
        if str(error).startswith("ours"):
            raise
        print(error, file=sys.stderr)
        data |= module.compare({name: shape}, folder, weights, options.repetitions, ("ours",))
        data["failed"] = str(error)[-600:]
    rows = sft.rows_per_step(shape) if stage == "sft" else shape["prompts"] * shape["generations"]
    budget = shape["micro"] if stage == "sft" else grpo.budget(shape)
    plan = planned.plan_of(stage, folder, shape, weights, rows, budget)
    data["planned_mib"] = plan.peak / 2**20
    data["peak_mib"] = harness.median(data["runs"], "ours", "peak_mib")
    return {"tables": [step_table(name, Path(folder).name, data)], "data": data}


def step_table(name: str, base: str, data: dict[str, Any]) -> Result:
    """Row of the table of steps."""
    sides, ratio = {run["contestant"] for run in data["runs"]}, data["ratios"][name]
    seconds = {side: f"{harness.median(data['runs'], side, 'seconds'):.2f}" for side in sides}
    ratios = [f"{ratio[of]:.2f} ×" if of in ratio else "–" for of in ("speedup", "memory")]
    memory = [f"{data[of]:,.0f}" for of in ("peak_mib", "planned_mib")]
    row = [name, base, data["weights"], seconds["ours"], seconds.get("trl", "–"), *ratios, *memory]
    note = f"{name}: TRL failed: {data['failed'].strip().splitlines()[-1]}" if "failed" in data else ""
    return {"title": "Training steps against TRL's, medians", "columns": STEPS, "rows": [row], "note": note}


def compare_rollouts(options: Options) -> Result:
    """Our generation and transformers' ``generate`` in turn after a warm-up, in NF4 and in bfloat16."""
    import torch
    from peft import LoraConfig, get_peft_model

    from semalign_pl.engine.generate import generate
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    folder = base_of(options, "rollouts")
    prompts = [[3 + (7 * i + j) % 30000 for j in range(ROLLOUTS["prompt"])] for i in range(ROLLOUTS["prompts"])]
    tokens, count = ROLLOUTS["completion"], ROLLOUTS["generations"]
    rows: list[list[str]] = []
    runs: list[dict[str, Any]] = []
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

        for repetition in range(-1, options.repetitions):
            # Lightning enters autocast without its cache of casts, a user of transformers with it.
            for side, run, cached in (("ours", ours, False), ("transformers", transformers, True)):
                torch.cuda.synchronize()
                start = time.perf_counter()
                with torch.autocast("cuda", torch.bfloat16, cache_enabled=cached):
                    run()
                torch.cuda.synchronize()
                if repetition >= 0:
                    seconds = time.perf_counter() - start
                    record = {"weights": weights, "contestant": side, "repetition": repetition, "seconds": seconds}
                    runs.append({**record, "tokens": len(ids) * tokens})
        own = [run for run in runs if run["weights"] == weights]
        median = {side: harness.median(own, side, "seconds") for side in ("ours", "transformers")}
        rows.append([
            weights, f"{len(ids) * tokens / median['ours']:,.0f}", f"{len(ids) / median['ours']:.1f}",
            f"{len(ids) * tokens / median['transformers']:,.0f}", f"{median['transformers'] / median['ours']:.2f} ×",
        ])  # fmt: skip
        del policy, peer
        torch.cuda.empty_cache()
    title = f"Rollouts of {options.size}: {len(ids)} completions of {tokens} tokens"
    columns = ["weights", "tokens/s", "rollouts/s", "transformers' tokens/s", "speed-up"]
    return {"tables": [new_table(title, columns, rows)], "data": {"shape": ROLLOUTS, "runs": runs}}


def measure_components(options: Options) -> Result:
    """Components of a step, and a decoded token with and without a CUDA graph."""
    import gpu_components

    layers = min(12, model.SIZES[options.size]["num_hidden_layers"])
    found = gpu_components.measure(options.size, layers, options.repetitions)
    rows = [[name.replace("_", " "), f"{value:.3f}"] for name, value in found.items()]
    title = f"Components of a step, {options.size} with {layers} layers, NF4: seconds"
    return {"tables": [new_table(title, ["component", "value"], rows)], "data": found}


def measure_card(options: Options) -> Result:
    """The card's own limits: operations per second of a bf16 matrix product, bytes per second of a copy."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    copied = torch.empty(2**31, device="cuda", dtype=torch.uint8), torch.empty(2**31, device="cuda", dtype=torch.uint8)

    def seconds(run: Callable[[], object]) -> float:
        found = []
        for _ in range(8):
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return statistics.median(found[3:])

    rates = {
        "bf16_operations_per_second": 2 * 8192**3 / seconds(lambda: a @ a),
        "copied_bytes_per_second": 2 * 2**31 / seconds(lambda: copied[0].copy_(copied[1])),
        "memory_bytes": float(torch.cuda.get_device_properties(0).total_memory),
    }
    rows = [[name.replace("_", " "), f"{value:.3g}"] for name, value in rates.items()]
    return {"tables": [new_table("The card", ["limit", "value"], rows)], "data": rates}


def run_quickstart(options: Options) -> Result:
    """The quickstart's study, whole."""
    study = yaml.safe_load((QUICKSTART / "study.yaml").read_text(encoding="utf-8"))
    return run_study("quickstart", study, {}, options)


def run_smollm2_study(options: Options) -> Result:
    """A few steps of two stages and their tests with SmolLM2 in bfloat16; too few to learn the language."""
    replaced = {"base": base_of(options, "smollm2"), "weights": "bf16", "trainer.precision": "bf16-mixed"}
    return run_study("smollm2", SMOLLM2_STUDY, {**replaced, "trainer.max_steps": 20}, options)


def run_study(name: str, study: dict[str, Any], replaced: dict[str, Any], options: Options) -> Result:
    """Run recipes of the quickstart as a study, on one device that ``accelerator: auto`` finds.

    Args:
        name: Name of the study and of its folder.
        study: Content of study.yaml.
        replaced: Settings that differ from those of the recipes.
        options: Folder to write to.

    Returns:
        The study's comparison, and the seconds of its steps.
    """
    from semalign_pl.report import load_results
    from semalign_pl.report.table import grid

    configs, out = options.folder / name / "configs", options.folder / name / "study"
    write_study(configs, study, replaced)
    world, python = Path("runs/quickstart/world"), [sys.executable, "-m"]
    if not (world / "base").is_dir():
        subprocess.run([*python, "semalign_pl.toy", "write", str(world)], check=True)
    start = time.perf_counter()
    command = [*python, "semalign_pl", "study", "--config", str(configs), "--out", str(out)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    results = load_results(out / "results.json")
    compared = grid(results)
    columns = ["system", *(column.heading for column in compared.quality + compared.cost)]
    rows = [[title, *(f"{c.value} {c.spread}".strip() for c in a + b)] for title, a, b in compared.rows]
    took = results["run"]["seconds"]
    steps = [[step, f"{statistics.mean(values):.1f}"] for step, values in took.items()]
    tables = [
        new_table(f"{name}: the study's comparison", columns, rows, compared.note),
        new_table(f"{name}: {seconds:.0f} seconds in all", ["step", "seconds"], steps),
    ]
    return {"tables": tables, "data": {"seconds": seconds, "steps": took, "systems": results["systems"]}}


def write_study(configs: Path, study: dict[str, Any], replaced: dict[str, Any]) -> None:
    """Write study.yaml, whose systems are recipes of the quickstart with settings replaced."""
    own = {"trainer.accelerator": "auto", "trainer.devices": 1, **replaced}
    systems = {
        name: {**entry, "config": str(QUICKSTART / f"{name}.yaml"), "set": own} if "from" in entry else entry
        for name, entry in study.items()
    }
    configs.mkdir(parents=True, exist_ok=True)
    (configs / "study.yaml").write_text(yaml.safe_dump(systems, sort_keys=False), encoding="utf-8")


def new_table(title: str, columns: list[str], rows: list[list[str]], note: str = "") -> dict[str, Any]:
    """Table of the page."""
    return {"title": title, "columns": columns, "rows": rows, "note": note}


MEASURES: dict[str, Callable[[Options], Result]] = {
    "card": measure_card,
    "model": make_model,
    **{name: partial(compare_step, name, "nf4") for name in ("translation_at_once", "translation", "headline", "sft")},
    "translation_bf16": partial(compare_step, "translation_at_once", "bf16"),
    "rollouts": compare_rollouts,
    "components": measure_components,
    **{name: partial(compare_step, name, "bf16") for name in ("smollm2_translation", "smollm2_sft")},
    "smollm2_study": run_smollm2_study,
    "quickstart": run_quickstart,
}


def main() -> None:
    """Run one section and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=MEASURES)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu"), help="folder of models and studies")
    parser.add_argument("--size", default="qwen3-4b", choices=model.SIZES)
    parser.add_argument("--smollm2", default="data/smollm2", help="folder of SmolLM2 (semalign data smollm2)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    found = MEASURES[options.section](options)
    for table in found["tables"]:
        harness.table(table["title"], table["columns"], table["rows"])
    options.result.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
