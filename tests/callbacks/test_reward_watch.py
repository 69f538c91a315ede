"""The watch on scripted completions: its measurements, log, warnings and state; figures computed by hand."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same
from helpers.tiny import Batches
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sacrebleu.metrics.chrf import CHRF

from semalign_pl.callbacks import RewardWatch
from semalign_pl.callbacks.unseen import METRICS, SEEN
from semalign_pl.rewards import LanguageReward, LengthReward, OverlapReward, RepetitionReward
from semalign_pl.types import Example, Rollouts

GOOD, COPY = "ཀ་ཁ་ག་ང་", "中文"
NAN = float("nan")


class Scripted(LightningModule):
    """Module whose training step returns the completions and rewards given for each step, as GRPO's would.

    Args:
        steps: For each step its completions, two groups of four, and their rewards by name.
        reference: Reference of every example.
    """

    def __init__(self, steps: list[tuple[list[str], dict[str, list[float]]]], reference: str = GOOD) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.steps, self.reference = steps, reference
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([self.weight], lr=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        step = self.global_step
        texts, parts = self.steps[step]
        optimizer: Any = self.optimizers()
        optimizer.step()
        examples = [Example(f"{step}:{i}", f"prompt {i}", self.reference) for i in range(len(texts) // 4)]
        nothing = torch.zeros(len(texts), 1)
        rollouts = Rollouts([[]] * len(examples), nothing.long(), nothing.bool(), nothing[:, 0].bool(), texts, 4)
        named = {name: torch.tensor(values) for name, values in parts.items()}
        rewards = torch.stack([*named.values()]).nansum(0)
        return {"examples": examples, "rollouts": rollouts, "rewards": rewards, "rewards_per_func": named}


class Halved(Scripted):
    """With two processes, the first has the first group, the second the other."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        texts, parts = self.steps[self.global_step]
        mine = slice(4 * self.global_rank, 4 * self.global_rank + 4)
        self.steps[self.global_step] = texts[mine], {name: values[mine] for name, values in parts.items()}
        return super().training_step(batch, batch_idx)


def watch(
    folder: Path,
    module: Scripted,
    steps: int | None = None,
    resume: str | None = None,
    window: int = 10,
    **options: Any,
) -> RewardWatch:
    """The watch after a run into ``folder`` that writes a checkpoint per step."""
    callback = RewardWatch(window=window)
    saving = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu",
        **{"devices": 1, **options},
        max_steps=steps or len(module.steps),
        default_root_dir=folder,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=[callback, saving],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=Batches([[]] * 100), ckpt_path=resume)
    return callback


def logged(folder: Path, name: str) -> dict[int, float]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def alarms(folder: Path) -> list[dict[str, Any]]:
    path = folder / "reward_watch.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def good(step: int, **rewards: float) -> tuple[list[str], dict[str, list[float]]]:
    """Eight completions, slightly different in each step, and rewards around a mean."""
    texts = [
        GOOD,
        GOOD[:-2],
        GOOD + "ཅ་",
        GOOD[2:],
        GOOD + "ཉ་",
        GOOD[:-4] + "ཆ་" * (1 + step % 2),
        GOOD[4:],
        GOOD + "མ་ཀ་",
    ]
    return texts, {name: [mean + 0.05 * (-1) ** i for i in range(8)] for name, mean in rewards.items()}


def copied(step: int, **rewards: float) -> tuple[list[str], dict[str, list[float]]]:
    """Eight completions in the wrong script and of the wrong length, with two equal pairs per group."""
    return [COPY, COPY, "文", "文" * (1 + step % 2)] * 2, good(step, **rewards)[1]


def test_figures_by_hand(tmp_path: Path) -> None:
    texts = [GOOD, GOOD * 2, COPY, COPY, "ཀ་" * 6, "", GOOD, "ཀ a"]
    module = Scripted([(texts, {"semantic": [0.5] * 8})] * 2)
    watch(tmp_path, module)
    one = CHRF(word_order=2)
    cut = ["ཀ ཁ ག ང", "ཀ ཁ ག ང ཀ ཁ ག ང", "中 文", "中 文", "ཀ ཀ ཀ ཀ ཀ ཀ", "", "ཀ ཁ ག ང", "ཀ a"]
    expected = {
        "chrf": sum(one.sentence_score(text, ["ཀ ཁ ག ང"]).score for text in cut) / 8,
        "length_ratio": (1 + 2 + 2 / 8 + 2 / 8 + 12 / 8 + 0 + 1 + 3 / 8) / 8,
        "script": (1 + 1 + 0 + 0 + 1 + 0 + 1 + 0.5) / 8,
        "repetition": (1 / 5 + 2 / 3) / 8,  # one repeated 4-gram ཀཁགང among five; ཀཀཀཀ three times
        "distinct": (3 / 4 + 4 / 4) / 2,
        "alarms": 0,
    }
    for name, value in expected.items():
        assert logged(tmp_path, f"watch/{name}") == pytest.approx({0: value, 1: value}), name


