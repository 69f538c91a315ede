"""Does `semalign dial` end within its budget on questions and texts that it never saw? Several seeds.

python benchmarks/dial.py --seeds 5   # writes results/dial.json; finished trainings and tests of scales are not redone

The strong SFT of the miniature world loses most of its reading comprehension. The dial tests scales of it on one half
of the reading questions, of the general texts and of the test rows; the adapter that it writes is tested on the other
half. Items of one paragraph are in the same half.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import harness

BUDGET = {"cmrc_f1": 10.0, "nll_change_mean": 0.05}
HALVES = ("dial", "held_out")
WORLD = "runs/quickstart/world"


def find_adapter(seed: int, out: Path, runs: Path, configs: Path) -> Path:
    """Adapter of the strong SFT: that of an earlier quickstart, or else trained now from a cold start."""
    from semalign_pl.__main__ import main

    earlier = runs / f"seed-{seed}" / "strong_sft" / "adapter"
    if earlier.is_dir():
        return earlier
    start = "null"
    for system in ("cold_start", "strong_sft"):
        folder = out / f"seed-{seed}" / system
        if not (folder / "adapter").is_dir():
            recipe = ["--config", str(configs / f"{system}.yaml"), "--seed_everything", str(seed)]
            settings = ["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false"]
            if main(["fit", *recipe, *settings, "--model.init_args.adapter", start]):
                sys.exit(f"{folder}: the training failed")
        start = str(folder / "adapter")
    return Path(start)


def write_halves(world: Path, out: Path) -> None:
    """Write every second paragraph of questions, general text and test row to each half."""
    reading = json.loads((world / "reading_comprehension.json").read_text(encoding="utf-8"))
    for number, half in enumerate(HALVES):
        folder = out / half
        folder.mkdir(parents=True, exist_ok=True)
        questions = {**reading, "data": reading["data"][number::2]}
        (folder / "reading.json").write_text(json.dumps(questions, ensure_ascii=False), encoding="utf-8")
        for name, source in (("texts.txt", world / "chinese.txt"), ("test.jsonl", world / "pairs" / "test.jsonl")):
            lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
            (folder / name).write_text("".join(lines[number::2]), encoding="utf-8")


def write_recipe(configs: Path, half: Path) -> Path:
    """Recipe of the strong SFT that tests on a half."""
    recipe = yaml.safe_load((configs / "strong_sft.yaml").read_text(encoding="utf-8"))
    files = {"ReadingComprehensionProbe": "reading.json", "DriftProbe": "texts.txt"}
    for callback in recipe["trainer"]["callbacks"]:
        if callback["class_path"] in files:
            callback["init_args"]["file"] = str(half / files[callback["class_path"]])
    recipe["data"]["init_args"]["test"] = str(half / "test.jsonl")
    file = half / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    return file


def dial_and_test(seed: int, adapter: Path, out: Path, recipes: dict[str, Path]) -> None:
    """Dial on one half, and test the base, the whole adapter and the chosen one on the other."""
    from semalign_pl.__main__ import main

    folder = out / f"seed-{seed}"
    lose = ",".join(f"{name}={most:g}" for name, most in BUDGET.items())
    dialled = folder / "dial"
    command = ["dial", str(adapter), "--config", str(recipes["dial"]), "--lose", lose, "--out", str(dialled)]
    if main([*command, "--seed_everything", str(seed)]):
        sys.exit(f"{dialled}: no scale was chosen")
    tests = {"base": "null", "whole": str(adapter), "chosen": str(dialled / "adapter")}
    for name, tested in tests.items():
        settings = ["--model.init_args.adapter", tested, "--trainer.default_root_dir", str(folder / "held_out" / name)]
        settings += ["--seed_everything", str(seed), "--trainer.enable_progress_bar", "false"]
        if main(["test", "--config", str(recipes["held_out"]), *settings]):
            sys.exit(f"{folder}/held_out/{name}: the test failed")


def of_seed(seed: int, out: Path) -> dict[str, Any]:
    """Choice of a seed, its losses on the half of the dial, and those on the other half."""
    from semalign_pl.frontier.losses import PointResult, losses

    folder = out / f"seed-{seed}"
    record = json.loads((folder / "dial" / "dial.json").read_text(encoding="utf-8"))
    held_out = {name: PointResult(folder / "held_out" / name) for name in ("base", "whole", "chosen")}
    lost = {
        name: {metric: loss.value for metric, loss in losses(held_out["base"], tested, [*BUDGET], 0.95).items()}
        for name, tested in held_out.items()
    }
    chosen = next(one for one in record["scales"] if one["scale"] == record["chosen"])
    return {
        "seed": seed,
        "scale": record["chosen"],
        "tests": len(record["scales"]) - 1,
        "dial": chosen,
        "lost_held_out": lost,
        "chrf_held_out": {name: tested.metrics["chrf"]["value"] for name, tested in held_out.items()},
        "within": all(lost["chosen"][metric] <= most for metric, most in BUDGET.items()),
        "scales": record["scales"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, dial every seed, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--configs", type=Path, default=Path("configs/quickstart"))
    parser.add_argument("--trained", type=Path, default=Path("runs/quickstart"), help="folder of a quickstart")
    parser.add_argument("--out", type=Path, default=Path("runs/dial"))
    options = parser.parse_args(arguments)
    write_halves(Path(WORLD), options.out)
    recipes = {half: write_recipe(options.configs, options.out / half) for half in HALVES}
    for seed in range(options.seeds):
        adapter = find_adapter(seed, options.out, options.trained, options.configs)
        dial_and_test(seed, adapter, options.out, recipes)
    write_report([of_seed(seed, options.out) for seed in range(options.seeds)])


def write_report(seeds: Sequence[dict[str, Any]]) -> None:
    """Print the table, and write the results."""
    columns = ["seed", "scale", "tests", "chrF kept, of the whole adapter's"]
    columns += [f"{name}: {text}" for name in BUDGET for text in ("lost", "at most", "lost held out", "whole adapter")]
    rows = []
    for one in seeds:
        chrf, lost = one["chrf_held_out"], one["lost_held_out"]
        row = [str(one["seed"]), f"{one['scale']:g}", str(one["tests"]), f"{chrf['chosen']:.1f} of {chrf['whole']:.1f}"]
        for metric in BUDGET:
            seen = one["dial"]["losses"][metric]
            values = (seen["value"], seen["bound"], lost["chosen"][metric], lost["whole"][metric])
            row += [f"{number:.3g}" for number in values]
        rows.append([*row, "yes" if one["within"] else "no"])
    columns.append("within, held out")
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    allowed = ", ".join(f"{name} {most:g}" for name, most in BUDGET.items())
    print(f"Strong SFT, dialled on one half and tested on the other; most that may be lost: {allowed}\n")
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    summary = f"{sum(one['within'] for one in seeds)} of {len(seeds)} seeds end within the budget on held-out items."
    print(f"\n{summary}")
    command = "semalign dial ADAPTER --lose " + ",".join(f"{name}={most:g}" for name, most in BUDGET.items())
    content = {"summary": summary, "budget": BUDGET, "columns": columns, "rows": rows}
    harness.write("dial", content, [*seeds], {"dial": command})


if __name__ == "__main__":
    main()
