"""SFT's loss and gradient equal transformers' own; trained weights, and rows that are left out."""

import functools

import pytest
import torch
from helpers.families import FAMILIES, make
from helpers.tiny import Recorded, fit, relative, trained
from torch import Tensor

from semalign_pl.modules import Constant, SFTModule
from semalign_pl.modules.anchor import AnchorSettings
from semalign_pl.types import Example

PAIRS = [
    ("老师看书。", "དགེ་རྒན་དེབ།"),
    ("书", "ད"),
    ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།"),
    ("山", "རི"),
    ("医生", "སྨན་པ་"),
]
BATCH = [Example(str(i), prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]


class Recording(Recorded, SFTModule):
    stirred = 0.05


@pytest.fixture
def module(base, sft_adapter):
    def make(**options) -> Recording:
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        settings = {"weights": "fp32", "adapter": sft_adapter, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        return Recording(base, sgd, **{**settings, **options})

    return make


def oracle(module: Recording, batch: list[Example], without: int | None = None) -> tuple[float, Tensor]:
    """Loss and gradient by transformers' ``labels`` on the whole batch, padded on the right, at the first weights.

    Args:
        module: Module that was trained for one step.
        batch: Examples of the batch.
        without: Token id to exclude from the labels.
    """
    policy = module.policy
    pairs = [
        (policy.encoder.encode_prompt(e.prompt, 1000), policy.encoder.encode_completion(e.reference)) for e in batch
    ]
    longest = max(len(p) + len(c) for p, c in pairs)
    ids = torch.tensor([p + c + [0] * (longest - len(p) - len(c)) for p, c in pairs])
    mask = torch.tensor([[1] * len(p + c) + [0] * (longest - len(p) - len(c)) for p, c in pairs])
    labels = torch.tensor([[-100] * len(p) + c + [-100] * (longest - len(p) - len(c)) for p, c in pairs])
    if without is not None:
        labels[labels == without] = -100
    weights = trained(policy)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(module.weights[0][name])
    loss = policy.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return loss.item(), torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("micro_batch_tokens", [1, 100, 10**4])
def test_loss_and_gradient_are_transformers_own(module, micro_batch_tokens: int) -> None:
    """The loss is divided by the tokens of the whole step, for any split; with 100 the last micro-batch is partial."""
    ours = module(micro_batch_tokens=micro_batch_tokens)
    metrics = fit(ours, [BATCH]).callback_metrics
    loss, gradient = oracle(ours, BATCH)
    assert metrics["train/loss"].item() == pytest.approx(loss, rel=1e-5)
    assert len(ours.gradients) == 1 and relative(ours.gradients[0], gradient) < 1e-5


def test_the_end_of_turn_is_trained_once_and_the_prompt_is_not(module) -> None:
    ours = module()
    fit(ours, [BATCH])
    eos = ours.policy.eos_ids[0]
    assert relative(ours.gradients[0], oracle(ours, BATCH, without=eos)[1]) > 0.01
    rows = ours._references(BATCH)
    for prompt, tokens, example in zip(rows.prompts, rows.completions, BATCH, strict=True):
        assert tokens[-1] == eos and tokens.count(eos) == 1
        assert ours.policy.encoder.decode([tokens]) == [example.reference]
        assert prompt == ours.policy.encoder.encode_prompt(example.prompt, 1000)


def test_long_references_are_left_out_and_counted_never_cut(module) -> None:
    lengths = [len(ids) for ids in completions(module, BATCH)]
    limit = sorted(lengths)[2]  # three rows fit, one of them exactly
    ours = module(max_new_tokens=limit)
    metrics = fit(ours, [BATCH]).callback_metrics
    kept = [example for example, length in zip(BATCH, lengths, strict=True) if length <= limit]
    assert metrics["train/rows_too_long"] == 2 and len(kept) == 3
    assert metrics["train/completion_tokens"] == pytest.approx(sum(n for n in lengths if n <= limit) / 3)
    loss, gradient = oracle(ours, kept)
    assert metrics["train/loss"].item() == pytest.approx(loss, rel=1e-5)
    assert relative(ours.gradients[0], gradient) < 1e-5


def completions(module, batch: list[Example]) -> list[list[int]]:
    ours = module()
    fit(ours, [batch])
    return [ours.policy.encoder.encode_completion(example.reference) for example in batch]


def test_a_batch_that_is_left_out_whole_changes_nothing(module) -> None:
    ours = module(max_new_tokens=1)
    with pytest.raises(ValueError, match="max_new_tokens: every reference of the epoch"):
        fit(ours, [BATCH, BATCH])
    assert ours.gradients == []
    fresh = module()
    fit(fresh, [BATCH])
    before = fresh.weights[0]
    assert all(torch.equal(weight, before[name]) for name, weight in trained(ours.policy).items())


def test_only_the_adapter_is_in_the_optimiser_and_the_state(module) -> None:
    ours = module()
    fit(ours, [BATCH])
    optimized = {id(p) for group in ours.optimizers().param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trained(ours.policy).values()}
    assert len(ours.state_dict()) == 28 and all("lora_" in name for name in ours.state_dict())
    after = trained(ours.policy)
    assert all(not torch.equal(after[name], ours.weights[0][name]) for name in after)


@pytest.mark.parametrize(("tokens", "refused"), [(4096, False), (4097, True)])
def test_rows_whose_positions_depend_on_other_rows_are_refused(tmp_path, tokenizer, tokens, refused) -> None:
    """Phi-4-mini's ``longrope`` sets the frequencies of a whole batch by its longest row."""
    make(FAMILIES["Phi-4-mini"], tmp_path, tokenizer)
    short = SFTModule(str(tmp_path), weights="fp32", max_prompt_tokens=tokens - 100, max_new_tokens=100)
    if not refused:
        assert fit(short, [BATCH[:2]]).global_step == 1
        return
    with pytest.raises(ValueError, match="are 4,097 together, and beyond 4,096 tokens .*longrope.*lower them to 4,096"):
        fit(short, [BATCH[:2]])


@pytest.mark.parametrize("name", ["GPT-2", "OPT"])
def test_rows_longer_than_a_table_of_positions_are_refused(tmp_path, tokenizer, name: str) -> None:
    make(FAMILIES[name], tmp_path, tokenizer)
    for tokens in (512, 513):
        module = SFTModule(str(tmp_path), weights="fp32", max_prompt_tokens=tokens - 100, max_new_tokens=100)
        if tokens == 512:
            assert fit(module, [BATCH[:2]]).global_step == 1
            continue
        with pytest.raises(ValueError, match="are 513 together, and beyond 512 tokens .*no position.*them to 512"):
            fit(module, [BATCH[:2]])


def test_texts_of_an_anchor_as_long_are_refused_too(tmp_path, tokenizer) -> None:
    make(FAMILIES["Phi-4-mini"], tmp_path, tokenizer)
    (tmp_path / "general.txt").write_text("老师看书。\n", encoding="utf-8")
    anchor = AnchorSettings(str(tmp_path / "general.txt"), max_tokens=4097)
    with pytest.raises(ValueError, match="anchor.max_tokens is 4,097, and beyond 4,096 tokens .*lower it to 4,096"):
        fit(SFTModule(str(tmp_path), weights="fp32", anchor=anchor), [BATCH[:2]])
