"""Replayed rows in GRPO: SFT's loss and nothing else; and rows of several languages in rewards and evaluation."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.tiny import Recorded, fit, relative

from semalign_pl.callbacks import Evaluation, RewardWatch
from semalign_pl.callbacks.divergence import Divergence
from semalign_pl.callbacks.task_scores import ScoreNames
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.rewards import LanguageReward, Reward
from semalign_pl.types import Example

PAIRS = [Example("p:1", "老师看书。", "དགེ་རྒན་དེབ།", {"zh": "老师看书。"}, corpus="pairs", language="bo")]
REPLAY = [
    Example("q:1", "你好吗？", "我很好。", corpus="chat", language="zh", replay=True),
    Example("r:1", "", "书", prompt_ids=[7], completion_ids=[8, 9, 2], corpus="raw", replay=True, text_bytes=3),
]


class Length(Reward):
    """Reward by length, which remembers the prompts that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def score(self, *, prompts: list[str], completions: list[str], zh: list[str], **_: list[str]) -> list[float]:
        self.seen |= set(prompts)
        return [float(len(text)) for text in completions]


class GRPO(Recorded, GRPOModule):
    stirred = 0.05


class SFT(Recorded, SFTModule):
    stirred = 0.05


def settings(adapter: str) -> dict[str, Any]:
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    return {
        "optimizer": sgd, "lr_scheduler": Constant, "weights": "fp32", "adapter": adapter, "max_grad_norm": 1e9,
        "max_new_tokens": 30,
    }  # fmt: skip


@pytest.fixture
def grpo(base: str, sft_adapter: str) -> Any:
    def run(batch: list[Example], callbacks: Any = (), **options: Any) -> GRPO:
        module = GRPO(base, **{**settings(sft_adapter), "num_generations": 4, "temperature": 1.0, **options})
        module.reward = Length()
        fit(module, [batch], [module.reward, *callbacks])
        return module

    return run


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_replayed_rows_add_the_gradient_of_sft(grpo: Any, base: str, sft_adapter: str, beta: float) -> None:
    """The rollouts of the other rows are the same with and without them, and so is their gradient."""
    alone, mixed = grpo(PAIRS, beta=beta), grpo([REPLAY[0], *PAIRS, REPLAY[1]], beta=beta, replay_nll_weight=0.5)
    sft = SFT(base, **settings(sft_adapter))
    fit(sft, [REPLAY])
    expected = alone.gradients[0] + 0.5 * sft.gradients[0]
    assert alone.gradients[0].norm() > 0.1 and sft.gradients[0].norm() > 0.1
    assert relative(mixed.gradients[0], expected) < 1e-5
    logged = mixed.trainer.callback_metrics
    assert logged["train/replay_nll"].item() == pytest.approx(sft.trainer.callback_metrics["train/loss"].item())
    assert mixed.reward.seen == {PAIRS[0].prompt}, "no reward sees a replayed row, nor do its columns matter"


def test_without_replayed_rows_the_weight_changes_nothing(grpo: Any) -> None:
    one, other = grpo(PAIRS), grpo(PAIRS, replay_nll_weight=7.0)
    assert torch.equal(one.gradients[0], other.gradients[0])
    assert "train/replay_nll" not in one.trainer.callback_metrics


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss_type": "cpo"},
        {"loss_type": "best_of_group", "shuffle_rewards": True},
        {"mask_truncated_completions": True, "num_iterations": 2},
    ],
    ids=str,
)
def test_a_batch_of_replayed_rows_alone(grpo: Any, base: str, sft_adapter: str, options: dict[str, Any]) -> None:
    sft = SFT(base, **settings(sft_adapter))
    fit(sft, [REPLAY])
    module = grpo(REPLAY, [RewardWatch(), Divergence()], **options)
    assert relative(module.gradients[0], sft.gradients[0]) < 1e-5 and not module.reward.seen
    logged = module.trainer.callback_metrics
    for name in {"reward", "completion_tokens", "kl", "entropy", "preference_accuracy"} & {name[6:] for name in logged}:
        assert logged[f"train/{name}"].isnan(), f"{name} has no completion to be measured on"


def test_a_row_without_a_reference_is_not_trained_on(grpo: Any, base: str, sft_adapter: str) -> None:
    """Its only token would be the end of the turn."""
    blank = Example("s:1", "学生吃饭。", " ", {"zh": "学生吃饭。"})
    with pytest.raises(ValueError, match=r"s:1: there is no reference to train on; .*source_only: false"):
        fit(SFT(base, **settings(sft_adapter)), [[*PAIRS, blank]])
    with pytest.raises(ValueError, match="s:1: there is no reference to train on"):
        grpo([*PAIRS, replace(blank, replay=True)])
    # With the reference's NLL, it is left out; a run without any reference would not do what its settings say.
    both, alone = grpo([*PAIRS, blank], reference_nll_weight=1.0), grpo(PAIRS, reference_nll_weight=1.0)
    logged = [float(module.trainer.callback_metrics["train/reference_nll"]) for module in (both, alone)]
    assert logged[0] == pytest.approx(logged[1], rel=1e-4)
    with pytest.raises(ValueError, match="reference_nll_weight: no row has a reference, so the loss had none"):
        grpo([blank], reference_nll_weight=1.0)
    # Validation completes it, and measures no loss on it.
    sft = SFT(base, **settings(sft_adapter))
    fit(sft, [PAIRS])
    losses = []
    row = replace(PAIRS[0], corpus="")
    for batch in ([row], [row, blank]):
        sft.on_validation_epoch_start()
        assert len(sft.validation_step(batch, 0)["predictions"]) == len(batch)
        losses.append(sft._validation_loss.metrics(sft.sum_tensor_over_ranks))
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-5)


