"""Adapter folders that are damaged, unsafe, or belong to another base: one line each, before training starts."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bases import another_base
from helpers.tiny import CPU, stir
from peft import LoraConfig

from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.adapter_checks import check_same_base
from semalign_pl.policy.adapter_folder import CONFIG, PICKLE, WEIGHTS, AdapterFolder
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings


class Mark:
    """Action of a hostile pickle while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def configure(folder: Path, **changes: Any) -> None:
    given = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(given | changes))


def forget(folder: Path, key: str) -> None:
    given = json.loads((folder / CONFIG).read_text())
    del given[key]
    (folder / CONFIG).write_text(json.dumps(given))


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def poison(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / WEIGHTS)
    next(iter(state.values()))[0, 0] = float("nan")
    save_file(state, folder / WEIGHTS)


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / PICKLE).write_bytes(pickle.dumps(Mark(folder / "executed")))


def half_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {')


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights cut short": (lambda f: cut(f / WEIGHTS, 5000), f"{WEIGHTS} of 5000 bytes is damaged"),
    "weights cut in the header": (lambda f: cut(f / WEIGHTS, 20), f"{WEIGHTS} of 20 bytes is damaged"),
    "weights empty": (lambda f: cut(f / WEIGHTS, 0), f"{WEIGHTS} of 0 bytes is damaged"),
    "weights missing": (lambda f: (f / WEIGHTS).unlink(), f"has no {WEIGHTS}"),
    "weights not finite": (poison, "holds NaN or infinity in base_model"),
    "weights pickled": (only_pickle, "as a pickle.*never read; save them as"),
    "config cut short": (lambda f: cut(f / CONFIG, 100), f"{CONFIG}: not valid JSON"),
    "config empty": (lambda f: cut(f / CONFIG, 0), f"{CONFIG}: not valid JSON"),
    "config not UTF-8": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe{}"), f"{CONFIG}: byte 0 is not UTF-8"),
    "config a list": (lambda f: (f / CONFIG).write_text("[]"), "names no peft_type"),
    "config without peft_type": (lambda f: forget(f, "peft_type"), "names no peft_type"),
    "config of a classifier": (lambda f: configure(f, task_type="SEQ_CLS"), "task_type SEQ_CLS"),
    "config of a newer PEFT": (lambda f: configure(f, use_new=True), r"does not know \(use_new\).*upgrade peft"),
    "config with a wrong value": (lambda f: configure(f, r=0), "does not fit .*`r` should be a positive"),
    "config with a base that is no name": (
        lambda f: configure(f, base_model_name_or_path=3),
        "_or_path: 3 is",
    ),
    "config with whole modules that are no names": (lambda f: configure(f, modules_to_save=[3]), "modules_to_save: .3"),
    "config with half a pattern": (
        lambda f: configure(f, target_modules="(q_proj"),
        "is no regular expression .*subpattern",
    ),
    "tokenizer cut short": (half_a_tokenizer, "the tokenizer in .* cannot be read"),
    "prompt tuning": (lambda f: configure(f, peft_type="PROMPT_TUNING"), "of type PROMPT_TUNING"),
    "IA3": (lambda f: configure(f, peft_type="IA3"), "of type IA3"),
}


@pytest.fixture
def folder(sft_adapter, tmp_path) -> Path:
    return Path(shutil.copytree(sft_adapter, tmp_path / "adapter"))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_or_foreign_folder_is_refused_in_one_line(name: str, base, folder) -> None:
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(ValueError, match=rf"^model\.init_args\.adapter: .*{message}") as refusal:
        load_policy(base, "fp32", None, str(folder), CPU)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)
    assert not (folder / "executed").exists()


def test_settings_of_a_newer_peft_that_are_off_change_nothing(base, folder) -> None:
    configure(folder, use_new=False, new_config=None, new_list=[])
    assert load_policy(base, "fp32", None, str(folder), CPU)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj"], ".*mlp.*"])
def test_target_modules_that_contradict_the_adapter_are_refused(targets, base, sft_adapter) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.lora\.target_modules: .*leave `lora` out"):
        load_policy(base, "fp32", LoraSettings(4, 8, 0.0, targets), sft_adapter, CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": "(q_proj"}, r"target_modules: '\(q_proj' is no regular expression"),
        ({"target_modules": ["q_proj", "v_prj"]}, "PEFT cannot adapt .*no layer 'v_prj'.*change `target_modules`"),
        (
            {"target_modules": ["q_proj", "v_prj"]},
            "no layer 'v_prj'; did you mean v_proj. it has embed_tokens, q_proj, k_proj, v_proj, o_proj, ",
        ),
        ({"target_modules": ["q_porj"]}, "no layer 'q_porj'; did you mean q_proj. it has embed_tokens, q_proj"),
        ({"target_modules": ["mlp.up_prj"]}, "no layer 'mlp.up_prj'; did you mean up_proj. it has "),
        ({"target_modules": "q_porj"}, "no layer 'q_porj'; did you mean q_proj. it has "),
        ({"target_modules": "q_proj"}, r"'q_proj' is a pattern for whole paths, which none has; write \[q_proj\]"),
        ({"alpha": 0}, "alpha: 0 would leave the base as it is"),
    ],
)
def test_settings_that_would_train_less_than_they_say_are_refused(settings, message, base) -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.lora.*{message}"):
        load_policy(base, "fp32", LoraSettings(**settings), None, CPU)


