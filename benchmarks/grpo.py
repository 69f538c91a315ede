"""Compare GRPO steps of ours and of TRL's GRPOTrainer (no vLLM), in turn, with the same model, prompts and lengths.

python benchmarks/grpo.py                         # writes results/grpo.json
python benchmarks/grpo.py --size wide             # Qwen3's vocabulary: results/grpo_wide.json
python benchmarks/grpo.py --model data/smollm2    # a real model: results/grpo_smollm2.json
python benchmarks/grpo.py worker ours ...         # started by the above, one process per contestant
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
import model
import planned

Shape = dict[str, Any]
SHAPES: dict[str, Shape] = {
    "headline": {"prompt": 512, "completion": 64, "shortest": 64, "prompts": 2, "generations": 8},
    "translation": {"prompt": 96, "completion": 64, "shortest": 64, "prompts": 4, "generations": 8},
    "ragged": {"prompt": 96, "completion": 128, "shortest": 8, "prompts": 4, "generations": 8},
}
LARGE_SHAPES: dict[str, Shape] = {
    "translation": {**SHAPES["translation"], "completion": 32, "shortest": 32, "prompts": 2}
}
"""Shapes of models that take minutes per step on a core."""


def lengths(shape: Shape, step: int) -> list[int]:
    """Number of tokens of each completion of a step, the EOS included; every contestant gets the same lengths."""
    draw = random.Random(step)
    rows = shape["prompts"] * shape["generations"]
    return [draw.randint(shape["shortest"], shape["completion"]) for _ in range(rows)]


def budget(shape: Shape) -> int:
    """Token budget of the groups of TRL's micro-batch, by default one."""
    return shape.get("budget") or shape.get("groups", 1) * (shape["prompt"] + 8 * shape["completion"])


