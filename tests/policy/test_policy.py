"""Roles, modes, and conversion between text and ids."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.tiny import CPU, plain_logps, stir, trained
from torch import Tensor

from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

PROMPT, COMPLETION = [5, 6, 7, 8], [9, 10, 2]
LONG = "翻译成藏文：老师在学校看书。学生在家里吃饭。དགེ་རྒན་སློབ་གྲྭར་དཔེ་ཆ་བལྟས།"
THINKING = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"


def logps(policy: Policy) -> Tensor:
    with torch.no_grad():
        return plain_logps(policy.model, PROMPT, COMPLETION)


@pytest.fixture
def truth(policy, base, sft_adapter) -> dict[str, Tensor]:
    """Expected output of each role, from models loaded without this package."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    bare = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        expected = {"base": plain_logps(bare, PROMPT, COMPLETION)}
        sft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), sft_adapter)
        expected["reference"] = plain_logps(sft, PROMPT, COMPLETION)
        for name, weight in sft.named_parameters():
            if ".default." in name:
                weight.copy_(dict(policy.model.named_parameters())[name])
        expected["policy"] = plain_logps(sft, PROMPT, COMPLETION)
    assert (expected["base"] - expected["reference"]).abs().max() > 0.1
    assert (expected["reference"] - expected["policy"]).abs().max() > 0.1
    return expected


@pytest.mark.parametrize("role", ["base", "reference", "policy"])
def test_acts_as_asked_and_as_itself_afterwards(policy, truth, role: str) -> None:
    before = set(trained(policy))
    with policy.acting_as(role):
        torch.testing.assert_close(logps(policy), truth[role])
        assert set(trained(policy)) == before
    torch.testing.assert_close(logps(policy), truth["policy"])
    with pytest.raises(KeyError), policy.acting_as(role):
        raise KeyError
    torch.testing.assert_close(logps(policy), truth["policy"])
    assert set(trained(policy)) == before and all(".default." in name for name in before)


def test_roles_nest(policy, truth) -> None:
    for outer in truth:
        for inner in truth:
            with policy.acting_as(outer):
                with policy.acting_as(inner):
                    torch.testing.assert_close(logps(policy), truth[inner])
                torch.testing.assert_close(logps(policy), truth[outer])


def test_the_reference_of_a_fresh_adapter_is_the_base(base) -> None:
    policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU)
    start = logps(policy)
    stir(policy, seed=5)
    assert (logps(policy) - start).abs().max() > 0.1
    for role in ("reference", "base"):
        with policy.acting_as(role):
            torch.testing.assert_close(logps(policy), start)


def test_inference_restores_every_mode_also_after_an_exception(policy) -> None:
    odd = policy.model.base_model.model.model.layers[1].mlp
    odd.eval()  # a submodule that the user froze in eval mode keeps that mode
    modes = {name: module.training for name, module in policy.named_modules()}
    assert len(set(modes.values())) == 2
    with pytest.raises(KeyError), policy.inference():
        assert not torch.is_grad_enabled() and not any(module.training for module in policy.modules())
        raise KeyError
    assert torch.is_grad_enabled()
    assert {name: module.training for name, module in policy.named_modules()} == modes


def test_prompt_is_a_true_prefix_and_the_completion_ends_its_turn(policy) -> None:
    prompt, completion = policy.encoder.encode_prompt("老师看书。", 100), policy.encoder.encode_completion("དགེ་རྒན་")
    turns = [{"role": "user", "content": "老师看书。"}, {"role": "assistant", "content": "དགེ་རྒན་"}]
    whole = policy.encoder.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert prompt + completion == whole[: len(prompt) + len(completion)]
    assert completion[-1] == policy.eos_ids[0] == policy.encoder.tokenizer.eos_token_id
    assert policy.encoder.tokenizer.decode(whole[len(prompt) + len(completion) :]).strip() == ""
    assert policy.encoder.decode([completion, []]) == ["དགེ་རྒན་", ""]
    assert policy.encoder.truncated_prompts == 0


def test_thinking_is_off(policy, monkeypatch) -> None:
    monkeypatch.setattr(policy.encoder.tokenizer, "chat_template", policy.encoder.tokenizer.chat_template + THINKING)
    assert policy.encoder.tokenizer.decode(policy.encoder.encode_prompt("书", 100)).endswith("<think>\n\n</think>\n\n")


def test_a_long_prompt_is_cut_at_the_messages_end_and_counted(policy) -> None:
    """At all lengths, so that some cuts are between the bytes of Tibetan and Chinese characters."""
    whole = policy.encoder.encode_prompt(LONG, 1000)
    turn = [{"role": "user", "content": "\0"}]
    template = policy.encoder.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    head, tail = template.split("\0")
    room = len(whole) - len(policy.encoder.tokenizer(LONG)["input_ids"])
    messages = []
    for limit in range(room + 1, len(whole)):
        ids = policy.encoder.encode_prompt(LONG, limit)
        assert len(ids) <= limit
        text = policy.encoder.tokenizer.decode(ids)
        assert text.startswith(head) and text.endswith(tail)
        messages.append(text[len(head) : len(text) - len(tail)])
        assert LONG.startswith(messages[-1]) and len(messages[-1]) < len(LONG)
    assert policy.encoder.truncated_prompts == len(messages)
    assert len(messages[-1]) > len(LONG) - 4  # no more text is lost than necessary
    tokens = policy.encoder.tokenizer(LONG)["input_ids"]
    assert any(
        "\ufffd" in policy.encoder.tokenizer.decode(tokens[:n]) for n in range(len(tokens))
    )  # cuts within characters


def test_a_limit_that_the_template_alone_exceeds_is_refused(policy) -> None:
    with pytest.raises(ValueError, match=r"model\.init_args\.max_prompt_tokens: 3 .*raise it"):
        policy.encoder.encode_prompt(LONG, 3)


def test_a_tokenizer_without_chat_template(base, tmp_path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "plain"))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    policy = load_policy(str(folder), "fp32", LoraSettings(4, 8, 0.0), None, CPU)
    assert policy.encoder.tokenizer.chat_template is None
    assert policy.encoder.tokenizer.decode(policy.encoder.encode_prompt(LONG, 1000)) == LONG + "\n"
    assert len(policy.encoder.encode_prompt(LONG, 12)) <= 12 and policy.encoder.truncated_prompts == 1
    assert policy.encoder.tokenizer.decode(policy.encoder.encode_prompt(LONG, 12)).endswith("\n")
