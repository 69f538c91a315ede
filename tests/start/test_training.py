"""Help and mistakes of the training commands, before torch is loaded."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from semalign_pl.__main__ import COMMANDS, main
from semalign_pl.start.check import refuse_mistakes
from semalign_pl.start.threads import wait_passively
from semalign_pl.start.training import help_page

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs" / "quickstart" / "cold_start.yaml")
GRPO = str(ROOT / "configs" / "quickstart" / "semantic_grpo.yaml")


def process(*args: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command; also the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "semalign_pl", *args], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_takes_less_than_a_second(command: str) -> None:
    done, seconds = process(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: semalign") and "loading" not in done.stderr
    assert seconds < 1 and max(map(len, done.stdout.splitlines())) <= 120
    assert "``" not in done.stdout, "the marks of a docstring"


MISTAKES = [
    (["--modle", "x"], "--modle: there is no such key; did you mean model?"),
    (["--trainer.max_stps=2"], "--trainer.max_stps: there is no such key; did you mean trainer.max_steps?"),
    (["stray"], "stray: this argument belongs to no flag; write it as --KEY stray, or leave it out"),
    (["--seed_everything"], "--seed_everything: the flag needs a value; write --seed_everything VALUE"),
    (["--model.init_args.bse", "x"], "model.init_args.bse: there is no such key; did you mean base?"),
    (["--model.init_args.max_new_tokens=many"], "model.init_args.max_new_tokens: needs a whole number, not 'many'"),
    (["--data.init_args.limit=all"], "data.init_args.limit: needs a whole number or null, not 'all'"),
    (["--model.init_args.weights=int8"], "model.init_args.weights: int8 is none of nf4, bf16, fp32; give one of them"),
    (
        ["--model.init_args.lora.rank=8"],
        "model.init_args.lora.rank: there is no such key; it has r, alpha, dropout, target_modules, variant, file",
    ),
    (["--model=GRPOModul"], "model.class_path: there is no class GRPOModul; did you mean GRPOModule?"),
    (["--config", "none.yaml"], "--config: there is no file none.yaml; check the path, it is relative to the working "
     "folder"),
    (["--config", "configs/quickstart"], "--config: configs/quickstart is not a file; give the YAML file in it"),
    (
        ["--config", "configs/quickstart/study.yaml"],
        "--config: configs/quickstart/study.yaml lists systems; semalign study --config configs/quickstart trains them",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "message"), MISTAKES, ids=[message.split(":")[0] for _, message in MISTAKES])
def test_a_mistake_is_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["fit", "--config", RECIPE, *flags]) == 2
    assert capsys.readouterr().err.startswith(f"semalign: error: {message}")


def test_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert capsys.readouterr().err.startswith(
        "semalign: error: model: it is required but not set; set model.class_path"
    )


def test_a_mistake_takes_less_than_a_second() -> None:
    for command in ("fit", "plan", "reward-check"):
        done, seconds = process(command, "--config", RECIPE, "--model.init_args.bse", "x")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and seconds < 1


RECIPES = [
    path
    for path in sorted((ROOT / "configs").rglob("*.yaml"))
    if path.name
    not in (
        "study.yaml",
        "rubric.yaml",
        "validation.yaml",
        "probes.yaml",
        "published.yaml",
        "chrf_reward.yaml",
        "ebft.yaml",
    )
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_no_recipe_is_refused(path: Path) -> None:
    refuse_mistakes("fit", ["--config", str(path)])


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.callbacks+=KeepSteps", "--trainer.callbacks.every_n_steps=5"],
        ["--model.optimizer=torch.optim.SGD", "--model.init_args.optimizer.init_args.lr", "-1e-3"],
        ["--data.init_args.train+=x.jsonl", "--data.batch_size", "4"],
        ["--model.init_args.lora", "null", "--model.init_args.max_new_tokens", "1_000"],
        ["--model.init_args.lora.r=4", "--model.init_args.lora.alpha=8"],
        ["--config", GRPO, "--model.init_args.beta=0"],
        ["--model", "my.own.Module", "--model.init_args.anything=1"],
        ["--data.init_args.task.class_path=Headline", "--print_config"],
        ["--resume", "--seed_everything", "3", "--ckpt_path=null"],
    ],
    ids=lambda flags: flags[0],
)
def test_what_may_be_right_is_left_to_the_parser(flags: list[str]) -> None:
    refuse_mistakes("fit", ["--config", RECIPE, *flags])


@pytest.mark.parametrize(("name", "reason"), [("every_n_steps", ""), ("every", "init_args.every: .*every_n_steps")])
def test_a_second_recipe_may_append_callbacks(tmp_path: Path, name: str, reason: str) -> None:
    """As the docs say; the arguments of these callbacks are checked, too."""
    more = tmp_path / "more.yaml"
    more.write_text(
        f"trainer:\n  callbacks+:\n    - {{class_path: KeepSteps, init_args: {{{name}: 5}}}}\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=reason) if reason else contextlib.nullcontext():
        refuse_mistakes("fit", ["--config", RECIPE, "--config", str(more)])


def test_model_and_data_come_first_and_the_trainer_last() -> None:
    page = help_page("fit", ["--help"])
    assert page is not None
    places = [
        page.index(word)
        for word in ("SFTModule", "max_new_tokens  "[:14], "CorpusDataModule", "\ntrainer:", "--resume")
    ]
    assert places == sorted(places)
    assert "Maximum number of tokens per completion, in training and generation." in page
    assert len(page.splitlines()) < 180


def test_the_page_of_a_recipe_has_its_values() -> None:
    page = help_page("fit", ["--config", GRPO, "--help"])
    assert page is not None
    assert "model: GRPOModule: Sample a group of completions" in page and "trainer.callbacks[0]: SemanticReward" in page
    assert "num_generations whole number (default: 8; recipe: " in page


def test_the_page_of_a_recipe_with_an_overlay_has_the_values_of_both() -> None:
    card = str(ROOT / "configs" / "cards" / "qwen3-0.6b-12gb" / "grpo.yaml")
    page = help_page("fit", ["--config", GRPO, "--config", card, "--help"])
    assert page is not None and "model: GRPOModule: " in page and "trainer.callbacks[0]: SemanticReward" in page
    assert "recipe: Qwen/Qwen3-0.6B)" in page and "num_generations whole number (default: 8; recipe: " in page
    other = help_page("fit", ["--config", GRPO, "--config", RECIPE, "--help"])
    assert other is not None and "model: SFTModule: " in other and "num_generations" not in other


@pytest.mark.parametrize(
    ("name", "place"),
    {
        "GRPOModule": "model.init_args",
        "semalign_pl.modules.sft.SFTModule": "model.init_args",
        "LoraSettings": "model.init_args.lora",
        "ServerRollouts": "model.init_args.rollouts.init_args",
        "SemanticReward": "trainer.callbacks[N].init_args",
        "KeepSteps": "trainer.callbacks[N].init_args",
        "CorpusDataModule": "data.init_args",
        "Translation": "data.init_args.task.init_args",
        "Preparation": "data.init_args.prepare",
    }.items(),
)
def test_the_page_of_a_class(name: str, place: str) -> None:
    for flags in (["--model.help", name], [f"--model.help={name}"]):
        page = help_page("fit", flags)
        assert page is not None and page.startswith(f"{name.split('.')[-1]}: ") and f"keys ({place}.KEY)" in page
    assert help_page("fit", ["--model.help", "torch.optim.AdamW"]) is None  # the parser imports it


def test_one_line_before_torch_is_loaded_and_threads_that_wait_passively(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, sys; from semalign_pl.__main__ import main; sys.argv = ['semalign', 'env']; main();"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "PASSIVE"
    assert done.stderr == "semalign env: loading PyTorch, which takes some seconds\n"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # what a user chose stays
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ
