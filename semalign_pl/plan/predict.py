"""Predict peak memory by running the training code on the meta device, on tensors without data.

The policy is built from its config alone. One rollout batch and one update of the largest micro-batch that the settings
allow go through the same code as in training, so no architecture needs a formula of its own.
"""

from __future__ import annotations

from dataclasses import replace

from semalign_pl.engine.head import CHUNK_ELEMENTS
from semalign_pl.messages.error_text import first_line
from semalign_pl.plan.meta_policy import (
    compute_dtype,
    dense_bytes,
    encoder_bytes,
    is_adapter,
    judge_bytes,
    meta_policy,
    replaced_bytes,
    weight_bytes,
)
from semalign_pl.plan.settings import Plan, Settings
from semalign_pl.plan.simulate import simulate_rollout, simulate_update
from semalign_pl.policy.policy import Policy

GENERATED_ROWS = 128
"""Most completions that ``generate`` decodes at once by default, as in a validation."""


def predict(settings: Settings) -> Plan:
    """Predict the peak memory of a run at its longest prompts and completions.

    Args:
        settings: Settings of the run.

    Returns:
        Bytes per component, without framework and CUDA context (about 0.5 GiB each).

    Raises:
        ValueError: If a config cannot be read, or the architecture cannot be run without its weights.
    """
    policy = meta_policy(settings.of_policy)
    adapters = [p for name, p in policy.named_parameters() if is_adapter(name)]
    trained = sum(4 * p.numel() for p in adapters if p.requires_grad)
    dequantised = _dequantised_bytes(policy, settings)
    lm = policy.causal_lm
    vocabulary = lm.config.get_text_config().vocab_size
    head = 3 * 4 * min(CHUNK_ELEMENTS, settings.micro_batch_tokens * vocabulary)
    # Results are cached by settings. Settings that rollout or update does not depend on are set to constants, so that
    # a search over settings runs neither twice for the same result.
    try:
        same = _without_extras(settings)
        rollout, cache = simulate_rollout(replace(same, micro_batch_tokens=0, recompute=False))
        update = simulate_update(replace(same, rollout_rows=0, sampling=()))
    except RuntimeError as error:  # an operation that needs data, or that the meta device lacks
        raise ValueError(
            f"semalign plan: {settings.base} ({lm.config.model_type}) cannot be run without its weights "
            f"({first_line(error)}); measure its memory by a run of two steps (`semalign fit` with "
            "--trainer.max_steps 2)"
        ) from error
    return Plan(
        weights=weight_bytes(lm, settings.weights),
        adapters=sum(4 * p.numel() for p in adapters),
        optimiser=2 * trained,
        gradients=trained,
        cache=cache,
        rollout=rollout + (dense_bytes(lm, settings) if settings.rollout_weights == "dense" else dequantised)
        if rollout
        else 0,
        activations=update - trained - head + dequantised,
        head=head,
        encoder=sum(encoder_bytes(name, size) for name, size in settings.encoders)
        + sum(judge_bytes(name, weights, settings.cuda) for name, weights in settings.judges),
        replaced=replaced_bytes(lm, settings),
    )


def validation_peak(settings: Settings) -> int | None:
    """Predict the peak memory of the greedy completions of a validation, which ``Plan.peak`` does not include.

    Args:
        settings: Settings of the run, with ``validation_rows`` above 0.

    Returns:
        Bytes, or ``None`` if the architecture cannot generate without its weights.
    """
    rows = min(settings.validation_rows, GENERATED_ROWS)
    greedy = replace(
        _without_extras(settings), stage="grpo", rows=rows, num_generations=1, rollout_rows=rows,
        sampling=(("temperature", 0.0),), micro_batch_tokens=0, recompute=False,
    )  # fmt: skip
    try:
        rollout, _ = simulate_rollout(greedy)
    except RuntimeError:  # an operation that needs data, or that the meta device lacks
        return None
    return predict(settings).resident + rollout + _dequantised_bytes(meta_policy(settings.of_policy), settings)


def _without_extras(settings: Settings) -> Settings:
    """Settings without what neither a rollout nor an update of the policy depends on."""
    return replace(settings, rollout_weights="stored", encoders=(), judges=(), notes=(), validation_rows=0)


def _dequantised_bytes(policy: Policy, settings: Settings) -> int:
    """Size of the largest NF4 weight when it is dequantised for a forward; 0 for other weights."""
    largest = max(p.numel() for p in policy.decoder.parameters()) if settings.weights == "nf4" else 0
    return largest * compute_dtype(settings).itemsize


def largest_settings(settings: Settings, available: int) -> tuple[Settings, Plan] | None:
    """Search for the largest micro-batch and rollout batch that fit, without recomputation if possible.

    Args:
        settings: Settings of the run.
        available: Memory for the whole run, in bytes.

    Returns:
        Settings with ``micro_batch_tokens``, ``rollout_rows`` and ``recompute`` replaced, and their prediction;
        ``None`` if nothing fits.
    """
    smallest = settings.prompt_tokens + settings.completion_tokens
    budgets = [2**n for n in range(15, 6, -1) if 2**n >= smallest] or [smallest]
    rollouts = sorted({settings.num_generations * 2**n for n in range(8)}, reverse=True)
    rollouts = [rows for rows in rollouts if rows <= max(settings.rows, settings.num_generations)]
    for recompute in (False, True):
        for budget in budgets:
            tried = replace(settings, micro_batch_tokens=budget, recompute=recompute, rollout_rows=rollouts[-1])
            if predict(tried).peak > available:
                continue
            for rows in rollouts:
                tried = replace(tried, rollout_rows=rows)
                if (plan := predict(tried)).peak <= available:
                    return tried, plan
    return None
