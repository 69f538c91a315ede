"""Every user's mistake gives exit status 2 and one line that names the key and the remedy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch  # noqa: F401  (its log handler keeps the stream of the time of import, which a test would close)
import pytest
import torch
from helpers.command_errors import error_line
from helpers.small_runs import Runs

from semalign_pl.files.documents import load_yaml
from semalign_pl.messages.errors import one_line
from semalign_pl.modules import StageModule

MODEL, DATA, CALLBACKS = "model.init_args", "data.init_args", "trainer.callbacks[0]"


def put(path: str, value: Any) -> Callable[[dict], None]:
    """Set one key of a recipe, or remove it if the value is ``...``."""

    def change(recipe: dict) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in way:
            recipe = recipe[key]
        if value is ...:
            del recipe[last]
        else:
            recipe[last] = value

    return change


def twice(recipe: dict) -> None:
    recipe["trainer"]["callbacks"].append(recipe["trainer"]["callbacks"][0])


PROBE = {"class_path": "DriftProbe", "init_args": {"file": "none.txt"}}
MISTAKES = [
    # (change to the recipe, beginning of the message, further parts of it)
    (put(f"{MODEL}.bse", "x"), f"{MODEL}.bse: there is no such key", "did you mean base?"),
    (put(f"{MODEL}.lora.rank", 8), f"{MODEL}.lora.rank: there is no such key", "it has r, alpha, dropout, target"),
    (
        put(f"{MODEL}.vocabulary", {"tokns": 8}),
        f"{MODEL}.vocabulary.tokns: there is no such key",
        "did you mean tokens?",
    ),
    (put(f"{DATA}.prepare", {"scirpt": 0}), f"{DATA}.prepare.scirpt: there is no such key", "did you mean script?"),
    (put(f"{DATA}.prepare", {"script": 3}), f"{DATA}.prepare.script is 3.0; give 0 to 1", "or null"),
    (put(f"{DATA}.prepare", {"script": "x"}), f"{DATA}.prepare.script: needs a number or null", "not 'x'"),
    (
        put(f"{DATA}.train", [{"pth": "x"}]),
        f"{DATA}.train: needs text or {{path: …}} with columns, task",
        "{'pth': 'x'}",
    ),
    (put(f"{DATA}.too_long", "cut"), f"{DATA}.too_long: cut is none of cut_prompt, drop, error", "give one"),
    (put(f"{DATA}.temperature", 0), f"{DATA}.temperature is 0.0; give 0.1 or more", ""),
    (put(f"{MODEL}.optimizer.init_args.weight_dcay", 1), f"{MODEL}.optimizer.init_args.weight_dcay", "weight_decay?"),
    (put("trainer.max_step", 3), "trainer.max_step: there is no such key", "did you mean trainer.max_steps?"),
    (put("modl", {"a": 1}), "modl", "did you mean model?"),
    (put(f"{DATA}.batchsize", 3), f"{DATA}.batchsize: there is no such key", "did you mean batch_size?"),
    (put("trainer.callbacks.0.init_args.tao", 1), f"{CALLBACKS}.init_args.tao: there is no such key", "mean tau?"),
    (put(f"{MODEL}.micro_batch_tokens", "many"), f"{MODEL}.micro_batch_tokens: needs a whole number", "not 'many'"),
    (put(f"{MODEL}.micro_batch_tokens", 0), f"{MODEL}.micro_batch_tokens: 0 is not a positive whole number", ""),
    (put(f"{DATA}.limit", "all"), f"{DATA}.limit: needs a whole number or null", "not 'all'"),
    (put("trainer.max_steps", "x"), "trainer.max_steps: needs a whole number", "not 'x'"),
    (put(f"{MODEL}.weights", "int8"), f"{MODEL}.weights: int8 is none of nf4, bf16, fp32", "give one"),
    (put("model.class_path", "GRPOModul"), "model.class_path: there is no class GRPOModul", "did you mean GRPOModule?"),
    (put("model.class_path", "a.b.C"), "model.class_path: cannot import a.b.C (No module named 'a')", "check"),
    (put("trainer.callbacks.0.class_path", "SemanticRewrd"), f"{CALLBACKS}.class_path: there is no", "SemanticReward?"),
    (put(f"{DATA}.task", "Translatio"), f"{DATA}.task: there is no class Translatio", "did you mean Translation?"),
    (put("model", ...), "model: it is required but not set", "SFTModule or GRPOModule"),
    (put(f"{MODEL}.base", ...), f"{MODEL}.base: it is required but not set", "set it in the YAML or as a flag"),
    (put("trainer.callbacks.0.init_args.encoder", ...), f"{CALLBACKS}.init_args.encoder: it is required", "set it"),
    (put(f"{DATA}.train", ...), f"{DATA}.train is not set", "name a .jsonl"),
    (put(f"{DATA}.train", "./none/x.jsonl"), "./none/x.jsonl: no such file", "paths start where you run from"),
    (put(f"{MODEL}.base", "./none/base"), f"{MODEL}.base: there is no folder ./none/base", "give an existing folder"),
    (put(f"{MODEL}.adapter", "./none/adapter"), f"{MODEL}.adapter: ./none/adapter is not an adapter folder", "give"),
    (put("trainer.callbacks.0.init_args.encoder", "./none"), "encoder: './none' is not a SentenceTransformer", "name"),
    (put("trainer.callbacks.0", PROBE), "DriftProbe.file: there is no file none.txt", "check the path"),
    (put("trainer.callbacks", []), "trainer.callbacks: GRPO needs a reward", "SemanticReward"),
    (twice, "trainer.callbacks: two rewards are named 'semantic'", "leave one out"),
    (put(f"{MODEL}.temperature", 0), f"{MODEL}.temperature: 0.0 gives K equal samples", "use e.g. 0.8"),
    (put("trainer.accumulate_grad_batches", 2), "trainer.accumulate_grad_batches: 2", f"{MODEL}.micro_batch_tokens"),
    (put("trainer.gradient_clip_val", 1.0), "trainer.gradient_clip_val: 1.0", f"set {MODEL}.max_grad_norm"),
    (put("trainer.devices", "x"), "trainer: ", "devices x"),
    (put("trainer.strategy", "fsp"), "trainer: ", "strategy fsp; change one of them"),
]


@pytest.mark.parametrize(("change", "beginning", "inside"), MISTAKES, ids=[case[1] for case in MISTAKES])
def test_recipe(runs: Runs, capfd: pytest.CaptureFixture[str], change: Callable, beginning: str, inside: str) -> None:
    recipe = runs.recipe("grpo")
    change(recipe)
    answer = error_line(
        capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}"]
    )
    assert answer.startswith(beginning) and inside in answer and len(answer) < 400


@pytest.mark.parametrize(
    ("flags", "beginning", "inside"),
    [
        (["--trainer.max_stps=2"], "--trainer.max_stps: there is no such key", "did you mean trainer.max_steps?"),
        (["--model.init_args.bse=2"], "model.init_args.bse: there is no such key", "did you mean base?"),
        (["--model.init_args.seed"], "--model.init_args.seed: the flag needs a value", "VALUE"),
        (["stray"], "stray: this argument belongs to no flag", "leave it out"),
        (["--ckpt_path=none.ckpt"], "--ckpt_path: there is no file none.ckpt", "leave it out to start afresh"),
        (["--seed_everything=abc"], "seed_everything: needs true or false or a whole number", "not 'abc'"),
    ],
)
def test_flags(runs: Runs, capfd: pytest.CaptureFixture[str], flags: list[str], beginning: str, inside: str) -> None:
    answer = error_line(capfd, ["fit", "--config", str(runs.write(runs.recipe("sft"))), *flags])
    assert answer.startswith(beginning) and inside in answer


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"model:\n  class_path: [SFT\n data: x", "is not YAML: line 3, column 6"),
        (b"model: {a: 1}\n\tb: 3", "is not YAML: line 2, column 1"),
        (b"", "is empty; give a YAML file"),
        (b"just words", "is only 'just words'; give a YAML file"),
    ],
)
def test_files(runs: Runs, capfd: pytest.CaptureFixture[str], content: bytes, answer: str) -> None:
    path = runs.folder / "recipe.yaml"
    path.write_bytes(content)
    for flag in (["--config", str(path)], [f"--config={path}"], ["-c", str(path)]):
        assert error_line(capfd, ["fit", *flag]).startswith(f"--config: {path} {answer}")


def test_no_file(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    missing = runs.folder / "none.yaml"
    assert error_line(capfd, ["fit", "--config", str(missing)]).startswith(
        f"--config: there is no file {missing}; check"
    )
    assert error_line(capfd, ["fit", "--config", str(runs.folder)]).startswith(
        f"--config: {runs.folder} is not a file; give"
    )


def test_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert error_line(capfd, ["fti"]) == "there is no command 'fti'; did you mean fit?"
    assert error_line(capfd, ["xyz"]) == "there is no command 'xyz'; see semalign --help"


def test_a_fault_keeps_its_traceback() -> None:
    """A ValueError from other code, or any other error of this package, is not a user's mistake."""
    with pytest.raises(ValueError, match="invalid literal"), one_line():
        int("x")
    with pytest.raises(AssertionError), one_line():
        raise AssertionError