def ours(folder: str, shape: Shape, weights: str) -> None:
    """Train GRPOModule under Lightning's Trainer."""
    import torch
    from lightning.pytorch import Callback, LightningDataModule, Trainer

    from semalign_pl.engine import generate as sampling
    from semalign_pl.modules import Constant, GRPOModule
    from semalign_pl.policy.settings import LoraSettings
    from semalign_pl.rewards import Reward
    from semalign_pl.types import Example

    turn, texts = harness.Turn(), model.Texts(folder)
    step = 0
    make_sampler = sampling.make_sampler

    def make_forced_sampler(*options: object) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Sample as the module does, with an EOS exactly where the drawn lengths require it."""
        choose, left, at = make_sampler(*options), lengths(shape, step), 0

        def choose_with_end(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
            nonlocal left, at
            if len(logits) < len(left):  # those that have ended are gone; on a GPU they stay for a while
                left = [n for n in left if n > at]
            at += 1
            logits[:, texts.eos_id] = float("-inf")
            chosen = choose(logits, uniforms)
            chosen[torch.tensor([n <= at for n in left], device=chosen.device)] = texts.eos_id
            return chosen

        return choose_with_end

    sampling.make_sampler = make_forced_sampler

    class TextReward(Reward):
        def score(self, *, completions: list[str], **_: object) -> list[float]:
            return [model.reward(text) for text in completions]

    class Turns(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            turn.begin()

        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            nonlocal step
            shares = {k[11:]: float(v) for k, v in trainer.callback_metrics.items() if k.endswith("_seconds")}
            turn.end(tokens=sum(lengths(shape, step)), **shares)
            step += 1

    class Prompts(LightningDataModule):
        def train_dataloader(self) -> torch.utils.data.DataLoader:
            batches = [
                [
                    Example(str(i), text, "")
                    for i, text in enumerate(texts.prompts(shape["prompts"], shape["prompt"], s))
                ]
                for s in range(1000)
            ]
            return torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)

        def transfer_batch_to_device(
            self, batch: list[Example], device: torch.device, dataloader_idx: int
        ) -> list[Example]:
            return batch

    trained = GRPOModule(
        folder,
        lambda p: torch.optim.AdamW(p, lr=1e-6),
        shape["generations"],
        0.8,
        top_p=0.9,
        **{"beta": 0.04, **shape.get("settings", {})},
        weights=weights,
        lora=LoraSettings(64, 128, 0.05),
        lr_scheduler=Constant,
        micro_batch_tokens=budget(shape),
        recompute=shape.get("recompute", False),
        max_prompt_tokens=4096,
        max_new_tokens=shape["completion"],
        rollout_rows=4096,
    )
    Trainer(
        accelerator="auto",
        devices=1,
        precision=shape.get("precision", "32-true"),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TextReward(), Turns()],
    ).fit(trained, datamodule=Prompts())


def trl(folder: str, shape: Shape, weights: str) -> None:
    """Train TRL's GRPOTrainer with the settings that a user would choose for the same run."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, LogitsProcessor, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    turn, texts = harness.Turn(), model.Texts(folder)
    cuda = torch.cuda.is_available()
    step = 0

    class Lengths(LogitsProcessor):
        """Force an EOS exactly where the drawn lengths require it."""

        def __init__(self) -> None:
            self.at, self.left = 0, lengths(shape, step)

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            self.at += 1
            scores[:, texts.eos_id] = float("-inf")
            ends = torch.tensor([n == self.at for n in self.left], device=scores.device)
            scores[ends] = float("-inf")
            scores[ends, texts.eos_id] = 0.0
            return scores

    class Turns(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            turn.begin()

        def on_step_end(self, *_: object, **__: object) -> None:
            nonlocal step
            turn.end(tokens=sum(lengths(shape, step)))
            step += 1

    causal_lm = model.load_peer(folder, weights)
    generations = shape["generations"]
    config = GRPOConfig(
        tempfile.mkdtemp(),
        learning_rate=1e-6,
        num_generations=generations,
        per_device_train_batch_size=generations * shape.get("groups", 1),
        gradient_accumulation_steps=shape["prompts"] // shape.get("groups", 1),
        max_completion_length=shape["completion"],
        temperature=0.8,
        top_p=0.9,
        beta=0.04,
        loss_type="grpo",
        bf16=weights != "fp32",
        gradient_checkpointing=shape.get("recompute", False),
        use_cpu=not cuda,
        max_steps=1000,
        save_strategy="no",
        logging_steps=10**6,
        report_to=[],
        disable_tqdm=True,
    )
    prompts = [text for s in range(1000) for text in texts.prompts(shape["prompts"], shape["prompt"], s)]
    trainer = GRPOTrainer(
        causal_lm,
        lambda completions, **_: [model.reward(text) for text in completions],
        config,
        Dataset.from_dict({"prompt": [texts.for_trl(text, "user") for text in prompts]}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=64, lora_alpha=128, lora_dropout=0.05, target_modules="all-linear"
        ),
        callbacks=[Turns()],
    )
    generate = trainer.model.generate
    trainer.model.generate = lambda **options: generate(**options, logits_processor=[Lengths()])
    trainer.train()


def compare(
    shapes: dict[str, Shape], folder: str, weights: str, repetitions: int, sides: tuple[str, ...] = ("ours", "trl")
) -> dict[str, object]:
    """Run all shapes; return ratios, runs and commands."""
    ratios, runs, commands = {}, [], {}
    for name, shape in shapes.items():
        print(f"{name}: {shape}", file=sys.stderr)
        worker = [sys.executable, __file__, "worker"]
        contestants = {side: [*worker, side, folder, json.dumps(shape), weights] for side in sides}
        records = harness.side_by_side(contestants, repetitions)
        runs += [{"shape": name, **record} for record in records]
        commands[name] = {
            side: ["python", "benchmarks/grpo.py", *c[2:4], "MODEL", *c[5:]] for side, c in contestants.items()
        }
        above = harness.median(records, "ours", "above_model_mib")
        plan = planned.plan_of(
            "grpo", folder, shape, weights, shape["prompts"] * shape["generations"], budget(shape)
        )  # fmt: skip
        ratios[name] = {"memory_over_plan": above / planned.above_model_mib(plan)}
        if len(sides) > 1:
            ratios[name] |= {
                **{key: harness.ratio(records, "trl", "ours", of) for key, of in harness.SPEEDS.items()},
                "memory": above / harness.median(records, "trl", "above_model_mib"),
            }
    return {"ratios": ratios, "runs": runs, "commands": commands}


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, help="by default all, or translation if a step is slow")
    model.add_options(parser)
    options = parser.parse_args()
    known = SHAPES if options.size == "small" and not options.model else LARGE_SHAPES
    shapes = {name: known.get(name, SHAPES[name]) for name in options.shapes or known}
    with model.folder_of(options) as (folder, ending):
        measured = compare(shapes, folder, "fp32", options.repetitions)
    harness.table(
        f"GRPO step, ours against TRL ({options.model or options.size}, fp32, medians of {options.repetitions})",
        ["shape", "speedup", "by CPU seconds", "memory above the model", "memory over plan"],
        [
            [name, *(f"{r[of]:.2f} x" for of in ("speedup", "cpu_speedup", "memory", "memory_over_plan"))]
            for name, r in measured["ratios"].items()
        ],
    )
    harness.write(f"grpo{ending}", **measured, shapes=shapes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        side, folder, shape, weights = sys.argv[2:]
        {"ours": ours, "trl": trl}[side](folder, json.loads(shape), weights)
    else:
        main()
