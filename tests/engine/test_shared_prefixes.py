"""Prompts that begin with the same tokens: the best groups, and the same completions from fewer forwarded tokens."""

import random
from collections.abc import Iterator, Sequence

import pytest
import torch
from helpers.tiny import CPU, stir

from semalign_pl.engine.generate import generate
from semalign_pl.engine.shared_prefixes import LONGEST_SUFFIX, SHORTEST_PREFIX, group_by_prefix
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.types import Rollouts

TEXT = 2 * SHORTEST_PREFIX  # shared by prompts with two completions, too
HOT = {"max_new_tokens": 12, "temperature": 0.8, "top_p": 0.9, "seed": 7}


def draw(tokens: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(3, 300) for _ in range(tokens)]


def ids(rollouts: Rollouts) -> list[list[int]]:
    pairs = zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    return [row[mask].tolist() for row, mask in pairs]


@pytest.fixture
def questions() -> list[list[int]]:
    """Two texts with prompts about each, one of them without a suffix and one twice; and two prompts without a text."""
    one, other = draw(TEXT + 16, 1), draw(TEXT, 2)
    prompts = [one + draw(n, 10 + n) for n in (5, 0, 9, 1)] + [other + draw(n, 20 + n) for n in (7, 3)]
    return [draw(9, 3), *prompts[::2], draw(100, 4), *prompts[1::2], prompts[0]]


def alone(policy: Policy, prompts: list[list[int]], **options) -> list[list[int]]:
    """Completions without any shared prefix: batches of one prompt."""
    return ids(generate(policy, prompts, **{**options, "rows": 1}))


