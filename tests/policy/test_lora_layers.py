"""The fast forward computes the same as PEFT, in every LoRA layer class of PEFT."""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft.tuners.lora
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, MontecloraConfig, VeloraConfig
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from semalign_pl.policy.lora import fast_lora_forward, is_plain

PACKAGE = list(peft.tuners.lora.__path__)
FAST = {"Linear", "Linear4bit", "Linear8bitLt"}
CANNOT_BE_MADE = {
    "AqlmLoraLinear": "needs aqlm and its CUDA kernels",
    "AwqLoraLinear": "needs AWQ's quantised linears (gptqmodel)",
    "EetqLoraLinear": "needs eetq (CUDA)",
    "GPTQLoraLinear": "needs gptqmodel's quantised linears",
    "HqqLoraLinear": "needs hqq",
    "IncLoraLinear": "needs Intel's neural_compressor",
    "LoraParallelLinear": "needs Megatron's parallel linears",
    "TeLinear": "needs NVIDIA's transformer_engine",
    "TorchaoLoraLinear": "needs torchao",
}
ABSTRACT = {"_ConvNd": "base of the convolutions"}


def classes() -> set[str]:
    """Names of PEFT's LoRA layer classes, from its sources: some are defined only if their backend is installed."""
    known, found = {"LoraLayer"}, set()
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(PACKAGE[0]).glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {n.name for n in nodes if {getattr(b, "id", "") for b in n.bases} & known} - found
        if not more:
            return found
        found |= more
        known |= more


class Experts(nn.Module):
    """Stack of weights, as mixtures of experts have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,eoi->...o", x, self.weight)


def quantised(bits: int) -> nn.Module:
    import bitsandbytes as bnb

    kinds = {4: (bnb.nn.Linear4bit, {"quant_type": "nf4"}), 8: (bnb.nn.Linear8bitLt, {"has_fp16_weights": False})}
    kind, options = kinds[bits]
    made = kind(64, 32, **options)
    made.load_state_dict(nn.Linear(64, 32).state_dict())
    return made.to("cpu")


def floats(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape, requires_grad=True)


def ids() -> Tensor:
    return torch.tensor([[1, 5, 5, 0]])


MADE: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "Linear": (lambda: nn.Linear(6, 8), floats(2, 3, 6)),
    "Embedding": (lambda: nn.Embedding(10, 6), ids),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), floats(2, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), floats(2, 4, 9, 9)),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 3), floats(2, 4, 5, 5, 5)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), floats(2, 5, 8)),
    "ParamWrapper": (Experts, floats(2, 3, 6)),
    "Linear4bit": (lambda: quantised(4), floats(2, 3, 64)),
    "Linear8bitLt": (lambda: quantised(8), floats(2, 3, 64)),
}


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.is_loaded_in_4bit = "4bit" in type(layer).__name__  # as transformers tells PEFT
        self.is_loaded_in_8bit = "8bit" in type(layer).__name__

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x, x, x) if "Attention" in type(self.layer).__name__ else self.layer(x)
        return out[0] if isinstance(out, tuple) else out


def adapted(layer: nn.Module, target: dict[str, Any] | None = None, **options: Any) -> Any:
    """PEFT's model of one layer, with an adapter that is not zero."""
    config = LoraConfig(r=4, lora_alpha=6, **(target or {"target_modules": ["layer"]}), **options)
    made: Any = get_peft_model(Holder(layer), config)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight))
    return made


