"""Scaled and blended adapters: their logits are those of the base's weights plus the weighted sum of the updates."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import KINDS, QV, logits, make, pefts, roles
from helpers.tiny import CPU, relative, stir
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear, LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils.other import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.policy.adapter import adapter_state, export_adapter, fingerprint, load_adapter_state
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.adapter_start import read_terms
from semalign_pl.policy.blend import blend_state, plain_terms, write_blend, write_common
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings

DORA = [kind for kind in KINDS if "dora" in kind]
LINEAR = [kind for kind in KINDS if kind not in DORA]


def scaled_by_hand(base: str, adapter: str, scale: float) -> Tensor:
    """Logits of PEFT's model with every update scaled in place: ``W + scale * dW``, or PEFT's own scaling."""
    model = pefts(base, adapter)
    bare = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters(remove_duplicate=False))
    moved: set[int] = set()  # tied layers share their weights

    def move(value: Tensor, own: Tensor) -> None:
        if value.data_ptr() not in moved:
            value.copy_(own + scale * (value - own))
            moved.add(value.data_ptr())

    with torch.no_grad():
        for name, layer in model.base_model.model.named_modules():
            if type(layer) is Linear and not layer.lora_variant and not layer.lora_bias["default"]:
                linear = layer.get_base_layer()  # of PiSSA, the residual
                merged = linear.get_parameter("weight") + layer.get_delta_weight("default")
                own = bare[f"{name}.weight"]
                linear.weight = nn.Parameter(own + scale * (merged - own))
                layer.scaling["default"] = 0
            elif isinstance(layer, LoraLayer):
                layer.scaling["default"] *= scale
            elif isinstance(layer, TrainableTokensLayer):
                own = layer.trainable_tokens_original["default"]
                assert own is not None
                move(layer.trainable_tokens_delta["default"], own)
            elif isinstance(layer, ModulesToSaveWrapper):
                own = dict(layer.original_module.named_parameters())
                for key, value in layer.modules_to_save["default"].named_parameters():
                    move(value, own[key])
    return logits(model)


def merged(base: str, adapter: str) -> dict[str, Tensor]:
    """Weights of the base with an adapter merged into them by PEFT."""
    model = pefts(base, adapter)
    twice = model.peft_config["default"].ensure_weight_tying  # PEFT adds a tied update to the one matrix twice
    bare = AutoModelForCausalLM.from_pretrained(base).state_dict()
    state = model.merge_and_unload().state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight") if twice else ():
        state[name] = (state[name] + bare[name]) / 2
    return {name: weight.detach().clone() for name, weight in state.items()}


def between(base: str, start: str, end: str, scales: Sequence[float]) -> list[Tensor]:
    """Logits of the weights on the line from one merged adapter to another, per scale."""
    one, other = merged(base, start), merged(base, end)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    found = []
    for scale in scales:
        model.load_state_dict({name: one[name] + scale * (other[name] - one[name]) for name in one})
        found.append(logits(model))
    return found


def load(base: str, adapter: str, scale: float = 1.0, scale_from: str = "base") -> Policy:
    return load_policy(base, "fp32", None, adapter, CPU, None, scale, scale_from)


@pytest.mark.parametrize("kind", LINEAR)
def test_half_of_an_update(kind: str, bases, tmp_path) -> None:
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind)
    expected = scaled_by_hand(base, adapter, 0.5)
    assert relative(expected, logits(pefts(base, adapter))) > 0.01

    policy = load(base, adapter, 0.5)
    found = roles(policy)
    assert relative(found["policy"], expected) <= 1e-5
    assert relative(found["reference"], found["policy"]) <= (1e-6 if kind in ("tokens", "embedding, tied") else 0)

    export_adapter(policy, tmp_path / "export")
    write_blend([(read_adapter_folder(adapter), 0.5)], AutoModelForCausalLM.from_pretrained(base), tmp_path / "blend")
    for folder in ("export", "blend"):
        assert relative(logits(pefts(base, tmp_path / folder)), found["policy"]) <= 1e-6, folder
    assert json.loads((tmp_path / "blend" / "training.json").read_text())["blend"][0]["weight"] == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_are_exact(kind: str, bases, tmp_path) -> None:
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind)
    nothing = roles(load(base, adapter, 0.0))
    # Equal rows of a head in two matrices give sums that differ in the last bit.
    assert relative(nothing["policy"], nothing["base"]) <= (1e-6 if "tokens" in kind else 0)
    whole, plain = load(base, adapter, 1.0), load_policy(base, "fp32", None, adapter, CPU)
    assert fingerprint(adapter_state(whole)) == fingerprint(adapter_state(plain))


PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "one run after another": ("untied", {}, {}),
    "other rank and alpha": ("untied", {"r": 2, "lora_alpha": 3}, {"r": 5, "use_rslora": True}),
    "other patterns": ("untied", {"rank_pattern": {"q_proj": 2}}, {"alpha_pattern": {"v_proj": 3}, "r": 8}),
    "other layers": ("untied", {"target_modules": "all-linear"}, {"layers_to_transform": [1]}),
    "embedding": ("untied", {"target_modules": [*QV, "embed_tokens"]}, {"target_modules": ["k_proj", "lm_head"]}),
    "tied embedding": (
        "tied",
        {"target_modules": [*QV, "embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": [*QV, "embed_tokens"], "ensure_weight_tying": True, "r": 3},
    ),
    "bias": ("biased", {"lora_bias": True}, {"r": 2}),
    "gpt2": ("gpt2", {"target_modules": ["c_attn"]}, {"target_modules": ["c_attn", "c_fc"], "r": 2}),
    "experts": ("moe", {"target_modules": "all-linear"}, {"target_modules": "all-linear"}),
    "one rslora after another": ("untied", {"use_rslora": True}, {"use_rslora": True}),
    "head in one": ("untied", {"modules_to_save": ["lm_head"]}, {}),
    "head in both": ("untied", {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "tokens in one": ("untied", {}, {"trainable_token_indices": [5, 6, 7]}),
    "other tokens": ("untied", {"trainable_token_indices": [5, 7]}, {"trainable_token_indices": [7, 3, 19]}),
    "named tokens": (
        "untied",
        {"trainable_token_indices": {"lm_head": [5, 9]}},
        {"trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [9, 3]}},
    ),
    "pissa": ("untied", {"init_lora_weights": "pissa"}, {"r": 2}),
    "velora": ("untied", {}, KINDS["velora"][1]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_between_two_adapters(name: str, bases, tmp_path) -> None:
    family, first, second = PAIRS[name]
    base = bases[family]
    start = build(base, tmp_path / "start", 1, first)
    end = build(base, tmp_path / "end", 2, second)
    scales = (0.0, 0.3, 1.0)
    for scale, expected in zip(scales, between(base, start, end, scales), strict=True):
        policy = load(base, end, scale, start)
        found = roles(policy)["policy"]
        assert relative(found, expected) <= 1e-5, scale
        export_adapter(policy, tmp_path / "export")
        assert relative(logits(pefts(base, tmp_path / "export")), found) <= 1e-6, scale


def build(base: str, folder: Path, seed: int, options: Mapping[str, Any]) -> str:
    return make(base, folder, "plain", seed=seed, **{"target_modules": QV, **options})


@pytest.mark.parametrize("name", PAIRS)
def test_points_are_swapped_into_one_policy(name: str, bases, tmp_path) -> None:
    """One loaded policy and its reference give the logits of each point, whatever point they held before."""
    family, first, second = PAIRS[name]
    base = bases[family]
    adapters = [
        read_adapter_folder(build(base, tmp_path / str(at), at, kind)) for at, kind in enumerate((first, second))
    ]
    end = adapters[1]
    points = [read_terms(end), read_terms(end, 0.3, adapters[0].path), read_terms(end, 0.3), [(adapters[0], 1.0)]]
    common = write_common(points, tmp_path / "common")
    policy = load_policy(base, "fp32", None, str(tmp_path / "common"), CPU)
    alone = [
        load(base, end.path),
        load(base, end.path, 0.3, adapters[0].path),
        load(base, end.path, 0.3),
        load(base, adapters[0].path),
    ]
    expected = [roles(one)["policy"] for one in alone]
    for at in (0, 1, 2, 3, 1, 0):
        state = blend_state(plain_terms(points[at], policy.model), common, policy.model)
        for role, adapter in (("policy", "default"), ("reference", "reference")):
            load_adapter_state(policy, state, adapter)
            assert relative(roles(policy)[role], expected[at]) <= 1e-6, (at, role)
    state.popitem()
    with pytest.raises(ValueError, match="^some/adapter: 1 of its adapter tensors do not fit this model"):
        load_adapter_state(policy, state, source="some/adapter")


@pytest.mark.parametrize("kind", DORA)
def test_dora_is_refused_between_its_ends(kind: str, bases, tmp_path) -> None:
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind)
    with pytest.raises(ValueError, match=r"adapter_scale: 0\.5 of .*use_dora.*use 0 or 1") as refusal:
        load(base, adapter, 0.5)
    assert "\n" not in str(refusal.value)


def test_steps_of_dora_are_swapped(bases, tmp_path) -> None:
    base = bases["tied"]
    folders = [make(base, tmp_path / str(seed), "dora", seed=seed) for seed in (1, 2)]
    points = [[(read_adapter_folder(folder), 1.0)] for folder in folders]
    common = write_common(points, tmp_path / "common")
    policy = load_policy(base, "fp32", None, str(tmp_path / "common"), CPU)
    for folder, terms in zip(folders, points, strict=True):
        load_adapter_state(policy, blend_state(terms, common, policy.model))
        assert relative(roles(policy)["policy"], logits(pefts(base, folder))) <= 1e-6
    nothing = plain_terms([(points[0][0][0], 0.0)], policy.model)
    with pytest.raises(ValueError, match=r"adapter_scale: .* is another kind of LoRA .*use_dora"):
        blend_state(nothing, common, policy.model)


def test_pissa_points_are_swapped(bases, tmp_path) -> None:
    """The width of the converted adapters is known before the base is loaded, their values afterwards."""
    base = bases["untied"]
    adapter = read_adapter_folder(make(base, tmp_path, "pissa"))
    points = [read_terms(adapter, scale) for scale in (1.0, 0.5)]
    common = write_common(points, tmp_path / "common")
    policy = load_policy(base, "fp32", None, str(tmp_path / "common"), CPU)
    for scale, terms in zip((1.0, 0.5), points, strict=True):
        load_adapter_state(policy, blend_state(plain_terms(terms, policy.model), common, policy.model))
        assert relative(roles(policy)["policy"], scaled_by_hand(base, adapter.path, scale)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_not_rounded_again(dtype: torch.dtype, bases, tmp_path) -> None:
    """As other trainers save them; 0.3 of a bfloat16 weight is no bfloat16 number."""
    base = bases["untied"]
    adapter = Path(make(base, tmp_path, "whole vocabulary", target_modules=[*QV, "down_proj"]))
    state = load_file(adapter / "adapter_model.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in state.items()}, adapter / "adapter_model.safetensors")
    policy = load(base, str(adapter), 0.3)
    assert relative(roles(policy)["policy"], scaled_by_hand(base, str(adapter), 0.3)) <= 1e-5


@pytest.mark.parametrize("kind", ["plain", "tokens apart", "whole head"])
def test_on_a_quantised_base(kind: str, bases, tmp_path) -> None:
    """bitsandbytes keeps embedding and head in full precision, so that they have values to move from."""
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind)
    policy = load_policy(base, "nf4", None, adapter, CPU, None, 0.5)
    other = load_policy(base, "nf4", None, adapter, CPU)
    state = adapter_state(other)
    bare = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters(remove_duplicate=False))
    for name in state:
        if "lora_B" in name:
            state[name] = state[name] * 0.5
        elif "lora_A" not in name:
            layer = name.removeprefix("base_model.model.").split(".token_adapter")[0].removesuffix(".weight")
            own = bare[f"{layer}.weight"].detach()
            own = own[[5, 9]] if "trainable_tokens" in name else own
            state[name] = own + 0.5 * (state[name] - own)
    load_adapter_state(other, state)
    assert relative(roles(policy)["policy"], roles(other)["policy"]) <= 1e-6
    nothing = roles(load_policy(base, "nf4", None, adapter, CPU, None, 0.0))
    assert torch.equal(nothing["policy"], nothing["base"])


def test_new_tokens_move_from_the_mean_of_their_pieces(base, tmp_path) -> None:
    file = tmp_path / "tibetan.jsonl"
    file.write_text(json.dumps({"bo": "ཁྲིམས་ལུགས་ནི་ཁྲིམས་ལུགས་ཡིན། " * 3}, ensure_ascii=False), encoding="utf-8")
    settings = VocabularySettings("bo", str(file), "bo", tokens=3, min_count=2)
    fresh = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU, settings)
    ids = torch.tensor([[3, *fresh.encoder.new_tokens, 5]])
    assert len(fresh.encoder.new_tokens) == 3

    def run(model: Any) -> Tensor:
        with torch.no_grad():
            return model.eval()(input_ids=ids, use_cache=False).logits.float()

    start, rows = run(fresh.model), {n: w.clone() for n, w in adapter_state(fresh).items() if "tokens_delta" in n}
    trained = stir(fresh, seed=3)
    end = adapter_state(trained)
    export_adapter(trained, tmp_path / "end")
    assert torch.equal(run(load(base, str(tmp_path / "end"), 0.0).model), start)

    policy = load(base, str(tmp_path / "end"), 0.25)
    for name, first in rows.items():
        torch.testing.assert_close(adapter_state(policy)[name], first + 0.25 * (end[name] - first), atol=1e-7, rtol=0)
    write_blend([(read_adapter_folder(str(tmp_path / "end")), 0.25)], policy.model, tmp_path / "blend")
    export_adapter(policy, tmp_path / "export")
    for folder in ("blend", "export"):
        stranger = AutoPeftModelForCausalLM.from_pretrained(tmp_path / folder)  # enlarges the base to the tokenizer
        assert relative(run(stranger), run(policy.model)) <= 1e-6
        assert AutoTokenizer.from_pretrained(tmp_path / folder)("ཁྲིམས་").input_ids[0] in fresh.encoder.new_tokens

    # Between an adapter without the tokens and this one, the rows move from the mean of their pieces too.
    plain = make(base, tmp_path / "plain", "plain")
    half = load(base, str(tmp_path / "end"), 0.25, plain)
    for name, first in rows.items():
        torch.testing.assert_close(adapter_state(half)[name], first + 0.25 * (end[name] - first), atol=1e-7, rtol=0)
    with pytest.raises(ValueError, match=r"^model\.init_args\.scale_from: .*new token .*the same vocabulary"):
        load(base, plain, 0.5, str(tmp_path / "end"))


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "experts": ({"target_parameters": ["mlp.gate_proj.weight"]}, {"r": 2}, "adapts parameters"),
    "blocks": (KINDS["bdlora"][1], {}, "is block-diagonal LoRA"),
    "head": ({"modules_to_save": ["lm_head"]}, {"target_modules": ["lm_head"]}, "trains lm_head as a whole"),
    "rows": (
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": [5]},
        r"trains model\.embed_tokens as a whole",
    ),
    "names": ({"trainable_token_indices": {"lm_head": [5]}}, {"trainable_token_indices": [5]}, "only one names"),
}


def test_dora_among_plain_points_is_refused(bases, tmp_path) -> None:
    one, other = (build(bases["tied"], tmp_path / str(at), at, kind) for at, kind in ((0, {}), (1, {"use_dora": True})))
    points = [[(read_adapter_folder(folder), 1.0)] for folder in (one, other)]
    with pytest.raises(ValueError, match="is DoRA"):
        write_common(points, tmp_path / "common")


@pytest.mark.parametrize("rows", [402, 448])
def test_half_of_a_vocabulary_that_grew(rows: int, bases, tokenizer, tmp_path) -> None:
    """As other trainers write it: whole embedding and head, with rows for new tokens, the embedding padded or not."""
    grown = copy.deepcopy(tokenizer)
    grown.add_tokens(["ཁྲིམས་", "ལུགས་"])

    def resized() -> Any:
        model: Any = AutoModelForCausalLM.from_pretrained(bases["untied"])
        model.resize_token_embeddings(rows)
        return model

    config = LoraConfig(task_type="CAUSAL_LM", target_modules=QV, modules_to_save=["lm_head", "embed_tokens"])
    made = get_peft_model(resized(), config)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape), alpha=0.1)
    made.save_pretrained(str(tmp_path / "adapter"))
    grown.save_pretrained(tmp_path / "adapter")
    start, end = (load(bases["untied"], str(tmp_path / "adapter"), scale) for scale in (0.0, 1.0))
    half = load(bases["untied"], str(tmp_path / "adapter"), 0.5)
    ends = adapter_state(start), adapter_state(end)
    for name, found in adapter_state(half).items():
        if "lora_" not in name:
            torch.testing.assert_close(found, (ends[0][name] + ends[1][name]) / 2, atol=1e-7, rtol=0)
            piece = tokenizer("ཁྲིམས་", add_special_tokens=False).input_ids
            torch.testing.assert_close(ends[0][name][400], ends[0][name][piece].mean(0), atol=1e-6, rtol=0)
    export_adapter(half, tmp_path / "export")
    stranger = PeftModel.from_pretrained(resized(), tmp_path / "export")
    assert relative(logits(stranger), roles(half)["policy"]) <= 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_adapters_that_cannot_be_added_are_refused(name: str, bases, tmp_path) -> None:
    first, second, message = REFUSED[name]
    start, end = (build(bases["untied"], tmp_path / str(at), at, kind) for at, kind in ((0, first), (1, second)))
    with pytest.raises(ValueError, match=rf"^model\.init_args\.scale_from: {start} and .*{message}") as refusal:
        load(bases["untied"], end, 0.5, start)
    assert "\n" not in str(refusal.value)


def test_a_start_on_another_base_is_refused(bases, tmp_path) -> None:
    start = make(bases["tied"], tmp_path / "start", "plain")
    end = make(bases["biased"], tmp_path / "end", "plain")
    with pytest.raises(ValueError, match=rf"^model\.init_args\.scale_from: {start} was made for the base"):
        load(bases["biased"], end, 0.5, start)
