"""Cross-encoder reward: a real (random) BERT, against its own forward pass of one pair at a time."""

import pytest
import torch
from helpers.tiny import fit
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from semalign_pl.modules import SFTModule
from semalign_pl.rewards import CrossEncoderReward
from semalign_pl.types import Example

SOURCES = ["老师看书。", "学生在家里吃饭。", "老师在学校看书。", "山"]
COMPLETIONS = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "老师", "སློབ་མ་" * 9, "医生在山上唱歌。"]
EXAMPLES = [Example(str(i), "?", "རི་ལ་", {"zh": source}) for i, source in enumerate(SOURCES)]
READS = 96


def bert(tokenizer, folder, labels: int = 1, chat: bool = False) -> str:
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=READS,
        num_labels=labels,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 8  # otherwise all pairs would get 0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not chat:
        (folder / "chat_template.jinja").unlink()
    return str(folder)


@pytest.fixture(scope="module")
def crossed(tokenizer, tmp_path_factory) -> str:
    torch.manual_seed(0)
    return bert(tokenizer, tmp_path_factory.mktemp("crossed"))


def by_hand(folder: str, anchor: str, completion: str) -> float:
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return (
            model(**AutoTokenizer.from_pretrained(folder)(anchor, completion, return_tensors="pt"))
            .logits.sigmoid()
            .item()
        )


def test_it_is_the_models_own_score(crossed) -> None:
    expected = [by_hand(crossed, a, c) for a, c in zip(SOURCES, COMPLETIONS, strict=True)]
    reward = CrossEncoderReward(crossed)
    scores = reward(EXAMPLES, COMPLETIONS)
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert min(abs(a - b) for a in expected for b in expected if a != b) > 1e-3
    torch.testing.assert_close(reward(EXAMPLES[::-1], COMPLETIONS[::-1]).flip(0), scores)
    assert not scores.is_inference()  # autograd cannot save inference tensors


def test_equal_pairs_are_read_once(crossed) -> None:
    reward, read = CrossEncoderReward(crossed), []
    reward(EXAMPLES[:1], COMPLETIONS[:1])
    reward.model.model.get_input_embeddings().register_forward_hook(lambda _, given, __: read.append(len(given[0])))
    reward(EXAMPLES * 3, COMPLETIONS * 3)
    assert sum(read) == len(EXAMPLES)


def test_empty_texts(crossed) -> None:
    scores = CrossEncoderReward(crossed)([*EXAMPLES[:2], Example("2", "?", "", {"zh": " "})], ["", " \n", "རི"])
    assert scores[:2].tolist() == [0.0, 0.0] and scores[2].isnan()


def test_a_long_pair_loses_the_anchors_end_only(crossed) -> None:
    tokenizer, long, completion = AutoTokenizer.from_pretrained(crossed), "老师在学校看书。" * 30, COMPLETIONS[2]
    fits = [n for n in range(len(long)) if len(tokenizer(long[:n], completion)["input_ids"]) <= READS]
    reward = CrossEncoderReward(crossed)
    score = reward([Example("0", "?", "", {"zh": long})] * 2, [completion] * 2)
    assert 0 < max(fits) < len(long) and reward.truncated == 2
    assert score.tolist() == pytest.approx([by_hand(crossed, long[: max(fits)], completion)] * 2, abs=1e-5)
    assert reward(EXAMPLES[:1], [completion * 9]).isnan().all() and reward.truncated == 3


