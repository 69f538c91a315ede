"""Measure the preparation of a corpus: against a plain `datasets.map`, from the cache, and at five million rows.

Each measurement runs in its own process. The contestants take turns, and the median is reported. Both sides normalise
every text to its language's normal form, drop rows by script and length ratio, apply the chat template to the prompt,
and tokenise prompt and reference. "all" is ours including the search for duplicates and leaks, which the other side
does not do. The pairs are those of `semalign data mitra`. The results kept here are of 60,000 other pairs of that
corpus, drawn from all its texts and filtered by an association score.

    python benchmarks/data.py [--pairs FILE --dev FILE] [--repetitions 3] [--rows 5000000]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import RESULTS, existing, machine

REAL = Path("data/mitra")
BASE = "runs/quickstart/world/base"
SMALL = 50_000
BATCHES = 2_000


def ours(pairs: str, dev: str, everything: bool) -> dict[str, float]:
    """Seconds of our preparation, with a new cache in a new working folder."""
    from lightning import Trainer

    from semalign_pl.data import CorpusDataModule, Translation
    from semalign_pl.data.cleaning.preparation import Preparation
    from semalign_pl.modules import SFTModule

    prepare = Preparation() if everything else Preparation(duplicates=False, decontaminate=False)
    module = SFTModule(BASE, weights="fp32", max_prompt_tokens=4096, max_new_tokens=4096)
    data = CorpusDataModule(pairs, dev, task=Translation(), prepare=prepare)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, max_steps=1)
    trainer.strategy.connect(module)
    module.trainer = data.trainer = trainer  # type: ignore[assignment]
    module.configure_model()
    start = time.perf_counter()
    data.setup("fit")
    rows = len(data.train_dataloader().dataset)  # type: ignore[arg-type]
    return {"seconds": time.perf_counter() - start, "rows": rows}


def plain(pairs: str) -> dict[str, float]:
    """Seconds of the same preparation by `datasets`, row by row: one map and one filter, as in its documentation."""
    import datasets
    from transformers import AutoTokenizer

    from semalign_pl.data import Translation
    from semalign_pl.languages import get_language

    datasets.disable_progress_bars()
    tokenizer: Any = AutoTokenizer.from_pretrained(BASE)
    task, languages = Translation(), {code: get_language(code) for code in ("zh", "bo")}
    start = time.perf_counter()
    table: Any = datasets.load_dataset("json", data_files=pairs, split="train", cache_dir="datasets")
    table = table.map(lambda row: {code: language.normalise(row[code]) for code, language in languages.items()})
    ratios = [len(bo) / len(zh) for bo, zh in zip(table["bo"], table["zh"], strict=True)]
    median = statistics.median(ratios)

    def keep(row: dict[str, str]) -> bool:
        right = all(language.share(row[code]) >= 0.5 for code, language in languages.items())
        return right and 1 / 4 <= len(row["bo"]) / len(row["zh"]) / median <= 4

    def tokenise(row: dict[str, str]) -> dict[str, list[int]]:
        message = [{"role": "user", "content": task.example(row, "").prompt}]
        prompt = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, enable_thinking=False, return_dict=False
        )
        completion = tokenizer(row["bo"], add_special_tokens=False)["input_ids"]
        return {"prompt_ids": prompt, "completion_ids": [*completion, tokenizer.eos_token_id]}

    table = table.filter(keep).map(tokenise)
    return {"seconds": time.perf_counter() - start, "rows": len(table)}


def stream(file: str) -> dict[str, float]:
    """Prepare a file, draw batches from all of it, and measure this process's peak memory."""
    from semalign_pl.data import CorpusDataModule
    from semalign_pl.data.cleaning.preparation import Preparation

    start = time.perf_counter()
    data = CorpusDataModule(file, prepare=Preparation())
    data.setup("fit")
    prepared = time.perf_counter()
    loader, rows = data.train_dataloader(), 0
    for batch, _ in zip(loader, range(BATCHES), strict=False):
        rows += len(batch)
    read = time.perf_counter()
    return {
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": len(data.examples["train"]),
        "prepare_seconds": prepared - start,
        "milliseconds_a_batch_of_32": 1000 * (read - prepared) / (rows / 32),
    }


