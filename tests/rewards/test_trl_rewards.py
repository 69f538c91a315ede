"""TRL's reward functions run unchanged: their arguments, allowed return values, and errors."""

import asyncio
import contextlib
import inspect
import logging
import math
import time
from decimal import Decimal
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers.tiny import fit
from lightning.pytorch import Trainer

from semalign_pl.cli import run
from semalign_pl.modules import GRPOModule
from semalign_pl.rewards import FunctionReward, Reward
from semalign_pl.rewards.run_rewards import score_completions
from semalign_pl.run.trainer import count_steps
from semalign_pl.types import Example

SOURCE = """
import asyncio, functools, re, time
from decimal import Decimal
import numpy as np
import torch

# -- TRL's documented examples (docs/source/grpo_trainer.md), with its conversational data where they use it

def length(prompts, completions, completion_ids=None, **kwargs):
    return [float(len(text)) for text in completions]

def format_reward(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"^<think>.*?</think><answer>.*?</answer>$", content) else 0.0 for content in contents]

def correct(prompts, completions, ground_truth, **kwargs):
    found = [re.search(r"boxed[{](.*?)[}]", completion) for completion in completions]
    return [1.0 if m and m.group(1) == truth else 0.0 for m, truth in zip(found, ground_truth)]

def maths_only(prompts, completions, task, **kwargs):
    return [float(len(text)) if kind == "math" else None for text, kind in zip(completions, task)]

async def slow(prompts, completions, **kwargs):
    await asyncio.sleep(0.3)
    return [len(text) / 2 for text in completions]

async def slow_too(completions, **kwargs):
    await asyncio.sleep(0.3)
    return tuple(len(text) / 4 for text in completions)

class Judge:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, completions, **kwargs):
        return [self.factor * len(text) for text in completions]
    @staticmethod
    def fixed(completions, **kwargs):
        return [3.0] * len(completions)
    def bound(self, completions):
        return [self.factor] * len(completions)
    class Inner:
        @classmethod
        def deep(cls, completions):
            return [float(len(cls.__name__))] * len(completions)

class AsyncJudge:
    async def __call__(self, completions, **kwargs):
        await asyncio.sleep(0)
        return [7.0] * len(completions)

def scaled(completions, factor, **kwargs):
    return [factor * len(text) for text in completions]

judge, waiting, doubled = Judge(2.0), AsyncJudge(), functools.partial(scaled, factor=2.0)

# -- what may go wrong

def returning(completions, returned=None, **kwargs):
    return returned

def vandal(prompts, completions, references, zh, **kwargs):
    scores = [float(len(text)) for text in completions]
    for column in (prompts, completions, references, zh):
        column[:] = ["gone"] * len(column)
    return scores

def breaks(completions, **kwargs):
    return [1 / (len(text) - len(text)) for text in completions]

async def breaks_later(completions, **kwargs):
    await asyncio.sleep(0)
    raise KeyError("no such key")

buffer = torch.zeros(2)
def reuses(completions, **kwargs):
    buffer.add_(1)
    return buffer

shown = {}
def curious(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **kwargs):
    shown.update(ids=completion_ids, step=trainer_state.global_step, of=trainer_state.max_steps, more=sorted(kwargs))
    log_extra("shouted", [text.upper() for text in completions])
    log_metric("longest", max(map(len, completions)))
    return [float(len(text)) for text in completions]

def short_column(completions, log_extra, **kwargs):
    log_extra("first", completions[0])
    return [0.0 for _ in completions]

def wordy_metric(completions, log_metric, **kwargs):
    log_metric("longest", max(completions, key=len))
    return [0.0 for _ in completions]

def environmental(completions, environments):
    return [0.0 for _ in completions]
"""
EXAMPLES = [
    Example("0", "p0", "r0", {"zh": "z0", "ground_truth": "4", "task": "math"}),
    Example("1", "p1", "r1", {"zh": "z1", "ground_truth": "5", "task": "code"}),
]
COMPLETIONS = ["<think>x</think><answer>4</answer>", "it is boxed{5}"]


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """The functions as a user's module."""
    import sys

    (tmp_path / "rewards_of_mine.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("rewards_of_mine", None)


def reward(name: str, **options) -> FunctionReward:
    return FunctionReward(f"rewards_of_mine.{name}", **options)


def by_trl(functions: list, conversational: bool) -> torch.Tensor:
    """``(completions, functions)``: the values that TRL's trainer computes."""
    trl = pytest.importorskip("trl")
    from trl.trainer.utils import start_event_loop_in_daemon

    def message(role: str, text: str):
        return [{"role": role, "content": text}] if conversational else text

    inputs = [{**e.columns, "prompt": message("user", e.prompt), "references": e.reference} for e in EXAMPLES]
    thread, loop, ready = start_event_loop_in_daemon(name="oracle")
    ready.wait()
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        reward_funcs=functions,
        reward_processing_classes=[None] * len(functions),
        reward_func_names=[str(i) for i in range(len(functions))],
        state=None,
        environments=None,
        async_loop=loop,
        _log_completion_extra=lambda column, values: None,
        _log_metric=lambda name, value: None,
        args=SimpleNamespace(report_to=[]),
        _metrics={"train": {}},
        model=SimpleNamespace(training=True),
    )
    calculate = inspect.unwrap(trl.GRPOTrainer._calculate_rewards)
    completions = [message("assistant", text) for text in COMPLETIONS]
    try:
        with patch("trl.trainer.grpo_trainer.profiling_context", lambda *_: contextlib.nullcontext()):
            return calculate(trainer, inputs, [x["prompt"] for x in inputs], completions, [[1], [2]])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


