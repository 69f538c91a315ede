"""Divergences by the plain formula over full logits of PEFT's own forward, in float64: the oracle of terms."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from helpers.tiny import Recorded, trained
from semalign_pl.modules import SFTModule
from semalign_pl.policy.policy import Policy

SGD = functools.partial(torch.optim.SGD, lr=0.1)
ADAM = functools.partial(torch.optim.AdamW, lr=0.01)


class Recording(Recorded, SFTModule):
    """SFT that keeps the values that it logged last."""

    stirred = 0.05

    def log_train(self, values, rows):
        self.logged_values = {name: float(value) for name, value in values.items()}
        super().log_train(values, rows)


def logps(policy: Policy, prompt: list[int], completion: list[int]) -> Tensor:
    """Log-probs over the vocabulary that predict each completion token, ``(tokens, vocabulary)`` float64."""
    logits = policy.model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.double().log_softmax(-1)


@contextlib.contextmanager
def role(policy: Policy, name: str) -> Iterator[None]:
    """PEFT's own switches: adapters disabled for the base, another adapter active for the reference."""
    if name == "base":
        with policy.model.disable_adapter(), torch.no_grad():
            yield
        return
    requires = {name: p.requires_grad for name, p in policy.named_parameters()}
    policy.model.set_adapter("reference" if name == "reference" else "default")
    try:
        with torch.no_grad():
            yield
    finally:
        policy.model.set_adapter("default")
        for name, p in policy.named_parameters():
            p.requires_grad_(requires[name])


def forward_kl(policy: Policy, target: str, prompt: list[int], completion: list[int]) -> Tensor:
    """KL(target || policy) per token."""
    with role(policy, target):
        q = logps(policy, prompt, completion)
    return (q.exp() * (q - logps(policy, prompt, completion))).sum(-1)


def k3(policy: Policy, target: str, prompt: list[int], completion: list[int]) -> Tensor:
    """Schulman's k3 per token: ``exp(q - p) - (q - p) - 1`` of the log-probs of the completion's own tokens."""
    chosen = range(len(completion)), completion
    with role(policy, target):
        q = logps(policy, prompt, completion)[chosen]
    difference = q - logps(policy, prompt, completion)[chosen]
    return difference.exp() - difference - 1


def nll(policy: Policy, prompt: list[int], completion: list[int]) -> Tensor:
    """NLL per token."""
    return -logps(policy, prompt, completion)[range(len(completion)), completion]


def first_policy(module) -> Policy:
    """The policy of a ``Recorded`` module as it was at its first update, in float64, without gradients."""
    policy = module.policy.double()
    with torch.no_grad():
        for name, weight in trained(policy).items():
            weight.copy_(module.weights[0][name])
    policy.zero_grad()
    return policy
