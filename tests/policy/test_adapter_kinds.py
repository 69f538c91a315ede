"""All kinds of adapters that PEFT loads as LoRA: policy, reference, base, export and next stage agree with PEFT.

``-v`` prints the table of distances: ``norm(logits - expected) / norm(expected)``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import IDS, KINDS, QV, VOCABULARY_LAYERS, bare_logits, logits, make, pefts, roles
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.tiny import CPU, gradient, relative
from peft import LoraConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers import AutoModelForCausalLM

from semalign_pl.policy.adapter import adapter_state, export_adapter, fingerprint, load_adapter_state
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings


@pytest.fixture(scope="module")
def table(request) -> Iterator[list[str]]:
    """Rows of distances, printed once at the end with pytest -v."""
    rows: list[str] = []
    yield rows
    if request.config.get_verbosity() >= 0:  # the project's options include -q, so that -v gives 0
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            heads = ("policy", "reference", "base", "export", "next stage")
            print("\n\n" + "PEFT kind".ljust(18) + "".join(head.rjust(12) for head in heads), *rows, sep="\n")


def step(policy: Policy) -> None:
    """One step of gradient descent that changes every trained weight."""
    out = policy.model(input_ids=IDS, use_cache=False).logits.float()
    (out * torch.arange(out.numel()).view(out.shape).sin()).mean().backward()
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.grad is not None:
                weight.sub_(0.05 * weight.grad / weight.grad.norm().clamp(min=1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_as_peft_reads_it(kind: str, bases, tmp_path, table) -> None:
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind)
    saved, bare = logits(pefts(base, adapter)), bare_logits(base)
    assert relative(saved, bare) > 0.1

    policy = load_policy(base, "fp32", None, adapter, CPU)
    assert policy.prefix_sharing_unsupported_reason is None
    frozen = {name for name, weight in policy.named_parameters() if not weight.requires_grad}
    expected = {"policy": saved, "reference": saved, "base": bare}
    found = {role: relative(out, expected[role]) for role, out in roles(policy).items()}

    # Training changes only the policy; a resumed run restores it.
    step(policy)
    trained = roles(policy)
    assert relative(trained["policy"], saved) > 1e-3
    assert relative(trained["reference"], saved) <= 1e-5 and relative(trained["base"], bare) <= 1e-5
    assert frozen == {name for name, weight in policy.named_parameters() if not weight.requires_grad}
    resumed = load_policy(base, "fp32", None, adapter, CPU)
    load_adapter_state(resumed, {name: tensor.clone() for name, tensor in adapter_state(policy).items()})
    assert relative(roles(resumed)["policy"], trained["policy"]) <= 1e-6

    # PEFT loads the export as the policy; the next stage starts from it.
    export_adapter(policy, tmp_path / "export")
    found["export"] = relative(logits(pefts(base, tmp_path / "export")), trained["policy"])
    after = roles(load_policy(base, "fp32", None, str(tmp_path / "export"), CPU))
    expected = {"policy": trained["policy"], "reference": trained["policy"], "base": bare}
    found["next stage"] = max(relative(out, expected[role]) for role, out in after.items())
    table.append(kind.ljust(18) + "".join(f"{distance:12.1e}" for distance in found.values()))
    assert max(found.values()) <= 1e-5, found


@pytest.mark.parametrize("rows", [402, 448])
def test_a_vocabulary_that_grew_and_was_trained_as_a_whole(rows: int, bases, tokenizer, tmp_path) -> None:
    """As other trainers write it: with the tokenizer in the adapter's folder, the embedding padded or not."""
    grown = copy.deepcopy(tokenizer)
    grown.add_tokens(["ཁྲིམས་", "ལུགས་"])

    def base() -> Any:
        model: Any = AutoModelForCausalLM.from_pretrained(bases["untied"])
        model.resize_token_embeddings(rows)
        return model

    made = get_peft_model(
        base(), LoraConfig(task_type="CAUSAL_LM", target_modules=QV, modules_to_save=VOCABULARY_LAYERS)
    )
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape), alpha=0.1)
    made.save_pretrained(str(tmp_path / "adapter"))
    grown.save_pretrained(tmp_path / "adapter")
    policy = load_policy(bases["untied"], "fp32", None, str(tmp_path / "adapter"), CPU)
    assert len(policy.encoder.tokenizer.encode("ཁྲིམས་ལུགས་")) == 2
    found = roles(policy)
    saved, bare = logits(PeftModel.from_pretrained(base(), tmp_path / "adapter")), logits(base())
    assert relative(found["policy"], saved) <= 1e-5 and relative(found["reference"], saved) <= 1e-5
    assert relative(found["base"][..., :400], bare[..., :400]) <= 1e-5
    export_adapter(policy, tmp_path / "export")
    after = load_policy(bases["untied"], "fp32", None, str(tmp_path / "export"), CPU)
    assert relative(roles(after)["policy"], saved) <= 1e-5
    assert after.encoder.tokenizer.encode("ཁྲིམས་ལུགས་") == policy.encoder.tokenizer.encode("ཁྲིམས་ལུགས་")


VOCABULARY = ["embedding", "embedding, tied", "embedding, head", "whole vocabulary", "whole, tied", "tokens apart"]


