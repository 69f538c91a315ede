"""Sampling, against transformers' own generation and against itself with other splits."""

import pytest
import torch
from helpers.sampling import HOT, common, ids
from helpers.tiny import CPU, stir
from torch import Tensor

from semalign_pl.engine import generate as sampling
from semalign_pl.engine import sampler
from semalign_pl.engine.decoding import DecodeState
from semalign_pl.engine.fixed_decoding import FixedDecodeState
from semalign_pl.engine.generate import generate
from semalign_pl.engine.sampler import inverse_cdf, make_sampler
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings


def hf_generate(policy, prompt: list[int], eos: list[int]) -> list[int]:
    policy.eval()
    prompt_ids = torch.tensor([prompt])
    out = policy.model.generate(
        input_ids=prompt_ids,
        attention_mask=torch.ones_like(prompt_ids),
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=eos,
        pad_token_id=0,
    )
    policy.train()
    return out[0, len(prompt) :].tolist()


def test_greedy_is_transformers_greedy_token_for_token(policy, prompts) -> None:
    free = [hf_generate(policy, prompt, [-1]) for prompt in prompts]
    assert len({tuple(row) for row in free}) == len(prompts)
    policy.eos_ids = (free[0][5], free[1][2], free[3][7])  # several ids end completions, at several positions
    expected = [hf_generate(policy, prompt, list(policy.eos_ids)) for prompt in prompts]
    rollouts = generate(policy, prompts, max_new_tokens=12)
    assert ids(rollouts) == expected
    assert len({len(row) for row in expected}) > 1
    assert rollouts.finished.tolist() == [row[-1] in policy.eos_ids for row in expected]
    assert rollouts.texts == policy.encoder.decode(expected) and rollouts.prompt_ids == prompts


def test_every_eos_id_ends_and_the_first_one_counts(policy, prompts) -> None:
    policy.eos_ids = common(policy, prompts)
    rollouts = generate(policy, prompts, num_generations=8, **HOT)
    ends = [row[-1] for row, finished in zip(ids(rollouts), rollouts.finished.tolist(), strict=True) if finished]
    assert len(set(ends)) > 3
    assert not any(token in policy.eos_ids for row in ids(rollouts) for token in row[:-1])


def test_truncated_is_not_ended(policy, prompts) -> None:
    policy.eos_ids = (-1,)
    rollouts = generate(policy, prompts, **HOT)
    assert not rollouts.finished.any() and rollouts.completion_mask.all() and rollouts.completion_ids.shape == (4, 12)
    policy.eos_ids = (int(rollouts.completion_ids[0, -1]),)
    last = generate(policy, prompts, **HOT)
    assert last.finished[0] and len(ids(last)[0]) <= 12  # an EOS as the last token ends the completion


def test_padding_with_an_eos_id_does_not_drive_the_mask(policy, prompts) -> None:
    policy.eos_ids = common(policy, prompts)
    apart = generate(policy, prompts, num_generations=4, **HOT)
    policy.pad_id = next(row[-1] for row, ended in zip(ids(apart), apart.finished, strict=True) if ended)
    same = generate(policy, prompts, num_generations=4, **HOT)
    assert ids(apart) == ids(same) and torch.equal(apart.completion_mask, same.completion_mask)
    assert any(row[-1] == policy.pad_id for row in ids(same)) and not same.completion_mask.all()


def test_sharing_a_prompt_equals_repeating_it(policy, prompts) -> None:
    policy.eos_ids = common(policy, prompts)
    shared = generate(policy, prompts, num_generations=3, **HOT)
    repeated = generate(policy, [p for p in prompts for _ in range(3)], **HOT)
    assert ids(shared) == ids(repeated) and shared.texts == repeated.texts
    assert len({tuple(row) for row in ids(shared)}) > 8
    assert shared.texts == policy.encoder.decode(ids(shared))


@pytest.mark.parametrize("rows", [1, 5, 6, 128])
def test_the_split_changes_nothing_nor_is_a_global_generator_touched(policy, prompts, rows: int) -> None:
    policy.eos_ids = common(policy, prompts)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = generate(policy, prompts, num_generations=3, rows=9, **HOT)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert ids(generate(policy, prompts, num_generations=3, rows=rows, **HOT)) == ids(one)
    assert ids(generate(policy, prompts, num_generations=3, **{**HOT, "seed": 8})) != ids(one)


@pytest.mark.parametrize(("kind", "interval"), [(DecodeState, 1), (DecodeState, 8), (FixedDecodeState, 3)])
def test_waiting_prompts_take_the_place_of_completions_that_have_ended(
    policy, prompts, monkeypatch, kind: type[DecodeState], interval: int
) -> None:
    """Same tokens as all at once, in fewer steps than batch after batch, with no more slots than were asked for."""
    policy.eos_ids = common(policy, prompts)
    many = [[*prompt[:-1], 300 + i] for i in range(5) for prompt in prompts]
    options = {"num_generations": 2, **HOT, "max_new_tokens": 20}
    expected = ids(generate(policy, many, **options))
    monkeypatch.setattr(sampling, "DecodeState", kind)
    monkeypatch.setattr(sampling, "check_interval", lambda _: interval)
    widths, step = [], kind.step

    def record(self: DecodeState, chosen: Tensor) -> Tensor:
        widths.append(self.slots * len(self.prompt_cache.sizes))
        return step(self, chosen)

    monkeypatch.setattr(kind, "step", record)
    assert ids(generate(policy, many, rows=8, **options)) == expected
    assert max(widths) <= 8 and len(widths) < 0.8 * 5 * 19