def test_target_modules_said_another_way_are_the_same(base, sft_adapter) -> None:
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    for targets in (names, r".*_proj"):
        assert load_policy(base, "fp32", LoraSettings(4, 8, 0.0, targets), sft_adapter, CPU)


def test_an_adapter_of_another_base_is_refused_by_name(base, sft_adapter, tmp_path, folder) -> None:
    """Equal shapes, other weights: only the name tells them apart."""
    torch.manual_seed(5)
    other = another_base(base, tmp_path / "other")
    message = rf"^model\.init_args\.adapter: .* was made for the base {base}, not for model.init_args.base: {other}; "
    with pytest.raises(ValueError, match=message) as refusal:
        load_policy(other, "fp32", None, sft_adapter, CPU)
    assert "\n" not in str(refusal.value) and "base_model_name_or_path" in str(refusal.value)
    configure(folder, base_model_name_or_path=other)  # as the message advises
    policy = load_policy(other, "fp32", None, str(folder), CPU)
    export_adapter(policy, tmp_path / "export")
    assert json.loads((tmp_path / "export" / CONFIG).read_text())["base_model_name_or_path"] == other


@pytest.mark.parametrize("recorded", ["attacker/model", None, "gone"])
def test_the_export_names_the_base_that_was_trained_on(recorded, base, folder, tmp_path, monkeypatch) -> None:
    """Otherwise PEFT would load, and run code of, any model that the adapter named before."""
    configure(folder, base_model_name_or_path=recorded, revision="v9")
    monkeypatch.chdir(Path(base).parent)
    policy = load_policy(Path(base).name, "fp32", None, str(folder), CPU)
    export_adapter(policy, tmp_path / "export")
    exported = json.loads((tmp_path / "export" / CONFIG).read_text())
    assert exported["base_model_name_or_path"] == str(Path(base).resolve()) and exported["revision"] is None


def test_copies_of_a_base_are_the_same_base(base, sft_adapter, tmp_path, caplog) -> None:
    """A moved or re-saved folder, another precision, another spelling of the path: the next stage starts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    copied = shutil.copytree(base, tmp_path / "copied")
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(base).save_pretrained(half)
    for folder in (copied, half, Path(base) / ".." / Path(base).name):
        assert load_policy(str(folder), "fp32", None, sft_adapter, CPU)
    assert "was made for the base" not in caplog.text


@pytest.mark.parametrize(
    ("recorded", "base", "verdict"),
    [
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B", "same"),
        ("qwen/qwen3-4b", "Qwen/Qwen3-4B", "same"),
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "refused"),
        ("attacker/Qwen3-4B", "Qwen/Qwen3-4B", "refused"),
        ("gpt2", "Qwen/Qwen3-4B", "refused"),
        ("/gone/models/Qwen3-4B", "Qwen/Qwen3-4B", "same"),
        ("/gone/models/Qwen3-4B/", "Qwen/Qwen3-4B", "same"),
        ("/gone/models/base", "Qwen/Qwen3-4B", "warned"),
        ("Qwen/Qwen3-4B", "LOCAL/Qwen3-4B", "same"),
        ("Qwen/Qwen3-4B", "LOCAL/other", "warned"),
        ("", "Qwen/Qwen3-4B", "same"),
    ],
)
def test_bases_that_only_their_names_tell_apart(recorded, base, verdict, tmp_path, caplog) -> None:
    for name in ("Qwen3-4B", "other"):
        (tmp_path / name).mkdir()
    base = base.replace("LOCAL", str(tmp_path))
    saved = AdapterFolder("adapter", LoraConfig(base_model_name_or_path=recorded), {})
    if verdict == "refused":
        with pytest.raises(ValueError, match="was made for the base"):
            check_same_base(saved, base)
    else:
        with caplog.at_level(logging.WARNING):
            check_same_base(saved, base)
    assert ("cannot be compared" in caplog.text) == (verdict == "warned")


def test_a_run_that_moved_starts_its_next_stage(base, tmp_path) -> None:
    """Base and adapter in one folder, which is then renamed: the recorded path no longer exists."""
    run = tmp_path / "before"
    here = shutil.copytree(base, run / "toy" / "base")
    export_adapter(stir(load_policy(str(here), "fp32", LoraSettings(4, 8, 0.0), None, CPU), seed=1), run / "cold")
    run.rename(tmp_path / "after")
    assert load_policy(str(tmp_path / "after/toy/base"), "fp32", None, str(tmp_path / "after/cold"), CPU)
