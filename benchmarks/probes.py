r"""Compare a probe's answers by our `generate` with plain batched `generate` of transformers, in turn, on one model.

python benchmarks/probes.py                                      # the miniature world's base and questions
python benchmarks/probes.py --base HuggingFaceTB/SmolLM2-135M-Instruct \
    --questions data/cmrc2018/cmrc2018_trial.json --passages 18  # a real base and real texts (`semalign data cmrc2018`)
python benchmarks/probes.py --choices --name choices             # multiple choice, against scoring each option alone
python benchmarks/probes.py worker ours ...                      # started by the above, one process per contestant

Both contestants get the same token ids and the same weights in fp32, answer greedily and stop at the same end tokens.
Theirs runs as an expert would run it: batches of 32, sorted by length so that little is padding, padded on the left.
The answers must be equal, token for token, or nothing is written. Results of other models in results/probes.json stay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from choices import EXAMPLES, choose_alone, choose_ours, encode_choices

WORLD = "runs/quickstart/world/reading_comprehension.json"
BATCH = 32
MAX_PROMPT_TOKENS = 8192
MAX_NEW_TOKENS = 32
Ids = list[list[int]]


def encode_questions(base: str, file: Path, passages: int | None) -> dict[str, Any]:
    """Token ids of the probe's prompts about the first passages, and those of padding and of end tokens."""
    from semalign_pl.policy.load_encoder import load_prompt_encoder
    from semalign_pl.probes.reading_comprehension import default_prompt, read_questions

    questions = read_questions(str(file), None, 0)
    contexts = list(dict.fromkeys(question.context for question in questions))[:passages]
    texts = [
        default_prompt("zh").format(context=q.context, question=q.question) for q in questions if q.context in contexts
    ]
    encoder = load_prompt_encoder(base)
    prompts, cut = encoder.encode_prompts(texts, MAX_PROMPT_TOKENS)
    assert not any(cut), f"a prompt is longer than {MAX_PROMPT_TOKENS} tokens"
    return {"passages": len(contexts), "prompts": prompts, "pad": encoder.pad_id, "eos": list(encoder.eos_ids)}


def answer_ours(base: str, asked: dict[str, Any]) -> Callable[[], Ids]:
    """Return a function that answers the questions as the probe does, for the base of a policy."""
    import torch

    from semalign_pl.engine.generate import generate
    from semalign_pl.policy.load import load_policy

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = load_policy(base, "fp32", None, None, device)

    def answer() -> Ids:
        with policy.acting_as("base"):
            rollouts = generate(policy, asked["prompts"], max_new_tokens=MAX_NEW_TOKENS, rows=BATCH)
        pairs = zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
        return [row[mask].tolist() for row, mask in pairs]

    return answer


def answer_theirs(base: str, asked: dict[str, Any]) -> Callable[[], Ids]:
    """Return a function that answers the questions by transformers' `generate`."""
    import torch
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(device).eval()
    prompts, eos = asked["prompts"], asked["eos"]

    def answer() -> Ids:
        answers: Ids = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
        for start in range(0, len(order), BATCH):
            members = order[start : start + BATCH]
            longest = len(prompts[members[0]])
            padding = [longest - len(prompts[index]) for index in members]
            ids = [[asked["pad"]] * n + prompts[index] for n, index in zip(padding, members, strict=True)]
            mask = [[0] * n + [1] * (longest - n) for n in padding]
            out = model.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(mask, device=device),
                do_sample=False,
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=eos,
                pad_token_id=asked["pad"],
            )
            for index, row in zip(members, out[:, longest:].tolist(), strict=True):
                end = next((place + 1 for place, token in enumerate(row) if token in eos), len(row))
                answers[index] = row[:end]
        return answers

    return answer


def work(side: str, base: str, questions: str, file: str) -> None:
    """Answer all questions once per turn, and write the answers to a file."""
    turn = harness.Turn()
    asked = json.loads(Path(questions).read_text())
    if "options" in asked:
        answer = {"ours": choose_ours, "alone": choose_alone}[side](base, asked, BATCH)
    else:
        answer = {"ours": answer_ours, "generate": answer_theirs}[side](base, asked)
    while True:
        turn.begin()
        started = time.process_time()
        answers = answer()
        turn.end(cpu_seconds=time.process_time() - started)
        Path(file).write_text(json.dumps(answers))