def test_nothing_leaks_between_groups(policy, prompts) -> None:
    """Change one prompt: its rollouts change and end elsewhere, the others do not."""
    policy.eos_ids = common(policy, prompts)
    before = ids(generate(policy, prompts, num_generations=3, **HOT))
    for changed in range(4):
        others = [[*p[:-1], 350] if i == changed else p for i, p in enumerate(prompts)]
        after = ids(generate(policy, others, num_generations=3, **HOT))
        moved = {i // 3 for i in range(12) if before[i] != after[i]}
        assert moved == {changed}


def test_frequencies_are_those_of_transformers_warped_distribution() -> None:
    """Temperature is applied before top-p. Uniforms on a grid make the frequencies exact to one part in the grid."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(0))
    warped = LogitsProcessorList([TemperatureLogitsWarper(0.8), TopPLogitsWarper(0.9)])(None, logits).softmax(-1)[0]
    grid = (torch.arange(20000) + 0.5) / 20000
    chosen = make_sampler(0.8, 0.9)(logits.expand(20000, -1), grid)
    frequency = chosen.bincount(minlength=30) / 20000
    torch.testing.assert_close(frequency, warped, atol=1e-4, rtol=0)
    assert 3 < (warped > 0).sum() < 25


def test_sampled_first_tokens_fit_the_distribution(policy, prompts) -> None:
    """Chi-square test from prompt to sampled tokens; the threshold is the 0.9999 quantile."""
    from scipy.stats import chi2
    from transformers import TopPLogitsWarper

    n = 4000
    options = {"max_new_tokens": 1, "temperature": 0.5, "top_p": 0.9, "seed": 3}
    rollouts = generate(policy, prompts[:1], num_generations=n, rows=n, **options)
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor(prompts[:1])).logits[:, -1] / 0.5
    expected = TopPLogitsWarper(0.9)(None, logits).softmax(-1)[0] * n
    counts = rollouts.completion_ids.flatten().bincount(minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    kept = expected >= 5
    assert kept.sum() > 10
    statistic = ((counts - expected)[kept].square() / expected[kept]).sum().item()
    assert statistic < chi2.ppf(0.9999, int(kept.sum()))


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.75, 1 - 2**-24, 1.0])
def test_inverse_cdf_never_takes_an_impossible_token(u: float) -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.0, 0.25, 0.5, 0.0, 0.0]])
    expected = {0.0: 1, 0.25: 4, 0.5: 5, 0.75: 5, 1 - 2**-24: 5, 1.0: 5}
    assert inverse_cdf(probabilities, torch.tensor([u])).item() == expected[u]


def test_inverse_cdf_where_rounding_leaves_the_sum_below_one() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(50, 5000, generator=generator).softmax(-1)
    probabilities[:, ::3] = 0  # this also leaves a sum of two thirds
    for u in (torch.zeros(50), torch.full((50,), 1 - 2**-24), torch.rand(50, generator=generator)):
        chosen = inverse_cdf(probabilities, u)
        assert (probabilities.gather(1, chosen.unsqueeze(1)) > 0).all()
    assert (
        inverse_cdf(torch.tensor([[0.25, 0.25]]), torch.tensor([0.4])).item() == 0
    )  # half of the sum, not a quarter of 1


def test_modes_are_restored_after_an_exception_in_the_middle(policy, prompts, monkeypatch) -> None:
    odd = policy.model.base_model.model.model.norm.train()
    modes = [module.training for module in policy.modules()]
    calls = []

    def fails_at_third(probabilities: Tensor, uniforms: Tensor) -> Tensor:
        calls.append(policy.training)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        return inverse_cdf(probabilities, uniforms)

    monkeypatch.setattr(sampler, "inverse_cdf", fails_at_third)
    with pytest.raises(RuntimeError, match="in the middle"):
        generate(policy, prompts, **{**HOT, "top_p": 1.0})
    assert calls == [False] * 3
    assert policy.training and odd.training and torch.is_grad_enabled()
    assert [module.training for module in policy.modules()] == modes and False in modes


def test_dropout_is_off_while_sampling(base, prompts) -> None:
    policies = [load_policy(base, "fp32", LoraSettings(4, 8, p), None, CPU) for p in (0.9, 0.0)]
    stir(policies[0], seed=6)
    with torch.no_grad():
        for theirs, ours in zip(policies[1].parameters(), policies[0].parameters(), strict=True):
            theirs.copy_(ours)
    assert ids(generate(policies[0], prompts, **HOT)) == ids(generate(policies[1], prompts, **HOT))