PLAIN = ["length", "correct", "maths_only", "slow", "slow_too", "judge", "waiting", "doubled", "Judge.fixed"]


def test_scores_are_trls() -> None:
    rewards = [reward(name) for name in PLAIN]
    expected = by_trl([r._call for r in rewards], conversational=False)
    torch.testing.assert_close(score_completions(rewards, EXAMPLES, COMPLETIONS).T, expected, equal_nan=True)
    chat = reward("format_reward", format="conversational")
    torch.testing.assert_close(chat(EXAMPLES, COMPLETIONS), by_trl([chat._call], conversational=True)[:, 0])
    assert chat(EXAMPLES, COMPLETIONS).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("judge", [68.0, 28.0]), ("judge.bound", [2.0, 2.0]), ("Judge.fixed", [3.0, 3.0]), ("doubled", [68.0, 28.0]),
     ("Judge.Inner.deep", [5.0, 5.0]), ("waiting", [7.0, 7.0]), ("slow", [17.0, 7.0]), ("slow_too", [8.5, 3.5])],
)  # fmt: skip
def test_every_kind_of_callable(name: str, expected: list[float]) -> None:
    assert reward(name)(EXAMPLES, COMPLETIONS).tolist() == expected
    assert reward(name).name == name.rsplit(".", 1)[-1]


def test_asynchronous_rewards_run_beside_one_another_also_inside_a_running_loop() -> None:
    rewards = [reward("slow"), reward("length"), reward("slow_too")]

    async def notebook():
        return score_completions(rewards, EXAMPLES, COMPLETIONS)

    began = time.perf_counter()
    scores = asyncio.run(notebook())
    assert time.perf_counter() - began < 0.55  # 0.3 s each, at the same time
    assert scores.tolist() == [[17.0, 7.0], [34.0, 14.0], [8.5, 3.5]]


class Own(Reward):
    """A user's subclass may be asynchronous, too."""

    async def score(self, *, completions, **_):
        return [float(len(text)) for text in completions]


def test_an_asynchronous_subclass() -> None:
    assert Own()(EXAMPLES, COMPLETIONS).tolist() == [34.0, 14.0]


def returned(value, **options) -> torch.Tensor:
    given = FunctionReward("rewards_of_mine.returning", **options)
    given._call = lambda completions, **_: value
    return given(EXAMPLES, COMPLETIONS)


