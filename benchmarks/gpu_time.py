"""Measure a GRPO step on CUDA: seconds per phase, kernels, and waits of the CPU for the GPU.

python benchmarks/gpu_time.py --size qwen3-1.7b   # writes results/gpu_time.json; needs CUDA

Two steps are timed as they are; one more runs under torch's profiler, whose trace gives the counts per phase.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import grpo
import harness
import model

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")


def run(folder: str, shape: dict[str, Any], weights: str, trace: Path) -> dict[str, float]:
    """Three steps, the last under the profiler; returns the second step's seconds per phase."""
    import torch
    from lightning.pytorch import Callback, LightningDataModule, Trainer

    from semalign_pl.modules import Constant, GRPOModule
    from semalign_pl.modules.step_timer import StepTimer
    from semalign_pl.policy.settings import LoraSettings
    from semalign_pl.rewards import Reward
    from semalign_pl.types import Example

    phase, seconds = StepTimer.phase, {}

    @contextlib.contextmanager
    def name_phase(self: StepTimer, name: str) -> Iterator[None]:
        with torch.profiler.record_function(f"phase:{name}"), phase(self, name):
            yield

    StepTimer.phase = name_phase

    class TextReward(Reward):
        def score(self, *, completions: list[str], **_: object) -> list[float]:
            return [model.reward(text) for text in completions]

    class TraceStep(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 2:
                trained.max_new_tokens = shape["profiled"]
                activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
                self.profiler = torch.profiler.profile(activities=activities, acc_events=True)
                self.profiler.__enter__()

        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 2:
                logged = trainer.callback_metrics
                seconds.update({k[11:-8]: float(v) for k, v in logged.items() if k.endswith("_seconds")})
            if trainer.global_step == 3:
                self.profiler.__exit__(None, None, None)
                self.profiler.export_chrome_trace(str(trace))

    class Prompts(LightningDataModule):
        def train_dataloader(self) -> torch.utils.data.DataLoader:
            steps = [model.texts(shape["prompts"], shape["prompt"], s) for s in range(3)]
            batches = [[Example(str(i), text, "") for i, text in enumerate(texts)] for texts in steps]
            return torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)

        def transfer_batch_to_device(self, batch: list[Example], *_: object) -> list[Example]:
            return batch

    trained = GRPOModule(
        folder,
        lambda p: torch.optim.AdamW(p, lr=1e-6),
        shape["generations"],
        weights=weights,
        lora=LoraSettings(64, 128, 0.05),
        lr_scheduler=Constant,
        micro_batch_tokens=grpo.budget(shape),
        recompute=True,
        max_prompt_tokens=4096,
        max_new_tokens=shape["completion"],
        rollout_rows=4096,
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    callbacks = [TextReward(), TraceStep()]
    trainer = Trainer(accelerator="auto", devices=1, precision="bf16-mixed", max_epochs=1, callbacks=callbacks, **quiet)
    trainer.fit(trained, datamodule=Prompts())
    return seconds


def count(trace: Path) -> dict[str, dict[str, Any]]:
    """Counts per phase from a Chrome trace: kernels and their seconds, waits, copies, the longest kernels."""
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("ph") == "X"]
    phases = [e for e in events if e.get("cat") == "user_annotation" and e["name"].startswith("phase:")]
    by_correlation = {}
    found = {e["name"][6:]: collections.Counter() for e in phases}
    names = {name: collections.Counter() for name in found}
    for e in events:
        if e.get("cat") not in ("cuda_runtime", "cuda_driver"):
            continue
        own = next((p for p in phases if p["ts"] <= e["ts"] < p["ts"] + p["dur"]), None)
        if own is None:
            continue
        name, counter = own["name"][6:], found[own["name"][6:]]
        by_correlation[e.get("args", {}).get("correlation")] = name
        counter["launches"] += e["name"] in LAUNCHES
        if e["name"] in WAITS:
            counter["waits"] += 1
            counter["wait_seconds"] += e["dur"] / 1e6
    for e in events:
        name = by_correlation.get(e.get("args", {}).get("correlation"))
        if name is None or e.get("cat") not in ("kernel", "gpu_memcpy", "gpu_memset"):
            continue
        if e["cat"] == "kernel":
            found[name]["kernels"] += 1
            found[name]["kernel_seconds"] += e["dur"] / 1e6
            names[name][e["name"][:90]] += e["dur"] / 1e6
        elif "DtoH" in e["name"]:
            found[name]["copies_to_cpu"] += 1
        elif "HtoD" in e["name"]:
            found[name]["copies_to_gpu"] += 1
    for p in phases:
        found[p["name"][6:]]["profiled_seconds"] += p["dur"] / 1e6
    return {name: {**c, "longest_kernels": dict(names[name].most_common(8))} for name, c in found.items()}


def main() -> None:
    """Profile, print the table and write the results."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="qwen3-1.7b", choices=model.SIZES)
    parser.add_argument("--completion", type=int, default=64, help="tokens per completion of a timed step")
    parser.add_argument("--profiled", type=int, default=16, help="the same of the profiled step, whose trace is large")
    parser.add_argument("--model", help="folder to make the model in, or in which it is already")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = {**grpo.SHAPES["translation"], "completion": options.completion, "profiled": options.profiled}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or temporary
        if not (Path(folder) / "config.json").is_file():
            model.make(Path(folder), options.size, "bfloat16", device)
        trace = Path(temporary) / "trace.json"
        seconds = run(folder, shape, "nf4", trace)
        print(json.dumps(seconds), flush=True)
        phases = count(trace)
    rows = [
        [name, f"{seconds.get(name, 0.0):.3f}", f"{c.get('kernel_seconds', 0.0):.3f}", str(c.get("kernels", 0)),
         str(c.get("waits", 0)), f"{c.get('waits', 0) / options.profiled:.1f}", str(c.get("copies_to_cpu", 0))]
        for name, c in phases.items()
    ]  # fmt: skip
    columns = ["phase", "seconds", "in kernels", "kernels", "waits", "waits per token", "copies to CPU"]
    harness.table(
        f"GRPO step of {options.completion} tokens in seconds; counts: {options.profiled} tokens ({options.size}, NF4)",
        columns,
        rows,
    )
    for name, c in phases.items():
        print(name, json.dumps(c["longest_kernels"], indent=1))
    out = harness.RESULTS / "gpu_time.json"
    content = {"size": options.size, "shape": shape, "seconds": seconds, "phases": phases, "machine": harness.machine()}
    out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
