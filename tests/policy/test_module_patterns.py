"""Regular expressions on module names that never end are refused within seconds, in every field."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tiny import CPU
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from torch import nn

from semalign_pl.policy import module_patterns
from semalign_pl.policy.adapter_folder import MAX_CONFIG_BYTES
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.settings import LoraSettings

ENDLESS = r"(([a-z_.0-9]+)+)+!"
FIELDS: dict[str, Any] = {
    "target_modules": ENDLESS,
    "exclude_modules": ENDLESS,
    "modules_to_save": [ENDLESS],
    "layers_pattern": [ENDLESS],
    "rank_pattern": {"q_proj": 4, ENDLESS: 8},
    "alpha_pattern": {ENDLESS: 8},
}


@pytest.fixture(scope="module")
def model(base: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_patterns, "PATIENCE_SECONDS", 1.0)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.usefixtures("short")
def test_an_adapters_pattern_without_end(field: str, base: str, sft_adapter: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sft_adapter, tmp_path / "adapter"))
    config = json.loads((folder / "adapter_config.json").read_text())
    layers = {"layers_to_transform": [0]} if field == "layers_pattern" else {}
    (folder / "adapter_config.json").write_text(json.dumps(config | layers | {field: FIELDS[field]}))
    began = time.monotonic()
    message = f"model.init_args.adapter: .*adapter_config.json: {field}: .*takes too long on the module names"
    with pytest.raises(ValueError, match=message):
        load_policy(base, "fp32", None, str(folder), CPU)
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("short")
def test_a_recipes_pattern_without_end(base: str, sft_adapter: str) -> None:
    lora = LoraSettings(4, 8, 0.0, ENDLESS)
    for adapter in (None, sft_adapter):
        with pytest.raises(ValueError, match=r"model.init_args.lora: target_modules: '\(\(.*takes too long"):
            load_policy(base, "fp32", lora, adapter, CPU)


def test_a_pattern_that_is_none(model: nn.Module) -> None:
    config = LoraConfig(target_modules=["q_proj"], rank_pattern={"q_proj": 1, "q_(": 8})
    with pytest.raises(ValueError, match=r"x: rank_pattern: 'q_\(' is no regular expression \(.*unterminated"):
        check_patterns("x", config, model)


PATTERNS: list[dict[str, Any]] = [
    {"target_modules": r".*\.layers\.(0|1)\.self_attn\.(q|v)_proj"},
    {"target_modules": "all-linear"},
    {"target_modules": r"q_proj|.*k_proj", "exclude_modules": r".*layers\.0.*"},
    {"target_modules": ["q_proj"], "rank_pattern": {r"^model\.layers\.0\..*": 2, "layers.1.self_attn.q_proj": 3}},
    {
        "target_modules": ["q_proj"],
        "modules_to_save": ["embed_tokens"],
        "layers_to_transform": [1],
        "layers_pattern": "layers",
    },
]


@pytest.mark.parametrize("options", PATTERNS)
def test_others_are_let_through(options: dict[str, Any], model: nn.Module) -> None:
    check_patterns("x", LoraConfig(**options), model)


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj", "q_proj", "layers.1.q_proj.extra", "a.embed.b"])
@pytest.mark.parametrize("written", [r"q_proj", r".*q_(p|k)roj", r"layers\.1.*", "embed"])
def test_they_are_matched_as_peft_does(name: str, written: str) -> None:
    def matches(field: str, value: Any) -> bool:
        plain: dict[str, Any] = dict.fromkeys(FIELDS)
        ((_, _, pattern),) = module_patterns._patterns(SimpleNamespace(**plain | {field: value}))
        return re.match(pattern, name) is not None

    whole = SimpleNamespace(target_modules=written, exclude_modules=None, modules_to_save=None, target_parameters=None)
    assert matches("target_modules", written) == bool(check_target_module_exists(whole, name))
    assert (
        matches("rank_pattern", {written: 1}) == (get_pattern_key([written], name) == written != name)
        or written == name
    )


def test_a_huge_config_is_refused_unread(base: str, tmp_path: Path) -> None:
    with (tmp_path / "adapter_config.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=f"1,073,741,824 bytes, and {MAX_CONFIG_BYTES:,} are the limit"):
        load_policy(base, "fp32", None, str(tmp_path), CPU)
