"""Measure how new tokens for a language's syllables change length, speed, quality and the loss of general ability.

semalign data sib200 mitra                  # optional: lengths of real text too
python benchmarks/vocabulary.py --seeds 3   # writes results/vocabulary.json; finished steps are not redone

The miniature world's tokenizer has a token for every Tibetan syllable, so there is nothing to add. Here its Tibetan
merges are removed, and the base is trained a little further on the same mixture, until it reads Tibetan in bytes, like
a large model that has seen some Tibetan. From this base, SFT (configs/vocabulary) runs with and without new tokens,
with equal numbers of steps and with about equal time.

Speed is measured apart from training, alternating in this process: SFT steps on the same pairs, and greedy decoding to
the length of the same references.

The lengths of real text kept here for mitra, 11.1 tokens per syllable without and 1.6 with 1,000 new tokens, are of
other pairs of the same corpus (MITRA-parallel) than those of `semalign data mitra`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
import harness

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from semalign_pl.engine.micro_batches import Completions
    from semalign_pl.policy.policy import Policy

CONFIGS = Path("configs/vocabulary")
ROOT = Path("runs/vocabulary")
REAL = Path("data")
SYSTEMS = {
    "pieces": "in pieces",
    "syllables": "syllables, as many steps",
    "syllables_as_long": "syllables, as much time",
}
SCORES = (
    "bleu4",
    "chrf",
    "semantic_similarity",
    "language_consistency",
    "cmrc_em",
    "cmrc_f1",
    "nll_change_mean",
    "kl_mean",
)


def without_tibetan(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """Tokenizer without its Tibetan merges, and the old id of each of its tokens.

    Of the world's letters, only Tibetan ones begin with the byte E0, which the byte-level alphabet writes as ``à``.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model, lead = spec["model"], "\u00e0"
    old = {token: i for token, i in model["vocab"].items() if lead not in token or token == lead}
    ordered = sorted(old, key=lambda token: old[token])
    model["vocab"] = {token: i for i, token in enumerate(ordered)}
    model["merges"] = [pair for pair in model["merges"] if lead not in "".join(pair)]
    assert all(model["vocab"][token["content"]] == token["id"] for token in spec["added_tokens"])
    pruned = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        chat_template=tokenizer.chat_template,
        model_input_names=tokenizer.model_input_names,
    )
    return pruned, [old[token] for token in ordered]