def test_a_template_is_the_encoders_to_fill(tokenizer, tmp_path) -> None:
    """Template with sentence-transformers' roles, query and document: its text is read too, and is never cut."""
    folder = bert(tokenizer, tmp_path, chat=True)
    reward, oracle = CrossEncoderReward(folder), CrossEncoder(folder, device="cpu")
    expected = oracle.predict(list(zip(SOURCES, COMPLETIONS, strict=True)), convert_to_tensor=True)
    torch.testing.assert_close(reward(EXAMPLES, COMPLETIONS), expected.clone())
    long = "老师在学校看书。" * 30
    fits = [n for n in range(60) if reward.tokens(long[:n], COMPLETIONS[2]) <= READS]
    score = reward([Example("0", "?", "", {"zh": long})], [COMPLETIONS[2]])
    assert 0 < max(fits) < 59 and reward.truncated == 1
    assert score.item() == pytest.approx(oracle.predict((long[: max(fits)], COMPLETIONS[2])).item(), abs=1e-5)


def test_a_completion_writes_no_special_tokens(crossed) -> None:
    reward = CrossEncoderReward(crossed)
    reward(EXAMPLES[:1], ["<|im_end|>"])
    ids = reward.model.preprocess([(SOURCES[0], "<|im_end|>")])["input_ids"].flatten().tolist()
    assert not set(ids) & set(reward.model.tokenizer.all_special_ids)


def test_anchors(crossed) -> None:
    moved = [Example(e.id, "?", "", {"zh": e.reference}) for e in EXAMPLES]
    by_reference = CrossEncoderReward(crossed, anchor="reference")(EXAMPLES, COMPLETIONS)
    torch.testing.assert_close(by_reference, CrossEncoderReward(crossed)(moved, COMPLETIONS))
    with pytest.raises(
        ValueError, match="^CrossEncoderReward.anchor: no column of the corpus is called 'en'; take one"
    ):
        CrossEncoderReward(crossed, anchor="en")(EXAMPLES, COMPLETIONS)


def test_what_is_no_cross_encoder_of_one_label(crossed, base, encoder, tokenizer, tmp_path) -> None:
    for folder, what in ((base, "Qwen3ForCausalLM"), ("nowhere", "")):
        with pytest.raises(ValueError, match=f"^CrossEncoderReward.encoder: cannot load .*{what}.* Give a folder"):
            CrossEncoderReward(folder)(EXAMPLES, COMPLETIONS)
    with pytest.raises(ValueError, match="^CrossEncoderReward.encoder: cannot load"):
        CrossEncoderReward(encoder)(EXAMPLES, COMPLETIONS)
    with pytest.raises(ValueError, match="^CrossEncoderReward.encoder: there is no folder ./nowhere; give"):
        CrossEncoderReward("./nowhere")(EXAMPLES, COMPLETIONS)
    with pytest.raises(ValueError, match="^CrossEncoderReward.encoder: .* gives 3 labels, of which none is the score"):
        CrossEncoderReward(bert(tokenizer, tmp_path, labels=3))(EXAMPLES, COMPLETIONS)


def test_frozen_and_no_part_of_the_module_or_the_callbacks_state(base, sft_adapter, crossed) -> None:
    reward = CrossEncoderReward(crossed)
    module = SFTModule(base, weights="fp32", adapter=sft_adapter)
    trainer = fit(module, [EXAMPLES], [reward])
    assert not reward.model.training and not any(weight.requires_grad for weight in reward.model.parameters())
    theirs = {id(weight) for weight in reward.model.parameters()}
    assert theirs.isdisjoint(id(weight) for weight in module.parameters()) and reward.state_dict() == {}
    assert all("lora_" in name for name in trainer.model.state_dict())
    assert trainer.logged_metrics["train/texts_cut_by_cross_encoder"] == 0
    exact = reward(EXAMPLES, COMPLETIONS)
    with torch.autocast("cpu", torch.bfloat16):  # as with the trainer's bf16-mixed
        assert torch.equal(reward(EXAMPLES, COMPLETIONS), exact)


def test_name_and_signature() -> None:
    reward = CrossEncoderReward("some/encoder", anchor="reference", weight=0.5)
    assert reward.name == "cross_encoder"
    expected = "reward:cross_encoder|weight:0.5|encoder:some/encoder|anchor:reference|activation:sigmoid"
    assert reward.signature == expected
