"""Evaluation of the base model and of the encoder on held-out data."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from itertools import islice
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from semalign_pl.toy import generator, grammar, prompt
from semalign_pl.toy.corruption import CORRUPTIONS, corrupt
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.style import NAMED, PLAIN, draw, tibetan


def questions(squad: dict[str, Any]) -> list[tuple[str, str]]:
    """User message and reference answer of every question of a file in CMRC's format."""
    return [
        (prompt.PROMPT.format(context=p["context"], question=qa["question"]), qa["answers"][0]["text"])
        for item in squad["data"]
        for p in item["paragraphs"]
        for qa in p["qas"]
    ]


@torch.no_grad()
def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: list[str], batch: int = 50) -> list[str]:
    """Generate answers greedily.

    Args:
        model: Model to evaluate.
        tokenizer: Tokenizer of the model.
        asked: User messages.
        batch: Number of messages per forward pass.

    Returns:
        Answer per message, of up to 16 tokens.
    """
    generated: list[str] = []
    for start in range(0, len(asked), batch):
        chats = [[{"role": "user", "content": text}] for text in asked[start : start + batch]]
        texts = [str(tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True)) for c in chats]
        inputs = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
        out = cast(Any, model).generate(**inputs, max_new_tokens=16, do_sample=False)
        generated += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return generated


def overlap_f1(answer: str, wanted: str) -> float:
    """Character F1 of an answer against the reference answer, 0 to 1.

    Examples:
        >>> overlap_f1("新书", "三本新书")
        0.6666666666666666
    """
    common = sum((Counter(answer) & Counter(wanted)).values())
    return 2 * common / (len(answer) + len(wanted)) if common else 0.0


def reading(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, squad: dict[str, Any]) -> dict[str, float]:
    """Exact match and character F1 of greedy answers, 0 to 1, and the number of questions."""
    rows = questions(squad)
    generated = answers(model, tokenizer, [text for text, _ in rows])
    both = [(a.strip(), wanted) for a, (_, wanted) in zip(generated, rows, strict=True)]
    return {
        "exact_match": round(statistics.mean(a == wanted for a, wanted in both), 4),
        "f1": round(statistics.mean(overlap_f1(a, wanted) for a, wanted in both), 4),
        "questions": len(both),
    }


@torch.no_grad()
def nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> float:
    """Mean NLL of texts, in nats per token."""
    total, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text).input_ids], device=model.device)
        total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    return round(total / tokens, 4)


def base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, squad: dict[str, Any], seed: int
) -> dict[str, float]:
    """Evaluate the base model: reading comprehension, and NLL on texts in both languages.

    Args:
        model: Base model.
        tokenizer: Tokenizer of the model.
        squad: Questions in CMRC's format.
        seed: Seed of the texts.

    Returns:
        Figures of `reading`, and NLL in nats per token.
    """
    rng, folds = random.Random(f"nll-{seed}"), generator.SPLITS["dev"]
    zh, bo = ([make(rng, folds) for _ in range(100)] for make in (generator.chinese_text, generator.tibetan_text))
    return {
        **reading(model, tokenizer, squad),
        "nll_zh_nats": nll(model, tokenizer, zh),
        "nll_bo_nats": nll(model, tokenizer, bo),
    }


def _held_out(seed: int, size: int) -> list[Meaning]:
    """Meanings of the dev fold whose sentences show every field of a style."""
    drawn = generator.unique(random.Random(f"style-evaluation-{seed}"), generator.SPLITS["dev"])
    return list(islice((meaning for meaning in drawn if PLAIN.shown_in(meaning) == PLAIN), size))


def style_nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> dict[str, float]:
    """Mean NLL of the same 100 meanings in each named style, in nats per token."""
    held = _held_out(seed, 100)
    return {name: nll(model, tokenizer, [tibetan(meaning, style) for meaning in held]) for name, style in NAMED.items()}


