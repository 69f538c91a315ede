"""Checks of GRPO's settings: each has an effect with the chosen loss, or is refused."""

from __future__ import annotations

from semalign_pl.functional.advantages import Scale
from semalign_pl.functional.composition import Aggregation
from semalign_pl.functional.losses import Level
from semalign_pl.functional.token_weights import TokenWeight
from semalign_pl.modules.policy_updates import Schedule, Update


def check_update(
    loss_type: Update,
    level: Level,
    epsilon: float,
    epsilon_high: float | None,
    aggregation: Aggregation,
    scale: Scale,
    num_iterations: int,
    preference_beta: float,
) -> None:
    """Refuse settings of the policy objective and of preferences that the loss does not use, or that mean nothing.

    Args:
        loss_type: Name of the loss.
        level: Level of the importance ratio.
        epsilon: Width of the trust region of the ratio below 1.
        epsilon_high: Width of the trust region above 1; ``None`` for the default.
        aggregation: Order of combining rewards.
        scale: Standard deviation that divides the advantages.
        num_iterations: Number of optimiser steps per batch of rollouts.
        preference_beta: Factor on the difference of log-probs in CPO's loss.

    Raises:
        ValueError: Names the setting and the remedy.
    """
    where = "model.init_args."
    high = epsilon if epsilon_high is None else epsilon_high
    if loss_type == "cispo" and (epsilon_high is None or not 1 <= high < float("inf")):
        value = "null" if epsilon_high is None else f"{high:g}"
        raise ValueError(
            f"{where}epsilon_high: {value}: for cispo it is the largest weight of a token itself, and less than 1 "
            "would make all tokens weigh less; use e.g. 5.0"
        )
    for name, width, usual in (("epsilon", epsilon, 0.2), ("epsilon_high", high, 0.28)):
        if not 0 <= width < float("inf"):
            raise ValueError(f"{where}{name}: {width:g} is not a width of the trust region; use e.g. {usual}")
    if loss_type == "cispo" and epsilon != 0.2:
        raise ValueError(f"{where}epsilon: {epsilon:g}: cispo has no smallest weight of a token; leave it out")
    if num_iterations < 1:
        raise ValueError(f"{where}num_iterations: {num_iterations}: nothing would be trained; give 1 or more")
    ranked = loss_type in ("best_of_group", "cpo")
    for name, changed, lacking in (
        ("importance_sampling_level", level != "token", "importance ratio"),
        ("epsilon", epsilon != 0.2, "importance ratio"),
        ("epsilon_high", epsilon_high is not None, "importance ratio"),
        ("scale_rewards", scale != "group", "advantages"),
    ):
        if ranked and changed:
            raise ValueError(f"{where}{name}: {loss_type} has no {lacking}; leave it out")
    if aggregation == "normalize_then_sum" and scale == "none":
        raise ValueError(
            f"{where}scale_rewards: none: normalize_then_sum divides by the standard deviation of the batch; leave it "
            "out, or use sum_then_normalize"
        )
    if loss_type == "cpo" and num_iterations != 1:
        raise ValueError(
            f"{where}num_iterations: {num_iterations}: cpo makes one step per batch, because its coefficients hold for "
            "one set of weights; write 1"
        )
    if loss_type == "cpo" and preference_beta <= 0:
        raise ValueError(f"{where}preference_beta: {preference_beta:g} gives no preference; use e.g. 0.1")
    if loss_type != "cpo" and preference_beta != 0.1:
        raise ValueError(f"{where}preference_beta: {loss_type} has no preferences; leave it out, or write cpo")


def check_weight(name: str, value: float, example: float) -> None:
    """Refuse a weight of a term of the loss that is negative or not finite.

    Args:
        name: Name of the setting.
        value: Value of the setting.
        example: Usual value, for the message.

    Raises:
        ValueError: Names the setting and the remedy.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"model.init_args.{name}: {value} is not a weight; use e.g. {example:g}, or 0 for none")


def check_reference_nll(weight: float, schedule: Schedule, token_weight: TokenWeight) -> None:
    """Refuse settings of SFT's loss in GRPO without a weight of it.

    Args:
        weight: Weight of SFT's loss.
        schedule: Schedule of the weight.
        token_weight: Weight of each token in SFT's loss.

    Raises:
        ValueError: Names the setting and the remedy.
    """
    given = {"reference_nll_schedule": (schedule, "constant"), "reference_token_weight": (token_weight, "none")}
    for name, (value, default) in given.items():
        if weight <= 0 and value != default:
            raise ValueError(
                f"model.init_args.{name}: {value}: SFT's loss has no weight; set reference_nll_weight, e.g. 0.1"
            )
