"""Generation on CUDA gives the CPU's tokens, in every way of decoding."""

import pytest
import torch
from helpers.tiny import CPU, stir

from semalign_pl.engine.fixed_decoding import FixedStep
from semalign_pl.engine.generate import generate
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy

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


def sample(policy: Policy, prompts: list[list[int]]) -> list[list[int]]:
    options = {"max_new_tokens": 150, "num_generations": 4, "temperature": 1.0, "top_p": 0.9, "seed": 5}
    return generate(policy, prompts, **options).completion_ids.tolist()


@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
def test_a_graph_gives_the_tokens_of_its_step_run_by_run(
    base, sft_adapter, prompts, cuda, monkeypatch, weights
) -> None:
    policy = stir(load_policy(base, weights, None, sft_adapter, cuda), seed=2, scale=0.05)
    policy.eos_ids = tuple(range(1, 400, 60))
    steps: list[FixedStep] = []
    capture = FixedStep._capture
    monkeypatch.setattr(FixedStep, "_capture", lambda step: (steps.append(step), capture(step))[1])
    with torch.autocast("cuda", torch.bfloat16, enabled=weights != "fp32"):
        replayed = sample(policy, prompts)
        assert len({step.room for step in steps}) > 1 and all(step.graph is not None for step in steps)
        monkeypatch.setattr(FixedStep, "_capture", FixedStep._forward)
        assert sample(policy, prompts) == replayed and len({tuple(row) for row in replayed}) > 4


def test_graphs_give_their_memory_back(base, sft_adapter, prompts, cuda) -> None:
    policy = load_policy(base, "fp32", None, sft_adapter, cuda)
    policy.eos_ids = (-1,)
    sample(policy, prompts)
    held = []
    for _ in range(4):
        torch.cuda.empty_cache()
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
        sample(policy, prompts)
    assert held[1:] == held[:-1]


def test_a_model_that_no_graph_can_hold_is_decoded_without_one(base, sft_adapter, prompts, cuda, caplog) -> None:
    """A layer that reads a value on the CPU, such as a router or a rotary embedding that depends on the length."""
    policy = stir(load_policy(base, "fp32", None, sft_adapter, cuda), seed=2, scale=0.05)
    expected = sample(policy, prompts)
    assert not [record for record in caplog.records if "graph" in record.message]
    hook = policy.decoder.register_forward_hook(lambda module, args, output: output[0].sum().item() and None)
    assert sample(policy, prompts) == expected
    hook.remove()
    assert policy.graph_unsupported_reason is not None
    torch.cuda.empty_cache()  # fails while the allocator waits for the end of a capture
    (line,) = {record.message for record in caplog.records if "graph" in record.message}
    assert line.startswith("decoding makes no CUDA graph of this model, so it is slower: ")
    policy.graph_unsupported_reason = None  # a graph can be made again, after one that failed
    assert sample(policy, prompts) == expected
