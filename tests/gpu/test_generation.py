"""Generation on CUDA gives the CPU's tokens, in every way of decoding."""

import pytest
import torch
from helpers.tiny import CPU, stir

from semalign_pl.engine.generate import generate
from semalign_pl.policy.load import load_policy

BEGINNING = [(11 * i) % 290 + 5 for i in range(60)]


@pytest.mark.parametrize("shared", [True, False], ids=["shared prompts", "transformers' cache"])
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 4}, {"temperature": 0.7, "top_k": 20, "min_p": 0.01}],
    ids=["greedy", "nucleus", "top-k"],
)  # fmt: skip
def test_tokens_equal_those_of_the_cpu(base, sft_adapter, prompts, cuda, sampling, shared) -> None:
    many = [*prompts, *([*BEGINNING, 7 + i] for i in range(3)), [*BEGINNING, 9, 10, 11]]
    found = {}
    for device in (CPU, cuda):
        policy = stir(load_policy(base, "fp32", None, sft_adapter, device), seed=2, scale=0.05)
        if not shared:
            policy.prefix_sharing_unsupported_reason = "to test the other way"
        for rows in (128, 4):
            rollouts = generate(policy, many, max_new_tokens=40, num_generations=2, rows=rows, **sampling)
            assert rollouts.completion_ids.device.type == device.type
            found[device.type, rows] = [
                ids[mask].tolist()
                for ids, mask in zip(rollouts.completion_ids.cpu(), rollouts.completion_mask.cpu(), strict=True)
            ]
    assert len(set(map(tuple, found["cpu", 128]))) > 4
    assert all(tokens == found["cpu", 128] for tokens in found.values())


def test_the_global_generator_is_neither_read_nor_moved(base, sft_adapter, prompts, cuda) -> None:
    policy = load_policy(base, "fp32", None, sft_adapter, cuda)
    state, texts = torch.cuda.get_rng_state(cuda), []
    for _ in range(2):
        texts.append(generate(policy, prompts, max_new_tokens=10, temperature=1.0, num_generations=4, seed=3).texts)
        assert torch.equal(state, torch.cuda.get_rng_state(cuda))
        torch.rand(3, device=cuda)
        state = torch.cuda.get_rng_state(cuda)
    assert texts[0] == texts[1]
