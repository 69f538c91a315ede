"""RMS norms by PyTorch's one function equal transformers' own, and only norms that it can compute are changed."""

import pytest
import torch
from torch import nn
from transformers.models.bamba.modeling_bamba import BambaRMSNormGated
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5RMSNormGated

from semalign_pl.policy import norms


class DoubledRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden_states)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_equals_transformers_in_value_and_gradient(monkeypatch, kind, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    norm = kind(64, eps=1e-4).to(dtype)
    norm.weight.data.normal_()
    x = torch.randn(3, 5, 64, dtype=dtype).mul_(0.01).requires_grad_()
    slope = torch.randn(3, 5, 64, dtype=dtype)
    expected = norm(x)
    (expected_gradient,) = torch.autograd.grad(expected, x, slope)
    norms.fast_norm_forward(norm)
    assert torch.equal(norm(x), expected), "without a kernel nothing changes"
    monkeypatch.setattr(norms, "has_kernel", lambda x: True)
    monkeypatch.setattr(kind, "forward", None)  # so that only the one function can give the result
    found = norm(x)
    assert found.dtype == dtype and not torch.equal(found, torch.zeros_like(found))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    (gradient,) = torch.autograd.grad(found, x, slope)
    assert (gradient - expected_gradient).norm() < tolerance * expected_gradient.norm()


@pytest.mark.parametrize(
    "norm",
    [
        Gemma3RMSNorm(8),
        DoubledRMSNorm(8),
        BambaRMSNormGated(8, 8),
        Qwen3_5RMSNormGated(8),
        nn.LayerNorm(8),
        nn.Linear(8, 8),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_others_keep_their_forward(norm: nn.Module) -> None:
    norms.fast_norm_forward(norm)
    assert norms.epsilon_of(norm) is None and "forward" not in vars(norm)


def test_another_dtype_than_the_weight_keeps_the_dtype_of_transformers(monkeypatch) -> None:
    norm, x = LlamaRMSNorm(8), torch.randn(2, 8, dtype=torch.bfloat16)
    expected = norm(x)
    norms.fast_norm_forward(norm)
    monkeypatch.setattr(norms, "has_kernel", lambda x: True)
    assert torch.equal(norm(x), expected) and norm(x).dtype == torch.float32


def test_a_default_device_as_lightning_sets_it() -> None:
    """Lightning creates models on the GPU, under ``torch.device``; a generator of the CPU cannot draw there."""
    norm = LlamaRMSNorm(8, eps=1e-5)
    with torch.device("meta"):
        assert norms.epsilon_of(norm) == 1e-5
