"""Probes, rewards, metrics and scaled adapters on CUDA against the CPU."""

import json

import pytest
import torch
from helpers.tiny import CPU, relative, stir

from semalign_pl.data.tasks import Translation
from semalign_pl.policy.load import load_policy
from semalign_pl.probes import (
    DriftProbe,
    ForwardKLProbe,
    GenerationProbe,
    InstructionProbe,
    MultipleChoiceProbe,
    ReadingComprehensionProbe,
    TranslationProbe,
)
from semalign_pl.rewards import SemanticReward
from semalign_pl.types import Example

REFERENCES = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།", "老师在学校看书。", "རི"]
COMPLETIONS = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "老师", "སློབ་མ་", "医生在山上唱歌。"]
EXAMPLES = [Example(str(i), "?", reference) for i, reference in enumerate(REFERENCES)]


@pytest.mark.parametrize("name", ["drift", "reading", "forward_kl", "generation", "translation", "choices", "ifeval"])
def test_probes(name, base, sft_adapter, corpus, cuda, within, tmp_path, encoder) -> None:
    choices, asked = tmp_path / "choices.jsonl", tmp_path / "ifeval.jsonl"
    row = {"context": "老师在学校。", "question": "谁在学校？", "options": ["老师", "学生", "水"], "answer": "老师"}
    choices.write_text(json.dumps(row), encoding="utf-8")
    row = {"key": 1, "prompt": "写", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    asked.write_text(json.dumps(row), encoding="utf-8")
    make = {
        "generation": lambda: GenerationProbe(str(corpus / "dev.jsonl"), "{zh}", reference="bo", max_new_tokens=12),
        "translation": lambda: TranslationProbe(
            str(corpus / "dev.jsonl"), Translation("bo", "zh"), encoder=encoder, max_new_tokens=12
        ),
        "choices": lambda: MultipleChoiceProbe(str(choices)),
        "ifeval": lambda: InstructionProbe(str(asked), max_new_tokens=12),
        "drift": lambda: DriftProbe(str(corpus / "text.txt")),
        "reading": lambda: ReadingComprehensionProbe(str(corpus / "reading.json"), name="cmrc"),
        "forward_kl": lambda: ForwardKLProbe(str(corpus / "text.txt"), max_new_tokens=12, seed=5),
    }[name]
    measured = {}
    for device in (CPU, cuda):
        policy, probe = stir(load_policy(base, "fp32", None, sft_adapter, device), seed=2), make()
        with policy.inference():
            measured[device.type] = [probe.measure(policy) for _ in range(2)]  # the second reads what the first kept
    (there, again), (here, _) = measured["cuda"], measured["cpu"]
    assert [item.id for item in there.items] == [item.id for item in here.items]
    for key, score in here.scores.items():
        within(key, abs(there.scores[key].value - score.value), 1e-4 * max(1.0, abs(score.value)))
        within(f"{key}, again", abs(again.scores[key].value - score.value), 1e-4 * max(1.0, abs(score.value)))


def test_semantic_reward(encoder, cuda, within, tmp_path) -> None:
    from types import SimpleNamespace

    here, there = (SemanticReward(encoder, tau=-1.0, cache=str(tmp_path / name)) for name in ("cpu", "cuda"))
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=cuda))
    there.setup(trainer, None, "fit")
    assert there.encoder.device.type == cuda.type and there.encoder.half
    scores = there(EXAMPLES, COMPLETIONS)
    assert scores.dtype == torch.float32
    within("score", float((scores.cpu() - here(EXAMPLES, COMPLETIONS)).abs().max()), 1e-2)
    there.encoder.half = False
    there.encoder._model.float()
    with torch.autocast("cuda", torch.bfloat16):
        assert there(EXAMPLES, ["", " ", "", ""]).tolist() == [0.0] * 4


@pytest.mark.parametrize("scale_from", ["base", "start"])
@pytest.mark.parametrize("weights", ["fp32", "nf4"])
def test_a_scaled_adapter(base, runs, cuda, within, scale_from, weights) -> None:
    """Logits of half an update equal the CPU's, in NF4 up to the bfloat16 that CUDA computes in."""
    runs("fit", "sft", "first", "trainer.max_steps=1")
    first = f"model.init_args.adapter={runs.folder}/first/adapter"
    runs("fit", "sft", "run", "trainer.max_steps=2", first, "model.init_args.lora=null")
    adapter, ids = str(runs.folder / "run" / "adapter"), torch.tensor([[5, 9, 77, 200, 31]])
    logits = []
    for device, scale in ((cuda, 0.5), (CPU, 0.5), (cuda, 1.0)):
        policy = load_policy(base, weights, None, adapter, device, None, scale, scale_from)
        with policy.inference():
            logits.append(policy.model(input_ids=ids.to(device)).logits.float().cpu())
    within("logits", relative(logits[0], logits[1]), 1e-5 if weights == "fp32" else 3e-2)
    assert relative(logits[2], logits[0]) > 0.02
