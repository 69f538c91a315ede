"""Compare rollouts with transformers' ``generate`` and an earlier commit, and a sampled token with sorting.

python benchmarks/rollout.py                      # all, into results/rollout.json; CPU, about half an hour
python benchmarks/rollout.py --parts nucleus      # a token alone, about a minute
python benchmarks/rollout.py worker ours ...      # started by the above, one process per contestant
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model
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


REAL = Path("data/smollm2")
"""Folder of SmolLM2-135M-Instruct; without it, random weights of its shape are decoded."""
BEFORE = "0717744"
"""Last commit before nuclei were found without sorting."""
RAGGED = {"prompt": 96, "completion": 128, "shortest": 8, "prompts": 8, "generations": 8}
SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
}
PEAKED = 8.0
"""Scale of the last norm of random weights, whose distributions would be nearly flat without it."""


def make_random(folder: Path, vocabulary: int) -> None:
    """Write a model of SmolLM2-135M's widths and random weights, whose nuclei are about as small as a real one's."""
    from safetensors.torch import load_file, save_file

    model.SIZES["rollout"] = {**SMOLLM2, "vocab_size": vocabulary}
    model.make(folder, "rollout")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= PEAKED
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def prompt_ids(shape: grpo.Shape, step: int) -> list[list[int]]:
    """Prompts of random token ids, the same for every contestant."""
    draw = random.Random(step)
    return [[draw.randrange(1000, 30000) for _ in range(shape["prompt"])] for _ in range(shape["prompts"])]


def ours(folder: str, shape: grpo.Shape, dense: bool) -> None:
    """Sample with this package, of this commit or of an earlier one."""
    from contextlib import nullcontext

    from semalign_pl.engine import generate as sampling
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    turn, make_sampler, step = harness.Turn(), sampling.make_sampler, 0
    policy = load_policy(folder, "fp32", LoraSettings(), None, torch.device("cpu"))
    eos = policy.eos_ids[0]

    def make_forced_sampler(*options: object) -> Any:
        choose, left, at = make_sampler(*options), grpo.lengths(shape, step), 0

        def choose_with_end(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
            nonlocal left, at
            left = [n for n in left if n > at] if len(logits) < len(left) else left
            at += 1
            logits[:, list(policy.eos_ids)] = float("-inf")
            chosen = choose(logits, uniforms)
            chosen[torch.tensor([n <= at for n in left])] = eos
            return chosen

        return choose_with_end

    sampling.make_sampler = make_forced_sampler
    for step in range(1000):  # noqa: B007  (the sampler reads it)
        turn.begin()
        if dense:
            from semalign_pl.policy.rollout_weights import dense_weights
        with dense_weights(policy) if dense else nullcontext():
            rollouts = sampling.generate(
                policy,
                prompt_ids(shape, step),
                max_new_tokens=shape["completion"],
                num_generations=shape["generations"],
                temperature=TEMPERATURE,
                top_p=TOP_P,
                seed=step,
                rows=4096,
            )
        assert sorted(rollouts.completion_mask.sum(1).tolist()) == sorted(grpo.lengths(shape, step))
        turn.end(tokens=sum(grpo.lengths(shape, step)))


def peer(folder: str, shape: grpo.Shape) -> None:
    """Sample with transformers' ``generate``, batched and with its cache, and PEFT's LoRA."""
    from peft import LoraConfig, get_peft_model
    from transformers import LogitsProcessor

    turn, step = harness.Turn(), 0
    lm = model.load_peer(folder, "fp32")
    lora = LoraConfig(task_type="CAUSAL_LM", r=64, lora_alpha=128, lora_dropout=0.05, target_modules="all-linear")
    peft_model = get_peft_model(lm, lora).eval()
    ends = lm.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else ends

    class Lengths(LogitsProcessor):
        def __init__(self) -> None:
            self.at, self.left = 0, grpo.lengths(shape, step)

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            self.at += 1
            scores[:, ends] = float("-inf")
            over = torch.tensor([n == self.at for n in self.left])
            scores[over] = float("-inf")
            scores[over, ends[0]] = 0.0
            return scores

    for step in range(1000):  # noqa: B007  (the processor reads it)
        turn.begin()
        ids = torch.tensor(prompt_ids(shape, step))
        with torch.no_grad():
            peft_model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                num_return_sequences=shape["generations"],
                max_new_tokens=shape["completion"],
                logits_processor=[Lengths()],
            )
        turn.end(tokens=sum(grpo.lengths(shape, step)))


def compare_rollouts(shape: grpo.Shape, repetitions: int) -> dict[str, Any]:
    """Whole rollouts of each model: ratios of tokens per second, runs and commands."""
    ratios: dict[str, dict[str, float]] = {}
    runs, commands = [], {}
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "before"
        earlier.mkdir()
        archive = subprocess.run(["git", "archive", BEFORE, "semalign_pl"], check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(earlier)], input=archive.stdout, check=True)
        models = {}
        for vocabulary in VOCABULARIES:
            real = vocabulary == VOCABULARIES[0] and REAL.is_dir()
            models[f"{'SmolLM2-135M' if real else 'random SmolLM2-135M'}, {vocabulary}"] = base = (
                REAL if real else Path(folder) / str(vocabulary)
            )
            if not real:
                make_random(base, vocabulary)
        for name, base in models.items():
            print(f"{name}: {shape}", file=sys.stderr)
            worker = [sys.executable, __file__, "worker"]
            arguments = [str(base.resolve()), json.dumps(shape)]
            sides = {side: [*worker, side, *arguments] for side in ("dense", "stored", "generate")}
            sides["before"] = ["env", f"PYTHONPATH={earlier}", *worker, "stored", *arguments]
            records = harness.side_by_side(sides, repetitions)
            runs += [{"shape": name, **record} for record in records]
            commands[name] = {side: ["python", "benchmarks/rollout.py", "worker", side, "MODEL", arguments[1]]
                              for side in sides}  # fmt: skip
            of = {side: harness.median(records, side, "seconds") for side in sides}
            ratios[name] = {"over_generate": of["generate"] / of["dense"], "over_before": of["before"] / of["dense"],
                            "stored_over_generate": of["generate"] / of["stored"],
                            "stored_over_before": of["before"] / of["stored"]}  # fmt: skip
    harness.table(
        f"rollouts, {shape['prompts']} x {shape['generations']} rows, {shape['shortest']} to {shape['completion']} "
        f"tokens, top-p {TOP_P}, medians of {repetitions}",
        ["model", "over generate", f"over {BEFORE}", "stored weights over generate", f"over {BEFORE}"],
        [[name, *(f"{value:.2f} x" for value in row.values())] for name, row in ratios.items()],
    )
    return {"ratios": ratios, "runs": runs, "commands": commands, "shape": shape, "before": BEFORE}


def compare_nucleus(repetitions: int) -> dict[str, Any]:
    """A token for each row, from candidates and by sorting the vocabulary, on the same logits."""
    from semalign_pl.engine.sampler import TruncatedSampler

    choose = TruncatedSampler(TEMPERATURE, TOP_P, top_k=0, min_p=0.0)
    sides = {"candidates": choose, "sorted": choose.sort}
    measured, rows = [], []
    for vocabulary in VOCABULARIES:
        for shape, exponents in SHAPES.items():
            seconds: dict[str, list[float]] = {side: [] for side in sides}
            for repetition in range(-1, repetitions):
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
    return {"runs": measured, "temperature": TEMPERATURE, "top_p": TOP_P, "exponents": SHAPES}


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--parts", nargs="*", default=["nucleus", "rollouts"], choices=["nucleus", "rollouts"])
    for name in ("prompts", "completion"):
        parser.add_argument(f"--{name}", type=int, default=RAGGED[name])
    options = parser.parse_args()
    path = harness.RESULTS / "rollout.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    if "nucleus" in options.parts:
        content["nucleus"] = compare_nucleus(options.repetitions)
    if "rollouts" in options.parts:
        shape = {**RAGGED, "prompts": options.prompts, "completion": options.completion}
        content.update(compare_rollouts(shape, options.repetitions))
    path.write_text(json.dumps({**content, "machine": harness.machine()}, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        side, base, arguments = sys.argv[2:]
        if side == "generate":
            peer(base, json.loads(arguments))
        else:
            ours(base, json.loads(arguments), dense=side == "dense")
    else:
        main()
