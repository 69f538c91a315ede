"""Base model: a small Qwen3 trained on Chinese, Chinese reading comprehension and Tibetan, but not on translation."""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from semalign_pl.toy import mixture, optim
from semalign_pl.toy.mixture import Sequence
from semalign_pl.toy.speech import TIBETAN, Speech
from semalign_pl.toy.tokenizer import END, PAD, token_id


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """Create a model with random weights.

    Args:
        tokenizer: Tokenizer, for the size of the vocabulary.
        seed: Seed of the weights.
    """
    torch.manual_seed(seed)
    end, pad = token_id(tokenizer, END), token_id(tokenizer, PAD)
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=48,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad)
    return model


def collate(rows: list[Sequence], pad: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Collate sequences to a batch, padded on the right.

    Args:
        rows: Token sequences.
        pad: Id of the padding token.
        device: Device of the batch.

    Returns:
        Token ids ``(rows, tokens)`` int64, and two masks ``(rows, tokens - 1)`` bool of the next tokens: those of
        answers, and those that are not padding.
    """
    width = -(-max(len(row.ids) for row in rows) // 16) * 16
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows])
    answer = torch.tensor([row.answer + [False] * (width - len(row.ids)) for row in rows])
    real = torch.arange(width)[None] < torch.tensor([len(row.ids) for row in rows])[:, None]
    return ids.to(device), answer[:, 1:].to(device), real[:, 1:].to(device)


def losses(model: Qwen3ForCausalLM, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean NLL of the answers' tokens and mean NLL of all other tokens, in nats per token.

    Args:
        model: Model to train.
        batch: Token ids and masks of `collate`.
    """
    ids, answer, real = batch
    with optim.mixed_precision(ids.device):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    nll = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(answer)
    other = real & ~answer
    return (nll * answer).sum() / answer.sum().clamp(min=1), (nll * other).sum() / other.sum()


def sentences_at(rng: random.Random, done: float) -> int:
    """Draw the number of sentences per context: one at first, up to four from 40 % of the run on.

    Args:
        rng: Random numbers.
        done: Share of the run that is done.
    """
    return rng.randint(1, min(4, 1 + int(done / 0.13)))


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    steps: int,
    device: torch.device,
    seed: int,
    batch: int,
    lr: float = 3e-3,
    follow: bool = False,
    speech: Speech = TIBETAN,
) -> dict[str, float]:
    """Train the base model, in one of two phases.

    The second phase teaches the model to follow instructions. Contexts have all lengths from the start, and there are
    as many texts as passages. Half of the texts are instructions, most of which name the language of the answer.
    Without this phase, the model does not distinguish instructions, and forgets reading comprehension as soon as
    fine-tuning makes it answer in Tibetan.

    Args:
        model: Model to train, in place.
        tokenizer: Tokenizer of the model.
        steps: Number of training steps.
        device: Device to train on.
        seed: Seed of the training data.
        batch: Number of passages per step; the first phase adds half as many texts, the second phase as many.
        lr: Peak learning rate.
        follow: True for the second phase.
        speech: Tibetan, in the plain style or in any.

    Returns:
        Last running means of the losses on answers and on texts, in nats per token.
    """
    rng = random.Random(f"base-{seed}-follow" if follow else f"base-{seed}")
    other, texts_per_step = (mixture.make_instruction, batch) if follow else (mixture.plain, batch // 2)
    optim.place(model, device)
    opts, pad = optim.optimizers(model, lr), token_id(tokenizer, PAD)
    shown = {"answer": 0.0, "text": 0.0}
    bar = tqdm(range(steps), desc="base", mininterval=5)
    for done in bar:
        share = done / steps
        turns = [mixture.reading_turns(rng, sentences_at(rng, 1.0 if follow else share)) for _ in range(batch)]
        asked = collate([mixture.encode(tokenizer, t) for t in turns], pad, device)
        texts = collate([mixture.encode(tokenizer, other(rng, speech)) for _ in range(texts_per_step)], pad, device)
        on_answer, on_context = losses(model, asked)
        torch.add(on_answer, on_context, alpha=0.2).backward()
        on_chat, on_text = losses(model, texts)
        torch.add(on_chat, on_text).mul(0.3).backward()
        optim.step(model, opts, lr * optim.scale(share))
        mixed = min(0.95, done / (done + 1))
        for name, value in (("answer", on_answer), ("text", on_text)):
            shown[name] = mixed * shown[name] + (1 - mixed) * float(value.detach())
        bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)
    return {f"train_{name}_nats": round(value, 4) for name, value in shown.items()}
