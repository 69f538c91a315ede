"""Count the operations of a training step per decoder layer, ours against TRL's: on a GPU each is a kernel launch.

python benchmarks/operations.py             # writes results/operations.json; CPU only, about a minute
python benchmarks/operations.py --detail    # counts by name of the operation too

A step of a small NF4 model under bf16 autocast, with recomputation, is run with two and with four layers; the
difference gives the operations per layer. Views and allocations are not counted, because they launch nothing.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
import model
import torch
from torch.utils._python_dispatch import TorchDispatchMode

NOTHING = frozenset(
    "view t transpose unsqueeze squeeze expand slice select permute _unsafe_view alias detach as_strided split unbind "
    "split_with_sizes empty empty_like new_empty empty_strided new_empty_strided _reshape_alias lift_fresh "
    "is_same_size chunk unfold diagonal view_as_real".split()
)
"""Operations that launch no kernel."""
LAUNCHES = {"gemm_4bit": 4}
"""Kernels per operation if it is not one: bitsandbytes dequantises scales (2) and weights, then multiplies."""
LAYERS = (2, 4)
GRPO = {"prompt": 96, "completion": 64, "generations": 8}
SFT = {"prompt": (20, 100), "completion": (10, 80), "micro": 1024}
RANK, ALPHA, DROPOUT = 64, 128, 0.05


class Count(TorchDispatchMode):
    """Count operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in NOTHING:
            self.counts[name] += LAUNCHES.get(name, 1)
        return func(*args, **(kwargs or {}))


def as_on_cuda(module: torch.nn.Module) -> None:
    """Give a base that was loaded on the CPU the dtypes that it has on CUDA."""
    for layer in module.modules():
        if type(layer).__name__ == "Linear4bit" or hasattr(layer, "compute_dtype"):
            layer.compute_dtype, layer.compute_type_is_set = torch.bfloat16, True
            layer.weight.quant_state.dtype = torch.bfloat16
    for name, parameter in module.named_parameters():
        if parameter.dtype == torch.float32 and "lora_" not in name:
            parameter.data = parameter.data.to(torch.bfloat16)


def our_steps(folder: str) -> dict[str, Callable[[], None]]:
    """Forward and backward of a micro-batch of each stage, as ``AlignModule.optimise`` runs them."""
    from semalign_pl.engine.logprobs import LogprobScorer
    from semalign_pl.engine.micro_batches import Completions, micro_batches
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    policy = load_policy(folder, "nf4", LoraSettings(RANK, ALPHA, DROPOUT), None, torch.device("cpu"))
    as_on_cuda(policy.model)

    def run(completions: Completions) -> None:
        (batch,) = micro_batches(completions, 10**6)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):  # as Lightning does
            scorer = LogprobScorer(policy, completions, batch, recompute=True)
            for chunk in batch.chunks:
                scorer(chunk).logps.sum().backward()
            scorer.backward()

    prompts, answers = grpo_tokens()
    rows = sft_tokens()
    return {
        "grpo": lambda: run(Completions(prompts, answers)),
        "sft": lambda: run(Completions([p for p, _ in rows], [c for _, c in rows])),
    }


def grpo_tokens() -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and completions of one group."""
    count = GRPO["generations"]
    return [[5] * GRPO["prompt"]] * count, [[7 + i] * GRPO["completion"] for i in range(count)]


def sft_tokens() -> list[tuple[list[int], list[int]]]:
    """Prompts and completions of drawn lengths, a micro-batch of them."""
    import sft

    rows, tokens = [], 0
    for prompt, completion in sft.sizes(SFT, 100):
        size = prompt + completion + 1
        if tokens + size > SFT["micro"]:
            break
        tokens += size
        rows.append(([5 + len(rows)] * prompt, [9] * completion + [1]))
    return rows


def trl_steps(folder: str) -> dict[str, Callable[[], None]]:
    """The same of TRL, on the model as its trainer prepares it."""
    import sft
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.utils import selective_log_softmax

    rows = sft.pairs(SFT, 24, model.Texts(folder))
    config = SFTConfig(
        tempfile.mkdtemp(), packing=True, max_length=SFT["micro"], per_device_train_batch_size=1,
        completion_only_loss=True, bf16=True, gradient_checkpointing=True, use_cpu=True, report_to=[],
        disable_tqdm=True,
    )  # fmt: skip
    peer = model.load_peer(folder, "nf4")
    trainer = SFTTrainer(
        peer,
        config,
        train_dataset=Dataset.from_dict({"prompt": [p + " " for p, _ in rows], "completion": [c for _, c in rows]}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear"
        ),
    )
    # As ``train`` does.
    trainer.current_gradient_accumulation_steps = 1
    adapted = trainer.model.train()
    adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs=config.gradient_checkpointing_kwargs)
    batch = next(iter(trainer.get_train_dataloader()))
    prompts, answers = grpo_tokens()
    ids = torch.tensor([p + c for p, c in zip(prompts, answers, strict=True)])
    kept = GRPO["completion"]

    def update() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = adapted(
                input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=kept + 1, use_cache=False
            ).logits[:, :-1]
            logps = selective_log_softmax(logits, ids[:, -kept:])
        logps.sum().backward()

    return {"grpo": update, "sft": lambda: trainer.training_step(adapted, batch)}


class RMSNorm(torch.autograd.Function):
    """Stand-in for the fused kernel that PyTorch has on CUDA only: one operation forward, one backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Launch one operation."""
        ctx.save_for_backward(x)
        return x.neg()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Launch one operation."""
        return gradients[0].neg(), None