@pytest.mark.parametrize("kind", [*VOCABULARY, "pissa", "moe all-linear"])
def test_shared_forward_and_gradient(kind: str, bases, tmp_path) -> None:
    """Packed batches, recomputation and the chunked head use the adapted embedding and head."""
    base = bases[KINDS[kind][0]]
    policy = load_policy(base, "fp32", None, make(base, tmp_path, kind), CPU)
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    for recompute in (False, True):
        policy.zero_grad()
        for row, (logps, _) in score(policy, ROWS, BUDGETS[0], recompute).items():
            assert relative(logps.detach(), expected[row].detach()) < 1e-5
        assert relative(gradient(policy), slope) < 1e-5


@pytest.mark.parametrize("kind", ["whole vocabulary", "whole, tied", "pissa", "embedding, head"])
def test_on_a_base_in_half_precision(kind: str, bases, tmp_path) -> None:
    """Trained weights are float32 everywhere, lose nothing between stages, and start at the reference."""
    base = bases[KINDS[kind][0]]
    adapter = make(base, tmp_path, kind, torch.bfloat16)
    policy = load_policy(base, "bf16", None, adapter, CPU)
    assert {weight.dtype for weight in policy.parameters() if weight.requires_grad} == {torch.float32}
    found, saved = roles(policy), logits(pefts(base, adapter, dtype=torch.bfloat16))
    assert torch.equal(found["policy"], found["reference"]) and relative(found["policy"], saved) < 0.05
    assert fingerprint(adapter_state(policy)) == fingerprint(adapter_state(policy, "reference"))
    step(policy)
    assert relative(roles(policy)["reference"], found["reference"]) == 0
    export_adapter(policy, tmp_path / "export")
    after = load_policy(base, "bf16", None, str(tmp_path / "export"), CPU)
    for name, tensor in adapter_state(after).items():
        assert torch.equal(tensor, adapter_state(policy)[name]), name
    assert load_policy(base, "fp32", None, adapter, CPU)  # an embedding saved in bfloat16 equals the base's


def test_a_fresh_adapter_of_a_mixture_of_experts_trains_and_goes_on(bases, tmp_path) -> None:
    """Experts and router are adapted too; PEFT has no dropout for them, so the default settings are refused."""
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora: .*lora_dropout.*`dropout`, which is 0"):
        load_policy(bases["moe"], "fp32", None, None, CPU)
    settings = LoraSettings(4, 8, 0.0)
    policy = load_policy(bases["moe"], "fp32", settings, None, CPU)
    names = {name.split(".lora_")[0].rpartition(".")[2] for name, p in policy.named_parameters() if p.requires_grad}
    assert {"q_proj", "gate", "experts"} <= names
    start = roles(policy)
    for _ in range(2):
        step(policy)
    assert relative(roles(policy)["policy"], start["policy"]) > 1e-3
    export_adapter(policy, tmp_path)
    after = load_policy(bases["moe"], "fp32", settings, str(tmp_path), CPU)
    assert relative(roles(after)["policy"], roles(policy)["policy"]) <= 1e-6


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "random pissa": ({"init_lora_weights": "pissa_niter_4"}, "from reading to reading.*path_initial_model"),
    "kasa": ({"kasa_config": {}}, "kasa_config"),
    "bias": ({"bias": "all"}, "sets bias"),
    "aLoRA": ({"alora_invocation_tokens": [7, 2]}, "alora_invocation_tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_share_weights_with_its_base_is_refused(name: str, bases, tmp_path) -> None:
    options, message = REFUSED[name]
    made = get_peft_model(
        AutoModelForCausalLM.from_pretrained(bases["biased"]),
        LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=QV, **options),
    )
    made.save_pretrained(str(tmp_path))
    refused(bases["biased"], tmp_path, message)


LOFTQ = {"loftq_config": {"loftq_bits": 4, "loftq_iter": 1}}


@pytest.mark.parametrize(
    ("init", "weights", "more"),
    [("corda", "fp32", {}), ("loftq", "fp32", LOFTQ), ("pissa", "nf4", {}), ("newer", "fp32", {})],
)
def test_initialisations_that_cannot_be_repeated_are_refused(init, weights, more, bases, tmp_path) -> None:
    """CorDA needs its covariances, LoftQ replaces the whole weight, PiSSA needs weights that are not rounded."""
    file = Path(make(bases["tied"], tmp_path, "plain")) / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": init} | more))
    refused(bases["tied"], file.parent, f"initialised by {init}.*path_initial_model", weights)


def refused(base: str, adapter: Path, message: str, weights: Any = "fp32") -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.adapter: .*{message}") as refusal:
        load_policy(base, weights, None, str(adapter), CPU)
    assert "\n" not in str(refusal.value)


OTHERS = sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value != "LORA")


@pytest.mark.parametrize("kind", OTHERS)
def test_adapters_that_are_not_lora_are_refused(kind: str, bases, tmp_path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "task_type": "CAUSAL_LM"}))
    refused(bases["tied"], tmp_path, f"is an adapter of type {kind}")


def test_changed_weights_of_the_base_inside_an_adapter_are_refused(bases, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = Path(make(bases["tied"], tmp_path, "embedding"))
    state = load_file(adapter / "adapter_model.safetensors")
    assert any("base_layer" in name for name in state)  # PEFT wrote the unchanged embedding: it was loaded above
    state = {name: tensor + ("base_layer" in name) for name, tensor in state.items()}
    save_file(state, adapter / "adapter_model.safetensors")
    refused(bases["tied"], adapter, r"holds weights of the base itself \(.*embed_tokens.weight\)")
