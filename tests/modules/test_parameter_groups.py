"""Rows of new tokens with a learning rate of their own: exact steps, one schedule for both, nothing else changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from semalign_pl.modules.parameter_groups import parameter_groups
from semalign_pl.modules.schedule import Cosine, build_schedule
from semalign_pl.policy.settings import VocabularySettings

TEXT = "ཁྲིམས་ཀྱི་མདུན་སར། ཁྲིམས་ལུགས།"
SGD = '{"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}'
ONE_STEP = [f"model.init_args.optimizer={SGD}", "model.init_args.max_grad_norm=1e9", "trainer.max_steps=1"]


def train(runs: Runs, name: str, *flags: str, lr: float | None = None) -> dict[str, Tensor]:
    """Weights of an SFT with new tokens, on a corpus that has them."""
    rows = [json.loads(line) for line in (runs.corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    corpus = runs.folder / "tibetan.jsonl"
    lines = [json.dumps(row | {"bo": TEXT}, ensure_ascii=False) for row in rows]
    corpus.write_text("\n".join(lines), encoding="utf-8")
    given = {"language": "bo", "corpus": str(corpus), "column": "bo", "tokens": 4}
    given |= {} if lr is None else {"lr": lr}
    option = f"model.init_args.vocabulary={json.dumps(given)}"
    runs("fit", "sft", name, option, f"data.init_args.train={corpus}", "model.init_args.max_new_tokens=99", *flags)
    return weights(runs.folder / name)


def test_one_step_of_gradient_descent(runs: Runs) -> None:
    """With ten times the rate, rows move ten times as far; all other weights are the same to the last digit."""
    still = train(runs, "still", *ONE_STEP, "model.init_args.optimizer.init_args.lr=0.0")
    plain = train(runs, "plain", *ONE_STEP)
    equal = train(runs, "equal", *ONE_STEP, lr=0.5)
    fast = train(runs, "fast", *ONE_STEP, lr=5.0)
    assert_same(equal, plain)
    rows = [name for name in plain if "trainable_tokens" in name]
    assert rows and all((plain[name] - still[name]).abs().max() > 1e-6 for name in rows)
    for name in rows:
        torch.testing.assert_close(fast[name] - still[name], 10 * (plain[name] - still[name]), rtol=1e-3, atol=1e-7)
    assert_same({n: w for n, w in fast.items() if n not in rows}, {n: w for n, w in plain.items() if n not in rows})


def test_the_rate_is_a_setting_of_the_run(runs: Runs) -> None:
    train(
        runs, "begun", "trainer.max_steps=2", f"trainer.callbacks+={json.dumps(runs.checkpoints('begun', 1))}", lr=0.1
    )
    resumed = [f"ckpt_path={runs.folder / 'begun' / 'step=1.ckpt'}", "trainer.max_steps=2"]
    with pytest.raises(ValueError, match=r"model\.init_args\.vocabulary\.lr was 0\.1 and is 0\.2"):
        train(runs, "other", *resumed, lr=0.2)
    train(runs, "same", *resumed, lr=0.1)
    assert_same(weights(runs.folder / "same"), weights(runs.folder / "begun"))


def optimizer(rows_lr: float | None, half_frozen: bool = False) -> torch.optim.Optimizer:
    named = [("a.lora_A.default.weight", nn.Parameter(torch.zeros(2)))]
    named.append(("embed.token_adapter.trainable_tokens_delta.default", nn.Parameter(torch.zeros(3))))
    named.append(("frozen", nn.Parameter(torch.zeros(4), requires_grad=False)))
    return torch.optim.AdamW(parameter_groups(named, rows_lr, half_frozen), lr=0.01, weight_decay=0.5)


@pytest.mark.parametrize(
    ("rows_lr", "half_frozen", "expected"),
    [
        (None, False, [([2, 3], 0.01, 0.5)]),
        (0.2, False, [([2], 0.01, 0.5), ([3], 0.2, 0.5)]),
        (None, True, [([3], 0.01, 0.5), ([2], 0.01, 0.0)]),
        (0.2, True, [([2], 0.01, 0.0), ([3], 0.2, 0.5)]),
    ],
)
def test_groups_by_hand(rows_lr: float | None, half_frozen: bool, expected: list[tuple[list[int], float, float]]):
    groups = optimizer(rows_lr, half_frozen).param_groups
    found = [([p.numel() for p in group["params"]], group["lr"], group["weight_decay"]) for group in groups]
    assert found == expected


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_the_schedule_multiplies_both() -> None:
    both = optimizer(0.2)
    schedule = build_schedule(Cosine, both, 10)
    for _ in range(10):
        slow, fast = (group["lr"] for group in both.param_groups)
        assert fast == pytest.approx(20 * slow)
        schedule.step()


@pytest.mark.parametrize("kind", [OneCycleLR, CyclicLR])
def test_a_schedule_with_rates_of_its_own_is_refused(kind: type[LRScheduler]) -> None:
    def build(optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
        if kind is OneCycleLR:
            return OneCycleLR(optimizer, 0.1, total_steps)
        return CyclicLR(optimizer, 0.01, 0.1, cycle_momentum=False)

    assert build_schedule(build, optimizer(None), 10)
    with pytest.raises(ValueError, match=r"one learning rate for all weights.*vocabulary\.lr"):
        build_schedule(build, optimizer(0.2), 10)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(lr: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.vocabulary\.lr: .* is not a positive number"):
        VocabularySettings("bo", str(tmp_path), "bo", lr=lr)
