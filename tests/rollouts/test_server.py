"""Settings that a server cannot honour, and servers that serve something else than the policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.rollout_server import RolloutServer, serving
from helpers.tiny import plain_logps
from peft import LoraConfig

from semalign_pl.judge.failures import TemporaryFailure
from semalign_pl.modules import DistillModule, GRPOModule
from semalign_pl.rollouts import ServerRollouts
from semalign_pl.rollouts.adapter_transfer import check_servable
from semalign_pl.rollouts.completion_request import CompletionRequest
from semalign_pl.types import Rollouts


def sample(rollouts: ServerRollouts, policy: Any, prompts: list[list[int]], **changes: Any) -> Rollouts:
    asked = CompletionRequest(2, 5, policy.eos_ids, logprobs=True, temperature=0.7)
    return rollouts.sample(policy, prompts, replace(asked, **changes), seed=1, budget=100)


@pytest.fixture(scope="module")
def server(base, tmp_path_factory):
    with serving(base, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def other(base, tmp_path_factory) -> str:
    """The base with 30 times its logits."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("other")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.norm.weight.data.mul_(30)
    model.save_pretrained(folder)
    return str(folder)


def restarted(server: RolloutServer, **options) -> str:
    """Address of the server, started again with other options."""
    server.kill()
    server.options = options
    server.start()
    return server.url


def client(url: str, root: Path, patience: float = 20) -> ServerRollouts:
    made = ServerRollouts(url, patience=patience)
    made.begin(root, 0)
    return made


def test_log_probs_are_those_of_the_sampling(server, policy, prompts, tmp_path) -> None:
    """Ids and log-probs of each completion belong together, seeds are prompts' own, and equal requests agree."""
    rollouts = client(server.url, tmp_path)
    first = sample(rollouts, policy, prompts[:2])
    again = sample(rollouts, policy, prompts[:2])
    assert torch.equal(first.completion_ids, again.completion_ids)
    assert len({tuple(row) for row in first.completion_ids.tolist()}) == 4
    for i in range(4):
        length = int(first.completion_mask[i].sum())
        with torch.no_grad():
            logps = plain_logps(policy.model, prompts[i // 2], first.completion_ids[i, :length].tolist(), 0.7)
        torch.testing.assert_close(first.sampler_logps[i, :length], logps, rtol=0, atol=1e-4)
    nothing = sample(rollouts, policy, [])
    assert nothing.sampler_logps is not None and nothing.sampler_logps.shape == (0, 0)
    # Without log-probs, as in distillation, none is asked for.
    assert sample(rollouts, policy, prompts[:1], logprobs=False, top_p=0.5).sampler_logps is None
    assert server.log()[-1]["body"].keys() >= {"top_p", "min_p", "seed"} and "logprobs" not in server.log()[-1]["body"]
    rollouts.close()
    assert server.log()[-1]["path"] == "/v1/unload_lora_adapter" and not list(tmp_path.iterdir())


def test_a_server_of_something_else_is_refused(server, other, base, policy, prompts, tmp_path) -> None:
    """Each message names the remedy; all processes of the server are those of other options."""
    cases = [
        (base, {"raw": True}, "log-probs of temperature 1.*--logprobs-mode processed_logprobs"),
        (base, {"static": True}, "does not load the adapter.*HTTP 404.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        (base, {"key": "k"}, "key_variable.*HTTP 401.*name the variable with its key"),
        (base, {"faults": ["500"] * 99}, "HTTP 500 .the engine has a fault.*patience.*resume"),
        (other, {}, "differ from the policy's by .* nats per token.*model.init_args.base"),
    ]
    for served, options, message in cases:
        server.base = served
        rollouts = client(restarted(server, **options), tmp_path, patience=2)
        with pytest.raises(ValueError, match=message):
            sample(rollouts, policy, prompts[:2])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (GRPOModule, {}, "top_p: 0.9: a server's log-probs .* write top_p: 1"),
        (GRPOModule, {"top_p": 1.0, "top_k": 5}, "top_k: 5"),
        (GRPOModule, {"top_p": 1.0, "min_p": 0.1}, "min_p: 0.1"),
        (DistillModule, {"rollout_rows": 4}, "rollout_rows: 4: rollouts are a server's"),
        (GRPOModule, {"loss_type": "best_of_group"}, None),
        (DistillModule, {"top_p": 0.9}, None),
    ],
)
def test_what_a_server_cannot_honour_is_refused(base, kind, options, message) -> None:
    if message is None:
        kind(base, rollouts=ServerRollouts("http://here"), **options)
        return
    with pytest.raises(ValueError, match=f"model.init_args.{message}"):
        kind(base, rollouts=ServerRollouts("http://here"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "url: 'localhost:8000' is no scheme"),
        ({"url": "http://user:secret@here"}, "url: the address is no scheme"),
        ({"url": []}, "url: the list is empty"),
        ({"max_importance_ratio": 0.5}, "max_importance_ratio: 0.5 would cut"),
        ({"timeout": 0.0}, "timeout: 0 is not positive"),
        ({"key_variable": "NOT_SET_AT_ALL"}, "NOT_SET_AT_ALL is not set"),
    ],
)
def test_settings_are_checked(options, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        ServerRollouts(**{"url": "http://here", **options}).begin(tmp_path, 0)
    assert "secret" not in str(raised.value)


def test_processes_take_the_servers_in_turn(tmp_path) -> None:
    hosts = []
    for rank in range(3):
        rollouts = ServerRollouts(["http://one:1/v1/", "http://two:2"], folder=str(tmp_path / "shared"))
        rollouts.begin(tmp_path / "run", rank)
        hosts.append(rollouts.client.host)
    assert hosts == ["one:1", "two:2", "one:1"]


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"rank_pattern": {"q_proj": 4}}]
)
def test_an_adapter_that_the_server_would_not_apply_is_refused(options) -> None:
    assert check_servable(LoraConfig(r=4)) == 4
    with pytest.raises(ValueError, match=f"model.init_args.rollouts: the adapter .*{next(iter(options))}"):
        check_servable(LoraConfig(**options))


def choice(ids: object, reason: str | None, logps: object = None, index: int = 0) -> dict:
    return {"index": index, "token_ids": ids, "finish_reason": reason, "logprobs": {"token_logprobs": logps}}


def test_responses_are_read_in_the_order_of_their_index() -> None:
    body = {"choices": [choice([7, 8, 9], "length", [-1, -2, -3], 1), choice([5, 2], "stop", [-0.5, 0], 0)]}
    first, second = CompletionRequest(2, 3, (2,), logprobs=True).read(body)
    assert (first.ids, first.logps, second.ids) == ([5, 2], [-0.5, 0.0], [7, 8, 9])


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("", TemporaryFailure, "without the 1 completions"),
        ({"choices": [choice([5], None, [-1])]}, TemporaryFailure, "ended by None"),
        ({"choices": [choice(None, "stop", [-1])]}, ValueError, "no token ids"),
        ({"choices": [choice([5, 2], "stop", [-1])]}, ValueError, "no log-prob for each token"),
        ({"choices": [choice([5, 2], "stop", [-1, None])]}, ValueError, "no log-prob for each token"),
        ({"choices": [choice([5, 4], "stop", [-1, -1])]}, ValueError, "not at one of the policy's end tokens"),
        ({"choices": [choice([5], "length", [-1])]}, ValueError, "--max-model-len"),
    ],
)
def test_what_is_no_completion_is_refused(body, error, message) -> None:
    with pytest.raises(error, match=message):
        CompletionRequest(1, 3, (2,), logprobs=True).read(body)
