"""Training of the tokenizer, base model and encoder that the package ships, with a record of their quality."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast, Qwen3ForCausalLM

from semalign_pl.files.atomic import replace_folder, write_text
from semalign_pl.toy import base, encoder, evaluate, generator, optim, reading, style_models, tokenizer
from semalign_pl.toy.conditions import style_speech

WEIGHTS = Path(__file__).parent / "weights"


def build_base(out: Path, *, steps: int, batch: int, seed: int, device: torch.device) -> dict[str, object]:
    """Train the base model in two phases, save it, and evaluate the saved model.

    The weights are rounded to bfloat16 after each phase. The second phase has a fifth as many steps as the first.

    Args:
        out: Folder of the model, replaced.
        steps: Number of training steps of the first phase.
        batch: Number of passages per step.
        seed: Seed of weights and data.
        device: Device to train on.

    Returns:
        Figures for ``BUILD.json``.
    """
    began = time.monotonic()
    words = tokenizer.train(seed)
    model = base.new_model(words, seed)
    follow_steps = steps // 5
    figures: dict[str, object] = {"parameters": model.num_parameters(), "steps": [steps, follow_steps], "batch": batch}
    base.train(model, words, steps=steps, device=device, seed=seed, batch=batch)
    _save(model, words, out)
    model = _load(out, device)
    figures |= base.train(model, words, steps=follow_steps, device=device, seed=seed, batch=batch, lr=1e-3, follow=True)
    _save(model, words, out)
    figures["train_seconds"] = round(time.monotonic() - began)
    squad = reading.reading_comprehension(seed, generator.SPLITS["dev"], 400)
    return figures | evaluate.base(
        _load(out, device).eval(), AutoTokenizer.from_pretrained(out, trust_remote_code=False), squad, seed
    )


def build_style_base(out: Path, *, steps: int, batch: int, seed: int, device: torch.device) -> dict[str, object]:
    """Continue the training of the shipped base model on Tibetan of all styles, save it, and evaluate the saved model.

    Args:
        out: Folder of the model, replaced.
        steps: Number of training steps, of the second phase's kind.
        batch: Number of passages per step.
        seed: Seed of the data.
        device: Device to train on.

    Returns:
        Figures for ``BUILD.json``.
    """
    began = time.monotonic()
    words, model = style_models.style_tokenizer(seed), _load(WEIGHTS / "base", device)
    figures: dict[str, object] = {"new_tokens": style_models.add_tokens(model, words), "steps": steps, "batch": batch}
    speech = style_speech(f"base-{seed}", 0.0)
    figures |= base.train(
        model, words, steps=steps, device=device, seed=seed, batch=batch, lr=1e-3, follow=True, speech=speech
    )
    _save(model, words, out)
    figures["train_seconds"] = round(time.monotonic() - began)
    squad = reading.reading_comprehension(seed, generator.SPLITS["dev"], 400)
    trained = _load(out, device).eval()
    return figures | evaluate.base(trained, words, squad, seed) | {"nll_nats": evaluate.style_nll(trained, words, seed)}


def _save(model: PreTrainedModel, words: PreTrainedTokenizerFast, out: Path) -> None:
    optim.halve(model)
    with replace_folder(out) as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)


def _load(out: Path, device: torch.device) -> Qwen3ForCausalLM:
    model = Qwen3ForCausalLM.from_pretrained(out, dtype=torch.float32, trust_remote_code=False)
    optim.place(model, device)
    return model


def build_encoder(out: Path, *, steps: int, batch: int, seed: int, device: torch.device) -> dict[str, object]:
    """Train the encoder, save it in bfloat16, and evaluate the saved encoder.

    Args:
        out: Folder of the encoder, replaced.
        steps: Number of training steps.
        batch: Number of groups of texts per step.
        seed: Seed of weights and data.
        device: Device to train on.

    Returns:
        Figures for ``BUILD.json``.
    """
    return _train_encoder(out, tokenizer.train(seed), evaluate.encoder, steps, batch, seed, device)


def build_style_encoder(out: Path, *, steps: int, batch: int, seed: int, device: torch.device) -> dict[str, object]:
    """Train an encoder that is blind to style, on each language apart, save it, and evaluate the saved encoder.

    It has random weights at the start, because the shipped encoder has learned from Chinese beside Tibetan.

    Args:
        out: Folder of the encoder, replaced.
        steps: Number of training steps.
        batch: Number of groups of texts per step.
        seed: Seed of weights and data.
        device: Device to train on.

    Returns:
        Figures for ``BUILD.json``.
    """
    words, kinds = style_models.style_tokenizer(seed), {"draw": style_models.groups, "objective": style_models.loss}
    return _train_encoder(out, words, evaluate.style_encoder, steps, batch, seed, device, **kinds)


def _train_encoder(
    out: Path,
    words: PreTrainedTokenizerFast,
    measure: Callable[[SentenceTransformer, int], dict[str, object]],
    steps: int,
    batch: int,
    seed: int,
    device: torch.device,
    **kinds: Any,
) -> dict[str, object]:
    """Train an encoder on groups of texts, by default those of translations, save it, and measure the saved one."""
    began = time.monotonic()
    model = encoder.new_model(words, seed)
    figures: dict[str, object] = {"parameters": model.num_parameters(), "steps": steps, "batch": batch}
    figures |= encoder.train(model, words, steps=steps, device=device, seed=seed, batch=batch, **kinds)
    figures["train_seconds"] = round(time.monotonic() - began)
    encoder.save(model, words, out)
    return figures | measure(SentenceTransformer(str(out), device=str(device), trust_remote_code=False), seed)


def build(
    out: Path = WEIGHTS,
    *,
    models: tuple[str, ...] = ("encoder", "base"),
    styles: bool = False,
    base_steps: int = 0,
    encoder_steps: int = 0,
    base_batch: int = 12,
    encoder_batch: int = 32,
    seed: int = 0,
    threads: int = 0,
) -> dict[str, object]:
    """Train models and write them to a folder, with their figures in ``BUILD.json``; figures of other models are kept.

    Args:
        out: Folder of the models.
        models: Names of the models to train, ``encoder`` and ``base``.
        styles: True for models of worlds with styles; ``out`` must be another folder then.
        base_steps: Number of training steps of the base model's first phase; 0 for 3,500. With styles, number of steps
            that continue the shipped model's training; 0 for 1,000.
        encoder_steps: Number of training steps of the encoder; 0 for 450, with styles for 700.
        base_batch: Number of passages per step of the base model.
        encoder_batch: Number of groups of texts per step of the encoder.
        seed: Seed of weights and data.
        threads: Number of CPU threads; 0 for PyTorch's default.

    Returns:
        Content of ``BUILD.json``.

    Raises:
        ValueError: If models of worlds with styles would replace the shipped ones.
    """
    if styles and out.resolve() == WEIGHTS.resolve():
        raise ValueError("--styles: these models are no substitute for the shipped ones; add --out FOLDER")
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    record = out / "BUILD.json"
    figures: dict[str, object] = {}
    if styles:
        base_maker, encoder_maker, default = build_style_base, build_style_encoder, (1000, 700)
    else:
        base_maker, encoder_maker, default = build_base, build_encoder, (3500, 450)
    makers = {
        "base": (base_maker, base_steps or default[0], base_batch),
        "encoder": (encoder_maker, encoder_steps or default[1], encoder_batch),
    }
    for model in models:
        maker, steps, batch = makers[model]
        made = maker(out / model, steps=steps, batch=batch, seed=seed, device=device)
        made["seed"] = seed
        made["device"] = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu x {torch.get_num_threads()}"
        made["versions"] = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "sentence_transformers": sentence_transformers.__version__,
        }
        # Read the file only now: another process may have built the other model in the meantime.
        figures = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        figures[model] = made
        write_text(record, json.dumps(figures, ensure_ascii=False, indent=1) + "\n")
        print(json.dumps({model: made}, ensure_ascii=False, indent=1))
    return figures
