"""Judge of the toy world: the base model, trained to tell which of two texts means more of what the reference means."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoTokenizer, Qwen3ForCausalLM

from semalign_pl.files.atomic import replace_folder
from semalign_pl.judge.local import LocalModel
from semalign_pl.judge.question import Question
from semalign_pl.judge.rubric import Rubric, read_rubric
from semalign_pl.toy import generator, grammar, optim
from semalign_pl.toy.corruption import CORRUPTIONS, corrupt
from semalign_pl.toy.encoder import SHARPNESS
from semalign_pl.toy.grammar import Meaning

RUBRIC = "{{ reference }}\n{{ first }}\n{{ second }}\nVERDICT:"
"""Prompt of the judge: short, because the toy tokenizer splits English into bytes."""
TIE = 0.03
"""Largest difference in quality that is a tie."""


class Case(NamedTuple):
    """Question to the judge with its answer.

    Attributes:
        question: Question.
        answer: Place of the right option: first text, second text, tie.
    """

    question: Question
    answer: int


def draw_text(rng: random.Random, meaning: Meaning, headline: bool) -> tuple[str, float]:
    """Draw a text that has some of a meaning, and its quality, 0 to 1.

    The quality is the share of the meaning's slots that are right, to the power of ``SHARPNESS``, as in the target of
    the toy world's encoder, times that of the wording.

    Args:
        rng: Random numbers.
        meaning: Meaning of the reference.
        headline: True to write headlines.
    """
    write = grammar.tibetan_headline if headline else grammar.tibetan
    other = meaning
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
        other = generator.neighbour(rng, other)
    kept = (grammar.headline_meaning(one) if headline else one for one in (meaning, other))
    shared, filled = grammar.shared_slots(*kept)
    quality = (shared / filled) ** SHARPNESS
    if rng.random() < 0.75:
        return write(other), quality
    text, wording = corrupt(rng, rng.choice(list(CORRUPTIONS)), write(other), grammar.chinese(other))
    return text, quality * wording


def draw_case(rng: random.Random, rubric: Rubric, split: str) -> Case:
    """Draw a question: a translation's two times of three, else a headline's.

    Args:
        rng: Random numbers.
        rubric: Prompt of the judge.
        split: Split of the meanings, a key of ``SPLITS``.
    """
    meaning, headline = generator.draw(rng, generator.SPLITS[split]), rng.random() < 1 / 3
    reference = (grammar.tibetan_headline if headline else grammar.tibetan)(meaning)
    (one, first), (two, second) = (draw_text(rng, meaning, headline) for _ in range(2))
    answer = 2 if abs(first - second) <= TIE else int(second > first)
    return Case(rubric.compare(grammar.chinese(meaning), reference, one, two), answer)


def scores(model: Qwen3ForCausalLM, judge: LocalModel, cases: list[Case]) -> tuple[Tensor, Tensor]:
    """Logits of the options, and the right ones.

    Args:
        model: Model that is trained.
        judge: Judge with the model's tokenizer, which encodes the questions as it will when it is asked.
        cases: Questions.

    Returns:
        Logits ``(cases, 3)`` float32 and places of the right options ``(cases,)`` int64.
    """
    encoded = [judge.encode(case.question) for case in cases]
    width = max(len(ids) for ids, _ in encoded)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in encoded], device=model.device)
    last = torch.tensor([len(ids) - 1 for ids, _ in encoded], device=model.device)
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(len(cases)), last]
    options = torch.tensor([[end[0] for end in ends] for _, ends in encoded], device=model.device)
    return model.lm_head(states).float().gather(1, options), torch.tensor([case.answer for case in cases])


def train(
    base: Path,
    folder: Path,
    *,
    steps: int = 400,
    batch: int = 32,
    seed: int = 0,
    lr: float = 1e-3,
    new_questions: int = 300,
) -> float:
    """Train a judge from the base model, and write it with its rubric, ``rubric.yaml``.

    Args:
        base: Folder of the base model.
        folder: Folder to write, replaced.
        steps: Number of training steps.
        batch: Number of questions per step.
        seed: Seed of the questions.
        lr: Peak learning rate.
        new_questions: Number of questions of the dev fold to ask at the end.

    Returns:
        Share of the new questions that the judge answers right.
    """
    rng = random.Random(f"judge-{seed}")
    model = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    optim.place(model, torch.device("cpu"))
    opts = optim.optimizers(model, lr)
    with replace_folder(folder) as made:
        (made / "rubric.yaml").write_text(f"pairwise: |\n{textwrap.indent(RUBRIC, '  ')}\n")
        rubric = read_rubric("toy judge", str(made / "rubric.yaml"))
        judge = LocalModel(str(base), made / "digests.json")
        bar = tqdm(range(steps), desc="judge", mininterval=5)
        shown = 0.0
        for done in bar:
            logits, answers = scores(model, judge, [draw_case(rng, rubric, "train") for _ in range(batch)])
            loss = F.cross_entropy(logits, answers)
            loss.backward()
            optim.step(model, opts, lr * optim.scale(done / steps))
            mixed = min(0.95, done / (done + 1))
            shown = mixed * shown + (1 - mixed) * float(loss.detach())
            bar.set_postfix({"nats": f"{shown:.3f}"}, refresh=False)
        optim.halve(model)
        model.save_pretrained(made)
        AutoTokenizer.from_pretrained(base, trust_remote_code=False).save_pretrained(made)
        (made / "digests.json").unlink(missing_ok=True)
    model.float().eval()
    asked = [draw_case(random.Random(f"dev-{number}"), rubric, "dev") for number in range(new_questions)]
    with torch.no_grad():
        logits, answers = scores(model, judge, asked)
    return (logits.argmax(1) == answers).float().mean().item()
