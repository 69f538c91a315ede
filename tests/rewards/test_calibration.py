"""Calibrated tau: a quantile of the starting policy's similarities, kept on resuming, with no effect on the run."""

import pytest
import torch

from semalign_pl.cli import main
from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.rewards import SemanticReward
from semalign_pl.rewards.calibration import Calibration

QUANTILE = {"quantile": 0.25, "samples": 12}


def reward_of(cli) -> SemanticReward:
    return next(c for c in cli.trainer.callbacks if isinstance(c, SemanticReward))


@pytest.fixture
def calibrated(runs):
    """Run GRPO with a calibrated tau."""

    def run(*flags: str, name: str = "run", steps: int = 2, cache: bool = True, **recipe):
        recipe = runs.recipe("grpo", [runs.checkpoints(name, 1)])
        semantic = recipe["trainer"]["callbacks"][0]["init_args"]
        semantic |= {"tau": dict(QUANTILE), "cache": str(runs.folder / "cache") if cache else None}
        path = runs.write(recipe, name)
        root = f"--trainer.default_root_dir={runs.folder / name}"
        return main(["fit", "--config", str(path), root, f"--trainer.max_steps={steps}", *flags])

    return run


def test_tau_is_the_quantile_of_the_policys_own_completions(calibrated, runs, encoder) -> None:
    cli = calibrated(steps=1, name="once")
    reward, module = reward_of(cli), cli.model
    # By hand: the initial policy (a fresh adapter has no effect), with one completion per drawn prompt.
    import random

    from semalign_pl.engine.generate import generate
    from semalign_pl.policy.load import load_policy

    examples = cli.datamodule.examples["train"]
    rows = sorted(random.Random(f"tau {module.seed}").sample(range(len(examples)), 12))
    policy = load_policy(module.base, "fp32", module.lora, None, torch.device("cpu"))
    prompts = [policy.encoder.encode_prompt(examples[i].prompt, 1024) for i in rows]
    texts = generate(policy, prompts, max_new_tokens=6, seed=0, **module.sampling).texts
    cosines = SentenceEncoder(encoder).similarity(texts, [examples[i].reference for i in rows]).sort().values
    assert len(set(cosines.tolist())) > 6  # otherwise the quantile would not show
    by_hand = cosines[2] + 0.75 * (cosines[3] - cosines[2])  # rank 0.25 * 11 = 2.75
    assert reward.tau == pytest.approx(float(by_hand), abs=1e-5)
    assert f"tau:{reward.tau:g}(quantile 0.25 of 12)" in reward.signature
    assert float(runs.metrics("once")[-1]["train/tau"]) == pytest.approx(reward.tau)


def test_tau_is_in_the_results_of_a_test(calibrated, runs) -> None:
    tau = reward_of(calibrated(steps=1)).tau
    evaluation = {"class_path": "semalign_pl.callbacks.Evaluation"}
    adapter = f"model.init_args.adapter={runs.folder / 'run' / 'adapter'}"
    runs("test", "sft", "tested", adapter, "model.init_args.lora=null", callbacks=[evaluation])
    trained = runs.results("tested")["run"]["trained"]
    assert (trained["stage"], trained["steps"], trained["seed"]) == ("grpo", 1, 3)
    assert any("reward:semantic|weight:1.5" in s and f"tau:{tau:g}(" in s for s in trained["signatures"])
    assert [s for s in trained["signatures"] if s.startswith("reward:language")]


def test_calibrating_changes_nothing_else(calibrated, runs) -> None:
    cli = calibrated(name="a")
    recipe = runs.recipe("grpo")
    recipe["trainer"]["callbacks"][0]["init_args"] |= {"tau": reward_of(cli).tau, "cache": None}
    path = runs.write(recipe, "b")
    main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / 'b'}", "--trainer.max_steps=2"])
    same = ("train/loss", "train/reward", "train/grad_norm")
    assert [[row[key] for key in same] for row in runs.metrics("a")] == [
        [row[key] for key in same] for row in runs.metrics("b")
    ]


def test_resuming_keeps_tau(calibrated, runs) -> None:
    whole = calibrated(steps=3, name="whole")
    calibrated(steps=1, name="part")
    checkpoint = runs.folder / "part" / "step=1.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["semalign_tau"] == reward_of(whole).tau
    saved["semalign_tau"] = 0.123  # another value, to see that the saved one is used
    torch.save(saved, checkpoint)
    resumed = calibrated(f"--ckpt_path={checkpoint}", steps=3, name="part")
    assert reward_of(resumed).tau == 0.123


@pytest.mark.parametrize(
    ("options", "message"),
    [({"quantile": 1.0}, "tau.quantile: 1.0 is no quantile"), ({"samples": 0}, "tau.samples: 0 completions")],
)
def test_what_is_no_calibration_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Calibration(**options)


def test_source_only_corpus_needs_another_anchor(runs, capsys) -> None:
    from semalign_pl.cli import run

    recipe = runs.recipe("grpo")
    recipe["data"]["init_args"]["task"] = {"class_path": "Translation", "init_args": {"source_only": True}}
    args = ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder / 'run'}"]
    assert run(args) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "SemanticReward.anchor: the corpus has no references" in error and error.endswith("the source's column: zh")
    recipe["trainer"]["callbacks"][0]["init_args"]["anchor"] = "zh"
    runs.write(recipe)
    assert run(args) == 0


def test_rows_without_an_anchor_do_not_count(calibrated, runs, monkeypatch) -> None:
    """A mix of pairs and source sentences: the similarity to nothing is no similarity of 0."""
    taus = {}
    for name in ("pairs", "mix"):
        recipe = runs.recipe("grpo")
        semantic = recipe["trainer"]["callbacks"][0]["init_args"]
        semantic |= {"tau": {"quantile": 0.0, "samples": 64}, "cache": None}
        data = recipe["data"]["init_args"]
        if name == "mix":
            task = {"class_path": "Translation", "init_args": {"source_only": True}}
            data["train"] = [data["train"], {"path": data["train"], "task": task, "name": "sources"}]
        root = f"--trainer.default_root_dir={runs.folder / name}"
        cli = main(["fit", "--config", str(runs.write(recipe, name)), root, "--trainer.max_steps=1"])
        taus[name] = reward_of(cli).tau
    assert min(taus.values()) > 0.05, "a similarity of 0 would be the minimum"
