"""Trained rows: PEFT's own numbers and gradients, without its copy of the matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import CPU
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen3Config, Qwen3ForCausalLM

from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.token_rows import fast_row_forward, rows_of

VOCABULARY, HIDDEN = 200, 16
IDS = torch.tensor([[3, 190, 191, 7, 194, 189, 195, 199]])


def model(tied: bool, indices: list[int], dtype: torch.dtype = torch.float32) -> Any:
    """A random Qwen3 with some trained rows, moved from their initial values, and with a second adapter."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, intermediate_size=32, tie_word_embeddings=tied,
    )  # fmt: skip
    layers = ["model.embed_tokens"] if tied else ["model.embed_tokens", "lm_head"]
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, trainable_token_indices=dict.fromkeys(layers, indices))
    made: Any = get_peft_model(Qwen3ForCausalLM(config).to(dtype).requires_grad_(False), lora)
    made.add_adapter("reference", lora)
    with torch.no_grad():
        for name, rows in made.named_parameters():
            if "trainable_tokens" in name:
                rows.add_(torch.randn(rows.shape, generator=torch.Generator().manual_seed(len(name))))
    return made.eval()


def rows(made: Any) -> dict[str, Tensor]:
    return {name: p for name, p in made.named_parameters() if "trainable_tokens" in name and ".default" in name}


def both(made: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the rows' gradient of a weighted sum of them."""
    made.zero_grad()
    logits = made(input_ids=IDS, use_cache=False).logits
    (logits.float() * torch.arange(logits.numel()).view(logits.shape).sin()).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in rows(made).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", [0, 190, 195])
@pytest.mark.parametrize("tied", [True, False])
def test_as_peft_computes_it(tied: bool, first: int, dtype: torch.dtype) -> None:
    made = model(tied, list(range(first, first + 5)), dtype)
    logits, gradients = both(made)
    fast_row_forward(made)
    ours, our_gradients = both(made)
    exact = {"atol": 1e-6, "rtol": 1e-6} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    torch.testing.assert_close(ours, logits, **exact)
    assert len(gradients) == (1 if tied else 2)
    assert all(p.dtype == torch.float32 for p in rows(made).values())
    for name, gradient in gradients.items():
        assert gradient.norm() > 0.1
        assert (our_gradients[name] - gradient).norm() < (1e-5 if dtype == torch.float32 else 0.02) * gradient.norm()
    for role in (made.disable_adapter, lambda: _as(made, "reference")):
        with role(), torch.no_grad():
            lean = made(input_ids=IDS).logits
            assert (lean - logits).abs().max() > 0.1  # a different model
        plain = model(tied, list(range(first, first + 5)), dtype)
        with plain.disable_adapter() if role == made.disable_adapter else _as(plain, "reference"), torch.no_grad():
            torch.testing.assert_close(lean, plain(input_ids=IDS).logits, **exact)


class _as:  # noqa: N801
    def __init__(self, made: Any, name: str) -> None:
        self.made, self.name = made, name

    def __enter__(self) -> None:
        self.made.set_adapter(self.name)

    def __exit__(self, *_: object) -> None:
        self.made.set_adapter("default")


class Copies(TorchDispatchMode):
    """Count the tensors of the matrix's size that are made."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.numel() == VOCABULARY * HIDDEN]
        self.count += (
            bool(made) and "view" not in str(func) and str(func) not in ("aten.t.default", "aten.detach.default")
        )
        return out


def test_the_matrix_is_not_copied() -> None:
    made = model(True, list(range(190, 195)))
    with Copies() as of_peft:
        both(made)
    fast_row_forward(made)
    with Copies() as ours:
        both(made)
    assert of_peft.count >= 2 and ours.count == 0


def test_rows_that_are_not_neighbours_keep_pefts_forward() -> None:
    made = model(True, [5, 7, 190])
    expected, _ = both(made)
    fast_row_forward(made)
    assert torch.equal(both(made)[0], expected)
    head = made.get_base_model().get_output_embeddings()
    assert rows_of(head) == (head, None, 0)


def test_what_a_head_is_made_of() -> None:
    made = model(False, list(range(190, 195)))
    fast_row_forward(made)
    head = made.get_base_model().get_output_embeddings()
    linear, own, first = rows_of(head)
    assert type(linear) is torch.nn.Linear and first == 190
    assert own is rows(made)["base_model.model.lm_head.token_adapter.trainable_tokens_delta.default"]
    with made.disable_adapter():
        assert rows_of(head) == (linear, None, 0)
    assert rows_of(linear) == (linear, None, 0)


@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
def test_the_reference_is_frozen_and_the_rest_in_float32(base: str, tmp_path: Path, weights: str) -> None:
    """Weight decay would change the weights that PEFT leaves trainable."""
    corpus = tmp_path / "text.txt"
    corpus.write_text("ཁྲིམས་ཀྱི་མདུན་སར། ཁྲིམས་ལུགས།\n" * 5, encoding="utf-8")
    settings = VocabularySettings("bo", str(corpus), "bo", tokens=4)
    export_adapter(load_policy(base, weights, LoraSettings(4, 8, 0.0), None, CPU, settings), tmp_path / "adapter")
    policy = load_policy(base, weights, None, str(tmp_path / "adapter"), CPU)
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in policy.named_parameters() if ".default" in name}
    adapters = {name: p for name, p in policy.named_parameters() if ".default" in name or ".reference" in name}
    assert {p.dtype for p in adapters.values()} == {torch.float32}
    assert sum("trainable_tokens" in name for name in adapters) == 2
