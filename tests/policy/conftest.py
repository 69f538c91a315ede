"""A policy with adapters that change its outputs, on the CPU in float32."""

import pytest
import torch
from tiny import CPU, stir

from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy


@pytest.fixture
def policy(base, sft_adapter) -> Policy:
    """A policy trained further from the SFT adapter: base, reference and policy are three different models."""
    return stir(load_policy(base, "fp32", None, sft_adapter, CPU), seed=2, scale=0.05)


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    """Four prompts of four lengths, one of them a single token."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, 300, (n,), generator=generator).tolist() for n in (9, 4, 1, 6)]
