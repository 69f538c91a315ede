"""Memory that ``semalign plan`` predicts for a shape of the benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semalign_pl.plan.settings import Plan


def plan_of(stage: str, folder: str, shape: dict[str, Any], weights: str, rows: int, budget: int) -> Plan:
    """Predicted memory of a step at the shape's longest prompts and completions.

    Args:
        stage: Training stage, ``sft`` or ``grpo``.
        folder: Folder of the model.
        shape: Shape of the benchmark: lengths of prompts and completions, or their ranges, and options.
        weights: Precision or quantisation of the base.
        rows: Completions per step.
        budget: Tokens per micro-batch.
    """
    import torch

    from semalign_pl.plan.predict import predict
    from semalign_pl.plan.settings import Settings
    from semalign_pl.policy.settings import LoraSettings

    longest = {name: shape[name] if stage == "grpo" else shape[name][1] for name in ("prompt", "completion")}
    return predict(
        Settings(
            base=folder, stage=stage, weights=weights, lora=LoraSettings(64, 128, 0.05), with_reference=False,
            prompt_tokens=longest["prompt"], completion_tokens=longest["completion"], rows=rows,
            num_generations=shape.get("generations", 1), rollout_rows=4096, micro_batch_tokens=budget,
            recompute=shape.get("recompute", False), mixed=weights != "fp32", cuda=torch.cuda.is_available(),
            sampling=(("temperature", 0.8), ("top_p", 0.9)) if stage == "grpo" else (),
        )
    )  # fmt: skip


def above_model_mib(plan: Plan) -> float:
    """Peak above the loaded model, in MiB: what the benchmarks measure from a run's first step on."""
    return (plan.peak - plan.weights - plan.adapters - plan.encoder) / 2**20