def test_out_of_memory_names_the_plan_of_the_same_recipe(capfd: pytest.CaptureFixture[str]) -> None:
    with one_line(["fit", "--config", "my/a.yaml", "--model.init_args.base=x", "--resume"]) as status:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 11 GiB in total")
    [line] = capfd.readouterr().err.splitlines()
    assert status.code == 2 and line.startswith(
        "semalign: error: CUDA out of memory. Tried to allocate 2.00 GiB; lower"
    )
    assert "`semalign plan --config my/a.yaml --model.init_args.base=x --memory 12GiB` proposes settings" in line


@pytest.mark.parametrize(
    ("command", "other"),
    [("test", "model.init_args.micro_batch_tokens"), ("translate", "model.init_args.max_new_tokens in RUN/fit.yaml")],
)
def test_out_of_memory_without_training(command: str, other: str, capfd: pytest.CaptureFixture[str]) -> None:
    with one_line([command, "runs/a"]):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 11 GiB in total")
    [line] = capfd.readouterr().err.splitlines()
    assert line.endswith(f"2.00 GiB; lower data.init_args.eval_batch_size or {other}"), "no setting of a training step"


EVALUATION_KEYS = "data.init_args.eval_batch_size or model.init_args.micro_batch_tokens"
ENCODER_KEYS = "model.init_args.micro_batch or model.init_args.max_seq_length"


