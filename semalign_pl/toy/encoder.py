"""Sentence encoder: a tiny BERT whose cosine similarity decreases smoothly with every wrong slot of the meaning."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from semalign_pl.files.atomic import move_folder, temporary_folder
from semalign_pl.toy import generator, grammar, optim
from semalign_pl.toy.corruption import CORRUPTIONS, corrupt
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.tokenizer import PAD, for_encoder, token_id

MAX_TOKENS = 128
SHARPNESS = 1.3
"""Exponent of the share of equal slots in the target cosine."""
ACROSS_LANGUAGES = 0.5
"""Factor on the target cosine of a Chinese and a Tibetan text."""


@dataclass(frozen=True)
class Text:
    """Text with its meaning.

    Attributes:
        text: Text.
        meaning: Meaning of the text.
        quality: Quality of the wording, 0 to 1 (perfect).
        chinese: True if the text is Chinese.
    """

    text: str
    meaning: Meaning
    quality: float = 1.0
    chinese: bool = False


def target(one: Text, other: Text) -> float:
    """Target cosine of two texts, 0 to 1: lower for different slots, low quality and different languages."""
    shared, filled = grammar.shared_slots(one.meaning, other.meaning)
    languages = 1.0 if one.chinese == other.chinese else ACROSS_LANGUAGES
    return (shared / filled) ** SHARPNESS * one.quality * other.quality * languages


def group(rng: random.Random) -> list[Text]:
    """Draw a Tibetan sentence and variants of it.

    Returns:
        Seven texts: the Tibetan sentence, its Chinese translation, a reordered or headline version, two sentences with
        wrong slots (one; up to three), and two corrupted versions.
    """
    meaning = generator.draw(rng, generator.SPLITS["train"])
    if rng.random() < 0.15:
        meaning = grammar.headline_meaning(meaning)
    bo, zh = grammar.tibetan(meaning), grammar.chinese(meaning)
    similar = generator.neighbour(rng, meaning)
    far = generator.neighbour(rng, generator.neighbour(rng, similar))
    loose = grammar.tibetan_reordered(meaning) if rng.random() < 0.7 else bo.rstrip("།") + rng.choice(["", "་", "། "])
    texts = [Text(bo, meaning), Text(zh, meaning, chinese=True), Text(loose, meaning, 0.98)]
    texts += [Text(grammar.tibetan(m), m) for m in (similar, far)]
    if rng.random() < 0.3:
        texts[2] = Text(grammar.tibetan_headline(meaning), grammar.headline_meaning(meaning))
    return texts + [spoil(rng, bo, zh, meaning) for _ in range(2)]


def groups(rng: random.Random, batch: int) -> list[list[Text]]:
    """Draw the groups of a batch.

    Args:
        rng: Random numbers.
        batch: Number of groups.
    """
    return [group(rng) for _ in range(batch)]


def spoil(rng: random.Random, bo: str, zh: str, meaning: Meaning) -> Text:
    """Corrupt a Tibetan sentence in a random way.

    Args:
        rng: Random numbers.
        bo: Tibetan sentence.
        zh: Same sentence in Chinese.
        meaning: Meaning of both.
    """
    text, quality = corrupt(rng, rng.choice(list(CORRUPTIONS)), bo, zh)
    return Text(text, meaning, quality)


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> BertModel:
    """Create a model with random weights.

    Args:
        tokenizer: Tokenizer, for the size of the vocabulary.
        seed: Seed of the weights.
    """
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=token_id(tokenizer, PAD),
    )
    return BertModel(config)  # the pooler is not used, but loaders expect its weights


def embed(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], chunk: int = 64) -> Tensor:
    """Embed texts: normalised mean of the hidden states of a text's tokens.

    Args:
        model: Encoder.
        tokenizer: Tokenizer of `for_encoder`.
        texts: Texts to embed; texts of similar length share a forward pass.
        chunk: Number of texts per forward pass.

    Returns:
        Unit vectors, ``(texts, dimensions)`` float32.
    """
    ids = tokenizer(texts, truncation=True, max_length=MAX_TOKENS).input_ids
    order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
    found: list[Tensor] = []
    for start in range(0, len(texts), chunk):
        rows = [ids[i] for i in order[start : start + chunk]]
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(model.device)
        with optim.mixed_precision(model.device):
            states = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        found.append(F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
    return torch.cat(found)[torch.tensor(order).argsort().to(model.device)]


def squared_errors(vectors: Tensor, groups: list[list[Text]]) -> tuple[Tensor, Tensor]:
    """Squared errors of the cosines against `target`, and mask of those within a group.

    Args:
        vectors: Embeddings of all texts, group after group, ``(texts, dimensions)``.
        groups: Groups of texts, all of the same size.

    Returns:
        Errors of the first text of each group against all texts, ``(groups, texts)`` float32, and the mask, bool.
    """
    width = len(groups[0])
    cosine = vectors[::width] @ vectors.T
    flat = [text for texts in groups for text in texts]
    wanted = torch.tensor([[target(texts[0], other) for other in flat] for texts in groups], device=vectors.device)
    own = torch.block_diag(*[torch.ones(1, width)] * len(groups)).bool().to(vectors.device)
    return (cosine - wanted) ** 2, own


def loss(vectors: Tensor, groups: list[list[Text]]) -> tuple[Tensor, Tensor]:
    """Squared error of the cosines, and InfoNCE between Chinese and Tibetan in both directions.

    Args:
        vectors: Embeddings of all texts, group after group, ``(texts, dimensions)``.
        groups: Groups of texts, from `group`.

    Returns:
        Mean squared error of the cosines against `target`, and InfoNCE in nats.
    """
    width = len(groups[0])
    error, own = squared_errors(vectors, groups)
    graded = error[own].mean() + error[~own].mean() + error[:, 1::width].mean()
    matched = torch.arange(len(groups), device=vectors.device)
    across = vectors[1::width] @ vectors.T / 0.05
    # Reordered and corrupted texts are close to their sentence, so they are no negatives; nor are Chinese texts.
    mask = torch.zeros_like(across, dtype=torch.bool)
    for slot in (2, 5, 6):
        mask[:, slot::width] = True
    mask[:, 1::width] = True
    there = F.cross_entropy(across.masked_fill(mask, -1e4), matched * width)
    back = F.cross_entropy((vectors[::width] @ vectors[1::width].T) / 0.05, matched)
    return graded, (there + back) / 2


def train(
    model: BertModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    steps: int,
    device: torch.device,
    seed: int,
    batch: int,
    lr: float = 2e-3,
    draw: Callable[[random.Random, int], list[list[Text]]] = groups,
    objective: Callable[[Tensor, list[list[Text]]], tuple[Tensor, Tensor]] = loss,
) -> dict[str, float]:
    """Train the encoder.

    Args:
        model: Model to train, in place.
        tokenizer: Tokenizer of the base model.
        steps: Number of training steps.
        device: Device to train on.
        seed: Seed of the training data.
        batch: Number of groups of texts per step.
        lr: Peak learning rate.
        draw: Function that draws the groups of a batch.
        objective: Function that returns both losses of a batch.

    Returns:
        Last running means of both losses.
    """
    rng = random.Random(f"encoder-{seed}")
    optim.place(model, device)
    opts, inner = optim.optimizers(model, lr), for_encoder(tokenizer, MAX_TOKENS)
    shown = {"graded": 0.0, "contrast_nats": 0.0}
    bar = tqdm(range(steps), desc="encoder", mininterval=5)
    for done in bar:
        drawn = draw(rng, batch)
        vectors = embed(model, inner, [text.text for texts in drawn for text in texts])
        graded, contrast = objective(vectors, drawn)
        (10 * graded + 0.2 * contrast).backward()
        optim.step(model, opts, lr * optim.scale(done / steps))
        mixed = min(0.95, done / (done + 1))
        for name, value in (("graded", graded), ("contrast_nats", contrast)):
            shown[name] = mixed * shown[name] + (1 - mixed) * float(value.detach())
        bar.set_postfix({k: f"{v:.4f}" for k, v in shown.items()}, refresh=False)
    return {f"train_{name}": round(value, 5) for name, value in shown.items()}


def save(model: BertModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a SentenceTransformer folder, with weights stored in bfloat16 and loaded in float32.

    Args:
        model: Trained encoder.
        tokenizer: Tokenizer of the base model.
        folder: Folder to write.
    """
    with temporary_folder(folder.parent) as beside:
        name, made = str(beside / "bert"), beside / folder.name
        optim.halve(model)
        model.save_pretrained(name)
        for_encoder(tokenizer, MAX_TOKENS).save_pretrained(name)
        body = Transformer(name, max_seq_length=MAX_TOKENS)
        pooling = Pooling(model.config.hidden_size, pooling_mode="mean")
        SentenceTransformer(modules=[body, pooling, Normalize()], device="cpu").save(str(made))
        (made / "README.md").unlink(missing_ok=True)
        config = made / "config.json"
        config.write_text(config.read_text().replace('"dtype": "bfloat16"', '"dtype": "float32"'))
        move_folder(made, folder)