class Forwarded:
    """Number of tokens per forward pass of the decoder."""

    def __init__(self, policy: Policy) -> None:
        self.counts: list[int] = []
        policy.decoder.register_forward_pre_hook(
            lambda module, args, options: self.counts.append(options["input_ids"].numel()), with_kwargs=True
        )

    def of(self, policy: Policy, prompts: list[list[int]], **options) -> list[int]:
        self.counts.clear()
        generate(policy, prompts, **{"max_new_tokens": 1, **options})
        return list(self.counts)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All partitions of a list into parts of neighbours."""
    if not items:
        yield []
    for first in range(1, len(items) + 1):
        for rest in partitions(items[first:]):
            yield [items[:first], *rest]


@pytest.mark.parametrize("seed", range(40))
def test_no_partition_into_neighbours_saves_more_tokens(seed: int) -> None:
    """Brute force; prompts are blocks of tokens, a block as long as the shortest prefix."""
    generator = random.Random(seed)
    blocks = [[generator.choice((0, 0, 1)) for _ in range(generator.randint(1, 14))] for _ in range(8)]
    prompts = [[token for token in prompt for _ in range(SHORTEST_PREFIX)] for prompt in blocks]
    largest = generator.choice((1, 2, 3, 8))

    def saved(group: Sequence[int]) -> int:
        chosen = [prompts[index] for index in group]
        places = list(zip(*chosen, strict=False))
        shared = next((place for place, tokens in enumerate(places) if len(set(tokens)) > 1), len(places))
        fits = len(group) <= largest and shared >= SHORTEST_PREFIX and max(map(len, chosen)) - shared <= LONGEST_SUFFIX
        return (len(group) - 1) * shared if fits or len(group) == 1 else -(10**9)

    groups = group_by_prefix(prompts, largest)
    assert sorted(index for group in groups for index in group.members) == list(range(8))
    for group in groups:
        assert len({tuple(prompts[index][: group.shared]) for index in group.members}) == 1
        assert len(group.members) > 1 or group.shared == len(prompts[group.members[0]])
    best = max(sum(map(saved, partition)) for partition in partitions(sorted(range(8), key=prompts.__getitem__)))
    assert sum((len(group.members) - 1) * group.shared for group in groups) == best
    assert sum(saved(group.members) for group in groups) == best


def test_questions_of_one_text_are_one_group() -> None:
    """Texts of several lengths behind a common head, questions in random order that begin alike."""
    head, word = draw(SHORTEST_PREFIX - 4, 0), draw(3, 1)
    asked = [(text, question) for text in range(12) for question in range(1 + text % 5)]
    random.Random(0).shuffle(asked)
    prompts = [head + draw(60 + 9 * t, 100 + t) + word + draw(4 + q, 200 + 9 * t + q) for t, q in asked]
    groups = group_by_prefix(prompts, 32)
    assert {frozenset(group.members) for group in groups} == {
        frozenset(index for index, (t, _) in enumerate(asked) if t == text) for text in range(12)
    }


@pytest.mark.parametrize(
    ("head", "suffix", "together"),
    [
        (SHORTEST_PREFIX - 1, 4, False),  # a chat template's head
        (SHORTEST_PREFIX, 4, True),
        (SHORTEST_PREFIX, LONGEST_SUFFIX, True),
        (SHORTEST_PREFIX, LONGEST_SUFFIX + 1, False),
    ],
)
def test_short_prefixes_and_long_suffixes_are_not_split(head: int, suffix: int, together: bool) -> None:
    for num_generations in (1, 8):
        prompts = [draw(head * num_generations, 0) + [300 + n] * suffix for n in range(5)]
        groups = group_by_prefix(prompts, 8, num_generations)
        assert [len(group.members) for group in groups] == ([5] if together else [1] * 5)


def test_no_prompts_and_prompts_each_longer_than_the_last() -> None:
    assert group_by_prefix([], 4) == []
    prompts = [[5] * n for n in range(1, 3000)]  # each is a prefix of the next
    groups = group_by_prefix(prompts, 32)
    assert sorted(index for group in groups for index in group.members) == list(range(2999))
    assert max(len(group.members) for group in groups) == 32


@pytest.mark.parametrize("rows", [2, 5, 128])
@pytest.mark.parametrize("num_generations", [1, 2])
def test_completions_are_those_of_each_prompt_alone(policy, questions, rows: int, num_generations: int) -> None:
    """Greedy and sampled, with completions that end at many lengths; groups of four and two do not fit in two rows."""
    free = alone(policy, questions, num_generations=num_generations, **HOT)
    tokens = [token for row in free for token in row]
    policy.eos_ids = tuple(sorted(set(tokens), key=tokens.count)[-20:])
    for options in ({"max_new_tokens": 12}, HOT):
        expected = alone(policy, questions, num_generations=num_generations, **options)
        found = generate(policy, questions, num_generations=num_generations, rows=rows, **options)
        assert ids(found) == expected and found.prompt_ids == questions
    assert len({len(row) for row in expected}) > 2 and len({tuple(row) for row in expected}) > 4


def test_a_text_is_forwarded_once(policy, questions) -> None:
    forwarded = Forwarded(policy)
    suffixes = sum((5, 0, 9, 1)) + 5 + sum((7, 3))
    whole = 9 + 100  # prompts without a text
    counts = forwarded.of(policy, questions, rows=128)
    assert counts == [whole + (TEXT + 16) + TEXT, suffixes]
    assert sum(forwarded.of(policy, questions, rows=1)) == sum(map(len, questions))
    # A text whose prompts do not fit in a batch is forwarded once per batch.
    assert sum(counts) < sum(forwarded.of(policy, questions, rows=3)) < sum(map(len, questions))


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_rows_bound_the_completions_decoded_at_once(policy, questions, rows: int) -> None:
    policy.eos_ids = (-1,)
    live = []
    head = policy.causal_lm.get_output_embeddings()
    head.register_forward_pre_hook(lambda module, args: live.append(len(args[0])))
    generate(policy, questions, max_new_tokens=3, rows=rows)
    assert rows / 2 < max(live) <= rows and sum(live) == 3 * len(questions)


def test_prompts_of_rollouts_with_a_common_head_are_forwarded_whole(policy) -> None:
    head = draw(8 * SHORTEST_PREFIX - 1, 0)
    prompts = [head + draw(20, 30 + n) for n in range(4)]
    forwarded = Forwarded(policy)
    assert forwarded.of(policy, prompts, num_generations=8, temperature=1.0) == [sum(map(len, prompts))]


@pytest.mark.parametrize("copies", [1, 5])
def test_identical_prompts(policy, copies: int) -> None:
    prompt = draw(TEXT, 5)
    forwarded = Forwarded(policy)
    assert forwarded.of(policy, [prompt] * copies) == [TEXT]
    options = {**HOT, "num_generations": 2}
    found = ids(generate(policy, [prompt] * copies, **options))
    assert found == alone(policy, [prompt] * copies, **options)
    assert len({tuple(row) for row in found}) == 2 * copies


def test_trained_rows_of_new_tokens(base: str, corpus) -> None:
    """Added tokens in the shared text, in the suffixes and in the completions."""
    settings = VocabularySettings("bo", str(corpus / "train.jsonl"), "bo", tokens=8, min_count=2)
    policy = stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU, settings), seed=3)
    added = list(policy.encoder.new_tokens)
    assert added
    text = draw(TEXT, 6) + added
    prompts = [text + [added[n % len(added)]] + draw(n, n) for n in range(4)]
    with torch.no_grad():  # so that completions use the added tokens
        for name, weight in policy.named_parameters():
            if "trainable_tokens" in name:
                weight.mul_(3)
    options = {"max_new_tokens": 12, "temperature": 2.0, "seed": 1}
    expected = alone(policy, prompts, **options)
    assert ids(generate(policy, prompts, **options)) == expected
    assert {token for row in expected for token in row} & set(added)


def test_prompts_of_an_architecture_that_cannot_share_are_forwarded_whole(policy, questions) -> None:
    expected = alone(policy, questions, max_new_tokens=4)
    policy.prefix_sharing_unsupported_reason = "a test"
    assert ids(generate(policy, questions, max_new_tokens=4)) == expected
    forwarded = Forwarded(policy)
    counts = forwarded.of(policy, questions, rows=128)
    assert counts == [len(questions) * max(map(len, questions))]
