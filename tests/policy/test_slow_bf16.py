"""One line says that bfloat16 is slow on a CPU without instructions for it, and only there."""

import logging

import pytest
import torch
from helpers.small_runs import Runs

from semalign_pl.policy.base_checks import warn_slow_bf16

AVX2 = {"architecture": "x86_64", "cpu_name": "Some CPU", "avx2": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("cpu", "device", "said"),
    [
        (AVX2, "cpu", True),
        ({**AVX2, "avx512_bf16": True}, "cpu", False),
        ({**AVX2, "amx_bf16": True}, "cpu", False),
        ({**AVX2, "architecture": "aarch64"}, "cpu", False),
        (AVX2, "meta", False),
    ],
)
def test_the_line(cpu: dict, device: str, said: bool, monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    with caplog.at_level(logging.WARNING):
        warn_slow_bf16("model.init_args.base", "weights: bf16", "weights: fp32", torch.device(device))
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "model.init_args.base: this CPU (Some CPU) has no bfloat16 instructions"
    ][: int(said)]


def test_mixed_precision_is_as_slow(runs: Runs, monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AVX2, raising=False)
    with caplog.at_level(logging.WARNING):
        runs("fit", "sft", "run", "trainer.precision=bf16-mixed", "trainer.max_steps=1")
    (line,) = [line for line in caplog.messages if "no bfloat16 instructions" in line]
    assert line.startswith("trainer.precision: ") and "`bf16-mixed` is about 15 times as slow as `32-true`" in line