def compare(
    name: str, base: str, asked: dict[str, Any], repetitions: int, theirs: str
) -> tuple[list[harness.Record], Ids]:
    """Run both contestants on one model; return their records and the answers.

    Raises:
        RuntimeError: If the answers differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.json"
        questions.write_text(json.dumps(asked))
        files = {side: Path(folder) / f"{side}.json" for side in ("ours", theirs)}
        contestants = {
            side: [sys.executable, __file__, "worker", side, base, str(questions), str(file)]
            for side, file in files.items()
        }
        records = harness.side_by_side(contestants, repetitions)
        ours, others = (json.loads(file.read_text()) for file in files.values())
    differing = [index for index, (one, other) in enumerate(zip(ours, others, strict=True)) if one != other]
    if differing:
        raise RuntimeError(f"{name}: {len(differing)} of {len(ours)} answers differ: questions {differing[:9]}")
    return [{"shape": name, **record} for record in records], ours


def _shape(asked: dict[str, Any], answers: Ids) -> dict[str, float]:
    """Numbers of a shape that only answers, or only choices, have."""
    if "options" not in asked:
        return {
            "ended_answers": sum(answer[-1] in asked["eos"] for answer in answers),
            "answer_tokens": sum(map(len, answers)),
            "max_new_tokens": MAX_NEW_TOKENS,
        }
    right = sum(answer == [index] for answer, index in zip(answers, asked["right"], strict=True))
    return {
        "examples": EXAMPLES,
        "option_tokens": sum(len(ids) for options in asked["options"] for ids in options),
        "accuracy": right / len(answers),
    }


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="semalign_pl/toy/weights/base", help="folder or hub id of the model")
    parser.add_argument("--questions", default=WORLD, help="SQuAD-style file")
    parser.add_argument("--passages", type=int, help="number of passages, from the first on (default: all)")
    parser.add_argument("--choices", action="store_true", help="multiple choice: the answers of others as options")
    parser.add_argument("--name", default="miniature", help="name of the model in the results")
    parser.add_argument("--note", default="", help="origin of the model, for the results")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    name = options.name
    theirs = "alone" if options.choices else "generate"
    encode = encode_choices if options.choices else encode_questions
    asked = encode(options.base, harness.existing(options.questions), options.passages)
    records, answers = compare(name, options.base, asked, options.repetitions, theirs)
    medians = {
        side: {field: harness.median(records, side, field) for field in ("seconds", "cpu_seconds", "above_model_mib")}
        for side in ("ours", theirs)
    }
    ratios = {
        "speedup": medians[theirs]["seconds"] / medians["ours"]["seconds"],
        "memory": medians["ours"]["above_model_mib"] / medians[theirs]["above_model_mib"],
    }
    harness.table(
        f"{len(answers)} equal answers, ours against {theirs} (fp32, medians of {options.repetitions})",
        ["model", "ours", theirs, "speedup", "memory above the model"],
        [
            [
                name,
                *(f"{medians[side]['seconds']:.2f} s" for side in medians),
                f"{ratios['speedup']:.2f} x",
                f"{ratios['memory']:.2f} x",
            ]
        ],
    )
    file = harness.RESULTS / "probes.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    shape = {
        "note": options.note,
        "passages": asked["passages"],
        "questions": len(answers),
        "equal_answers": True,
        "distinct_answers": len(set(map(tuple, answers))),
        "prompt_tokens": sum(map(len, asked["prompts"])),
        "batch": BATCH,
        **_shape(asked, answers),
        "threads": options.threads,
        "medians": medians,
    }
    folder, file_name = Path(options.base), Path(options.questions)
    named = {options.base: "MODEL"} if folder.is_absolute() else {}
    named |= {options.questions: f"FOLDER/{file_name.name}"} if file_name.is_absolute() else {}
    command = ["python", "benchmarks/probes.py", *(named.get(argument, argument) for argument in sys.argv[1:])]
    harness.write(
        "probes",
        before.get("ratios", {}) | {name: ratios},
        [run for run in before.get("runs", []) if run["shape"] != name] + records,
        before.get("commands", {}) | {name: command},
        shapes=before.get("shapes", {}) | {name: shape},
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(*sys.argv[2:])
    else:
        main()