def write_rows(path: Path, rows: int) -> None:
    """Write generated pairs of made-up sentences, all different."""
    rng = random.Random(0)
    syllables = [a + v for a in "ཀཁགངཅཆཇཉཏཐདནཔཕབམཙཚཛཝཞཟའཡརལཤསཧཨ" for v in ("", "ི", "ུ", "ེ", "ོ")]
    characters = [chr(code) for code in range(0x4E00, 0x5200)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            n = rng.randint(8, 16)
            zh, bo = "".join(rng.choices(characters, k=n)) + "。", "་".join(rng.choices(syllables, k=2 * n)) + "།"
            file.write(f'{{"zh": "{zh}", "bo": "{bo}"}}\n')


def measure(folder: Path, *arguments: str) -> dict[str, float]:
    """Run one contestant in a process with its own working folder, and so with its own cache."""
    here = Path(__file__).resolve()
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    if not (folder / "runs/quickstart").exists():
        (folder / "runs/quickstart").symlink_to(Path("runs/quickstart").resolve())
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(here), *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": time.perf_counter() - start}


def main() -> None:
    """Run all measurements, print the table and write ``results/data.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=str(REAL / "train.jsonl"))
    parser.add_argument("--dev", default=str(REAL / "dev.jsonl"))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, *files = args.one
        one = {
            "same work": lambda: ours(*files, everything=False),
            "all": lambda: ours(*files, everything=True),
            "datasets.map": lambda: plain(files[0]),
            "stream": lambda: stream(files[0]),
        }[name]
        print(json.dumps(one()))
        return
    pairs, dev = (str(existing(file).resolve()) for file in (args.pairs, args.dev))
    results: dict[str, Any] = {"machine": machine(), "command": "make bench-data"}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        contestants = {"same work": [pairs, dev], "all": [pairs, dev], "datasets.map": [pairs]}
        runs: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in contestants}
        again = []
        for repetition in range(args.repetitions):
            for contestant, files in contestants.items():
                folder = root / f"{contestant} {repetition}"
                runs[contestant].append(measure(folder, "--one", contestant, *files))
                print(contestant, runs[contestant][-1], flush=True)
            again.append(measure(root / f"all {repetition}", "--one", "all", *contestants["all"]))
            print("again", again[-1], flush=True)
        median = {c: statistics.median(run["seconds"] for run in found) for c, found in runs.items()}
        results["seconds"] = {contestant: [run["seconds"] for run in found] for contestant, found in runs.items()}
        results["rows"] = {contestant: found[0]["rows"] for contestant, found in runs.items()}
        results["times_as_fast"] = median["datasets.map"] / median["same work"]
        results["times_as_fast_with_duplicates_and_leaks"] = median["datasets.map"] / median["all"]
        results["second_start_seconds"] = [run["seconds"] for run in again]
        results["second_start_process_seconds"] = [run["process_seconds"] for run in again]
        for rows in (SMALL, args.rows):
            file = root / f"{rows}.jsonl"
            write_rows(file, rows)
            results[f"stream {rows}"] = measure(root / f"stream {rows}", "--one", "stream", str(file))
            print(rows, results[f"stream {rows}"], flush=True)
            file.unlink()
        peaks = [results[f"stream {rows}"]["peak_mib"] for rows in (SMALL, args.rows)]
        results["peak_difference_mib"] = peaks[1] - peaks[0]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "data.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    more = results["times_as_fast_with_duplicates_and_leaks"]
    print(
        f"preparing: {results['times_as_fast']:.2f} times as fast as datasets.map; finding duplicates too, {more:.2f}"
    )
    print(f"second start: {statistics.median(results['second_start_seconds']):.2f} s")
    print(f"{args.rows:,} rows: peak {results['peak_difference_mib']:+.0f} MiB against {SMALL:,}")


if __name__ == "__main__":
    main()
