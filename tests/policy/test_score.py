"""Log-probs of completions in padded micro-batches, against one plain forward a row."""

import pytest
import torch
from tiny import gradient, plain_logps, relative

from semalign_pl.functional.logprobs import entropy
from semalign_pl.functional.losses import clipped_ratio, kl_k3, mean_over_tokens_sum, nll_sum
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.score import Rows, completion_logits, score, score_all

LENGTHS = [5, 1, 3, 7, 2, 7, 4, 6]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Eight rows, every prompt and every completion of another length; what stands in padding must not matter."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 300, (n,), generator=generator).tolist() for n in (4, 9, 1, 2, 7, 3, 12, 5)]
    mask = torch.arange(7) < torch.tensor(LENGTHS).unsqueeze(1)
    return Rows(prompts, torch.randint(3, 300, (8, 7), generator=generator), mask)


def row_by_row(policy: Policy, rows: Rows, temperature: float) -> list[torch.Tensor]:
    parts = zip(rows.prompts, rows.completion_ids.tolist(), LENGTHS, strict=True)
    return [plain_logps(policy.model, prompt, ids[:n], temperature) for prompt, ids, n in parts]


def test_padded_equals_one_plain_forward_a_row(policy, rows) -> None:
    logps, _ = score(policy, rows, 0.8)
    for row, expected in enumerate(row_by_row(policy, rows, 0.8)):
        torch.testing.assert_close(logps[row, : LENGTHS[row]], expected, atol=1e-5, rtol=0)
        alone, _ = score(policy, rows.select([row], LENGTHS[row]), 0.8)
        torch.testing.assert_close(alone[0], expected, atol=1e-5, rtol=0)


def test_the_first_completion_token_is_predicted_from_the_prompts_last(policy, rows) -> None:
    logits = completion_logits(policy, rows)
    assert logits.shape[:2] == (8, 7)
    for row, prompt in enumerate(rows.prompts):
        expected = policy.model(input_ids=torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(logits[row, 0], expected, atol=1e-5, rtol=0)


def test_nothing_leaks_between_rows(policy, rows) -> None:
    before, _ = score(policy, rows)
    ids = rows.completion_ids.clone()
    ids[3] = 350
    after, _ = score(policy, Rows([[299, *p] if i == 3 else p for i, p in enumerate(rows.prompts)], ids, rows.mask))
    others = [i for i in range(8) if i != 3]
    torch.testing.assert_close(after[others][rows.mask[others]], before[others][rows.mask[others]], atol=1e-5, rtol=0)
    assert (after[3] - before[3]).abs().min() > 0.01


def test_score_all_is_score_without_gradient(policy, rows) -> None:
    policy.model.base_model.model.model.norm.eval()
    modes = [module.training for module in policy.modules()]
    expected = torch.where(rows.mask, score(policy, rows, 0.8)[0], 0.0)
    for size in (1, 3, 8):
        scored = score_all(policy, rows, 0.8, size)
        torch.testing.assert_close(scored, expected.detach(), atol=1e-5, rtol=0)
        assert not scored.requires_grad and scored[~rows.mask].abs().sum() == 0
    assert [module.training for module in policy.modules()] == modes


def test_entropy_is_at_the_same_temperature_and_without_gradient(policy, rows) -> None:
    _, spread = score(policy, rows, 0.8, with_entropy=True)
    torch.testing.assert_close(spread, entropy(completion_logits(policy, rows).detach(), 0.8))
    assert not spread.requires_grad and score(policy, rows)[1].abs().sum() == 0


def test_micro_batches_cover_each_row_once(rows) -> None:
    for size in (1, 3, 8, 100):
        parts = list(rows.micro_batches(size))
        assert sorted(torch.cat([index for index, _ in parts]).tolist()) == list(range(8))
        assert all(len(micro.prompts) == len(index) <= size for index, micro in parts)
        for index, micro in parts:
            assert micro.prompts == [rows.prompts[i] for i in index]
            assert micro.completion_ids.shape[1] == max(LENGTHS[i] for i in index)
            assert micro.mask.sum(1).tolist() == [LENGTHS[i] for i in index]


def test_no_rows_make_no_micro_batch() -> None:
    """A rank whose references are all too long, beside one that trains."""
    nothing = torch.zeros(0, 1, dtype=torch.long)
    assert list(Rows([], nothing, nothing > 0).micro_batches(8)) == []


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_eight_ones_and_one_eight_give_the_same_gradient(policy, rows, method: str) -> None:
    advantages = torch.linspace(-1, 1, 8)
    with policy.acting_as("reference"):
        reference = score_all(policy, rows, 0.8, 8)
    old = score_all(policy, rows, 0.8, 8) + torch.linspace(-0.3, 0.3, 8).unsqueeze(1)
    gradients = []
    for size in (8, 1, 3):  # 3 leaves a partial window
        policy.zero_grad()
        for index, micro in rows.micro_batches(size):
            if method == "sft":
                loss = nll_sum(score(policy, micro)[0], micro.mask) / rows.mask.sum()
            else:
                logps, _ = score(policy, micro, 0.8)
                width = logps.shape[1]
                per_token, _ = clipped_ratio(logps, old[index, :width], advantages[index], 0.2, micro.mask)
                kl = kl_k3(logps, reference[index, :width])
                loss = mean_over_tokens_sum(per_token + 0.04 * kl, micro.mask) / 8
            loss.backward()
        gradients.append(gradient(policy))
    assert gradients[0].norm() > 0.01
    assert max(relative(other, gradients[0]) for other in gradients[1:]) < 1e-5


def test_rows_without_tokens_give_a_finite_differentiable_zero(policy, rows) -> None:
    for empty in (Rows(rows.prompts, rows.completion_ids, rows.mask & False), rows.select(list(range(8)), 0)):
        ((_, micro),) = empty.micro_batches(8)
        loss = nll_sum(score(policy, micro)[0], micro.mask)
        loss.backward()
        assert loss.item() == 0.0 and gradient(policy).abs().sum() == 0
