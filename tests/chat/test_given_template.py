"""``model.init_args.chat_template``: prompts of training, test and later use are those of transformers with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.pairs import CHAT
from helpers.small_runs import Runs
from transformers import AutoTokenizer

from semalign_pl.__main__ import main
from semalign_pl.inference.loaded_run import RunRecipe
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.run.finished import FinishedRun

OPTION = r"^model\.init_args\.chat_template: "
HEAD = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}<|endoftext|>\n{% endfor %}"
TEMPLATE = HEAD + "{% if add_generation_prompt %}[assistant]\n{% endif %}"
BARE = "{{ messages[-1].content }}\n\n"  # Jinja drops one line break


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "the template raises .*; mend it"),
        ("{% for m in messages if m.role == 'human' %}{{ m.content }}{% endfor %}>", "the template leaves the user's"),
        (HEAD, r"the template has no generation prompt, .*\{\{ '\[assistant\]\\n' \}\}\{% endif %\}$"),
        ("nowhere.jinja", "'nowhere.jinja' is no file, and as a template it has no {{ }}; give a .jinja file, or the"),
        ("empty.jinja", "empty.jinja is empty; write the template into it"),
        ("latin.jinja", "'latin.jinja' is not UTF-8; give a .jinja file, or the template's text"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(base, template: str, message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jinja").touch()
    Path("latin.jinja").write_bytes(b"\xe9{{ messages }}")
    with pytest.raises(ValueError, match=OPTION + message) as refusal:
        load_prompt_encoder(base, chat_template=template)
    assert "\n" not in str(refusal.value)


def test_the_remedy_of_a_missing_generation_prompt_works_and_a_bare_template_needs_none(base) -> None:
    with pytest.raises(ValueError) as refusal:
        load_prompt_encoder(base, chat_template=HEAD)
    mended = HEAD + str(refusal.value).partition("end it in ")[2]
    assert load_prompt_encoder(base, chat_template=mended).chat.text("x") == "[user]\nx<|endoftext|>\n[assistant]\n"
    assert load_prompt_encoder(base, chat_template=BARE).chat.text("x") == "x\n"


def test_training_and_all_later_use_have_the_runs_template(runs: Runs, base, monkeypatch) -> None:
    monkeypatch.chdir(runs.folder)
    file, run = runs.folder / "own.jinja", runs.folder / "run"
    file.write_text(TEMPLATE, encoding="utf-8")
    given, keeps = "model.init_args.chat_template=", runs.checkpoints("kept", 1)
    trained = runs("fit", "sft", "run", f"{given}own.jinja", "trainer.max_steps=1", callbacks=[keeps])

    plain: Any = AutoTokenizer.from_pretrained(base)

    def rendered(text: str) -> list[int]:
        turns = [{"role": "user", "content": text}]
        options = {"chat_template": TEMPLATE, "add_generation_prompt": True, "return_dict": False}
        return plain.apply_chat_template(turns, **options)

    examples = list(trained.datamodule.load_examples("train"))
    assert [list(e.prompt_ids) for e in examples] == [rendered(e.prompt) for e in examples]
    # An answer ends in the token that this template writes after it, also while completions are generated.
    end = plain.convert_tokens_to_ids("<|endoftext|>")
    assert {e.completion_ids[-1] for e in examples} == {end} and trained.model.policy.eos_ids[0] == end

    # Other content of the same file, or another template, is not the run's.
    adapter = f"model.init_args.adapter={run / 'adapter'}"
    scores = {"class_path": "Evaluation", "init_args": {"language": "bo"}}
    file.write_text(CHAT, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^--ckpt_path: the run began with another chat template"):
        runs("fit", "sft", "again", f"{given}own.jinja", f"ckpt_path={runs.folder}/kept/step=1.ckpt")
    with pytest.raises(ValueError, match=OPTION + ".*run/adapter was trained with another chat template; leave"):
        load_prompt_encoder(base, str(run / "adapter"), chat_template="own.jinja")

    # Without the file, commands that use the run read the template of its adapter.
    file.unlink()
    tested = runs("test", "sft", "tested", adapter, given + TEMPLATE, callbacks=[scores])
    assert tested.model.policy.encoder.encode_prompt("x", 99) == rendered("x")
    loaded = RunRecipe.of(FinishedRun.of(run)).load()
    assert loaded.policy.encoder.encode_prompt("x", 99) == rendered("x")
    assert main(["export", str(run), "--merge"]) == 0
    merged: Any = AutoTokenizer.from_pretrained(run / "export" / "model")
    turns = [{"role": "user", "content": "x"}]
    assert merged.apply_chat_template(turns, add_generation_prompt=True, return_dict=False) == rendered("x")
