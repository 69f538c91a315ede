"""Decoding and training steps on the pretended device, and how often the CPU waits for it in them."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest
import torch
from helpers.pretend_device import PretendedDevice
from helpers.pretend_modes import PRETENDED
from helpers.tiny import CPU, fit
from lightning.pytorch import Callback

from semalign_pl.data.tasks import Translation
from semalign_pl.engine.generate import generate
from semalign_pl.modules import Constant, DistillModule, EmbedderModule, GRPOModule, SFTModule
from semalign_pl.policy.load import load_policy
from semalign_pl.probes import (
    DriftProbe,
    ForwardKLProbe,
    MultipleChoiceProbe,
    ReadingComprehensionProbe,
    TranslationProbe,
)  # fmt: skip
from semalign_pl.rewards import LengthReward
from semalign_pl.types import Example

PAIRS = [("书", "དེབ"), ("老师看书。", "ག"), ("山", "རི")]
EXAMPLES = [Example(str(i), zh, bo, {"zh": zh}, source=zh) for i, (zh, bo) in enumerate(PAIRS)]
ADAMW = functools.partial(torch.optim.AdamW, lr=0.01)


@pytest.mark.parametrize("shared", [True, False], ids=["shared prompts", "transformers' cache"])
def test_one_wait_per_8_decoded_tokens(base, sft_adapter, prompts, shared) -> None:
    options = {"max_new_tokens": 24, "num_generations": 2, "temperature": 1.0, "top_p": 0.9, "seed": 4}
    with PretendedDevice() as device:
        policy = load_policy(base, "fp32", None, sft_adapter, PRETENDED)
        policy.eos_ids = []  # no completion ends, so that all of them decode 24 tokens
        if not shared:
            policy.prefix_sharing_unsupported_reason = "asked for"
        device.synchronisations.clear()
        found = generate(policy, prompts, **options)
    policy = load_policy(base, "fp32", None, sft_adapter, CPU)
    policy.eos_ids = []
    assert found.completion_ids.shape == (8, 24)
    assert found.completion_ids.tolist() == generate(policy, prompts, **options).completion_ids.tolist()
    # At the end, rows and tokens are read once. Transformers looks for padding in its mask in every step.
    waits = {line: count for line, count in device.by_line().items() if "transformers/" not in line}
    assert sum(waits.values()) <= 24 / 8 + 2, waits


class PerStep(Callback):
    """Synchronisations of each training step, without those of callbacks at its end."""

    def __init__(self, device: PretendedDevice) -> None:
        self.device, self.steps = device, []

    def on_train_batch_start(self, *_: Any) -> None:
        self.before = Counter(self.device.synchronisations)

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(self.device.synchronisations - self.before)


@pytest.mark.parametrize(
    ("kind", "budget", "options"),
    [
        (SFTModule, 2, {}),
        (SFTModule, 2, {"beta": 0.1}),
        (DistillModule, 7, {"max_new_tokens": 6}),
        (GRPOModule, 12, {"max_new_tokens": 6, "num_generations": 2, "beta": 0.1, "num_iterations": 1}),
        (GRPOModule, 18, {"max_new_tokens": 6, "num_generations": 2, "loss_type": "cpo"}),
        (GRPOModule, 15, {"max_new_tokens": 6, "num_generations": 2, "loss_type": "best_of_group"}),
        (EmbedderModule, 6, {}),
    ],
    ids=["sft", "sft with KL", "distill", "grpo", "cpo", "best of group", "embedder"],
)
def test_waits_per_training_step(kind, budget, options, base, encoder, sft_adapter) -> None:
    start = {"base": encoder} if kind is EmbedderModule else {"base": base, "adapter": sft_adapter, "weights": "fp32"}
    with PretendedDevice() as device:
        module, counter = kind(optimizer=ADAMW, lr_scheduler=Constant, **start, **options), PerStep(device)
        fit(module, [EXAMPLES] * 2, [LengthReward(), counter] if kind is GRPOModule else [counter], accelerator="gpu")
        assert module.updates_tried == 2
    # Timers wait on purpose.
    waits = {f"{line} {how}": count for (line, how), count in counter.steps[-1].items() if how != "synchronize"}
    assert sum(waits.values()) <= budget, waits


def test_probes(base, sft_adapter, corpus, tmp_path) -> None:
    """Measured on the pretended device as on the CPU; the second time, the states of the first are read."""
    cmmlu = tmp_path / "cmmlu.csv"
    cmmlu.write_text(",Question,A,B,C,D,Answer\n0,谁在学校？ ,老师,学生,山,水,B\n1,哪里有水？,山上,家,河里,书,C\n")
    probes = [
        lambda: DriftProbe(str(corpus / "text.txt")),
        lambda: ReadingComprehensionProbe(str(corpus / "reading.json"), name="cmrc"),
        lambda: ForwardKLProbe(str(corpus / "text.txt"), max_new_tokens=12, seed=5),
        lambda: MultipleChoiceProbe(str(cmmlu), name="cmmlu"),
        lambda: TranslationProbe(str(corpus / "dev.jsonl"), Translation("bo", "zh"), limit=3, max_new_tokens=12),
    ]
    measured: list[list[dict[str, float]]] = []
    for place in (CPU, PRETENDED):
        with PretendedDevice():
            policy = load_policy(base, "fp32", None, sft_adapter, place)
            with policy.inference():
                made = [make() for make in probes]
                measured.append([{k: s.value for k, s in p.measure(policy).scores.items()} for p in [*made, made[0]]])
    for here, there in zip(*measured, strict=True):
        assert there == pytest.approx(here, rel=1e-4, nan_ok=True)
