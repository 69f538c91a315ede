"""Compare tokens per second of our SFT and TRL's SFTTrainer, with and without packing, on the same model and pairs.

python benchmarks/sft.py                         # writes results/sft.json
python benchmarks/sft.py --size wide             # Qwen3's vocabulary: results/sft_wide.json
python benchmarks/sft.py --model data/smollm2    # a real model: results/sft_smollm2.json
python benchmarks/sft.py worker ours ...         # started by the above, one process per contestant
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
import model
import planned

Shape = dict[str, Any]
SHAPES: dict[str, Shape] = {
    "translation": {"prompt": (20, 100), "completion": (10, 80), "tokens": 4096, "micro": 1024},
    "short_answers": {"prompt": (100, 400), "completion": (5, 40), "tokens": 4096, "micro": 1024},
}
LARGE_SHAPES: dict[str, Shape] = {"translation": {**SHAPES["translation"], "prompt": (45, 100), "tokens": 1024}}
"""Shapes of models that take minutes per step on a core. A chat template alone takes up to 40 tokens of a prompt."""


def sizes(shape: Shape, count: int) -> list[tuple[int, int]]:
    """Drawn numbers of tokens of prompts and completions, the latter without the EOS."""
    draw = random.Random(0)
    return [(draw.randint(*shape["prompt"]), draw.randint(*shape["completion"])) for _ in range(count)]


def pairs(shape: Shape, count: int, texts: model.Texts) -> list[tuple[str, str]]:
    """Prompts and completions of drawn lengths."""
    return [
        (texts.prompts(1, prompt, 2 * i)[0], texts.completions(1, completion, 2 * i + 1)[0])
        for i, (prompt, completion) in enumerate(sizes(shape, count))
    ]


def rows_per_step(shape: Shape) -> int:
    """Number of rows per step, which have about ``tokens`` tokens in total."""
    mean = sum(shape["prompt"]) / 2 + sum(shape["completion"]) / 2 + 1
    return round(shape["tokens"] / mean)


def ours(folder: str, shape: Shape, weights: str) -> None:
    """Train SFTModule under Lightning's Trainer."""
    import torch
    from lightning.pytorch import Callback, LightningDataModule, Trainer

    from semalign_pl.modules import Constant, SFTModule
    from semalign_pl.policy.settings import LoraSettings
    from semalign_pl.types import Example

    turn, texts, size = harness.Turn(), model.Texts(folder), rows_per_step(shape)
    tokens = {str(i): prompt + completion + 1 for i, (prompt, completion) in enumerate(sizes(shape, 12 * size))}
    examples = [Example(str(i), p, c) for i, (p, c) in enumerate(pairs(shape, 12 * size, texts))]

    class Turns(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            turn.begin()

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: object, outputs: object, batch: list[Example], batch_idx: int
        ) -> None:
            turn.end(tokens=sum(tokens[e.id] for e in batch))

    class Pairs(LightningDataModule):
        def train_dataloader(self) -> torch.utils.data.DataLoader:
            return torch.utils.data.DataLoader(examples, batch_size=size, collate_fn=lambda batch: batch)

        def transfer_batch_to_device(
            self, batch: list[Example], device: torch.device, dataloader_idx: int
        ) -> list[Example]:
            return batch

    trained = SFTModule(
        folder,
        lambda p: torch.optim.AdamW(p, lr=1e-6),
        weights=weights,
        lora=LoraSettings(64, 128, 0.05),
        lr_scheduler=Constant,
        micro_batch_tokens=shape["micro"],
        recompute=shape.get("recompute", False),
        max_prompt_tokens=4096,
        max_new_tokens=4096,
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    precision = shape.get("precision", "32-true")
    trainer = Trainer(accelerator="auto", devices=1, precision=precision, max_epochs=1, callbacks=[Turns()], **quiet)
    trainer.fit(trained, datamodule=Pairs())


def trl(folder: str, shape: Shape, weights: str, packing: bool = True) -> None:
    """Train TRL's SFTTrainer: packed rows of as many tokens as our micro-batch, or padded batches of about as many."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    turn, texts, length = harness.Turn(), model.Texts(folder), shape["micro"]
    cuda = torch.cuda.is_available()
    steps = shape["tokens"] // length
    rows_at_once = 1 if packing else round(rows_per_step(shape) / steps)
    seen = 0

    class Turns(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            turn.begin()

        def on_step_end(self, *_: object, **__: object) -> None:
            nonlocal seen
            turn.end(tokens=seen)
            seen = 0

    rows = pairs(shape, 12 * rows_per_step(shape), texts)
    config = SFTConfig(
        tempfile.mkdtemp(),
        learning_rate=1e-6,
        packing=packing,
        max_length=length,
        per_device_train_batch_size=rows_at_once,
        gradient_accumulation_steps=steps,
        completion_only_loss=True,
        bf16=weights != "fp32",
        gradient_checkpointing=shape.get("recompute", False),
        use_cpu=not cuda,
        max_steps=1000,
        save_strategy="no",
        logging_steps=10**6,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model.load_peer(folder, weights),
        config,
        train_dataset=Dataset.from_dict(
            {
                "prompt": [texts.for_trl(p, "user") for p, _ in rows],
                "completion": [texts.for_trl(c, "assistant") for _, c in rows],
            }
        ),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=64, lora_alpha=128, lora_dropout=0.05, target_modules="all-linear"
        ),
        callbacks=[Turns()],
    )
    step = trainer.training_step

    def count_tokens(inner: torch.nn.Module, inputs: dict[str, torch.Tensor], *rest: object) -> torch.Tensor:
        nonlocal seen
        ids = inputs["input_ids"]
        seen += int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else int((ids != 0).sum())
        return step(inner, inputs, *rest)

    trainer.training_step = count_tokens
    trainer.train()


SIDES = ("ours", "trl", "trl_padded")
RATIOS = ("speedup", "cpu_speedup", "memory", "speedup_over_padded", "memory_over_plan")


def compare(
    shapes: dict[str, Shape], folder: str, weights: str, repetitions: int, sides: tuple[str, ...] = SIDES
) -> dict[str, object]:
    """Run all shapes; return ratios, runs and commands."""
    ratios, runs, commands = {}, [], {}
    for name, shape in shapes.items():
        print(f"{name}: {shape}", file=sys.stderr)
        worker = [sys.executable, __file__, "worker"]
        contestants = {side: [*worker, side, folder, json.dumps(shape), weights] for side in sides}
        records = harness.side_by_side(contestants, repetitions)
        for record in records:
            record["tokens_per_second"] = record["tokens"] / record["seconds"]
            record["tokens_per_cpu_second"] = record["tokens"] / record["cpu_seconds"]
        runs += [{"shape": name, **record} for record in records]
        commands[name] = {
            side: ["python", "benchmarks/sft.py", *c[2:4], "MODEL", *c[5:]] for side, c in contestants.items()
        }
        rate = {side: harness.median(records, side, "tokens_per_second") for side in sides}
        above = harness.median(records, "ours", "above_model_mib")
        plan = planned.plan_of("sft", folder, shape, weights, rows_per_step(shape), shape["micro"])
        ratios[name] = {"memory_over_plan": above / planned.above_model_mib(plan)}
        if "trl" in rate:
            ratios[name] |= {
                "speedup": rate["ours"] / rate["trl"],
                "cpu_speedup": harness.ratio(records, "ours", "trl", "tokens_per_cpu_second"),
                "memory": above / harness.median(records, "trl", "above_model_mib"),
            }
        if "trl_padded" in rate:
            ratios[name]["speedup_over_padded"] = rate["ours"] / rate["trl_padded"]
    return {"ratios": ratios, "runs": runs, "commands": commands}


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    model.add_options(parser)
    options = parser.parse_args()
    shapes = SHAPES if options.size == "small" and not options.model else LARGE_SHAPES
    with model.folder_of(options) as (folder, ending):
        measured = compare(shapes, folder, "fp32", options.repetitions)
    harness.table(
        f"SFT, ours against TRL with packing ({options.model or options.size}, fp32, medians of {options.repetitions})",
        [
            "shape",
            "tokens/s",
            "by CPU seconds",
            "memory above the model",
            "tokens/s, against padded batches",
            "over plan",
        ],
        [[name, *(f"{r[of]:.2f} x" for of in RATIOS)] for name, r in measured["ratios"].items()],
    )
    harness.write(f"sft{ending}", **measured, shapes=shapes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        side, folder, shape, weights = sys.argv[2:]
        run = {"ours": ours, "trl": trl, "trl_padded": lambda *a: trl(*a, packing=False)}[side]
        run(folder, json.loads(shape), weights)
    else:
        main()
