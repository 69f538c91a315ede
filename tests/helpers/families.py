"""Tiny random models of common families, how each is run, and the documentation's table of them.

``python tests/helpers/families.py > docs/architectures.md`` writes the table again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

SHAPE = {
    "vocab_size": 400,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
    "attention_dropout": 0.1,  # the base is frozen, so its dropout must not act
}
WINDOW = {"sliding_window": 6}  # shorter than prompts and completions, so it acts in both and across them
ALTERNATE = {"layer_types": ["sliding_attention", "full_attention"] * 2}
GEMMA = {**WINDOW, "query_pre_attn_scalar": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MULTIPLIERS = {"attention_multiplier": 0.1, "residual_multiplier": 0.5, "embedding_multiplier": 4.0}
LINEAR = {
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
CONVOLUTION = {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 8, "mamba_n_groups": 1}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0] * 6,
    "long_factor": [4.0] * 6,
    "original_max_position_embeddings": 256,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


class Family(NamedTuple):
    """One row of the table.

    Attributes:
        model_type: Name in transformers.
        options: Options of its tiny config besides ``SHAPE``.
        own: Reason why its prompts are not shared (its beginning); ``None`` if they are shared.
        equal: True if only prompts of equal length are prefilled together.
        slow: True to test it only with the slow tests; another family represents it in the others.
    """

    model_type: str
    options: dict[str, Any]
    own: str | None = None
    equal: bool = False
    slow: bool = False


FAMILIES: dict[str, Family] = {
    "Qwen3": Family("qwen3", {}),
    "Qwen2.5": Family("qwen2", {}),
    "Qwen3 MoE (30B-A3B)": Family("qwen3_moe", {**EXPERTS, "norm_topk_prob": True}),
    "Llama 3.2": Family("llama", {"rope_parameters": LLAMA3}),
    "SmolLM2": Family("llama", {"tie_word_embeddings": True}),
    "SmolLM3": Family("smollm3", {"no_rope_layers": [1, 0, 1, 0]}),
    "Gemma 3 (text)": Family("gemma3_text", {**GEMMA, **ALTERNATE}),
    "Gemma 3 (with images)": Family("gemma3", {"vision_config": VISION, "text_config": {**GEMMA, **ALTERNATE}}),
    "Phi-4-mini": Family("phi3", {"rope_parameters": LONGROPE, "resid_pdrop": 0.1, "tie_word_embeddings": True}),
    "Granite 3": Family("granite", {"logits_scaling": 3.0, **MULTIPLIERS}),
    "Granite 3 MoE": Family("granitemoe", {**LOCAL_EXPERTS, "logits_scaling": 3.0, **MULTIPLIERS}),
    "Mistral": Family("mistral", WINDOW),
    "Mixtral": Family("mixtral", {**LOCAL_EXPERTS, "router_jitter_noise": 0.1}),
    "OLMo 2": Family("olmo2", {}),
    "OLMo 3": Family("olmo3", {**WINDOW, **ALTERNATE}, slow=True),
    "OLMoE": Family("olmoe", EXPERTS, slow=True),
    "Cohere 2": Family("cohere2", {**WINDOW, **ALTERNATE, "logit_scale": 0.5}, slow=True),
    "GLM-4": Family("glm4", {}, slow=True),
    "StarCoder 2": Family("starcoder2", {**WINDOW, "residual_dropout": 0.1, "embedding_dropout": 0.1}),
    "Pythia (GPT-NeoX)": Family("gpt_neox", {"hidden_dropout": 0.1}),
    "GPT-2": Family("gpt2", {"attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}),
    "OPT": Family("opt", {"dropout": 0.1, "layerdrop": 0.1, "ffn_dim": 96, "word_embed_proj_dim": 64}),
    "Qwen3.5": Family("qwen3_5_text", LINEAR, "linear_attention", equal=True),
    "Qwen3-Next": Family(
        "qwen3_next", {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32}, "linear_attention", True, True
    ),
    "LFM2": Family("lfm2", CONVOLUTION, "conv", equal=True),
    "LFM2 MoE": Family("lfm2_moe", {**CONVOLUTION, **EXPERTS, "num_dense_layers": 1}, "conv", True, True),
    "Falcon-H1": Family(
        "falcon_h1",
        {**MAMBA, "mamba_d_ssm": 128, "lm_head_multiplier": 0.5, "embedding_multiplier": 4.0},
        "hybrid",
        equal=True,
    ),
    "Granite 4 hybrid": Family(
        "granitemoehybrid",
        {
            **MAMBA,
            **LOCAL_EXPERTS,
            **MULTIPLIERS,
            "layer_types": ["mamba", "mamba", "mamba", "attention"],
            "shared_intermediate_size": 96,
            "logits_scaling": 3.0,
        },
        "linear_attention",
        equal=True,
    ),
    "Bamba": Family("bamba", {**MAMBA, "attn_layer_indices": [1, 3]}, "linear_attention", equal=True),
    "Jamba": Family(
        "jamba",
        {
            "attn_layer_offset": 1,
            "attn_layer_period": 2,
            "num_experts": 4,
            "mamba_d_state": 8,
            "mamba_dt_rank": 8,
            "use_mamba_kernels": False,
        },
        "linear_attention",
        True,
        True,
    ),
    "OLMo hybrid": Family("olmo_hybrid", LINEAR, "linear_attention", True, True),
    "Gemma 2": Family("gemma2", GEMMA, "softcap"),
    "gpt-oss": Family("gpt_oss", {**WINDOW, **LOCAL_EXPERTS, **ALTERNATE}, "s_aux", slow=True),
    "BLOOM": Family("bloom", {"n_head": 4, "n_layer": 4, "hidden_dropout": 0.1}, "no replaceable attention"),
    "StableLM 2": Family("stablelm", {}, "no replaceable attention", slow=True),
    "GPT-J": Family("gptj", {"rotary_dim": 8, "attn_pdrop": 0.1, "n_inner": 96}, "no replaceable attention", slow=True),
}
REFUSED: dict[str, Family] = {
    "RWKV": Family("rwkv", {}),
    "RecurrentGemma": Family("recurrent_gemma", {}),
}
HEAD = """# Architectures

