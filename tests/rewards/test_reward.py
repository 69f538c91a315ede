"""Base of all rewards: arguments as in TRL, one float32 per completion as result."""

import asyncio

import pytest
import torch
from torch import Tensor

from semalign_pl.rewards import Reward
from semalign_pl.types import Example

EXAMPLES = [
    Example("0", "p0", "r0", {"zh": "z0", "source": "s0"}),
    Example("1", "p1", "r1", {"zh": "z1"}),
]


class Given(Reward):
    """Reward that returns given values and records its arguments."""

    def __init__(self, scores, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.scores = scores

    def score(self, **shown):
        self.shown, self.gradients = shown, torch.is_grad_enabled()
        return self.scores


class HTTPLengthReward(Given):
    pass


def test_a_score_is_called_as_trl_calls_it() -> None:
    reward = Given([0, 1])
    scores = reward(EXAMPLES, ["c0", "c1"])
    shown = {"prompts": ["p0", "p1"], "completions": ["c0", "c1"], "references": ["r0", "r1"], "zh": ["z0", "z1"]}
    assert reward.shown == shown  # a column that only some examples have is left out
    assert scores.dtype == torch.float32 and scores.tolist() == [0.0, 1.0] and not reward.gradients


NUMBERS = torch.linspace(0.1, 1.0, 2 * 8).view(2, 8)


def multiply() -> Tensor:
    return NUMBERS @ NUMBERS[0]


class Product(Reward):
    """Reward that computes a product, which autocast rounds."""

    def score(self, **_):
        return multiply()


class LazyProduct(Product):
    def score(self, **_):
        return (float(row @ NUMBERS[0]) for row in NUMBERS)


class AsyncProduct(Reward):
    async def score(self, **_):
        return multiply()


class ThreadProduct(Reward):
    async def score(self, **_):
        return await asyncio.to_thread(multiply)


class FinishedAsyncProduct(Reward):
    """Computes in this thread, and only waits in the background."""

    def score(self, **_):
        product = multiply()

        async def wait() -> Tensor:
            return product

        return wait()


KINDS = [Product, LazyProduct, AsyncProduct, ThreadProduct, FinishedAsyncProduct]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_the_trainers_precision(kind: type[Reward]) -> None:
    exact = multiply()
    with torch.autocast("cpu", torch.bfloat16):  # as in a training step with bf16-mixed
        scores = kind()(EXAMPLES, ["c0", "c1"])
        assert not torch.equal(multiply().float(), exact)  # autocast is on again
    torch.testing.assert_close(scores, exact, rtol=1e-6, atol=0)


class AskedInBackground(Reward):
    """Reward that records if gradients are on, in the event loop and in one of its threads."""

    async def score(self, *, completions, **_):
        self.gradients = (torch.is_grad_enabled(), await asyncio.to_thread(torch.is_grad_enabled))
        return [0.0 for _ in completions]


def test_no_gradient_in_the_background() -> None:
    reward = AskedInBackground()
    reward(EXAMPLES, ["c0", "c1"])
    assert reward.gradients == (False, False) and torch.is_grad_enabled()


def test_none_and_nan_are_not_scored() -> None:
    for scores in ([None, 0.5], [float("nan"), 0.5], torch.tensor([float("nan"), 0.5], dtype=torch.float64)):
        out = Given(scores)(EXAMPLES, ["c0", "c1"])
        assert out.isnan().tolist() == [True, False] and out[1] == 0.5 and out.dtype == torch.float32


def test_a_tensor_with_gradient_comes_back_without() -> None:
    assert not Given(torch.ones(2, requires_grad=True))(EXAMPLES, ["c0", "c1"]).requires_grad


@pytest.mark.parametrize("scores", [[1.0], [1.0, 2.0, 3.0], torch.ones(2, 1)])
def test_a_wrong_count_is_refused(scores) -> None:
    with pytest.raises(ValueError, match=r"^Given\.score returned .* scores for 2 completions; return one number"):
        Given(scores)(EXAMPLES, ["c0", "c1"])


def test_no_completions() -> None:
    assert Given([])([], []).tolist() == []


def test_name_and_signature() -> None:
    assert (Given([]).name, HTTPLengthReward([]).name) == ("given", "httplength")
    assert Given([], weight=0.25).signature == "reward:given|weight:0.25"


@pytest.mark.parametrize("attribute", ["file", "author", "hint", "more", "read", "begin", "extra"])
def test_a_users_reward_may_have_any_attribute(attribute: str) -> None:
    """Plain names belong to the user: a ``file`` or ``author`` must not collide with this package's own hooks."""

    class Lexicon(Reward):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, attribute, "lexicon.txt")

        def score(self, *, completions, **columns):
            return [float(getattr(self, attribute) == "lexicon.txt") for _ in completions]

    reward = Lexicon()
    assert reward([Example("1", "p", "r", {})], ["c"]).tolist() == [1.0]
    assert not reward.extra_columns
