"""Distillation: loss and gradient on the module's own samples, against the plain formula in float64."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from helpers import plain_divergence
from helpers.plain_divergence import first_policy, role
from helpers.tiny import Recorded, fit, gradient, relative
from torch import Tensor

from semalign_pl.modules import Constant, Cosine, DistillModule
from semalign_pl.modules.demonstration import show_reference
from semalign_pl.types import Example, Turn

TEMPLATE = "{prompt}\n例：{reference}\n答。"
PAIRS = [("老师看书。", "དགེ་རྒན་དེབ།"), ("书", "ད"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།")]
BATCH = [Example(f"p:{i}", prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]
GENERAL = [Example("g:1", "山在哪里？", "", replay=True), Example("g:2", "谁看书？", "老师", replay=True)]
SGD = functools.partial(torch.optim.SGD, lr=0.1)


class Recording(Recorded, DistillModule):
    """Keeps the samples and the logged values of the last step."""

    stirred = 0.05

    def rollouts(self, batch, num_generations, seed):
        self.prompts = [example.prompt for example in batch]
        self.sampled = super().rollouts(batch, num_generations, seed)
        return self.sampled

    def log_train(self, values, rows):
        self.logged_values = {name: float(value) for name, value in values.items()}
        super().log_train(values, rows)


@pytest.fixture
def train(base: str, sft_adapter: str) -> Any:
    def run(batches: Any = (BATCH,), optimizer: Any = SGD, kind_of_module: Any = Recording, **options: Any) -> Any:
        settings = {"weights": "fp32", "adapter": sft_adapter, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        module = kind_of_module(base, optimizer, **{**settings, "max_new_tokens": 6, **options})
        fit(module, list(batches))
        return module

    return run


def rows_of(module: Recording) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion of each sample."""
    ids, lengths = module.sampled.completion_ids.tolist(), module.sampled.completion_mask.sum(1).tolist()
    k = module.num_generations
    return [(module.sampled.prompt_ids[i // k], ids[i][:length]) for i, length in enumerate(lengths)]


def divergences(module: Recording, policy: Any, teacher: str, row: Any, prompt: list[int] | None = None) -> Tensor:
    """Divergence per token of one sample, with the module's kind and temperature."""

    def logps(prompt: list[int]) -> Tensor:
        return (plain_divergence.logps(policy, prompt, row[1]) / module.temperature).log_softmax(-1)

    with role(policy, teacher):
        q = logps(row[0] if prompt is None else prompt)
    p = logps(row[0])
    if module.kind == "forward_kl":
        return (q.exp() * (q - p)).sum(-1)
    if module.kind == "reverse_kl":
        return (p.exp() * (p - q)).sum(-1)
    mixture = ((q.exp() + p.exp()) / 2).log()
    return ((q.exp() * (q - mixture)).sum(-1) + (p.exp() * (p - mixture)).sum(-1)) / 2


def demonstrations(module: Recording, batch: list[Example]) -> list[list[int]]:
    """Teacher's prompt of each sample."""
    messages = [TEMPLATE.replace("{prompt}", e.prompt).replace("{reference}", e.reference) for e in batch]
    encode = module.policy.encoder.encode_prompt
    return [encode(message, 1000) for message in messages for _ in range(module.num_generations)]


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd"])
@pytest.mark.parametrize(("num_generations", "temperature", "budget"), [(1, 1.0, 10**4), (3, 0.7, 1)])
def test_heal(train: Any, kind: str, num_generations: int, temperature: float, budget: int) -> None:
    module = train(kind=kind, num_generations=num_generations, temperature=temperature, micro_batch_tokens=budget)
    policy = first_policy(module)
    expected = torch.cat([divergences(module, policy, "base", row) for row in rows_of(module)]).mean()
    expected.backward()
    assert len(rows_of(module)) == 3 * num_generations and expected > 1e-3
    assert module.logged_values["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


@pytest.mark.parametrize(("teacher", "name"), [("policy", "policy"), ("start", "reference"), ("base", "base")])
def test_sdft(train: Any, teacher: str, name: str) -> None:
    """The teacher is shown the reference; no gradient flows through it, also where it is the policy itself."""
    module = train(teacher=teacher, demonstration=TEMPLATE, num_generations=2, micro_batch_tokens=60)
    policy = first_policy(module)
    rows = zip(rows_of(module), demonstrations(module, BATCH), strict=True)
    expected = torch.cat([divergences(module, policy, name, row, prompt) for row, prompt in rows]).mean()
    expected.backward()
    assert module.logged_values["loss"] == pytest.approx(expected.item(), rel=1e-4) and expected > 1e-4
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


def test_replayed_rows_are_healed_beside_sdft(train: Any) -> None:
    """The loss is the mean over all tokens, whoever teaches them; each divergence is logged per its own token."""
    batch = [GENERAL[0], *BATCH, GENERAL[1]]
    module = train([batch], teacher="start", demonstration=TEMPLATE)
    policy, rows = first_policy(module), rows_of(module)
    shown = demonstrations(module, BATCH)
    taught = torch.cat([divergences(module, policy, "reference", rows[1 + i], shown[i]) for i in range(3)])
    healed = torch.cat([divergences(module, policy, "base", rows[place]) for place in (0, 4)])
    loss = torch.cat([taught, healed]).mean()
    loss.backward()
    logged = module.logged_values
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert logged["teacher_divergence"] == pytest.approx(taught.mean().item(), rel=1e-4)
    assert logged["base_divergence"] == pytest.approx(healed.mean().item(), rel=1e-4)
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


def test_healing_draws_the_policy_towards_its_base(train: Any) -> None:
    class Far(Recording):
        stirred = 0.2

    start, end = (
        train([BATCH] * steps, functools.partial(torch.optim.AdamW, lr=0.01), Far, lr_scheduler=Cosine)
        for steps in (1, 40)
    )
    assert end.logged_values["loss"] < 0.7 * start.logged_values["loss"]


def test_logged_values_describe_the_samples(train: Any) -> None:
    module = train(num_generations=2)
    sampled, logged = module.sampled, module.logged_values
    assert logged["completion_tokens"] == pytest.approx(sampled.completion_mask.sum().item() / 6)
    assert logged["ended_by_eos"] == pytest.approx(sampled.finished.float().mean().item())
    assert logged["rows_too_long"] == 0 and logged["grad_norm"] > 0


def test_a_demonstration_that_is_too_long_is_left_out_and_counted(train: Any) -> None:
    """A cut one would show a reference that ends too early; the rows that stay are trained as without it."""
    long = Example("long", "书", "ད་" * 40)
    options = {"teacher": "start", "demonstration": TEMPLATE, "max_prompt_tokens": 60}
    module = train([[*BATCH, long]], **options)
    alone = train([BATCH], **options)
    assert module.prompts == [example.prompt for example in BATCH]
    assert module.logged_values["rows_too_long"] == 1
    assert torch.equal(module.gradients[0], alone.gradients[0])
    with pytest.raises(ValueError, match="max_prompt_tokens: every demonstration of the epoch has more than 60 tok"):
        train([[long]], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "policy"}, r"teacher: policy: with the same prompt there is nothing to learn.*demonstration"),
        ({"teacher": "start"}, r"teacher: start: with the same prompt"),
        ({"demonstration": "{prompt}"}, r"demonstration: '\{prompt\}' has no \{reference\}; put it where"),
        ({"demonstration": "{reference}"}, r"demonstration: .* has no \{prompt\}"),
        ({"temperature": 0.0}, r"temperature: 0.0 gives nothing to sample from"),
        ({"top_p": 0.0}, r"top_p: 0.0 gives nothing to sample from"),
        ({"num_generations": 0}, r"num_generations: 0 is not a positive whole number"),
        ({"adapter": None}, r"model\.init_args\.adapter: a new adapter starts as the base"),
    ],
)
def test_settings_without_an_effect_are_refused(train: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**options)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (Example("a:1", "书", " "), {"teacher": "start", "demonstration": TEMPLATE}, "a:1: there is no reference"),
        (
            Example("b:1", "", "书", prompt_ids=[7], completion_ids=[8, 2], text_bytes=3, replay=True),
            {},
            "b:1: raw text has no prompt to complete",
        ),
    ],
)
def test_a_row_without_what_its_teacher_needs_is_named(
    train: Any, row: Example, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train([[row]], **options)


def test_a_new_adapter_may_learn_from_a_demonstration(train: Any) -> None:
    module = train(adapter=None, teacher="base", demonstration=TEMPLATE)
    assert module.logged_values["grad_norm"] > 0


def test_braces_in_the_texts_stay_as_they_are() -> None:
    shown = show_reference("a {reference} b", "{prompt} {x}", "{prompt} | {y} | {reference}")
    assert shown == "a {reference} b | {y} | {prompt} {x}"


def test_the_last_turn_of_a_conversation_shows_the_reference() -> None:
    turns = (Turn("system", "s"), Turn("user", "1"), Turn("assistant", "2"), Turn("user", "3"))
    shown = show_reference(turns, "4", "{prompt}={reference}")
    assert shown == [*turns[:3], Turn("user", "3=4")]
