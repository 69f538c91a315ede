"""Score of a checkpoint at prices: a real small fit, its best adapter, resuming, mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.callbacks import FrontierScore
from semalign_pl.cli import main, run

PRICES = {"kl_mean": 500.0, "cmrc_f1": 0.5}


@pytest.fixture
def scored(runs: Runs):
    """Command line of an SFT with validation at every second step, and a checkpoint at each of them."""

    def args(
        name: str, *flags: str, steps: int = 6, evaluation: int = 0, validated: bool = True, **options
    ) -> list[str]:
        score = {"class_path": "FrontierScore", "init_args": {"prices": PRICES, **options}}
        drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt"), "every_n_steps": 2}}
        reading = {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(runs.corpus / "reading.json")}}
        init = {"monitor": "frontier/score", "mode": "max", "save_top_k": -1, "filename": "{step}"}
        init |= {"dirpath": str(runs.folder / name), "save_on_train_epoch_end": False}
        kept = {"class_path": "ModelCheckpoint", "init_args": init}
        callbacks = [score, drift, reading, kept]
        callbacks.insert(evaluation, {"class_path": "Evaluation"})
        recipe = runs.recipe("sft", callbacks)
        recipe["model"]["init_args"]["max_new_tokens"] = 40
        if validated:
            recipe["data"]["init_args"]["validation"] = str(runs.corpus / "dev.jsonl")
        root = f"--trainer.default_root_dir={runs.folder / name}"
        settings = [f"--trainer.max_steps={steps}", "--trainer.val_check_interval=2"]
        return ["fit", "--config", str(runs.write(recipe, name)), root, *settings, *flags]

    return args


def column(runs: Runs, name: str, key: str) -> dict[int, float]:
    return {int(row["step"]) + 1: float(row[key]) for row in runs.metrics(name) if row.get(key)}


def test_score_and_the_best_adapter(scored, runs: Runs) -> None:
    cli = main(scored("run"))
    score, quality = column(runs, "run", "frontier/score"), column(runs, "run", "val/chrf")
    kl = column(runs, "run", "probe/kl_mean")
    assert list(score) == [2, 4, 6] == list(kl)
    # The tiny base answers no question, so F1 is 0 throughout; KL is 0 at the start.
    wanted = {step: quality[step] - quality[2] - 500 * kl[step] for step in score}
    assert score == pytest.approx(wanted, rel=1e-4, abs=1e-4) and len(set(score.values())) == 3
    best = max(score, key=lambda step: score[step])
    assert best != 6, "or the best and the last are the same"
    trained = json.loads((runs.folder / "run/best/adapter/training.json").read_text(encoding="utf-8"))
    assert trained["steps"] == best and trained["score"] == pytest.approx(score[best], rel=1e-5)
    own = json.loads((runs.folder / "run/adapter/training.json").read_text(encoding="utf-8"))
    differ = {"steps", "checkpoint", "score", "finished", "probe_time_share"}
    assert {key: trained[key] for key in own if key not in differ} == {k: own[k] for k in own if k not in differ}
    assert trained["started_from"] is None and trained["signatures"] == own["signatures"]
    file = next((runs.folder / "run").glob(f"step={best}*.ckpt"))
    assert_same(weights(runs.folder / "run/best"), plain(torch.load(file, weights_only=True)["state_dict"]))
    # The run's own result is still that of the last step.
    last = next((runs.folder / "run").glob("step=6*.ckpt"))
    assert_same(weights(runs.folder / "run"), plain(torch.load(last, weights_only=True)["state_dict"]))
    assert_same(plain(cli.model.state_dict()), weights(runs.folder / "run"))


def plain(state: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(state.items()))


def test_training_is_not_changed(scored, runs: Runs) -> None:
    main(scored("with"))
    plainly = runs.recipe("sft", [])
    plainly["model"]["init_args"]["max_new_tokens"] = 40
    root = f"--trainer.default_root_dir={runs.folder / 'without'}"
    main(["fit", "--config", str(runs.write(plainly, "plainly")), root, "--trainer.max_steps=6"])
    assert_same(weights(runs.folder / "with"), weights(runs.folder / "without"))


def test_resumed_equals_uninterrupted(scored, runs: Runs) -> None:
    """Lightning keeps the scores of earlier checkpoints only if the run goes on in its own folder."""

    def outcome() -> tuple[float, dict[str, Any], dict[str, Any]]:
        trained = json.loads((runs.folder / "run/best/adapter/training.json").read_text(encoding="utf-8"))
        return column(runs, "run", "frontier/score")[6], weights(runs.folder / "run/best"), trained

    main(scored("run"))
    score, adapter, trained = outcome()
    assert trained["steps"] == 2, "or the best checkpoint is not from before the resume"
    shutil.rmtree(runs.folder / "run/best")
    main(scored("run", f"--ckpt_path={next((runs.folder / 'run').glob('step=4*.ckpt'))}"))
    again = outcome()
    assert again[0] == score and again[2]["steps"] == 2 and again[2]["score"] == trained["score"]
    assert_same(again[1], adapter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prices": {}}, "FrontierScore.prices: is empty"),
        ({"prices": {"cmrc_f1": -1.0}}, "FrontierScore.prices: cmrc_f1: -1.0 is not above 0"),
        ({"prices": {"cmrc_f2": 1.0}}, "FrontierScore.prices: nothing measures 'cmrc_f2' (there is nll_change_mean,"),
        ({"quality": "chrff"}, "FrontierScore.quality: the validation does not log 'val/chrff' (there is val/bleu4"),
        ({"evaluation": 1}, "list Evaluation before FrontierScore"),
        ({"validated": False}, "'frontier/score' is logged in validation"),
    ],
)
def test_mistakes_are_one_line(scored, capsys: pytest.CaptureFixture[str], options: dict, message: str) -> None:
    assert run(scored("run", steps=2, **options)) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_checkpoint_of_other_prices_is_refused() -> None:
    score = FrontierScore({"kl_mean": 1.0})
    with pytest.raises(ValueError, match="scored chrf, cmrc_f1, not chrf, kl_mean; name the same metrics"):
        score.load_state_dict({"start": {"cmrc_f1": 1.0}, "quality": "chrf", "first_quality": 1.0})


def test_a_checkpoint_of_the_same_scores_at_other_prices_is_refused() -> None:
    """Its scores, among which the best checkpoint is chosen, are at the prices of then."""
    cheap, dear = FrontierScore({"kl_mean": 1.0}), FrontierScore({"kl_mean": 2.0})
    cheap.start, cheap.first_quality = {"kl_mean": 0.0}, 12.5
    with pytest.raises(ValueError, match=r"FrontierScore\.prices: the checkpoint's run had \{'kl_mean': 1\.0\}, not"):
        dear.load_state_dict(cheap.state_dict())


def test_state_is_plain(tmp_path: Path) -> None:
    score = FrontierScore({"kl_mean": 1.0})
    score.start, score.first_quality = {"kl_mean": 0.0}, 12.5
    torch.save(score.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == score.state_dict()