def make_base(world: Path, out: Path, steps: int) -> dict[str, object]:
    """Write the base that reads Tibetan in bytes, and return a record of its training."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from semalign_pl.toy import base, evaluate, optim

    if (out / "made.json").is_file():
        return json.loads((out / "made.json").read_text())
    started = time.monotonic()
    tokenizer, kept = without_tibetan(AutoTokenizer.from_pretrained(world / "base"))
    model = AutoModelForCausalLM.from_pretrained(world / "base", dtype=torch.float32)
    rows = model.get_input_embeddings().weight.detach()[kept]
    model.resize_token_embeddings(-(-len(kept) // 64) * 64, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[: len(kept)] = rows
    made = base.train(model, tokenizer, steps=steps, device=torch.device("cpu"), seed=0, batch=8, lr=1e-3, follow=True)
    optim.halve(model)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    squad = json.loads((world / "reading_comprehension_dev.json").read_text(encoding="utf-8"))
    made |= {"steps": steps, "tokens": len(kept), **evaluate.reading(model, tokenizer, squad)}
    made["seconds"] = round(time.monotonic() - started)
    (out / "made.json").write_text(json.dumps(made, indent=1) + "\n")
    return made


def lines(path: Path) -> list[dict[str, str]]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def syllables(texts: list[str]) -> int:
    """Number of Tibetan syllables in texts."""
    from semalign_pl.languages import get_language

    language = get_language("bo")
    return sum(language.is_consistent(unit) for text in texts for unit in language.segment(text))


def tokens_per_syllable(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> float:
    """Number of tokens, including those of punctuation, divided by the number of syllables."""
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])) / syllables(texts)


def lengths(base: Path, world: Path) -> dict[str, object]:
    """Tokens per syllable of held-out text by number of new tokens, which are chosen from the training text."""
    from transformers import AutoTokenizer

    from semalign_pl.policy.settings import VocabularySettings
    from semalign_pl.policy.vocabulary import find_tokens

    sets = {"world": (world / "pairs/train.jsonl", world / "pairs/test.jsonl")}
    real = {name: REAL / name for name in ("mitra", "sib200")}
    sets |= {name: (f / "train.jsonl", f / "dev.jsonl") for name, f in real.items() if f.is_dir()}
    found: dict[str, object] = {}
    for name, (train, held) in sets.items():
        texts = [row["bo"] for row in lines(held)]
        found[name] = {"syllables": syllables(texts), "by_new_tokens": {}}
        for wanted in (0, 250, 1000, 4000):
            tokenizer = AutoTokenizer.from_pretrained(base)
            started = time.perf_counter()
            new = find_tokens(VocabularySettings("bo", str(train), "bo", max(1, wanted)), tokenizer) if wanted else []
            seconds = time.perf_counter() - started
            tokenizer.add_tokens(new)
            same = [tokenizer.decode(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] == texts
            found[name]["by_new_tokens"][wanted] = {
                "added": len(new),
                "tokens_a_syllable": round(tokens_per_syllable(texts, tokenizer), 3),
                "round_trip": same,
                "seconds_to_find": round(seconds, 2),
            }
    return found


def policy_of(base: Path, adapter: Path) -> Policy:
    """Load a trained policy."""
    import torch

    from semalign_pl.policy.load import load_policy

    return load_policy(str(base), "fp32", None, str(adapter), torch.device("cpu"))


def rows_of(policy: Policy, pairs: list[dict[str, str]]) -> Completions:
    """Prompts as in the recipe, and references."""
    from semalign_pl.data import Translation
    from semalign_pl.engine.micro_batches import Completions

    task = Translation(source="zh", target="bo")
    examples = [task.example(row, str(i)) for i, row in enumerate(pairs)]
    prompts = [policy.encoder.encode_prompt(example.prompt, 256) for example in examples]
    return Completions(prompts, [policy.encoder.encode_completion(example.reference) for example in examples])


def median_seconds(
    policies: dict[str, Policy], pairs: list[dict[str, str]], repetitions: int
) -> dict[str, dict[str, float]]:
    """Median seconds of an SFT step on 16 pairs and of decoding 48 texts, measured in alternation."""
    from semalign_pl.engine.generate import generate
    from semalign_pl.engine.logprobs import LogprobScorer
    from semalign_pl.engine.micro_batches import micro_batches
    from semalign_pl.functional.losses import nll_sum

    def step(policy: Policy, rows: Completions) -> None:
        for batch in micro_batches(rows, 4096):
            scorer = LogprobScorer(policy, rows, batch)
            for chunk in batch.chunks:
                scored = scorer(chunk)
                nll_sum(scored.logps, scored.mask).backward()
            scorer.backward()

    def decode(policy: Policy, rows: Completions) -> None:
        kept, policy.eos_ids = policy.eos_ids, (-1,)  # no EOS: all get as many tokens as the references
        generate(policy, rows.prompts, max_new_tokens=round(rows.tokens / len(rows.prompts)))
        policy.eos_ids = kept

    taken: dict[str, dict[str, list[float]]] = {name: {"step": [], "decode": []} for name in policies}
    for repetition in range(-1, repetitions):
        start = 48 * (repetition + 1)
        for name, policy in policies.items():
            for what, run, size in (("step", step, 16), ("decode", decode, 48)):
                rows = rows_of(policy, pairs[start : start + size])
                started = time.perf_counter()
                run(policy, rows)
                if repetition >= 0:
                    taken[name][what].append(time.perf_counter() - started)
    return {name: {what: statistics.median(s) for what, s in of.items()} for name, of in taken.items()}


def nll_per_syllable(policy: Policy, pairs: list[dict[str, str]]) -> float:
    """NLL of the references, their end included, in nats per syllable, which does not depend on the tokens."""
    from semalign_pl.engine.logprobs import compute_logprobs

    rows = rows_of(policy, pairs)
    return -float(compute_logprobs(policy, rows, 8192).sum()) / syllables([pair["bo"] for pair in pairs])


def leak(policy: Policy, texts: list[str]) -> float:
    """Increase of the NLL of general text by the untrained new rows, in nats per token."""
    import torch

    added = policy.model.peft_config["default"].trainable_token_indices
    first = min(ids[0] for ids in added.values())
    total, tokens = 0.0, 0
    with policy.inference(), policy.acting_as("base"):
        for text in texts:
            ids = policy.encoder.tokenizer(text)["input_ids"]
            logits = policy.model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
            total += float((logits.logsumexp(-1) - logits[:, :first].logsumexp(-1)).sum())
            tokens += len(ids) - 1
    return total / tokens


def of_seed(out: Path, seed: int, world: Path, base: Path) -> dict[str, object]:
    """Scores of all systems of a seed."""
    pairs, found = lines(world / "pairs/test.jsonl"), {}
    for name in SYSTEMS:
        folder = out / f"seed-{seed}" / name
        results = json.loads((folder / "results.json").read_text())
        scores = {score: results["metrics"][score]["value"] for score in SCORES}
        scores["nll_a_syllable"] = nll_per_syllable(policy_of(base, folder / "adapter"), pairs)
        found[name] = scores
    return {"seed": seed, "scores": found}


def format_spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    sd = f" ±{statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3g}{sd}"


def main() -> None:
    """Make the base, run the steps that are not done yet, measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base-steps", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    import torch

    from semalign_pl.report import load_results
    from semalign_pl.study.command import run_study
    from semalign_pl.toy.write import write

    torch.set_num_threads(1)
    world, base, out = ROOT / "world", ROOT / "base", ROOT / "study"
    if not world.is_dir():
        write(world)
    made = make_base(world, base, options.base_steps)
    text = lengths(base, world)
    run_study(CONFIGS, out, options.seeds)
    seeds = [of_seed(out, seed, world, base) for seed in range(options.seeds)]
    policies = {name: policy_of(base, out / "seed-0" / name / "adapter") for name in ("pieces", "syllables")}
    pairs = lines(world / "pairs/train.jsonl")
    seconds = median_seconds(policies, pairs, options.repetitions)
    ratios = {what: seconds["pieces"][what] / seconds["syllables"][what] for what in ("step", "decode")}
    ratios["tokens"] = rows_of(policies["pieces"], pairs).tokens / rows_of(policies["syllables"], pairs).tokens
    chinese = (world / "chinese.txt").read_text(encoding="utf-8").splitlines()[:100]
    rows = [
        [score, *(format_spread([s["scores"][name][score] for s in seeds]) for name in SYSTEMS)]
        for score in ("nll_a_syllable", *SCORES)
    ]
    harness.table(f"SFT from one base, {options.seeds} seeds", ["", *SYSTEMS.values()], rows)
    harness.table("Over the new tokens'", ["", *ratios], [["in pieces", *(f"{r:.2f} x" for r in ratios.values())]])
    study = load_results(out / "results.json")["run"]
    harness.write(
        "vocabulary",
        ratios,
        seeds,
        {"vocabulary": f"python benchmarks/vocabulary.py --seeds {options.seeds}", "study": study["command"]},
        columns=list(SYSTEMS.values()),
        rows=rows,
        tokens=text,
        seconds=seconds,
        train_seconds=study["seconds"],
        leak_nats_a_token=leak(policies["syllables"], chinese),
        base=made,
        threads=1,
    )


if __name__ == "__main__":
    main()
