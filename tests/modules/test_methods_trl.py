"""DFT and CPO: loss and gradient equal those of TRL 1.16's own trainers for the same completions and weights."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from helpers.tiny import Recorded, fit, relative
from torch import Tensor

from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.rewards import Reward
from semalign_pl.types import Example, Rollouts

pytest.importorskip("trl")
PAIRS = [("老师看书。", "དགེ་རྒན་དེབ།"), ("书", "ད"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།")]
BATCH = [Example(str(i), prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]
SGD = functools.partial(torch.optim.SGD, lr=0.1)


def start(base, sft_adapter):
    """TRL's start: the same base and adapter, trainable."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), sft_adapter, is_trainable=True)


def at(model, weights: dict[str, Tensor]) -> dict[str, torch.nn.Parameter]:
    """Set a PEFT model's adapter to our weights, and return its parameters in our order."""
    parameters = {name: p for name, p in model.named_parameters() if ".default." in name}
    ours = {name.removeprefix("model."): weight for name, weight in weights.items()}
    assert set(ours) == set(parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.copy_(ours[name])
    return {name: parameters[name] for name in ours}


def padded(prompts, completions) -> dict[str, Tensor]:
    """Prompts and completions in TRL's form: padded on the right, labels on completions only."""
    longest = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    rows = [(p, c, longest - len(p) - len(c)) for p, c in zip(prompts, completions, strict=True)]
    return {
        "input_ids": torch.tensor([p + c + [0] * rest for p, c, rest in rows]),
        "attention_mask": torch.tensor([[1] * len(p + c) + [0] * rest for p, c, rest in rows]),
        "labels": torch.tensor([[-100] * len(p) + c + [-100] * rest for p, c, rest in rows]),
    }


def options(tmp_path_factory) -> dict[str, object]:
    common = {"per_device_train_batch_size": 4, "gradient_checkpointing": False, "bf16": False, "use_cpu": True}
    return {"output_dir": str(tmp_path_factory.mktemp("trl")), "report_to": [], **common}


class RecordedSFT(Recorded, SFTModule):
    stirred = 0.05


def test_dft(peaked, peaked_adapter, tokenizer, tmp_path_factory) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    ours = RecordedSFT(
        peaked, SGD, "dft", weights="fp32", adapter=peaked_adapter, lr_scheduler=Constant, max_grad_norm=1e9,
        micro_batch_tokens=40,
    )  # fmt: skip
    metrics = fit(ours, [BATCH]).callback_metrics
    data = Dataset.from_dict({"prompt": ["a"], "completion": ["b"]})
    config = SFTConfig(loss_type="dft", **options(tmp_path_factory))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(start(peaked, peaked_adapter), config, train_dataset=data, processing_class=tokenizer)
    parameters = at(trainer.model, ours.weights[0])
    references = ours._references(BATCH)
    inputs = padded(references.prompts, references.completions)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=torch.tensor(references.tokens))
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters.values()])
    assert gradient.norm() > 1e-3
    assert metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert relative(ours.gradients[0], gradient) < 1e-5


class Unused(Reward):
    def score(self, *, completions, **_):
        raise AssertionError


REFERENCES = [[30, 31, 32, 33, 34, 35, 36], [37, 38, 39, 40], [41]]
REWARDS = torch.tensor([0.2, 0.5, 0.9, 0.6, 0.4, 0.1, 0.3, 0.3, 0.3])
"""Rewards of two rollouts and the reference of three prompts: the third prompt's are equal."""


class RecordedCPO(Recorded, GRPOModule):
    """CPO on given rollouts, references and rewards."""

    stirred = 0.05

    def training_step(self, batch, batch_idx):
        mask = torch.arange(3) < torch.tensor([3, 2, 1, 3, 2, 2]).unsqueeze(1)
        ids = torch.tensor([[20, 21, 22], [23, 24, 0], [25, 0, 0], [26, 27, 28], [29, 30, 0], [31, 32, 0]])
        self.given = Rollouts([[5, 6, 7], [8, 9], [11]], ids, mask, mask.any(1), [""] * 6, 2)
        self.metrics = self.preference_update(self.given, REWARDS, REFERENCES)


@pytest.mark.parametrize("micro_batch_tokens", [1, 10**4])
def test_cpo(base, sft_adapter, tokenizer, tmp_path_factory, micro_batch_tokens: int) -> None:
    """The first prompt prefers its reference to its first rollout, the second its first rollout to its reference."""
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    ours = RecordedCPO(
        base, SGD, 2, loss_type="cpo", beta=0.0, preference_beta=0.3, weights="fp32", adapter=sft_adapter,
        lr_scheduler=Constant, max_grad_norm=1e9, micro_batch_tokens=micro_batch_tokens,
    )  # fmt: skip
    fit(ours, [[]], [Unused()])
    prompts, preferred, rejected = [[5, 6, 7], [8, 9]], [REFERENCES[0], [25]], [[20, 21, 22], REFERENCES[1]]
    data = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    config = CPOConfig(beta=0.3, cpo_alpha=1.0, max_length=64, **options(tmp_path_factory))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = CPOTrainer(start(base, sft_adapter), config, train_dataset=data, processing_class=tokenizer)
    parameters = at(trainer.model, ours.weights[0])
    batch = {f"chosen_{name}": rows for name, rows in padded(prompts, preferred).items()}
    batch |= {f"rejected_{name}": rows for name, rows in padded(prompts, rejected).items()}
    trainer.model.train()
    loss, theirs = trainer.get_batch_loss_metrics(trainer.model, batch)
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters.values()])
    assert gradient.norm() > 1e-3
    assert ours.metrics["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert relative(ours.gradients[0], gradient) < 1e-5
    assert ours.metrics["preference_margin"].item() * 0.3 == pytest.approx(theirs["rewards/margins"], rel=1e-4)
    assert ours.metrics["preference_accuracy"].item() == pytest.approx(theirs["rewards/accuracies"])