def test_warns_once_until_the_metric_recovers(tmp_path: Path, capsys) -> None:
    phases = [good] * 8 + [copied] * 8 + [good] * 8 + [copied] * 8
    paid = {good: 0.2, copied: 0.8}
    module = Scripted([phase(i, semantic=paid[phase], other=0.5) for i, phase in enumerate(phases)])
    watch(tmp_path, module, window=4)

    found = alarms(tmp_path)
    assert {alarm["reward"] for alarm in found} == {"semantic"}
    script = [alarm for alarm in found if alarm["metric"] == "script"]
    assert len(script) == 2 and 9 < script[0]["step"] <= 12 and 25 < script[1]["step"] <= 28
    assert {alarm["metric"] for alarm in found if alarm["step"] <= 12} >= {"chrf", "script", "length_ratio"}
    assert {alarm["metric"] for alarm in found}.isdisjoint({"repetition"})

    first, now = script[0]["before"], script[0]["now"]
    assert first["steps"] == [1, 4] and now["steps"] == [script[0]["step"] - 3, script[0]["step"]]
    assert (first["metric"], first["reward"]) == pytest.approx((1.0, 0.2))
    share = (script[0]["step"] - 8) / 4  # share of the copies among the last four steps
    assert (now["metric"], now["reward"]) == pytest.approx((1 - share, 0.2 + 0.6 * share))
    assert script[0]["reward_z"] >= 5 and script[0]["metric_z"] <= -5
    assert [sample["completion"] for sample in first["samples"]] == [GOOD, GOOD + "ཉ་"]
    assert [sample["completion"] for sample in now["samples"]] == [COPY, COPY]
    assert now["samples"][1] == {
        "id": f"{script[0]['step'] - 1}:1",
        "prompt": "prompt 1",
        "reference": GOOD,
        "completion": COPY,
        "rewards": pytest.approx({"semantic": 0.85, "other": 0.55}),
    }
    assert script[1]["before"] == first  # from long ago, and still the best
    printed = capsys.readouterr().err
    assert printed.count("RewardWatch, step") == len({alarm["step"] for alarm in found})
    assert all(text in printed for text in (f"step {script[0]['step']}", "semantic", "script", COPY, GOOD, "0.850"))
    active = logged(tmp_path, "watch/alarms")
    assert active[7] == 0 and active[15] >= 3 and active[23] == 0 and active[31] >= 3


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    steps = [good(i, semantic=0.2) for i in range(9)] + [copied(i, semantic=0.8) for i in range(9)]
    straight = watch(tmp_path / "straight", Scripted(steps), window=4)
    warned = alarms(tmp_path / "straight")[0]["step"]
    for cut in (3, warned - 1, warned):
        folder = tmp_path / f"resumed-{cut}"
        watch(folder, Scripted(steps), steps=cut, window=4)
        resumed = watch(folder, Scripted(steps), resume=str(folder / f"step={cut}.ckpt"), window=4)
        assert_same(resumed.state_dict(), straight.state_dict())
        assert alarms(folder) == alarms(tmp_path / "straight")


def test_without_references(tmp_path: Path) -> None:
    growing = [good(i, reranker=0.2) for i in range(8)]
    growing += [([text * 3 for text in good(i)[0]], good(i, reranker=0.8)[1]) for i in range(8)]
    watch(tmp_path, Scripted(growing, reference=""), window=4)
    assert logged(tmp_path, "watch/chrf") == {}
    lengths = [sum(map(len, texts)) / 8 for texts, _ in growing]
    ratio = logged(tmp_path, "watch/length_ratio")
    assert ratio[0] == pytest.approx(1.0) and ratio[15] == pytest.approx(lengths[15] / (sum(lengths[:4]) / 4))
    found = {alarm["metric"]: alarm for alarm in alarms(tmp_path)}
    assert "length_ratio" in found and "chrf" not in found
    assert found["length_ratio"]["now"]["metric"] > 2 > 1.2 > found["length_ratio"]["before"]["metric"]