@pytest.mark.parametrize(
    ("stage", "hook", "keys"),
    [
        ("sft", "on_validation_start", EVALUATION_KEYS),
        ("embedder", "on_validation_start", ENCODER_KEYS),
        ("embedder", "on_train_batch_start", ENCODER_KEYS),
    ],
)
def test_out_of_memory_names_the_keys_of_the_stage_that_runs(
    runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stage: str, hook: str, keys: str
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 11 GiB in total")

    monkeypatch.setattr(StageModule, hook, fail)
    recipe = runs.recipe("sft")
    recipe["data"]["init_args"]["validation"] = recipe["data"]["init_args"]["test"]
    recipe["trainer"]["val_check_interval"] = 1
    if stage == "embedder":
        recipe["model"] = {"class_path": "EmbedderModule", "init_args": {"base": runs.encoder}}
    answer = error_line(
        capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}"]
    )
    assert answer == f"CUDA out of memory. Tried to allocate 2.00 GiB; lower {keys}"


ENCODED = "model:\n  class_path: SFTModule\n"


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (
            b"model: {a: 1}\ndata: {}\nmodel: {b: 2}\n",
            ": line 3: the key 'model' is there already, on line 1; only one",
        ),
        (b"model:\n  x: {a: 1, b: 2, a: 3}\n", ": line 2: the key 'a' is there already, on line 2; only one of them"),
        (ENCODED.encode("utf-16"), ": byte 0 is not UTF-8; save the file as UTF-8 (it is UTF-16: iconv -f UTF-16"),
        ("# für\nmodel: 1\n".encode("latin-1"), ": byte 3 is not UTF-8; save the file as UTF-8 (line 1)"),
        (bytes(range(1, 256)), ": byte 127 is not UTF-8"),
        (b"model: a\0b\n", ": is not text (it has zero bytes); check that it is the right file"),
    ],
)
def test_a_config_that_would_be_misread(runs: Runs, capfd: Any, content: bytes, answer: str) -> None:
    path = runs.folder / "recipe.yaml"
    path.write_bytes(content)
    assert error_line(capfd, ["fit", "--config", str(path)]).startswith(f"--config: {path}{answer}")


