"""Four gloo processes on CPU: they train as one process does, and end together if one of them is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.ranks import KINDS, run, train

RANKS = 4


@pytest.fixture(scope="module")
def four(base: str, sft_adapter: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], float]:
    """Folder, exit statuses, and seconds from the death of the last process to the end of all."""
    folder = tmp_path_factory.mktemp("four")
    return folder, *run(RANKS, base, sft_adapter, folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_four_processes_train_as_one(four, base, sft_adapter, kind) -> None:
    """Two steps, in which the processes have different numbers of rows; they log the values of one process, too."""
    one, start = train(kind, base, sft_adapter), torch.load(four[0] / f"{kind}0.pt")
    for rank in range(RANKS):
        each = torch.load(four[0] / f"{kind}{rank}.pt")
        for name, weight in one["weights"].items():
            assert torch.equal(each["weights"][name], start["weights"][name]), "all processes have the same bits"
            torch.testing.assert_close(each["weights"][name], weight, rtol=0, atol=1e-6)
        assert each["logged"] == pytest.approx(one["logged"], rel=1e-5, abs=1e-6)
    assert one["logged"]["train/grad_norm"] > 1e-3, "the weights must have moved"
    assert kind == "grpo" or 1.0 in (one["logged"].get(f"train/{of}_too_long") for of in ("rows", "references"))


@pytest.mark.slow
def test_if_one_process_is_killed_all_end_with_one_line(four) -> None:
    folder, statuses, seconds = four
    assert statuses == [2, 2, 2, -9] and seconds < 60
    for rank in range(RANKS - 1):
        said = (folder / f"rank{rank}.log").read_text().split("-- all are trained\n")[1]
        (line,) = [line for line in said.splitlines() if line.startswith("semalign: ")]
        assert line.startswith("semalign: error: another process of the run has ended (") and "--resume" in line
        assert "Traceback" not in said