def run(made: Any, x: Tensor) -> list[Tensor]:
    """Output, gradient of the input, and gradients of the adapter, with the same random dropout."""
    made.zero_grad()
    x = x.detach().clone().requires_grad_(x.requires_grad)
    torch.manual_seed(1)
    out = made(x)
    if out.requires_grad:
        (out.float() * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
    gradients = [p.grad.clone() for _, p in sorted(made.named_parameters()) if p.grad is not None]
    return [out.detach(), *([x.grad] if x.grad is not None else []), *gradients]


def check(made: Any, x: Tensor, fast: bool, tolerance: float = 1e-6) -> None:
    """A model with the fast forward against its twin; ``fast`` says if the layer must have another forward."""
    twin = copy.deepcopy(made)
    fast_lora_forward(made)
    assert ("forward" in vars(made.base_model.model.layer)) == fast
    expected, ours = run(twin, x), run(made, x)
    assert len(expected) == len(ours)
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def test_every_class_of_peft_is_made_here_or_says_why_not() -> None:
    assert len(classes()) > 15
    assert classes() == MADE.keys() | CANNOT_BE_MADE.keys() | ABSTRACT.keys()


@pytest.mark.parametrize("name", sorted(MADE))
def test_forward_and_gradient_are_pefts(name: str) -> None:
    make, x = MADE[name]
    made = adapted(make(), {"target_parameters": ["layer.weight"]} if name == "ParamWrapper" else None)
    assert type(made.base_model.model.layer).__name__ == name
    with made.disable_adapter():
        bare = made(x := x())
    assert (made(x) - bare).norm() > 0.01 * bare.norm()  # the adapter acts, otherwise nothing is compared
    check(made, x, fast=name in FAST)


@pytest.mark.parametrize("name", sorted(CANNOT_BE_MADE))
def test_a_class_that_cannot_be_made_here_keeps_pefts_forward(name: str) -> None:
    modules = [importlib.import_module(f"peft.tuners.lora.{module.name}") for module in pkgutil.iter_modules(PACKAGE)]
    kinds = {getattr(module, name) for module in modules if hasattr(module, name)}
    if not kinds:
        pytest.skip(f"PEFT defines it only where its backend is installed: {CANNOT_BE_MADE[name]}")
    for kind in kinds:
        layer = kind.__new__(kind)
        nn.Module.__init__(layer)
        LoraLayer.__init__(layer, nn.Linear(2, 2))
        assert not is_plain(layer)


VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "dropout": {"lora_dropout": 0.3},
    "olora": {"init_lora_weights": "olora"},
    "lora_bias": {"lora_bias": True},
    "dora": {"use_dora": True},
    "bdlora": {"use_bdlora": BdLoraConfig(target_modules_bd_a=["layer"], nblocks=2)},
    "velora": {"velora_config": VeloraConfig()},
    "monteclora": {"monteclora_config": MontecloraConfig()},
    "kasa": {"kasa_config": KasaConfig()},
    "mica": {"init_lora_weights": "mica"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_changes_the_forward_of_a_linear_layer(name: str) -> None:
    check(adapted(nn.Linear(8, 8), **VARIANTS[name]), floats(2, 3, 8)(), name in {"rslora", "dropout", "olora"})


def test_weights_stored_the_other_way_round() -> None:
    check(adapted(Conv1D(8, 6), fan_in_fan_out=True), floats(2, 3, 6)(), fast=False)


@pytest.mark.parametrize("state", ["disabled", "merged", "two", "none", "half", "no cast"])
def test_states_of_a_linear_layer(state: str) -> None:
    made = adapted(nn.Linear(6, 8).to(torch.bfloat16 if state == "half" else torch.float32))
    made.add_adapter("second", LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False))
    x, layer = floats(2, 3, 6)(), made.base_model.model.layer
    if state == "two":
        layer.set_adapter(["default", "second"])
    elif state == "none":
        layer._active_adapter = ["absent"]
    elif state == "merged":
        made.merge_adapter()
    elif state == "disabled":
        layer._disable_adapters = True
    elif state == "no cast":
        layer.cast_input_dtype_enabled = False
    elif state == "half":
        x = x.detach().to(torch.bfloat16).requires_grad_()
    check(made, x, fast=state != "no cast", tolerance=0.01 if state == "half" else 1e-6)


def test_adapters_mixed_within_a_batch() -> None:
    made = adapted(nn.Linear(6, 8)).eval()
    made.add_adapter("second", LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False))
    twin = copy.deepcopy(made)
    fast_lora_forward(made)
    x, names = torch.randn(3, 6), ["default", "second", "__base__"]
    ours, expected = (m.base_model.model.layer(x, adapter_names=names) for m in (made, twin))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_it_computes_the_same_bits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The update is then added in place, into the output of the base layer only."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8)).to(dtype)
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    fast_lora_forward(model)
    x = torch.randn(shape, dtype=dtype)
    before = x.clone()
    expected = model(x).detach()
    with torch.no_grad():
        assert torch.equal(model(x), expected) and torch.equal(model(x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(x)
    assert torch.equal(x, before) and mixed.dtype == torch.bfloat16


def test_under_autocast_an_optimiser_step_within_the_step_changes_what_is_computed() -> None:
    """Autocast keeps the casts of weights until it is left, so a second update would read the first one's weights."""
    torch.manual_seed(0)
    made = adapted(nn.Linear(6, 8))
    fast_lora_forward(made)
    x, before = torch.randn(3, 6), []
    for together in (True, False):
        outer = torch.autocast("cpu", torch.bfloat16) if together else contextlib.nullcontext()
        trained, outputs = copy.deepcopy(made), []
        with outer:
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16):
                    outputs.append(trained(x))
                outputs[-1].float().square().sum().backward()
                with torch.no_grad():
                    for parameter in trained.parameters():
                        if parameter.requires_grad:
                            parameter -= 0.1 * parameter.grad
        before.append(outputs)
    assert torch.equal(before[0][0], before[1][0]) and torch.equal(before[0][1], before[1][1])
    assert (before[0][1] - before[0][0]).norm() > 0.1 * before[0][0].norm()


@pytest.mark.parametrize("bias", [False, True])
def test_under_autocast_values_and_gradients_are_pefts_and_gradients_are_float32(bias: bool) -> None:
    """Seven layers of a block whose weights are cast together; one is used twice, and one is not used."""
    torch.manual_seed(0)

    class Block(GradientCheckpointingLayer):
        def __init__(self) -> None:
            super().__init__()
            self.linears = nn.ModuleList(nn.Linear(6, 6, bias) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            a, b, c, _ = self.linears
            return a(x) * b(x) + c(a(x).tanh())

    config = LoraConfig(r=2, target_modules=r".*linears\.\d", init_lora_weights=False)
    made = get_peft_model(nn.Sequential(Block(), Block()), config)
    twin = copy.deepcopy(made)
    fast_lora_forward(made)
    x, found = torch.randn(5, 6), []
    for model in (made, twin):
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
            out.float().square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        assert sum(gradient is None for gradient in gradients) == 4  # A and B of the layer that is not used
        found.append((out, torch.cat([g.flatten() for g in gradients if g is not None])))
    (ours, own), (expected, theirs) = found
    assert own.dtype == torch.float32
    assert (ours - expected).norm() < 0.02 * expected.norm() and (own - theirs).norm() < 0.02 * theirs.norm()
