"""Bases that differ from the shared one in their config."""

import shutil
from pathlib import Path


def another_base(base: str, folder: Path, **changes) -> str:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base)
    for key, value in changes.items():
        setattr(config, key, value)
    config.layer_types = ["full_attention"] * config.num_hidden_layers
    shutil.copytree(base, folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)