GOOD = {
    "tuple": ((0.5, 1.0), 0.5),
    "numpy": (np.array([0.5, 1.0]), 0.5),
    "numpy float16": (np.array([0.5, 1.0], dtype=np.float16), 0.5),
    "numpy scalars": ([np.float32(0.5), np.int64(1)], 0.5),
    "numpy bools": ([np.bool_(False), np.bool_(True)], 0.0),
    "bfloat16": (torch.tensor([0.5, 1.0], dtype=torch.bfloat16), 0.5),
    "with gradient": (torch.tensor([0.5, 1.0], requires_grad=True), 0.5),
    "scalar tensors": ([torch.tensor(0.5, requires_grad=True), torch.tensor([1.0])], 0.5),
    "bools": ([False, True], 0.0),
    "decimal": ([Decimal("0.5"), Decimal(1)], 0.5),
    "generator": ((x for x in [0.5, 1.0]), 0.5),
    "none": ([None, 1.0], math.nan),
    "nan": ([math.nan, 1.0], math.nan),
    "decimal nan": ([Decimal("nan"), 1.0], math.nan),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_counts_as_scores(kind: str) -> None:
    value, first = GOOD[kind]
    scores = returned(value)
    assert scores.dtype == torch.float32 and not scores.requires_grad
    torch.testing.assert_close(scores, torch.tensor([first, 1.0]), equal_nan=True)


BAD = {
    "a scalar": (0.5, "returned 0.5 (float) for 2 completions; return a list of one number (or None) per completion"),
    "nothing": (None, "returned None (NoneType) for 2 completions"),
    "a string": ("ab", "returned 'ab' (str) for 2 completions"),
    "a dict": ({0: 1.0, 1: 2.0}, "(dict) for 2 completions"),
    "a set": ({1.0, 2.0}, "(set) for 2 completions"),
    "too few": ([1.0], "returned (1,) scores for 2 completions; return one number (or None) per completion"),
    "a 0-d tensor": (torch.tensor(1.0), "returned () scores for 2 completions"),
    "a matrix": (np.ones((2, 1)), "returned (2, 1) scores for 2 completions"),
    "strings": ([1.0, "0.5"], "returned '0.5' (str) for the completion 'it is boxed{5}'; return a number, or None"),
    "lists": ([[1.0], [1.0]], "returned [1.0] (list) for the completion"),
    "complex": ([1j, 1.0], "returned 1j (complex) for the completion"),
    "infinity": ([1.0, math.inf], "returned inf, infinite in float32, for the completion 'it is boxed{5}'; return"),
    "minus infinity": (torch.tensor([1.0, -math.inf]), "returned -inf, infinite in float32, for the completion 'it is"),
    "beyond float32": ([1.0, 1e39], "returned 1e+39, infinite in float32"),
    "beyond float64": ([1.0, 10**400], "infinite in float32"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_score_is_refused_by_name_and_text(kind: str) -> None:
    value, message = BAD[kind]
    with pytest.raises(ValueError) as refused:
        returned(value)
    text = str(refused.value)
    assert text.startswith("FunctionReward.function: rewards_of_mine.returning returned ") and message in text
    assert "\n" not in text


def test_nan_is_told_once_and_none_never(caplog) -> None:
    given = FunctionReward("rewards_of_mine.returning")
    given._call = lambda completions, **_: [None, 1.0]
    given(EXAMPLES, COMPLETIONS)
    assert not caplog.records
    given._call = lambda completions, **_: np.array([1.0, math.nan])
    for _ in range(3):
        given(EXAMPLES, COMPLETIONS)
    (record,) = caplog.records
    assert record.message == (
        "FunctionReward.function: rewards_of_mine.returning returned NaN for the completion 'it is boxed{5}'; it "
        "counts as not scored, as None does"
    )


def test_edits_in_place_alter_neither_logs_nor_later_rewards() -> None:
    completions = list(COMPLETIONS)
    scores = score_completions([reward("vandal"), reward("length")], EXAMPLES, completions)
    assert completions == COMPLETIONS and scores.tolist() == [[34.0, 14.0]] * 2
    kept = reward("reuses")(EXAMPLES, COMPLETIONS)
    reward("reuses")(EXAMPLES, COMPLETIONS)
    assert kept.tolist() == [1.0, 1.0]  # not the tensor that the function changes later


def test_what_raises_is_one_line_with_the_users_own() -> None:
    with pytest.raises(
        ValueError, match=r"^FunctionReward.function: rewards_of_mine.breaks raised ZeroDivisionError: "
    ) as e:
        reward("breaks")(EXAMPLES, COMPLETIONS)
    line = next(i for i, text in enumerate(SOURCE.splitlines(), 1) if "1 / (len" in text)
    code = "return [1 / (len(text) - len(text)) for text in completions]"
    assert str(e.value).endswith(f"(rewards_of_mine.py:{line} `{code}`)")
    with pytest.raises(
        ValueError, match=r"rewards_of_mine.breaks_later raised KeyError: 'no such key' \(rewards_of_mi"
    ):
        reward("breaks_later")(EXAMPLES, COMPLETIONS)


class Broken(Reward):
    def score(self, **_):
        return {}["a"]


def test_a_users_subclass_that_raises_is_one_line_too() -> None:
    with pytest.raises(ValueError, match=r"^Broken.score raised KeyError: 'a' \(test_trl_rewards.py:\d+ `return"):
        Broken()(EXAMPLES, COMPLETIONS)


def test_the_other_format_is_named() -> None:
    with pytest.raises(ValueError, match="raised TypeError: .*set FunctionReward.format: conversational$"):
        reward("format_reward")(EXAMPLES, COMPLETIONS)
    with pytest.raises(ValueError, match="raised TypeError: .*set FunctionReward.format: plain$"):
        reward("correct", format="conversational")(EXAMPLES, COMPLETIONS)
    assert reward("format_reward", format="conversational").signature.endswith("|format:conversational")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Judge", "rewards_of_mine.Judge is not a function but a class; give one of its static methods"),
        ("Judge.none", r"cannot import 'rewards_of_mine.Judge.none' \(AttributeError"),
        ("sub.f", r"cannot import 'rewards_of_mine.sub.f' \(AttributeError"),
    ],
)
def test_paths_that_lead_to_no_function(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward(name)


def test_what_trl_gives_only_with_environments_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for 'environments', which no column of the corpus is called"):
        reward("environmental")(EXAMPLES, COMPLETIONS)
    with pytest.raises(ValueError, match="Judge.bound is a method without its object; make it a staticmethod"):
        reward("Judge.bound")(EXAMPLES, COMPLETIONS)


def test_a_module_that_breaks_when_imported(tmp_path) -> None:
    (tmp_path / "broken_module_of_mine.py").write_text("import no_such_thing_at_all\n")
    with pytest.raises(ValueError, match="ModuleNotFoundError: No module named 'no_such_thing_at_all'"):
        FunctionReward("broken_module_of_mine.f")
    (tmp_path / "broken_too_of_mine.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match="cannot import 'broken_too_of_mine.f' .ZeroDivisionError"):
        FunctionReward("broken_too_of_mine.f")


def test_in_a_run_functions_get_and_log_what_trl_gives(runs) -> None:
    import json

    recipe = runs.recipe("grpo", [{"class_path": "SampleTable", "init_args": {"every_n_steps": 1, "groups": 9}}])
    recipe["trainer"]["callbacks"][0] = {
        "class_path": "FunctionReward",
        "init_args": {"function": "rewards_of_mine.curious"},
    }
    args = ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder / 'run'}"]
    assert run([*args, "--trainer.max_steps=2", "--trainer.log_every_n_steps=1"]) == 0
    import rewards_of_mine

    shown = rewards_of_mine.shown
    assert (shown["step"], shown["of"]) == (1, 2) and {"references", "zh"} <= set(shown["more"])
    rows = [json.loads(line) for line in (runs.folder / "run" / "completions.jsonl").open(encoding="utf-8")]
    assert all(row["extra"] == {"shouted": row["completion"].upper()} for row in rows) and len(rows) == 8
    assert all(len(ids) in range(1, 7) for ids in shown["ids"]) and len(shown["ids"]) == 4
    longest = [max(len(row["completion"]) for row in part) for part in (rows[:4], rows[4:])]
    assert [float(row["train/curious/longest"]) for row in runs.metrics()] == longest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short_column", r"gave log_extra \d+ values of 'first' for \d+ completions; give one per completion"),
        ("wordy_metric", r"gave log_metric '.*' \(str\) for 'longest'; give a number"),
    ],
)
def test_what_cannot_be_logged_is_refused_by_name(name: str, message: str) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    logging = reward(name)
    logging.setup(Trainer(accelerator="cpu", max_steps=1, **quiet), None, "fit")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=rf"^FunctionReward.function: rewards_of_mine.{name} {message}$"):
        logging(EXAMPLES, COMPLETIONS)


