"""SDFT and healing: loss and gradient equal those of TRL 1.16's SDFTTrainer for the same samples and weights."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from helpers.tiny import Recorded, fit, relative
from torch import Tensor

from semalign_pl.modules import Constant, DistillModule
from semalign_pl.types import Example

pytest.importorskip("trl")
TEMPLATE = "{prompt}\n例：{reference}\n答。"
PAIRS = [("老师看书。", "དགེ་རྒན་དེབ།"), ("书", "ད"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།")]
BATCH = [Example(str(i), prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]
ALPHA = {"forward_kl": 0.0, "jsd": 0.5, "reverse_kl": 1.0}


class Recording(Recorded, DistillModule):
    stirred = 0.05

    def rollouts(self, *args: Any, **options: Any):
        self.sampled = super().rollouts(*args, **options)
        return self.sampled


def trl_trainer(base: str, sft_adapter: str, tokenizer: Any, folder: str, teacher: str, alpha: float) -> Any:
    """TRL's trainer with the same base and adapter."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), sft_adapter, is_trainable=True)
    config = SDFTConfig(
        output_dir=folder, report_to=[], per_device_train_batch_size=2, num_generations=2, bf16=False, use_cpu=True,
        gradient_checkpointing=False, distillation_mode="full_logits", distillation_alpha=alpha,
        distillation_is_clip=None, temperature=0.7, teacher_model_kind=teacher,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["a", "b"], "privileged_context": ["c", "d"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SDFTTrainer(model, config, train_dataset=data, processing_class=tokenizer)


def at(model: Any, weights: dict[str, Tensor]) -> list[torch.nn.Parameter]:
    """Set TRL's adapter to our weights, and return its parameters in our order."""
    parameters = {name: p for name, p in model.named_parameters() if ".default." in name}
    ours = {name.removeprefix("model."): weight for name, weight in weights.items()}
    assert set(ours) == set(parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(ours[name])
            parameter.grad = None
    return [parameters[name] for name in ours]


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd"])
@pytest.mark.parametrize(("teacher", "theirs", "template"), [("policy", "live", TEMPLATE), ("base", "base", None)])
def test_sdft_trainer(
    base: str, sft_adapter: str, tokenizer: Any, tmp_path: Any, kind: str, teacher: Any, theirs: str, template: Any
) -> None:
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    ours = Recording(
        base, sgd, teacher, template, kind, num_generations=2, temperature=0.7, weights="fp32", adapter=sft_adapter,
        lr_scheduler=Constant, max_grad_norm=1e9, max_new_tokens=6, micro_batch_tokens=60,
    )  # fmt: skip
    metrics = fit(ours, [BATCH]).callback_metrics
    trainer = trl_trainer(base, sft_adapter, tokenizer, str(tmp_path), theirs, ALPHA[kind])
    parameters = at(trainer.model, ours.weights[0])
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # set by TRL's own loop
    lengths, loss = ours.sampled.completion_mask.sum(1).tolist(), torch.zeros(())
    for i, length in enumerate(lengths):
        prompt, example = torch.tensor([ours.sampled.prompt_ids[i // 2]]), BATCH[i // 2]
        completion, shown = ours.sampled.completion_ids[i : i + 1, :length], prompt
        if template is not None:
            message = template.replace("{prompt}", example.prompt).replace("{reference}", example.reference)
            shown = torch.tensor([ours.policy.encoder.encode_prompt(message, 1000)])
        teacher_ids = torch.cat([shown, completion], 1)
        inputs = {
            "prompt_ids": prompt, "prompt_mask": torch.ones_like(prompt), "completion_ids": completion,
            "completion_mask": torch.ones_like(completion), "teacher_input_ids": teacher_ids,
            "teacher_attention_mask": torch.ones_like(teacher_ids),
        }  # fmt: skip
        # TRL takes the mean per completion; ours is the mean over all tokens of the step.
        loss = loss + trainer.compute_loss(trainer.model, inputs) * length / sum(lengths)
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters])
    assert gradient.norm() > 1e-3
    assert metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert relative(ours.gradients[0], gradient) < 1e-5
