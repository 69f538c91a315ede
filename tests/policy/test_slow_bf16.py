"""One line says that bfloat16 weights are slow on a CPU without instructions for it, and only there."""

import logging

import pytest
import torch

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
        warn_slow_bf16("model.init_args.base", torch.device(device))
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "model.init_args.base: this CPU (Some CPU) has no bfloat16 instructions"
    ][: int(said)]