def style_encoder(model: SentenceTransformer, seed: int, size: int = 200) -> dict[str, object]:
    """Evaluate an encoder on Tibetan of all styles.

    Args:
        model: Encoder.
        seed: Seed of the texts.
        size: Number of meanings.

    Returns:
        Mean cosines of two texts: of the same meaning in the plain style and each other one, of the same meaning in two
        drawn styles, and in drawn styles of meanings with one or two wrong slots and of unrelated meanings.
    """
    rng, held = random.Random(f"styles-{seed}"), _held_out(seed, size)

    def write(meaning: Meaning) -> str:
        return tibetan(meaning, draw(rng))

    similar = [generator.neighbour(rng, meaning) for meaning in held]
    far = [generator.neighbour(rng, meaning) for meaning in similar]
    by_style = {
        name: _mean_cos(model, [(tibetan(meaning), tibetan(meaning, style)) for meaning in held])
        for name, style in NAMED.items()
    }
    wrong: dict[int, list[tuple[str, str]]] = {}
    for meaning, other in zip([*held, *held], [*similar, *far], strict=True):
        shared, filled = grammar.shared_slots(meaning, other)
        wrong.setdefault(filled - shared, []).append((write(meaning), write(other)))
    return {
        "mean_cos_by_style": by_style,
        "mean_cos_drawn_styles": _mean_cos(model, [(write(meaning), write(meaning)) for meaning in held]),
        "mean_cos_by_wrong_slots": {k: _mean_cos(model, pairs) for k, pairs in sorted(wrong.items()) if 0 < k < 3},
        "mean_cos_unrelated": _mean_cos(
            model, [(write(m), write(o)) for m, o in zip(held[:-1], held[1:], strict=True)]
        ),
    }


def _mean_cos(model: SentenceTransformer, pairs: list[tuple[str, str]]) -> float:
    one, other = (model.encode([p[side] for p in pairs], convert_to_tensor=True) for side in (0, 1))
    return round(float((one * other).sum(-1).mean()), 4)


def encoder(model: SentenceTransformer, seed: int, size: int = 300) -> dict[str, object]:
    """Evaluate the encoder: retrieval of Tibetan by Chinese, and mean cosine per kind of pair.

    Args:
        model: Encoder.
        seed: Seed of the texts.
        size: Number of sentences for the wrong, reordered and corrupted versions.

    Returns:
        Accuracy at 1 among 1,000 sentences, and mean cosines: per number of wrong slots, per corruption, and of
        reordered, unrelated and Chinese texts.
    """
    rng = random.Random(f"encoder-eval-{seed}")
    source = generator.unique(rng, generator.SPLITS["dev"])
    held = [next(source) for _ in range(1000)]
    bo, zh = [grammar.tibetan(m) for m in held], [grammar.chinese(m) for m in held]
    there, here = model.encode(bo, convert_to_tensor=True), model.encode(zh, convert_to_tensor=True)
    hits = (here @ there.T).argmax(-1).cpu() == torch.arange(1000)
    by_wrong: dict[int, list[tuple[str, str]]] = {}
    for meaning in held[:size]:
        changed = meaning
        for _ in range(5):
            changed = generator.neighbour(rng, changed)
            shared, filled = grammar.shared_slots(meaning, changed)
            by_wrong.setdefault(filled - shared, []).append((grammar.tibetan(meaning), grammar.tibetan(changed)))
    spoiled = {
        name: _mean_cos(model, [(b, corrupt(rng, name, b, z)[0]) for b, z in zip(bo[:size], zh[:size], strict=True)])
        for name in CORRUPTIONS
    }
    return {
        "retrieval_zh_to_bo_acc_at_1_of_1000": round(float(hits.float().mean()), 4),
        "mean_cos_by_wrong_slots": {k: _mean_cos(model, v) for k, v in sorted(by_wrong.items()) if len(v) >= 20},
        "mean_cos_unrelated": _mean_cos(model, list(zip(bo[:-1], bo[1:], strict=True))),
        "mean_cos_reordered": _mean_cos(
            model, [(grammar.tibetan(m), grammar.tibetan_reordered(m)) for m in held[:size]]
        ),
        "mean_cos_chinese_same_meaning": _mean_cos(model, list(zip(bo, zh, strict=True))),
        "mean_cos_chinese_unrelated": _mean_cos(model, list(zip(bo[:-1], zh[1:], strict=True))),
        "mean_cos_by_corruption": spoiled,
    }
