"""Cost of a training step of each method against the step that it extends, on the same model and rows.

python benchmarks/methods.py                   # writes results/methods.json
python benchmarks/methods.py worker NAME ...   # started by the above, one process per method

To add a method, add its settings to METHODS (of SFT) or SAMPLED (of GRPO), and its comparison to RATIOS.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model
import sft

SHAPE: sft.Shape = {"prompt": (20, 100), "completion": (10, 80), "tokens": 4096, "micro": 2048}
TEXTS = {"rows": 16, "tokens": 64}
"""The anchor's texts of a step: 1,024 tokens, a quarter of the 4,096 that SFT forwards, prompts included."""
METHODS: dict[str, dict[str, Any]] = {
    "sft": {},
    "sft_beta": {"beta": 0.1, "reference": "base"},
    "sft_anchor": {"anchor_texts": TEXTS["rows"]},  # the same texts in every step: the base's states are kept
    "sft_anchor_new_texts": {"anchor_texts": 100 * TEXTS["rows"]},
}
SAMPLED: dict[str, dict[str, Any]] = {
    "grpo": {"beta": 0.0},
    "best_of_group": {"beta": 0.0, "loss_type": "best_of_group"},
}
"""Both without a KL, so that neither forwards the reference; 8 completions per prompt."""
RATIOS = {
    "KL to the base on the same tokens (sft_beta)": ("sft_beta", "sft"),
    "anchor, 25 % of SFT's tokens, states kept (sft_anchor)": ("sft_anchor", "sft"),
    "anchor in the first epoch of its file (sft_anchor_new_texts)": ("sft_anchor_new_texts", "sft"),
    "best of group, over GRPO (best_of_group)": ("best_of_group", "grpo"),
}


def work(folder: str, name: str) -> None:
    """Train one method under Lightning's Trainer, one step per turn.

    Args:
        folder: Folder of the base.
        name: Name of the method.
    """
    import torch

    if name in SAMPLED:
        shape = grpo.SHAPES["translation"] | {"settings": SAMPLED[name]}
        return grpo.ours(folder, shape, "bf16" if torch.cuda.is_available() else "fp32")
    from lightning.pytorch import Callback, LightningDataModule, Trainer

    from semalign_pl.modules import Constant, SFTModule
    from semalign_pl.modules.anchor import AnchorSettings
    from semalign_pl.policy.settings import LoraSettings
    from semalign_pl.types import Example

    turn, size = harness.Turn(), sft.rows_per_step(SHAPE)
    examples = [Example(str(i), p, c) for i, (p, c) in enumerate(sft.pairs(SHAPE, 40 * size, model.Texts(folder)))]
    settings = dict(METHODS[name])
    if texts := settings.pop("anchor_texts", None):
        file = Path(folder) / f"{name}.txt"
        file.write_text("\n".join(model.texts(1, TEXTS["tokens"], 10**6 + i)[0] for i in range(texts)))
        settings["anchor"] = AnchorSettings(str(file), rows_per_step=TEXTS["rows"])

    class Turns(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            turn.begin()

        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            anchor = float(trainer.callback_metrics.get("train/anchor_tokens", 0.0))
            turn.end(completion_tokens=float(trainer.callback_metrics["train/completion_tokens"]), anchor_tokens=anchor)

    class Pairs(LightningDataModule):
        def train_dataloader(self) -> torch.utils.data.DataLoader:
            return torch.utils.data.DataLoader(examples, batch_size=size, collate_fn=lambda batch: batch)

        def transfer_batch_to_device(
            self, batch: list[Example], device: torch.device, dataloader_idx: int
        ) -> list[Example]:
            return batch

    on_gpu = torch.cuda.is_available()
    trained = SFTModule(
        folder,
        lambda p: torch.optim.AdamW(p, lr=1e-6),
        weights="bf16" if on_gpu else "fp32",
        lora=LoraSettings(64, 128, 0.05),
        lr_scheduler=Constant,
        micro_batch_tokens=SHAPE["micro"],
        max_prompt_tokens=4096,
        max_new_tokens=4096,
        **settings,
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    Trainer(accelerator="gpu" if on_gpu else "cpu", devices=1, max_epochs=1, callbacks=[Turns()], **quiet).fit(
        trained, datamodule=Pairs()
    )


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", default="small", choices=model.SIZES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model.make(Path(folder), options.size)
        workers = {name: [sys.executable, __file__, "worker", name, folder] for name in (*METHODS, *SAMPLED)}
        records = harness.side_by_side(workers, options.repetitions)
    ratios = {
        title: {
            "seconds": harness.median(records, own, "seconds") / harness.median(records, other, "seconds"),
            "peak_memory": harness.median(records, own, "peak_mib") / harness.median(records, other, "peak_mib"),
            "peak_mib": harness.median(records, own, "peak_mib"),
        }
        for title, (own, other) in RATIOS.items()
    }
    harness.table(
        f"a step with the method over the step without it ({options.size} model, medians of {options.repetitions})",
        ["method", "seconds", "peak memory", "MiB"],
        [
            [title, f"{r['seconds']:.2f} x", f"{r['peak_memory']:.2f} x", f"{r['peak_mib']:.0f}"]
            for title, r in ratios.items()
        ],
    )
    commands = {name: ["python", "benchmarks/methods.py", "worker", name, "MODEL"] for name in (*METHODS, *SAMPLED)}
    harness.write(
        "methods",
        ratios,
        records,
        commands,
        shape=SHAPE,
        texts=TEXTS,
        sampled=grpo.SHAPES["translation"],
        size=options.size,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[3], sys.argv[2])
    else:
        main()
