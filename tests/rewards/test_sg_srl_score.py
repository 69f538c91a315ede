"""SG-SRL's complete score from its four rewards, against a table computed by hand."""

import math

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from semalign_pl.functional.composition import total_reward
from semalign_pl.rewards import LanguageReward, LengthReward, RepetitionReward, RerankerReward
from semalign_pl.types import Example

PLAIN = "ཀ་ཁ་ག་ང་ཅ་"  # 10 characters, the median of the batch
TABLE = [  # completion, p_len, p_rep, gate
    (PLAIN, 0.0, 0.0, 1),
    (PLAIN + "ཆ་ཇ་ཉ་ཏ་ཐ་ད་ན་པ་ཕ་བ་མ་ཙ་ཚ་ཛ་ཝ་", 0.6, 0.0, 1),  # 4 medians: (4 - 2.5) / 2.5
    ("ཀ་" * 5, 0.0, 0.5, 1),  # 2 4-grams, 1 distinct
    ("ཀ་" * 30, 1.0, 26 / 27, 1),  # 6 medians; 27 4-grams, 1 distinct
    ("老师在学校看书学生唱", 0.0, 0.0, 0),
    (PLAIN[:-1] + "书", 0.0, 0.0, 0),  # one character of the source's script
    ("", 0.0, 0.0, 0),
]


def judge_that_says(r: float, tokenizer, folder) -> str:
    """Judge whose layers add nothing, so that its answer depends only on the last token of the template."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3Config(
        vocab_size=len(tokenizer), head_dim=8, intermediate_size=16, tie_word_embeddings=False, **sizes
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for linear in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj, model.lm_head):
            linear.weight.zero_()
        state = model.model(input_ids=torch.tensor([tokenizer("\n")["input_ids"]])).last_hidden_state[0, -1]
        model.lm_head.weight[tokenizer.convert_tokens_to_ids("y")] = (
            math.log(r / (1 - r)) * state / state.square().sum()
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("r", "expected"),
    [
        (0.8, [0.8, 0.68, 0.775, 0.6 - 0.05 * 26 / 27, 0.0, 0.0, 0.0]),
        (0.1, [0.1, 0.0, 0.075, 0.0, 0.0, 0.0, 0.0]),  # 0.1 - 0.12 becomes 0
    ],
)
def test_by_hand(r: float, expected: list[float], tokenizer, tmp_path) -> None:
    judge = judge_that_says(r, tokenizer, tmp_path)
    rewards = [
        RerankerReward(judge, weights="fp32", yes="y", no="n"),
        LengthReward(),
        RepetitionReward(),
        LanguageReward(gate=True, source="zh"),
    ]
    completions = [row[0] for row in TABLE]
    examples = [Example("0", "?", "", {"zh": "老师在学校看书。"})] * len(TABLE)
    parts = torch.stack([reward(examples, completions) for reward in rewards])
    _, p_len, p_rep, gate = (torch.tensor(column) for column in ([], *list(zip(*TABLE, strict=True))[1:]))
    written = torch.tensor([float(bool(text)) for text in completions])
    torch.testing.assert_close(parts, torch.stack([r * written, -p_len, -p_rep, gate.float()]))
    total = total_reward(parts, [reward.weight for reward in rewards], [reward.gate for reward in rewards])
    torch.testing.assert_close(total, torch.tensor(expected))
