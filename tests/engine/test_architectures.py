"""Every family gives exact log-probs, gradients and tokens, or is refused; no dropout of a base acts."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from helpers.families import FAMILIES, REFUSED, make, table
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.tiny import CPU, Recorded, fit, gradient, plain_logps, relative, stir
from packaging.version import Version

from semalign_pl.engine import fixed_decoding
from semalign_pl.engine import generate as sampling
from semalign_pl.engine.continuations import score_continuations
from semalign_pl.engine.fixed_decoding import FixedDecodeState
from semalign_pl.engine.generate import generate
from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.shared_prefixes import SHORTEST_PREFIX
from semalign_pl.engine.text_states import text_states
from semalign_pl.modules import Constant, SFTModule
from semalign_pl.plan.predict import predict
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.types import Example

QUICK = [name for name, family in FAMILIES.items() if not family.slow]
NF4 = ["Qwen3", "Qwen2.5", "Llama 3.2", "Mistral", "Gemma 3 (text)", "SmolLM3", "Gemma 2", "Granite 3", "Qwen3.5"]
DROPOUT = ["Qwen3", "GPT-2", "OPT", "Pythia (GPT-NeoX)", "StarCoder 2", "Mixtral", "BLOOM", "Granite 4 hybrid"]
ALL = [pytest.param(name, marks=[pytest.mark.slow] * family.slow) for name, family in FAMILIES.items()]


@pytest.fixture(scope="session")
def made(tokenizer, tmp_path_factory):
    """Folder of a family's tiny model, made once."""
    folders: dict[str, str] = {}

    def folder(name: str) -> str:
        if name not in folders:
            path = tmp_path_factory.mktemp("family")
            make({**FAMILIES, **REFUSED}[name], path, tokenizer)
            folders[name] = str(path)
        return folders[name]

    return folder


def load(folder: str, weights="fp32", dropout: float = 0.0) -> Policy:
    return stir(load_policy(folder, weights, LoraSettings(4, 8, dropout), None, CPU), seed=2, scale=0.05)


def check_scores(policy: Policy, budgets: list[int]) -> None:
    """Log-probs and gradients, against one plain forward pass per row."""
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    assert slope.norm() > 1
    for budget in budgets:
        for recompute in (False, True):
            policy.zero_grad()
            for row, (logps, _) in score(policy, ROWS, budget, recompute).items():
                assert relative(logps.detach(), expected[row].detach()) < 1e-5
            assert relative(gradient(policy), slope) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_every_family_is_exact_and_why_it_is_not_shared_is_logged_once(name: str, made, caplog) -> None:
    policy, family = load(made(name)), FAMILIES[name]
    lines = [record.message for record in caplog.records if "do not share" in record.message]
    assert len(lines) == (family.own is not None) and all(family.own in line for line in lines)
    assert (policy.prefix_sharing_unsupported_reason is None) == (family.own is None), (
        policy.prefix_sharing_unsupported_reason
    )
    assert policy.padding_leaks == family.equal
    check_scores(policy, BUDGETS if name in NF4 else [30])
    check_greedy(policy)
    check_texts(policy)
    check_continuations(policy)


def check_continuations(policy: Policy) -> None:
    """Continuations of contexts, alone and with a common beginning longer than every window, against plain forwards."""
    text = [3 + 7 * i % 290 for i in range(2 * SHORTEST_PREFIX)]
    contexts = [ROWS.prompts[0], ROWS.prompts[6], text, text + ROWS.prompts[9], text + ROWS.prompts[3]]
    options = [[[7], ROWS.completions[5], ROWS.completions[0]]] * len(contexts)
    scored = score_continuations(policy, contexts, options)
    policy.eval()
    with torch.no_grad():
        plain = [[plain_logps(policy.model, context, ids).sum().item() for ids in options[0]] for context in contexts]
    assert [[one.logprob for one in of_context] for of_context in scored] == [
        pytest.approx(of_context, rel=1e-5) for of_context in plain
    ]


def check_texts(policy: Policy) -> None:
    """Texts forwarded together, against one plain forward per text, as the policy and as the base."""
    texts = [
        *(ids for ids in ROWS.prompts if len(ids) > 1),
        [3 + 7 * i % 290 for i in range(40)],
        [5, 6],
    ]  # one is longer than every window
    for role in ("policy", "base"):
        with policy.inference(), policy.acting_as(role):
            for ids, states in zip(texts, text_states(policy, texts), strict=True):
                plain = policy.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
                assert relative(policy.head(states), plain) < 1e-5


def check_greedy(policy: Policy) -> None:
    """Rollouts of prompts of several lengths, against transformers' own, one prompt at a time."""
    policy.eos_ids = (-1,)
    prompts = list({tuple(prompt): prompt for prompt in ROWS.prompts}.values())
    prompts.append(prompts[1][::-1])  # two prompts of equal length
    # Two questions about a text, longer than every window, and the text alone.
    text = [3 + 7 * i % 290 for i in range(2 * SHORTEST_PREFIX)]
    prompts += [text + prompts[1], text, text + prompts[3]]
    found = generate(policy, prompts, max_new_tokens=20, num_generations=2).completion_ids
    policy.eval()
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        out = policy.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, eos_token_id=-1,
            pad_token_id=0,
        )  # fmt: skip
        assert out[0, len(prompt) :].tolist() == found[2 * row].tolist() == found[2 * row + 1].tolist()


@pytest.mark.parametrize("name", NF4)
def test_in_4_bits_too(name: str, made) -> None:
    policy = load(made(name), "nf4")
    assert (policy.prefix_sharing_unsupported_reason is None) == (FAMILIES[name].own is None), (
        policy.prefix_sharing_unsupported_reason
    )
    check_scores(policy, BUDGETS)


@pytest.mark.parametrize("name", ["Qwen3.5", "LFM2", "Falcon-H1", "Gemma 2"])
def test_rollouts_that_end_give_up_their_rows(name: str, made) -> None:
    """An EOS in the middle: the other rows continue as if alone."""
    policy = load(made(name))
    prompts = list({tuple(prompt): prompt for prompt in ROWS.prompts}.values())
    options = dict(max_new_tokens=12, temperature=1.0, seed=3)
    policy.eos_ids = (-1,)
    endless = generate(policy, prompts, num_generations=4, **options)
    policy.eos_ids = tuple(range(1, 400, 4))  # one token in four ends a rollout
    found = generate(policy, prompts, num_generations=4, **options)
    lengths = found.completion_mask.sum(1)
    assert len(lengths.unique()) > 2
    for row, length in enumerate(lengths.tolist()):
        assert found.completion_ids[row, :length].tolist() == endless.completion_ids[row, :length].tolist()


@pytest.mark.parametrize("name", ["Qwen3", "GPT-2", "Mistral", "Gemma 3 (text)"])
def test_steps_of_fixed_shapes_as_on_a_gpu(name: str, made, monkeypatch) -> None:
    """Caches that grow every few tokens and give up slots, with prefixes, suffixes and windows."""
    policy = load(made(name))
    prompts = list({tuple(prompt): prompt for prompt in ROWS.prompts}.values())
    options = dict(num_generations=4, max_new_tokens=40, temperature=1.0, seed=3)
    policy.eos_ids = tuple(range(1, 400, 12))
    expected = generate(policy, prompts, **options)
    monkeypatch.setattr(sampling, "DecodeState", FixedDecodeState)
    monkeypatch.setattr(fixed_decoding, "ROOM_TOKENS", 4)
    monkeypatch.setattr(fixed_decoding, "FEW_SLOTS", 2)
    found = generate(policy, prompts, **options)
    assert torch.equal(found.completion_mask, expected.completion_mask)
    assert torch.equal(found.completion_ids, expected.completion_ids)
    assert torch.equal(found.finished, expected.finished) and len(found.completion_mask.sum(1).unique()) > 5
    check_greedy(policy)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_exactly_is_refused(name: str, made) -> None:
    with pytest.raises(ValueError, match=r"model\.init_args\.base: .* cannot be run exactly: .*architectures\.md") as e:
        load(made(name))
    assert "\n" not in str(e.value) and REFUSED[name].model_type in str(e.value)


@pytest.mark.parametrize("name", DROPOUT)
def test_no_dropout_of_the_base_is_ever_active(name: str, made) -> None:
    policy = load_policy(made(name), "fp32", LoraSettings(4, 8, 0.0), None, CPU)
    assert policy.training
    first, second = (score(policy.train(), ROWS, 30) for _ in range(2))
    with policy.acting_as("reference"):
        reference = compute_logprobs(policy, ROWS, 30)
    for row, (logps, _) in first.items():
        assert torch.equal(logps, second[row][0])
        assert torch.equal(logps.detach(), reference[row, : len(logps)])  # so that the KL at step 0 is exactly 0
    policy.eval()
    for row, (logps, _) in score(policy, ROWS, 30).items():
        assert torch.equal(logps, first[row][0])


class Modes(Recorded, SFTModule):
    """SFT that records the train or eval modes in the middle of a step."""

    stirred = 0.05

    def update(self):
        self.modes = {name: module.training for name, module in self.policy.model.named_modules()}
        return super().update()


@pytest.mark.parametrize("name", ["GPT-2", "Qwen3"])
def test_the_adapters_own_dropout_acts_in_sft(name: str, made) -> None:
    examples = [Example("0", "老师看书。", "དགེ་རྒན་དེབ།"), Example("1", "书", "ད")]
    gradients: dict[float, list[torch.Tensor]] = {}
    for dropout in (0.0, 0.0, 0.4):
        torch.manual_seed(1)
        module = Modes(
            made(name),
            functools.partial(torch.optim.SGD, lr=0.1),
            weights="fp32",
            lora=LoraSettings(4, 8, dropout),
            lr_scheduler=Constant,
            max_grad_norm=1e9,
            max_prompt_tokens=256,
        )
        fit(module, [examples])
        dropouts = {path for path in module.modes if ".lora_dropout" in path}
        assert {path for path in dropouts if module.modes[path]} == dropouts != set()
        assert not any(
            training
            for path, training in module.modes.items()
            if path.endswith((".base_layer", ".resid_dropout", ".norm"))
        )
        gradients.setdefault(dropout, []).append(module.gradients[0])
    assert torch.equal(*gradients[0.0]) and relative(gradients[0.4][0], gradients[0.0][0]) > 0.1


@pytest.mark.parametrize("name", QUICK)
def test_memory_is_planned_for_every_family(name: str, made) -> None:
    moderate = Settings(
        made(name),
        "grpo",
        "fp32",
        LoraSettings(4, 8, 0.0),
        False,
        24,
        12,
        8,
        4,
        8,
        160,
        sampling=(("temperature", 0.9),),
    )
    if name == "Phi-4-mini" and Version(transformers.__version__) < Version("5.23"):  # Python 3.10 has no later one
        with pytest.raises(ValueError, match="cannot be run without its weights .*measure its memory by a run"):
            predict(moderate)
        return
    plan, longer = predict(moderate), predict(replace(moderate, prompt_tokens=48, micro_batch_tokens=320))
    assert 0 < plan.cache < longer.cache
    assert 0 < plan.activations + plan.head < longer.activations + longer.head
    assert predict(replace(moderate, recompute=True)).activations < plan.activations


def test_the_table_in_the_documentation_is_the_tested_one() -> None:
    assert (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8") == table()
