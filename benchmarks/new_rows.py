"""Compare starts of the rows of new tokens: NLL of held-out references after equal numbers of SFT steps.

python benchmarks/new_rows.py --base MODEL --corpus data/train.jsonl --held data/dev.jsonl --source en --target dz

The starts are the mean of a token's pieces, that mean with noise of the embedding's covariance, and the mean of the
source tokens that a new token translates (vocabulary.initialization: aligned). For each seed, all starts are trained on
the same pairs in the same order. The cost before any training is measured too: the NLL that the untrained new rows add
to text in the source language, because a softmax over more tokens gives the old ones less.

results/new_rows.json is written after each training, and the same command goes on where an earlier one was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
import harness

if TYPE_CHECKING:
    from semalign_pl.engine.micro_batches import Completions
    from semalign_pl.policy.policy import Policy

STARTS = ("pieces", "noise", "aligned")
_BUDGET = 4096
Run = dict[str, object]
"""Figures of one start and seed."""


def load(options: argparse.Namespace, start: str) -> Policy:
    """Policy with new tokens that start so."""
    import torch

    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.row_initialization import Meaning, initialize_rows
    from semalign_pl.policy.settings import LoraSettings, VocabularySettings

    aligned = {"initialization": "aligned", "source_column": options.source} if start == "aligned" else {}
    vocabulary = VocabularySettings(options.target, options.corpus, options.target, options.tokens, **aligned)
    lora = LoraSettings(r=32, alpha=64, dropout=0.0)
    policy = load_policy(options.base, "fp32", lora, None, torch.device("cpu"), vocabulary)
    if start == "noise":
        initialize_rows(policy.model, {token: Meaning(pieces) for token, pieces in policy.encoder.new_tokens.items()})
    return policy


def encode(policy: Policy, options: argparse.Namespace, rows: list[dict[str, str]]) -> Completions:
    """Prompts without the template's own system text, and references."""
    from semalign_pl.data import Translation
    from semalign_pl.engine.micro_batches import Completions

    task = Translation(options.source, options.target, prompt_language="en", system="")
    examples = [task.example(row, str(place)) for place, row in enumerate(rows)]
    prompts, _ = policy.encoder.encode_prompts([example.policy_prompt for example in examples], 256)
    return Completions(prompts, policy.encoder.encode_completions([example.reference for example in examples]))


def train(policy: Policy, batches: list[Completions], options: argparse.Namespace) -> None:
    """SFT with the per-token loss of each batch."""
    import torch

    from semalign_pl.engine.logprobs import LogprobScorer
    from semalign_pl.engine.micro_batches import micro_batches
    from semalign_pl.functional.losses import nll_sum
    from semalign_pl.modules.parameter_groups import parameter_groups

    optimizer = torch.optim.AdamW(parameter_groups(policy.named_parameters(), options.rows_lr), options.lr)
    for completions in batches:
        for batch in micro_batches(completions, _BUDGET):
            scorer = LogprobScorer(policy, completions, batch)
            for chunk in batch.chunks:
                scored = scorer(chunk)
                (nll_sum(scored.logps, scored.mask) / completions.tokens).backward()
            scorer.backward()
        torch.nn.utils.clip_grad_norm_([p for p in policy.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()


def nll(policy: Policy, completions: Completions) -> float:
    """NLL in nats per token; the tokens are the same for all starts."""
    from semalign_pl.engine.logprobs import compute_logprobs

    return -float(compute_logprobs(policy, completions, _BUDGET).double().sum()) / completions.tokens


def leak(policy: Policy, texts: list[str]) -> float:
    """NLL that the untrained new rows add to texts without new tokens, in nats per token."""
    import torch

    first = min(policy.encoder.new_tokens)
    total, tokens = 0.0, 0
    with torch.no_grad(), policy.inference():
        for text in texts:
            logits = (
                policy.model(input_ids=torch.tensor([policy.encoder.tokenizer(text)["input_ids"]])).logits[0].float()
            )
            total += float((logits.logsumexp(-1) - logits[:, :first].logsumexp(-1)).sum())
            tokens += len(logits)
    return total / tokens


def cosine(policy: Policy) -> float:
    """Mean cosine of two new rows of the embedding."""
    import torch

    rows = next(p for name, p in policy.named_parameters() if "trainable_tokens" in name).detach()
    unit = torch.nn.functional.normalize(rows, dim=1)
    return float(((unit.sum(0) ** 2).sum() - len(unit)) / (len(unit) * (len(unit) - 1)))


def measure(options: argparse.Namespace, seed: int, start: str) -> Run:
    """Figures of one start and seed, before and after training."""
    import torch

    torch.manual_seed(seed)
    policy = load(options, start)
    rows = [json.loads(line) for line in Path(options.corpus).read_text(encoding="utf-8").splitlines()]
    held = [json.loads(line) for line in Path(options.held).read_text(encoding="utf-8").splitlines()][: options.items]
    drawn = random.Random(seed).sample(rows, options.steps * options.batch)
    batches = [encode(policy, options, drawn[at : at + options.batch]) for at in range(0, len(drawn), options.batch)]
    references = encode(policy, options, held)
    before = {"nll_start": nll(policy, references), "cosine_start": cosine(policy)}
    before["leak"] = leak(policy, [row[options.source] for row in held])
    train(policy, batches, options)
    after = {"nll": nll(policy, references), "cosine": cosine(policy)}
    return {"start": start, "seed": seed, **before, **after}


def kept_runs(file: Path, settings: Mapping[str, object]) -> list[Run]:
    """Figures that an earlier process measured with the same settings and files, number of seeds aside.

    Args:
        file: File of the results.
        settings: Settings of this process, with the digests of its files.
    """
    if not file.is_file():
        return []
    content = json.loads(file.read_text(encoding="utf-8"))
    if {**content["settings"], "seeds": settings["seeds"]} == settings:
        return content["runs"]
    print(f"{file} is of other settings or files, and is written anew", file=sys.stderr)
    return []


def main() -> None:
    """Measure all starts with all seeds, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "corpus", "held", "source", "target"):
        parser.add_argument(f"--{name}", required=True)
    for name, value in (("tokens", 1000), ("steps", 60), ("batch", 16), ("items", 200), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--rows-lr", type=float, default=None)
    options = parser.parse_args()
    files = {name: harness.existing(name) for name in (options.corpus, options.held)}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for name, file in files.items()}
    settings = {**vars(options), "files": digests}
    runs = kept_runs(harness.RESULTS / "new_rows.json", settings)
    done = {(run["seed"], run["start"]) for run in runs}
    todo = [(seed, start) for seed in range(options.seeds) for start in STARTS if (seed, start) not in done]
    for number, (seed, start) in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] seed {seed}, {start}", file=sys.stderr, flush=True)
        runs.append(measure(options, seed, start))
        last = {one: mean(runs, one, "nll") for one in STARTS if any(run["start"] == one for run in runs)}
        harness.write("new_rows", {**last}, [*runs], {"new_rows": " ".join(["python", *sys.argv])}, settings=settings)
    names = ("nll_start", "cosine_start", "leak", "nll", "cosine")
    table = [[start, *(f"{mean(runs, start, name):.3f}" for name in names)] for start in STARTS]
    harness.table(f"{options.steps} steps of {options.batch} pairs, {options.seeds} seeds", ["start", *names], table)


def mean(runs: Sequence[Run], start: str, name: str) -> float:
    """Mean of a figure over the seeds."""
    return statistics.fmean(float(str(run[name])) for run in runs if run["start"] == start)


if __name__ == "__main__":
    main()