def test_a_reward_is_not_compared_with_the_metric_that_it_is(tmp_path: Path) -> None:
    own = [OverlapReward("chrf"), LengthReward(), LanguageReward(), RepetitionReward()]
    assert {reward.name for reward in own} == {reward for reward, _ in SEEN}
    assert {metric for _, metric in SEEN} < set(METRICS)
    names = [reward for reward, _ in SEEN]
    steps = [good(i, **dict.fromkeys(names, 0.2)) for i in range(8)]
    steps += [(["中" * 30] * 8, good(i, **dict.fromkeys(names, 0.8))[1]) for i in range(8)]
    watch(tmp_path, Scripted(steps), window=4)
    found = {(alarm["reward"], alarm["metric"]) for alarm in alarms(tmp_path)}
    assert found == {(name, metric) for name in names for metric in METRICS} - SEEN


@pytest.mark.parametrize("kinds, caught", [(3, False), (1, True)])
def test_fewer_distinct_completions_alarm_once_they_collapse(tmp_path: Path, kinds: int, caught: bool) -> None:
    steps = [
        ([GOOD, GOOD[2:] + "ཅ་", "ཅ་" + GOOD[2:], "ཅ་" + GOOD[:-2]] * 2, good(i, semantic=0.2)[1]) for i in range(8)
    ]
    steps += [
        ([*texts[:kinds], *texts[:1] * (4 - kinds)] * 2, good(i, semantic=0.8)[1]) for i, (texts, _) in enumerate(steps)
    ]
    watch(tmp_path, Scripted(steps), window=4)
    assert ["distinct" in alarm["metric"] for alarm in alarms(tmp_path)] == [True] * caught


def test_not_scored_is_not_zero(tmp_path: Path) -> None:
    steps = [good(i, semantic=0.2) for i in range(12)] + [copied(i, semantic=0.8) for i in range(12)]
    for _, parts in steps[::2]:
        parts["semantic"][:] = [NAN] * 8
    for _, parts in steps[1::2]:
        parts["semantic"][0] = NAN
    watch(tmp_path, Scripted(steps), window=3)
    found = next(alarm for alarm in alarms(tmp_path) if alarm["metric"] == "script")
    first, last = found["before"]["steps"]
    assert last - first == 4  # three steps with a score
    assert found["before"]["reward"] == pytest.approx((7 * 0.2 - 0.05) / 7)  # seven of eight, the first is left out


def test_named_in_a_recipe_and_every_other_step(runs: Runs) -> None:
    callback = {"class_path": "RewardWatch", "init_args": {"every_n_steps": 2}}
    runs("fit", "grpo", "run", "trainer.max_steps=4", callbacks=[callback])
    assert set(logged(runs.folder / "run", "watch/script")) == {0, 2}
    assert set(logged(runs.folder / "run", "train/reward/semantic")) == {0, 1, 2, 3}


def test_refuses_windows_without_steps() -> None:
    for options, field in (({"window": 1}, "window: 1"), ({"every_n_steps": 0}, "every_n_steps: 0")):
        with pytest.raises(ValueError, match=f"RewardWatch.{field} is too few steps; give"):
            RewardWatch(**options)


def test_two_processes_see_what_one_does(tmp_path: Path) -> None:
    steps = [good(i, semantic=0.2) for i in range(8)] + [copied(i, semantic=0.8) for i in range(8)]
    for texts, parts in steps:
        texts[4:], parts["semantic"][5] = [text + "་ཁ" for text in texts[4:]], NAN
    one, two = tmp_path / "one", tmp_path / "two"
    straight = watch(one, Scripted(steps), window=4)
    watch(two, Halved(steps), window=4, devices=2, strategy="ddp_fork")
    saved = torch.load(two / "step=16.ckpt", weights_only=True)["callbacks"][straight.state_key]
    both = straight.state_dict()
    torch.testing.assert_close(saved["series"], both["series"], rtol=0, atol=1e-12)
    assert alarms(one) and len(alarms(one)) == len(alarms(two))
    for name in ("steps", "alarmed"):
        assert saved[name] == both[name]
    assert logged(two, "watch/chrf") == pytest.approx(logged(one, "watch/chrf"))