def test_references_that_are_too_long_are_counted(grpo: Any, caplog: pytest.LogCaptureFixture) -> None:
    """They are left out, as a cut one would never stop; rows without a reference are not counted."""
    blank = Example("s:1", "学生吃饭。", " ", {"zh": "学生吃饭。"})
    module = grpo([*PAIRS, blank, *REPLAY], reference_nll_weight=1.0, max_new_tokens=4)
    lengths = [len(ids) for ids in module.encode_references([*PAIRS, *REPLAY])]
    long = sum(length > 4 for length in lengths)
    assert long and module.trainer.callback_metrics["train/references_too_long"] == long
    assert f"{long} of {len(lengths)} references in this batch have more than 4 tokens" in caplog.text
    assert "train/references_too_long" not in grpo([*PAIRS]).trainer.callback_metrics


class OfTwoRanks(GRPO):
    """Module whose sums over ranks have another rank with one row of each kind."""

    def sum_over_ranks(self, value: float) -> float:
        return value + 1


def test_ranks_with_and_without_replayed_rows_log_the_same_names(base: str, sft_adapter: str) -> None:
    """Each name is a collective of all ranks, which would wait forever for a rank that logs one name fewer."""
    names = []
    for batch in (PAIRS, REPLAY, [*PAIRS, *REPLAY], []):
        module = OfTwoRanks(base, **settings(sft_adapter), num_generations=4)
        names.append(set(fit(module, [batch], [Length()]).callback_metrics))
    assert names[0] >= {"train/references_too_long", "train/replay_nll"} and all(one == names[0] for one in names)


def test_a_weight_of_zero_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="replay_nll_weight: 0.0 would leave replayed rows without a loss"):
        GRPOModule(base, replay_nll_weight=0.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*PAIRS, Example("b:1", "?", "དེབ", corpus="back", language="zh")], "zh, but back in .* has 1 of 1 references"),
        ([*PAIRS, Example("b:2", "?", "书。", corpus="back", language="zh")], None),
        (
            [*PAIRS, Example("c:1", "?", "我很好。", corpus="chat")],
            "chat in .* has 1 of 1 references without",
        ),
        ([*PAIRS, Example("d:1", "?", "དེབ IBM", corpus="news")], None),
        ([Example("e:1", "?", "我很好。")], None),
    ],
)
def test_a_language_reward_refuses_rewarded_rows_of_another_language(rows: list[Example], message: str | None) -> None:
    if message is None:
        LanguageReward("bo").check_languages(rows)
        return
    with pytest.raises(ValueError, match=f"{message}.*set replay: true"):
        LanguageReward("bo").check_languages(rows)


def test_evaluation_scores_each_row_in_the_language_of_its_task() -> None:
    """A Chinese answer beside Tibetan ones would count as a Tibetan one of the wrong language."""
    rows = [
        Example("b:1", "?", "书", language="zh", corpus="chat", task="chat"),
        Example("a:1", "?", "དེབ", language="bo", corpus="pairs", task="pairs"),
        Example("c:1", "?", "?", language="xx", corpus="unknown", task="unknown"),
    ]
    mixed, alone, other = Evaluation("bo"), Evaluation("bo"), Evaluation("zh")
    mixed._add({"examples": rows, "predictions": ["书", "དེབ", "?"]})
    alone._add({"examples": rows[1:2], "predictions": ["དེབ"]})
    other._add({"examples": rows[:1], "predictions": ["书"]})
    for name in alone.metrics:
        assert float(mixed.metrics[name].compute()) == float(alone.metrics[name].compute())
    scores, items = mixed.scorer.score_tasks(mixed.scorer.rows, ScoreNames.of(row.key for row in mixed.scorer.rows), {})
    of_other, _ = other.scorer.score_tasks(other.scorer.rows, ScoreNames.of(row.key for row in other.scorer.rows), {})
    assert {f"chat_{name}" for name in of_other} | {*mixed.metrics} == scores.keys()
    for name, score in of_other.items():
        signature = score.signature.replace("|bs:", "|task:chat|bs:")
        assert scores[f"chat_{name}"] == replace(score, items="test/chat", signature=signature)
    assert [(item.set, item.id) for item in items] == [("test", "a:1"), ("test/chat", "b:1")]
    assert [row.line["id"] for row in mixed.scorer.rows] == ["b:1", "a:1"] and "unknown" in mixed.scorer.others
    rank_0, rank_1 = Evaluation("bo").scorer, Evaluation("bo")
    rank_1._add({"examples": rows[:1], "predictions": ["书"]})  # rank 0, which writes the scores, has no Chinese row
    gathered = rank_0.score_tasks(rank_1.scorer.rows, ScoreNames.of(row.key for row in rank_1.scorer.rows), {})[0]
    assert gathered.keys() == {f"chat_{name}" for name in of_other}
    for metric in rank_1.metrics.values():  # ranks gather states, which have two dimensions on rank 0
        assert [state.ndim for state in metric.statistics] == [2] and not len(metric.statistics[0])
    nothing = Evaluation("bo")
    nothing._add({"examples": rows[2:], "predictions": ["?"]})
    with pytest.raises(ValueError, match="no row to score .unknown is not scored, because language: 'xx' is not"):
        nothing.scorer.score_tasks([], ScoreNames.of([]), {})