def test_utf8_with_a_byte_order_mark_is_read(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    path = runs.folder / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed_everything: 1\nlearning_rate: 3\n")
    answer = error_line(capfd, ["fit", "--config", str(path)])
    assert answer.startswith("learning_rate: there is no such key; there are seed_everything, trainer, model, data, ")
    assert answer.endswith(f"({path}, line 2)")


@pytest.mark.parametrize("text", ["a: {from: base}\nb: {from: a}\na: {from: b}\n"])
def test_a_key_twice_in_a_study(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    answer = error_line(capfd, ["study", "--config", str(tmp_path), "--out", str(tmp_path / "out")])
    assert answer.startswith(f"{tmp_path / 'study.yaml'}: line 3: the key 'a' is there already, on line 1")


@pytest.mark.parametrize("text", ["a: &x {p: 1}\nb: {<<: *x, p: 2}\n", "a: {p: 1}\nb: {p: 1}\n", "[{a: 1}, {a: 1}]"])
def test_a_key_that_is_no_second_one(text: str) -> None:
    assert load_yaml(text)


SAVED = {"save_dir": "x"}
OTHERS = {"tensorboard": ("tensorboardX",)}
"""Modules that serve as well as those of a package. With one of them, a run would begin."""
FOREIGN = [
    (put("trainer.logger", {"class_path": "TensorBoardLogger", "init_args": SAVED}), "tensorboard"),
    (put("trainer.logger", {"class_path": "MLFlowLogger", "init_args": SAVED}), "mlflow"),
    (put("trainer.logger", {"class_path": "WandbLogger"}), "wandb"),
    (put("trainer.logger", [{"class_path": "CometLogger"}]), "comet-ml"),
    (put(f"{MODEL}.optimizer", {"class_path": "torch_optimizer.Lamb"}), "torch_optimizer"),
    (put(f"{MODEL}.lr_scheduler", {"class_path": "timm.scheduler.CosineLRScheduler"}), "timm"),
]


@pytest.mark.parametrize(("change", "package"), FOREIGN)
def test_a_package_that_is_not_installed(
    runs: Runs, capfd: Any, monkeypatch: pytest.MonkeyPatch, change: Callable, package: str
) -> None:
    name = package.replace("-", "_")
    if importlib.util.find_spec(name) or importlib.util.find_spec(f"{name}X"):  # Lightning takes tensorboardX, too
        pytest.skip(f"{package} is installed here")
    monkeypatch.chdir(runs.folder)
    recipe = runs.recipe("sft")
    change(recipe)
    answer = error_line(
        capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}"]
    )
    assert f"{package} is not installed; pip install {package}" in answer


@pytest.mark.parametrize(
    ("scheduler", "answer"),
    [
        ("torch.nn.Linear", "torch.nn.Linear is no LRScheduler; give the import path of a class derived from"),
        (
            "torch.optim.lr_scheduler.CosineLR",
            "there is no class torch.optim.lr_scheduler.CosineLR; did you mean Cosine",
        ),
        (
            "transformers.get_cosine_schedule_with_warmup",
            "is a function, and keys can only be given to a class derived from",
        ),
    ],
)
def test_what_is_no_scheduler(runs: Runs, capfd: pytest.CaptureFixture[str], scheduler: str, answer: str) -> None:
    recipe = runs.recipe("sft")
    recipe["model"]["init_args"]["lr_scheduler"] = {"class_path": scheduler}
    line = error_line(capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}"])
    assert line.startswith(f"{MODEL}.lr_scheduler") and answer in line


def test_memory_that_has_run_out_is_one_line(capsys) -> None:
    """An allocation that PyTorch itself refuses, here on the CPU."""
    import torch

    with one_line() as status:
        torch.empty(2**60, dtype=torch.uint8)
    assert status.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "can't allocate memory" in line and "model.init_args.micro_batch_tokens" in line and "semalign plan" in line
    with pytest.raises(RuntimeError, match="shape"), one_line():
        torch.zeros(2).view(3)
