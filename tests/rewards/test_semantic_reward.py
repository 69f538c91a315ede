"""Semantic reward on a real (random) encoder: a table by hand, order, empty texts, gradients, checkpoints."""

from dataclasses import replace

import pytest
import torch
from helpers.tiny import fit
from sentence_transformers import SentenceTransformer
from torch import Tensor

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.metrics import SemanticSimilarity
from semalign_pl.modules import SFTModule
from semalign_pl.rewards import SemanticReward
from semalign_pl.types import Example

REFERENCES = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།", "老师在学校看书。", "རི"]
COMPLETIONS = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "老师", "སློབ་མ་", "医生在山上唱歌。"]
EXAMPLES = [Example(str(i), "?", reference) for i, reference in enumerate(REFERENCES)]


@pytest.fixture(scope="module")
def cosines(encoder) -> list[float]:
    """Computed with sentence-transformers only, one text at a time."""
    oracle = SentenceTransformer(encoder, device="cpu")

    def unit(text: str) -> Tensor:
        vector = torch.tensor(oracle.encode(text))
        return vector / vector.norm()

    values = [float(unit(a) @ unit(b)) for a, b in zip(COMPLETIONS, REFERENCES, strict=True)]
    assert values[0] == pytest.approx(1.0) and min(abs(a - b) for a in values for b in values if a != b) > 1e-4
    return values


def test_table_by_hand(encoder, cosines) -> None:
    tau = (sorted(cosines)[0] + sorted(cosines)[1]) / 2  # one pair is below the threshold
    scores = SemanticReward(encoder, tau=tau)(EXAMPLES, COMPLETIONS)
    expected = [(s - tau) / (1 - tau) if s > tau else 0.0 for s in cosines]
    assert sum(value == 0 for value in expected) == 1
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)


def test_order_is_kept_whatever_the_lengths(encoder) -> None:
    reward = SemanticReward(encoder, tau=-1.0)
    forward, backward = reward(EXAMPLES, COMPLETIONS), reward(EXAMPLES[::-1], COMPLETIONS[::-1])
    torch.testing.assert_close(forward.flip(0), backward)
    torch.testing.assert_close(forward[2:3], reward(EXAMPLES[2:3], COMPLETIONS[2:3]))


def test_empty_text_is_zero(encoder) -> None:
    assert SemanticReward(encoder)(EXAMPLES, ["", " \n", COMPLETIONS[2], ""]).tolist()[:2] == [0.0, 0.0]


def test_a_row_without_an_anchor_is_not_scored(encoder) -> None:
    rows = [Example("0", "?", "", {"zh": "山"}), Example("1", "?", " ", {"zh": "山"}), EXAMPLES[2]]
    texts = ["རི", "", COMPLETIONS[2]]
    assert SemanticReward(encoder)(rows, texts).isnan().tolist() == [True, True, False]
    assert not SemanticReward(encoder, anchor="zh")(rows[:1], texts[:1]).isnan().any()
    assert SemanticReward(encoder, anchor={"reference": 1, "zh": 1})(rows[:1], texts[:1]).isnan().all()


def test_empty_text_is_zero_under_a_negative_threshold_too(encoder) -> None:
    assert SemanticReward(encoder, tau=-1.0)(EXAMPLES, ["", " ", "", ""]).tolist() == [0.0] * 4


def test_anchors(encoder) -> None:
    sources = ["老师看书。", "学生吃饭。", "老师在学校看书。", "山"]
    examples = [Example(e.id, e.prompt, e.reference, {"zh": zh}) for e, zh in zip(EXAMPLES, sources, strict=True)]
    by_source = [Example(e.id, e.prompt, e.columns["zh"]) for e in examples]
    reference = SemanticReward(encoder, tau=-1.0)(examples, COMPLETIONS)
    source = SemanticReward(encoder, tau=-1.0, anchor="zh")(examples, COMPLETIONS)
    torch.testing.assert_close(source, SemanticReward(encoder, tau=-1.0)(by_source, COMPLETIONS))
    mixed = SemanticReward(encoder, tau=-1.0, anchor={"reference": 1, "zh": 3})
    torch.testing.assert_close(mixed(examples, COMPLETIONS), (reference + 3 * source) / 4)  # rescaling is linear here
    assert mixed.signature.endswith("|anchor:reference+3*zh")
    with pytest.raises(ValueError, match="anchor: no column of the corpus is called 'en'; take one of reference, zh"):
        SemanticReward(encoder, anchor="en")(examples, COMPLETIONS)
    for mix in ({}, {"zh": 0.0}, {"zh": 1.0, "reference": -1.0}):
        with pytest.raises(ValueError, match="SemanticReward.anchor: .* is no mix"):
            SemanticReward(encoder, anchor=mix)


def test_no_gradient_and_float32_on_the_cpu(encoder) -> None:
    reward = SemanticReward(encoder)
    with torch.enable_grad():
        scores = reward(EXAMPLES, COMPLETIONS)
    assert not scores.requires_grad and scores.dtype == torch.float32 and scores.device.type == "cpu"
    model = reward.encoder._model
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("anchor", ["reference", {"reference": 1, "zh": 3}])
def test_scores_do_not_depend_on_the_trainers_precision(encoder, anchor) -> None:
    examples = [replace(example, columns={"zh": "老师看书。"}) for example in EXAMPLES]
    reward = SemanticReward(encoder, tau=-1.0, anchor=anchor)
    exact = reward(examples, COMPLETIONS)
    with torch.autocast("cpu", torch.bfloat16):  # as in a training step with bf16-mixed
        assert torch.equal(reward(examples, COMPLETIONS), exact)
    torch.testing.assert_close(2 * exact - 1, reward.cosines(examples, COMPLETIONS))  # what tau is calibrated on


def test_the_encoder_is_no_part_of_the_module_or_the_callbacks_state(base, sft_adapter, encoder) -> None:
    reward = SemanticReward(encoder)
    module = SFTModule(base, weights="fp32", adapter=sft_adapter)
    trainer = fit(module, [EXAMPLES], [reward])
    assert reward.encoder is not None and reward.state_dict() == {}
    theirs = {id(weight) for weight in reward.encoder._model.parameters()}
    assert theirs.isdisjoint(id(weight) for weight in module.parameters())
    assert all("lora_" in name for name in trainer.model.state_dict())


def test_loaded_for_training_only(encoder) -> None:
    reward = SemanticReward(encoder)
    for stage in ("validate", "test", "predict"):
        reward.setup(None, None, stage)
        assert reward.encoder is None


def test_signature_names_every_option(encoder) -> None:
    expected = f"reward:semantic|weight:1.5|encoder:{encoder}|tau:0.25|anchor:reference"
    reward = SemanticReward(encoder, tau=0.25)
    assert reward.signature == expected
    reward.encoder = SentenceEncoder(encoder)
    named = reward.signature.split("encoder:")[1].split("|")[0]
    assert named == f"{encoder}@{reward.encoder.digest}"
    assert SemanticSimilarity(reward.encoder).signature.split("encoder:")[1].split("|")[0].endswith(f"@{named[-8:]}")
    assert SemanticReward(encoder, weight=3.0).weight == 3.0


@pytest.mark.parametrize("tau", [1.0, -1.5])
def test_a_threshold_outside_the_range_is_refused_before_loading(tau: float) -> None:
    with pytest.raises(ValueError, match="^tau: "):
        SemanticReward("nowhere/nothing", tau=tau)
