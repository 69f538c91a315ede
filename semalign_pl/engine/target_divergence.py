"""Divergence of the policy from the targets of some completions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.engine.completion_states import states_of_role
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.model import CausalPolicy, Role
from semalign_pl.engine.targets import Target
from semalign_pl.functional.divergence import Divergence
from semalign_pl.functional.losses import kl_k3


def target_divergence(
    policy: CausalPolicy,
    completions: Completions,
    indices: Sequence[int],
    hidden: Float[Tensor, "tokens hidden"],
    ids: Int[Tensor, " tokens"],
    temperatures: Float[Tensor, " tokens"],
    logps: Float[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    """Divergence of the policy from each completion's target, at each token.

    The targets' forwards are made here, of all given completions with the same role and divergence together.

    Args:
        policy: Model to use, acting as the policy.
        completions: Completions of the whole step.
        indices: Completions to compare, not empty.
        hidden: Last hidden states of the policy that predict their tokens, completion after completion.
        ids: Their token ids.
        temperatures: Temperature per token, float32.
        logps: Log-probs of the tokens under the policy; zeros where a target does without.

    Returns:
        Divergence, float32 in nats, with gradient; zeros for completions without a target.
    """
    lengths = [len(completions.completions[index]) for index in indices]
    places = torch.arange(len(hidden), device=hidden.device).split(lengths)
    groups: dict[tuple[Role, Divergence], list[tuple[int, Target]]] = {}
    for place, index in enumerate(indices):
        target = completions.targets[index] if completions.targets is not None else None
        if target is not None:
            groups.setdefault((target.role, target.kind), []).append((place, target))
    result = torch.zeros(len(hidden), device=hidden.device)
    for (role, kind), members in groups.items():
        at = torch.cat([places[place] for place, _ in members])
        targets = [(indices[place], target) for place, target in members]
        states = torch.cat(_target_states(policy, role, completions, targets)).to(hidden.device, hidden.dtype)
        if kind == "k3":
            with policy.acting_as(role), torch.no_grad():
                target_logps, _ = policy.logprobs(states, ids[at], temperatures[at])
            values = kl_k3(logps[at], target_logps)
        else:
            values = policy.divergence(kind, role, hidden[at], states, temperatures[at])
        result = result.index_put((at,), values)
    return result


def _target_states(
    policy: CausalPolicy, role: Role, completions: Completions, targets: Sequence[tuple[int, Target]]
) -> list[Tensor]:
    """Last hidden states of each target: those that were given, and the others by one forward."""
    states = [target.states for _, target in targets]
    missing = [place for place, given in enumerate(states) if given is None]
    if missing:
        members = [targets[place] for place in missing]
        prompts = [completions.prompts[index] if t.prompt is None else t.prompt for index, t in members]
        # Within the budget already: the policy's forward of the same completions, which keeps activations, was.
        to_forward = Completions(prompts, [completions.completions[index] for index, _ in members])
        for place, computed in zip(missing, states_of_role(policy, role, to_forward, sys.maxsize), strict=True):
            states[place] = computed
    return [given for given in states if given is not None]