@contextlib.contextmanager
def kernels_of_cuda() -> Iterator[None]:
    """Replace functions of PyTorch that are one kernel on CUDA, and several operations on the CPU."""
    from semalign_pl.policy import norms

    functional = torch.nn.functional
    before = functional.dropout, functional.rms_norm, norms.has_kernel

    def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        return torch.native_dropout(x, p, training)[0] if training and p > 0 else x

    def rms_norm(x: torch.Tensor, shape: object, weight: torch.Tensor, eps: float) -> torch.Tensor:
        return RMSNorm.apply(x, weight)

    functional.dropout, functional.rms_norm, norms.has_kernel = dropout, rms_norm, lambda x: True
    try:
        yield
    finally:
        functional.dropout, functional.rms_norm, norms.has_kernel = before


SIDES = {"ours": our_steps, "trl": trl_steps}


def measure() -> dict[str, dict[str, dict[str, collections.Counter[str]]]]:
    """Operations per side and stage: per layer, and of the rest of the model."""
    found: dict[str, dict[str, dict[int, collections.Counter[str]]]] = {}
    for layers in LAYERS:
        model.SMALL["num_hidden_layers"] = layers
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            model.make(Path(folder), "small", "bfloat16")
            for side, steps in SIDES.items():
                for stage, step in steps(folder).items():
                    with kernels_of_cuda():
                        step()
                        with Count() as counted:
                            step()
                    found.setdefault(side, {}).setdefault(stage, {})[layers] = counted.counts
    few, many = LAYERS
    result: dict[str, dict[str, dict[str, collections.Counter[str]]]] = {}
    for side, stages in found.items():
        for stage, counts in stages.items():
            layer = collections.Counter({k: (counts[many][k] - counts[few][k]) / (many - few) for k in counts[many]})
            rest = collections.Counter({k: counts[few][k] - few * layer[k] for k in counts[few]})
            result.setdefault(stage, {})[side] = {"layer": layer, "rest": rest}
    return result


def main() -> None:
    """Count, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detail", action="store_true", help="print counts by name of the operation too")
    options = parser.parse_args()
    measured = measure()
    rows, ratios = [], {}
    for stage, sides in measured.items():
        layer = {side: sum(counts["layer"].values()) for side, counts in sides.items()}
        rest = {side: sum(counts["rest"].values()) for side, counts in sides.items()}
        ratios[stage] = {"per_layer": layer["ours"] / layer["trl"]}
        rows.append([stage, *(f"{x:.1f}" for x in (layer["ours"], layer["trl"])), f"{ratios[stage]['per_layer']:.2f} x",
                     *(f"{rest[side]:.0f}" for side in sides)])  # fmt: skip
        if options.detail:
            of = {side: counts["layer"] for side, counts in sides.items()}
            names = sorted({*of["ours"], *of["trl"]}, key=lambda name: -sum(counts[name] for counts in of.values()))
            columns = [counts[place] for place in ("layer", "rest") for counts in sides.values()]
            detail = [[name, *(f"{counts[name]:.1f}" for counts in columns)] for name in names]
            harness.table(stage, ["operation", "ours", "TRL's", "rest: ours", "TRL's"], detail)
    columns = ["step", "per layer", "TRL's", "ratio", "rest of the model", "TRL's"]
    harness.table("operations of one micro-batch: forward, recomputation and backward", columns, rows)
    runs = [
        {"stage": stage, "contestant": side, "of": place, "operations": sum(c.values()), "by_name": dict(c)}
        for stage, sides in measured.items()
        for side, counts in sides.items()
        for place, c in counts.items()
    ]
    harness.write("operations", ratios, runs, {"all": "python benchmarks/operations.py"}, grpo=GRPO, sft=SFT)


if __name__ == "__main__":
    main()