def test_what_is_logged_before_training_is_not_in_the_first_step() -> None:
    counting = reward("curious")
    counting._trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    counting.rehearse(EXAMPLES, ["a" * 80] * 2, [[1], [2]])
    counting(EXAMPLES, COMPLETIONS, [[1], [2]])
    counting(EXAMPLES, ["a" * 40] * 2, [[1], [2]])
    logged = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    counting.on_train_batch_end(counting._trainer, module, None, None, 0)  # pyright: ignore[reportArgumentType]
    assert logged == {"train/curious/longest": (len(COMPLETIONS[0]) + 40) / 2}


@pytest.mark.parametrize(("num_iterations", "max_steps", "steps"), [(2, -1, 6), (2, 100, 6), (1, 2, 2), (2, 3, 3)])
def test_the_steps_of_a_run_are_counted_in_one_way(base, num_iterations: int, max_steps: int, steps: int) -> None:
    """The trainer's state, the progress and the learning-rate schedule: three batches in one epoch."""
    import rewards_of_mine

    options = {"num_generations": 2, "max_new_tokens": 2, "weights": "fp32", "num_iterations": num_iterations}
    module = GRPOModule(base, **options)
    trainer = fit(module, [EXAMPLES[:1]] * 3, [reward("curious")], max_steps=max_steps)
    counted = (rewards_of_mine.shown["of"], count_steps(trainer, module), module._total_steps())
    assert counted == (steps, steps, steps) and trainer.global_step == steps