An architecture is tried when its base is loaded, and run in one of three ways:

- **shared**: the completions of a prompt share its forward, in rollouts and in scoring.
- **own**: transformers' own forward and cache, one prompt per completion. Slower, equally exact. *Equal lengths* says
  that only prompts of equal length are prefilled together, because padding would change a recurrent state.
- **refused**: neither gives the logits of a plain forward, so loading stops with one line.

Exact means, in float32 on tiny random models with a trained adapter: log-probabilities and gradients differ from one
plain unpadded forward per row by less than 1e-5 (relative), and greedy rollouts have the tokens of transformers'
`generate`. No dropout of the base acts in training, whatever its config says.

`longrope` and `dynamic` rotary positions (Phi-4-mini) depend on the longest row of a forward pass beyond a length that
the config states; prompts and completions that together may be longer are refused.

Names are those of the families tested (`tests/engine/test_architectures.py`, which also compares this table). Other
architectures go through the same trial.

| family | `model_type` | run | largest difference | why not shared |
|---|---|---|---|---|
"""
WHY = {
    "linear_attention": "recurrent layers",
    "conv": "convolutional layers",
    "hybrid": "recurrent layers",
    "softcap": "capped attention",
    "s_aux": "attention sinks",
    "no replaceable attention": "attention is not replaceable",
}


def make(family: Family, folder: Path, tokenizer: Any) -> None:
    """Save a tiny random model and its tokenizer.

    Args:
        family: Family of the model.
        folder: Folder to write to.
        tokenizer: Tokenizer of the model, of 400 tokens at most.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {**SHAPE, **family.options}
    if "text_config" in options:
        options["text_config"] = {**SHAPE, **options["text_config"]}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.model_type, **options))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def table() -> str:
    """Page of the documentation."""
    rows = [
        f"| {name} | {family.model_type} | "
        f"{'shared' if family.own is None else 'own, equal lengths' if family.equal else 'own'} | < 1e-5 | "
        f"{WHY[family.own] if family.own else ''} |"
        for name, family in FAMILIES.items()
    ]
    rows += [f"| {name} | {family.model_type} | refused | | |" for name, family in REFUSED.items()]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
