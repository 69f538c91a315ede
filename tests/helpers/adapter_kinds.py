"""All kinds of adapters that PEFT loads as LoRA, as PEFT itself writes them, and the random models they belong to."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import BdLoraConfig, MontecloraConfig, VeloraConfig
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from semalign_pl.policy.policy import Policy

IDS = torch.tensor([[3, 19, 7, 2, 30, 11, 5]])
SHAPE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "eos_token_id": 2,
}
GPT2 = {"vocab_size": 400, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 2, "bos_token_id": 2}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("qwen3", SHAPE | {"tie_word_embeddings": True}),
    "untied": ("llama", SHAPE | {"tie_word_embeddings": False}),
    "biased": ("qwen2", SHAPE),
    "moe": ("qwen3_moe", SHAPE | {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}),
    "gpt2": ("gpt2", GPT2 | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)),
    "gemma": ("gemma3_text", SHAPE | {"query_pre_attn_scalar": 8}),
}
QV = ["q_proj", "v_proj"]
VOCABULARY_LAYERS = ["lm_head", "embed_tokens"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("tied", {"target_modules": "all-linear"}),
    "rslora": ("tied", {"use_rslora": True}),
    "patterns": ("tied", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
    "some layers": ("tied", {"layers_to_transform": [1]}),
    "dora": ("tied", {"use_dora": True}),
    "lora_bias": ("biased", {"lora_bias": True}),
    "gpt2": ("gpt2", {"target_modules": ["c_attn"]}),
    "moe all-linear": ("moe", {"target_modules": "all-linear"}),
    "moe experts": ("moe", {"target_parameters": EXPERTS}),
    "moe router": ("moe", {"target_parameters": ["mlp.gate.weight"]}),
    "pissa": ("tied", {"init_lora_weights": "pissa"}),
    "pissa rslora": ("biased", {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2}}),
    "pissa dora": ("tied", {"init_lora_weights": "pissa", "use_dora": True, "alpha_pattern": {"v_proj": 3}}),
    "pissa gpt2": ("gpt2", {"init_lora_weights": "pissa", "target_modules": ["c_attn", "wte"]}),
    "pissa head": ("untied", {"init_lora_weights": "pissa", "modules_to_save": ["lm_head"]}),
    "pissa converted": ("tied", {"init_lora_weights": "pissa"}),
    "olora": ("tied", {"init_lora_weights": "olora"}),
    "olora converted": ("tied", {"init_lora_weights": "olora"}),
    "eva": ("tied", {"init_lora_weights": "eva"}),
    "orthogonal": ("tied", {"init_lora_weights": "orthogonal"}),
    "gaussian": ("tied", {"init_lora_weights": "gaussian"}),
    "mica": ("tied", {"init_lora_weights": "mica"}),
    "lora_ga": ("tied", {"init_lora_weights": "lora_ga"}),
    "bdlora": ("tied", {"use_bdlora": BdLoraConfig(target_modules_bd_a=QV, nblocks=2)}),
    "velora": ("tied", {"velora_config": VeloraConfig()}),
    "monteclora": ("tied", {"monteclora_config": MontecloraConfig()}),
    "embedding": ("tied", {"target_modules": [*QV, "embed_tokens"]}),
    "embedding, tied": ("tied", {"target_modules": [*QV, "embed_tokens"], "ensure_weight_tying": True}),
    "embedding, head": ("untied", {"target_modules": [*QV, "embed_tokens", "lm_head"]}),
    "embedding, dora": ("untied", {"target_modules": [*QV, "embed_tokens"], "use_dora": True}),
    "embedding, gemma": ("gemma", {"target_modules": [*QV, "embed_tokens"]}),
    "embedding, gpt2": ("gpt2", {"target_modules": ["c_attn", "wte"]}),
    "whole head": ("untied", {"modules_to_save": ["lm_head"]}),
    "whole vocabulary": ("untied", {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "whole, was tied": ("tied", {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "whole, tied": ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "whole, gemma": ("gemma", {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "whole norms": ("tied", {"modules_to_save": ["norm", "input_layernorm"]}),
    "whole mlp": ("tied", {"modules_to_save": ["mlp"]}),
    "tokens": ("tied", {"trainable_token_indices": [5, 6, 7]}),
    "tokens apart": ("untied", {"trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [5, 9]}}),
}


def make_base(name: str, tokenizer: Any, folder: Path) -> str:
    """Folder of a random model whose logits are far from uniform."""
    family, options = BASES[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def logits(model: Any) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.float()


@cache
def bare_logits(base: str) -> Tensor:
    """Logits of the base model alone."""
    return logits(AutoModelForCausalLM.from_pretrained(base))


def pefts(base: str, folder: Path | str, **options: Any) -> Any:
    """The folder as loaded by PEFT itself."""
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, **options), folder)


def make(base: str, folder: Path, kind: str, dtype: torch.dtype = torch.float32, seed: int = 1, **changes: Any) -> str:
    """Adapter as written by a run of PEFT."""
    options = {"target_modules": QV, "r": 4, "lora_alpha": 8} | KINDS[kind][1] | changes
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).requires_grad_(False)
    made: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    converted = {}
    if "converted" in kind:
        made.peft_config["default"].init_lora_weights = True  # otherwise PEFT would decompose the residual again
        made.save_pretrained(folder / "start")
        made.peft_config["default"].init_lora_weights = options["init_lora_weights"]
        converted = {"path_initial_model_for_weight_conversion": str(folder / "start")}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    made.save_pretrained(folder / "adapter", **converted)
    return str(folder / "adapter")


def roles(policy: Policy) -> dict[str, Tensor]:
    found = {}
    for role in ("policy", "reference", "base"):
        with policy.inference(), policy.acting_as(role):
            found[role] = logits(policy.model)
    return found
