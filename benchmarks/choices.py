"""Multiple-choice questions for benchmarks/probes.py, answered by our probe and by scoring each option alone."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Ids = list[list[int]]
EXAMPLES = 5


def encode_choices(base: str, file: Path, passages: int | None) -> dict[str, Any]:
    """Token ids of contexts and options: each question of a SQuAD-style file, with the answers of three others."""
    from semalign_pl.policy.load_encoder import load_prompt_encoder
    from semalign_pl.probes import MultipleChoiceProbe
    from semalign_pl.probes.multiple_choice_prompts import encode
    from semalign_pl.probes.reading_comprehension import read_questions

    questions = read_questions(str(file), None, 0)
    contexts = list(dict.fromkeys(question.context for question in questions))[:passages]
    asked = [question for question in questions if question.context in contexts]
    draw = random.Random(0)
    rows = []
    for question in asked:
        right = question.answers[0]
        others = sorted({other.answers[0] for other in asked} - {right})
        options = [right, *draw.sample(others, 3)]
        draw.shuffle(options)
        rows.append(
            {
                "context": question.context,
                "question": question.question,
                "options": options,
                "answer": options.index(right),
            }
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "choices.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        probe = MultipleChoiceProbe(str(path), num_examples=EXAMPLES)
    encoder = load_prompt_encoder(base)
    ids, options, cut = encode(encoder, probe.asked, 8192, chat=False)
    assert not cut, "a prompt is longer than 8192 tokens"
    right = [one.question.answer for one in probe.asked]
    return {"passages": len(contexts), "prompts": ids, "options": options, "right": right, "pad": encoder.pad_id}


def choose_ours(base: str, asked: dict[str, Any], rows: int) -> Callable[[], Ids]:
    """Return a function that chooses an option per question as the probe does, for the base of a policy."""
    import torch

    from semalign_pl.engine.continuations import score_continuations
    from semalign_pl.policy.load import load_policy

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = load_policy(base, "fp32", None, None, device)

    def choose() -> Ids:
        with policy.acting_as("base"):
            scored = score_continuations(policy, asked["prompts"], asked["options"], rows=rows)
        return [[_best([option.logprob for option in options])] for options in scored]

    return choose


def choose_alone(base: str, asked: dict[str, Any], rows: int) -> Callable[[], Ids]:
    """Return a function that forwards prompt and option together for each option, as an expert would.

    Batches are sorted by length, so that little is padding, and the head runs on the tokens of the options only.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(device).eval()
    pairs = [(p, o) for p, options in zip(asked["prompts"], asked["options"], strict=True) for o in options]
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index][0]) + len(pairs[index][1]))

    @torch.no_grad()
    def choose() -> Ids:
        logprobs = [0.0] * len(pairs)
        for start in range(0, len(order), rows):
            members = order[start : start + rows]
            texts = [[*pairs[index][0], *pairs[index][1]] for index in members]
            longest = max(map(len, texts))
            ids = torch.tensor([text + [asked["pad"]] * (longest - len(text)) for text in texts], device=device)
            mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=device)
            states = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            for row, index in enumerate(members):
                prompt, option = pairs[index]
                places = slice(len(prompt) - 1, len(prompt) + len(option) - 1)
                logits = model.lm_head(states[row, places]).float().log_softmax(-1)
                logprobs[index] = float(logits[range(len(option)), option].double().sum())
        scores = iter(logprobs)
        return [[_best([next(scores) for _ in options])] for options in asked["options"]]

    return choose


def _best(logprobs: list[float]) -> int:
    return logprobs.index(max(logprobs))
