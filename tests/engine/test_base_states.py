"""States of the base: kept within their budget, and those of the base itself."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import CPU, stir

from semalign_pl.engine.base_states import BaseStates
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

GROUPS = [[[5, 6, 7, 8], [5, 6, 7, 9], [5, 6, 7, 8]], [[3, 2, 1], [1, 2, 3, 4, 5, 6]]]
TOKENS = [9, 7]
"""Number of tokens per group that predict another."""
PER_TOKEN = 64 * 4
"""Bytes of the state of a token, float32."""


@pytest.fixture
def policy(base: str) -> Policy:
    torch.manual_seed(0)
    return stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU), seed=2)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tokens of the decoder's forwards."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Model

    calls: list[int] = []
    forward = Qwen3Model.forward

    def noted(self: torch.nn.Module, *args, **options):  # noqa: ANN002, ANN003, ANN202
        calls.append(options["input_ids"].numel())
        return forward(self, *args, **options)

    monkeypatch.setattr(Qwen3Model, "forward", noted)
    return calls


@pytest.mark.parametrize(("tokens", "second"), [(0, TOKENS), (8, [9]), (15, [7]), (16, [])])
def test_texts_beyond_the_budget_are_run_again(
    policy: Policy, forwards: list[int], tokens: int, second: list[int]
) -> None:
    """Texts of one call are kept all or none, so that what is run again is forwarded with the same others."""
    states = BaseStates(max_bytes=tokens * PER_TOKEN)
    states.check_base(policy)
    once = [states(policy, group) for group in GROUPS]
    assert forwards == TOKENS
    forwards.clear()
    states.check_base(policy)
    again = [states(policy, group) for group in GROUPS]
    assert forwards == second
    for group, other in zip(once, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(group, other, strict=True))


def test_another_base_is_not_taken_for_the_first(base: str, policy: Policy) -> None:
    """Also by a caller that does not check the base before each call."""
    states = BaseStates()
    first = states(policy, GROUPS[0])
    other = load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU)
    with torch.no_grad():
        other.causal_lm.get_input_embeddings().weight.mul_(2)
    assert not any(torch.equal(a, b) for a, b in zip(first, states(other, GROUPS[0]), strict=True))


def test_the_states_are_those_of_the_base_itself(base: str, policy: Policy) -> None:
    """Also in train mode, with gradients on, and while the policy acts as itself."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    states = BaseStates()
    states.check_base(policy.train())
    for _ in range(2):
        for ids, hidden in zip(GROUPS[0], states(policy, GROUPS[0]), strict=True):
            assert not hidden.requires_grad and hidden.untyped_storage().nbytes() <= 9 * PER_TOKEN
            logits = plain(input_ids=torch.tensor([ids])).logits[0, :-1]
            torch.testing.assert_close(policy.head(hidden), logits)
    assert policy.training and torch.is_grad_enabled()
