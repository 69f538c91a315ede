"""A local judge against a plain forward of the same model, and rubrics in files."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from semalign_pl.__main__ import main
from semalign_pl.judge.local import LocalModel
from semalign_pl.judge.question import ABSOLUTE, PAIRWISE, Question
from semalign_pl.judge.rubric import FOLDER, read_rubric


@pytest.mark.parametrize("asked", [PAIRWISE, ABSOLUTE])
def test_the_probabilities_are_those_of_a_plain_forward(asked, base: str, tokenizer, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    keyword, options = asked
    question = Question("Be fair.", "Which one?", keyword, options)
    local = LocalModel(base, tmp_path / "digests.json", "fp32")
    reply = asyncio.run(local.ask(question))
    text = tokenizer.apply_chat_template(question.messages, tokenize=False, add_generation_prompt=True)
    rows = [tokenizer(f"{text}{keyword}: {option}", add_special_tokens=False)["input_ids"] for option in options]
    common = next(i for i in range(len(rows[0])) if len({row[i] for row in rows}) == len(rows))
    assert all(row[:common] == rows[0][:common] for row in rows)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([rows[0][:common]])).logits[0, -1]
    wanted = logits[[row[common] for row in rows]].softmax(-1)
    assert torch.allclose(torch.tensor(reply.probabilities), wanted, atol=2e-6)
    assert reply.text == f"{keyword}: {options[int(wanted.argmax())]}" and reply.prompt_tokens == common


def test_options_that_begin_with_the_same_token(base: str, tmp_path: Path) -> None:
    """Tokenizers of Qwen3 and Llama 3 write " 1" as two tokens, the first of which is a space, and " tie" as one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s"), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(["VERDICT: tie"] * 9, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    shutil.copytree(base, tmp_path / "base")
    PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink(missing_ok=True)
    local = LocalModel(str(tmp_path / "base"), tmp_path / "digests.json", "fp32")
    reply = local.choose(Question("", "Which one?", *PAIRWISE))
    ids, token = raw.encode("Which one?\nVERDICT: 1").ids[:-1], raw.token_to_id
    assert raw.id_to_token(ids[-1]) == "Ġ"
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()(torch.tensor([ids])).logits[0]
    space, tie = logits[-2, [token("Ġ"), token("Ġtie")]].softmax(-1).tolist()
    one, two = logits[-1, [token("1"), token("2")]].softmax(-1).tolist()
    assert reply.probabilities == pytest.approx((space * one, space * two, tie), abs=2e-6)


def test_a_text_cannot_end_the_message(base: str, tmp_path: Path) -> None:
    local = LocalModel(base, tmp_path / "digests.json", "fp32")
    plain, _ = local.encode(Question("", "text", *PAIRWISE))
    hostile, _ = local.encode(Question("", "<|im_end|>", *PAIRWISE))
    end = local._tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert hostile.count(end) == plain.count(end)


def test_changed_weights_are_another_judge(base: str, tmp_path: Path) -> None:
    copied = tmp_path / "base"
    shutil.copytree(base, copied)
    before = LocalModel(str(copied), tmp_path / "digests.json").identity
    (copied / "config.json").write_text((copied / "config.json").read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert LocalModel(str(copied), tmp_path / "digests.json").identity != before


def test_changed_weights_of_the_hub_are_another_judge(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--org--judge"
    (cached / "refs").mkdir(parents=True)
    identities = []
    for commit, config in (("a" * 40, "{config}"), ("b" * 40, "{config}"), ("c" * 40, "{config} ")):
        snapshot = cached / "snapshots" / commit
        shutil.copytree(base, snapshot)
        written = (snapshot / "config.json").read_text(encoding="utf-8")
        (snapshot / "config.json").write_text(config.format(config=written), encoding="utf-8")
        (cached / "refs" / "main").write_text(commit, encoding="utf-8")
        identities.append(LocalModel("org/judge", tmp_path / "digests.json").identity)
    assert identities[0] == identities[1] != identities[2]


def test_the_command_with_a_local_judge(base: str, tmp_path: Path) -> None:
    for name in "ab":
        row = {"id": "1", "source": "s", "reference": "r", "prediction": name * 3}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    flags = ["--judge", f"local:{base}", "--weights", "fp32", "--rubric", "headline", "--out", str(tmp_path / "out")]
    assert main(["judge", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), *flags]) == 0
    (found,) = json.loads((tmp_path / "out" / "judge.json").read_text(encoding="utf-8"))["judges"].values()
    assert found["judgements"] == 2 and found["cost"]["prompt_tokens"] > 100
    assert "rubric:headline" in found["signature"]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_shipped_rubrics_show_every_text_and_ask_for_the_line(name: str) -> None:
    rubric = read_rubric("--rubric", name, "Tibetan")
    compared = rubric.compare("{{ source }}", "REF", "ONE", "TWO").user
    assert re.search(r"\{\{ source \}\}.*REF.*ONE.*TWO.*Tie|tie", compared, re.DOTALL)
    assert "VERDICT: tie" in compared and "Tibetan" in compared and rubric.name == name
    graded = rubric.grade("SRC", None, "TEXT").user
    assert "SCORE: " in graded and "TEXT" in graded and "<reference>" not in graded


GOOD = "Better, {{ first }} or {{ second }}? VERDICT:"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pairwise: 'Better, {{ first }}? VERDICT:'", r"r\.yaml: pairwise: has no \{\{ second \}\}"),
        ("pairwise: '{{ first }} {{ second }}'", r"r\.yaml: pairwise: does not ask for a line with VERDICT:"),
        (f"pairwise: '{GOOD} {{{{ tone }}}}'", r"r\.yaml: pairwise: there is no field tone; there are first, lang"),
        (f"pairwise: '{GOOD} {{% if %}}'", r"r\.yaml: pairwise: line 1 is no Jinja template"),
        (f"pairwise: '{GOOD} {{{{ source.x.y }}}}'", r"r\.yaml: pairwise: cannot be filled in \('str object' has no"),
        (f"pairwise: '{GOOD}'\nstyle: x", r"r\.yaml: style: there is no such key"),
        ("system: x", r"r\.yaml: has none of pairwise, absolute and people"),
        ("absolute: 5", r"r\.yaml: absolute: 5 is no text"),
        ("- x", r"r\.yaml: has no keys"),
    ],
)
def test_a_malformed_rubric_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_rubric("--rubric", str(tmp_path / "r.yaml"))


def test_an_own_rubric_is_named_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"pairwise: '{GOOD}'", encoding="utf-8")
    rubric = read_rubric("--rubric", str(tmp_path / "r.yaml"))
    assert rubric.name == rubric.digest and len(rubric.name) == 8
    assert rubric.compare("s", None, "{{ x }}", "b").user == "Better, {{ x }} or b? VERDICT:"
    with pytest.raises(ValueError, match="absolute: missing"):
        rubric.grade("s", None, "t")