class Constant(Reward):
    """Gives one score to all, except for floating-point noise."""

    def score(self, *, completions, **_):
        return [0.7 + 1e-7 * i for i in range(len(completions))]


class Best(Constant):
    best = 0.7


class Length(Reward):
    def score(self, *, completions, **_):
        return [float(i % 2) for i in range(len(completions))]


class Never(Reward):
    def score(self, *, completions, **_):
        return [None] * len(completions)


def test_signal_is_logged_per_reward_and_its_absence_told_once(base, sft_adapter, caplog) -> None:
    rewards = [Constant(), Best(), Length(), Never()]
    module = GRPOModule(base, num_generations=2, max_new_tokens=2, weights="fp32", adapter=sft_adapter)
    with caplog.at_level(logging.WARNING):
        metrics = fit(module, [EXAMPLES[:1]] * 45, rewards).callback_metrics
    shares = {name: metrics[f"train/signal/{name}"].item() for name in ("constant", "best", "length", "never")}
    assert shares == {"constant": 0.0, "best": 0.0, "length": 1.0, "never": 0.0}
    told = [r.message for r in caplog.records if r.name.startswith("semalign_pl.rewards")]
    assert len(told) == 2
    assert told[0].startswith(
        "reward 'constant' told no completions of a prompt apart in the last 20 steps (its mean sc"
    )
    assert told[1].startswith("reward 'never' told no completions") and "it scored none of them" in told[1]


def test_signal_shares_by_hand() -> None:
    from semalign_pl.rewards.run_rewards import signal_shares

    nan = math.nan
    parts = torch.tensor([[0.0, 1.0, 0.5, 0.5], [nan, 1.0, nan, nan], [0.9, 0.9 + 1e-6, 0.2, 0.9]])
    assert signal_shares(parts, 2).tolist() == [0.5, 0.0, 0.5]
