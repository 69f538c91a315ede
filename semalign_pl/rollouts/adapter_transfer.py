"""Transfer of an adapter to inference servers: a PEFT folder that they see too, with a name of its own."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.adapter import adapter_state, fingerprint
from semalign_pl.policy.policy import Policy

if TYPE_CHECKING:
    from peft import PeftConfig

PREFIX = "semalign-"
WAIT_SECONDS = 300.0
"""Seconds that a process waits for the first one to write the adapter."""
UNSUPPORTED = {
    "use_dora": "is DoRA",
    "modules_to_save": "trains whole modules, as lora.variant: full and some bases with new tokens do",
    "trainable_token_indices": "has new tokens, and vLLM has no rows for them",
    "rank_pattern": "has layers of different ranks",
    "alpha_pattern": "has layers of different scales",
    "target_parameters": "adapts parameters that are no linear layers",
    "lora_bias": "has biases",
    "exclude_modules": "leaves out layers by a pattern",
}
"""Settings of ``LoraConfig`` that vLLM refuses, or leaves out without a word, with the reasons."""


def check_servable(config: PeftConfig) -> int:
    """Refuse an adapter that vLLM would not apply as PEFT does.

    Args:
        config: Config of the trained adapter.

    Returns:
        Rank of the adapter.

    Raises:
        ValueError: Names the reason and the remedy.
    """
    for name, reason in UNSUPPORTED.items():
        if getattr(config, name, None):
            raise ValueError(
                f"model.init_args.rollouts: the adapter {reason} ({name} in its config), which vLLM does not serve; "
                "train plain LoRA or rslora, or leave rollouts out to sample with the policy itself"
            )
    return int(getattr(config, "r", 0))


def adapter_name(policy: Policy) -> str:
    """Name of the trained adapter: equal names are equal weights, in all processes and in resumed runs.

    Args:
        policy: Policy with the adapter.
    """
    return PREFIX + fingerprint(adapter_state(policy))[:16]


def write_adapter(policy: Policy, folder: Path) -> None:
    """Write the trained adapter as a PEFT folder, and remove those of earlier steps.

    Args:
        policy: Policy with the adapter.
        folder: Folder to write, named by ``adapter_name``.

    Raises:
        WriteError: If it cannot be written.
    """
    if not folder.is_dir():
        with replace_folder(folder) as made:
            policy.model.save_pretrained(str(made), selected_adapters=["default"], save_embedding_layers=False)
    for old in folder.parent.glob(f"{PREFIX}*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def wait_for_adapter(folder: Path, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the first process has written an adapter.

    Args:
        folder: Folder of the adapter.
        seconds: Longest wait.

    Raises:
        ValueError: If it is not there in time.
    """
    ends = time.monotonic() + seconds
    while not folder.is_dir():
        if time.monotonic() > ends:
            raise ValueError(
                f"model.init_args.rollouts.init_args.folder: the first process has not written {folder} within "
                f"{seconds:g} s; give a folder that all processes and servers see under the same path"
            )
        time.sleep(0.05)
