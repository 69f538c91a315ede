"""``semalign export RUN``: the adapter of a run, copied with a card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.policy.adapter_start import check_target


@pytest.fixture
def run(tmp_path: Path, base: str, sft_adapter: str) -> Path:
    """Folder of a run that was moved together with its base, whose weights are not there."""
    shutil.copytree(base, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    adapter = Path(shutil.copytree(sft_adapter, tmp_path / "run" / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/gone/base"}))
    shutil.copytree(adapter, tmp_path / "cold" / "adapter")
    (adapter / "training.json").write_text('{"stage": "sft", "finished": "May", "started_from": "../../cold/adapter"}')
    (adapter / "README.md").write_text("an old card", encoding="utf-8")
    recipe = f"model: {{init_args: {{base: {tmp_path / 'base'}}}}}\n"
    (tmp_path / "run" / "fit.yaml").write_text(recipe, encoding="utf-8")
    return tmp_path / "run"


def test_the_adapter_is_exported_without_loading_its_base(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run)]) == 0
    before, after = run / "adapter", run / "export" / "adapter"
    for file in ("adapter_model.safetensors", "tokenizer.json"):
        assert (after / file).read_bytes() == (before / file).read_bytes(), file
    old, new = (json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")) for folder in (before, after))
    assert new == {**old, "base_model_name_or_path": str(tmp_path / "base")}
    facts = json.loads((after / "training.json").read_text(encoding="utf-8"))
    assert (facts["stage"], facts["exported_from"]) == ("sft", str(run)) and facts["finished"] != "May"
    assert (after / facts["started_from"]).resolve() == tmp_path / "cold" / "adapter"
    assert "LoRA adapter of `base`" in (after / "README.md").read_text(encoding="utf-8")


def test_damaged_weights_are_not_exported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"damaged")
    assert main(["export", str(run)]) == 2
    assert "is damaged" in capsys.readouterr().err and not (run / "export" / "adapter").exists()


def test_the_runs_own_adapter_is_not_replaced(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its training.json would get another time, and the scores of its test would count as those of other weights."""
    assert main(["export", str(run), "--out", str(run)]) == 2
    assert f"--out: {run}/adapter is the run's own adapter" in capsys.readouterr().err


def test_the_result_of_another_run_is_not_replaced(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its recipe and its scores would be beside foreign weights."""
    other = tmp_path / "other"
    shutil.copytree(run, other)
    weights = (other / "adapter" / "adapter_model.safetensors").read_bytes()
    assert main(["export", str(run), "--out", str(other)]) == 2
    assert f"--out: {other}/adapter is the result of the run in {other}, and the export" in capsys.readouterr().err
    assert (other / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    with pytest.raises(ValueError, match="other/adapter is the result of the run"):  # as `dial` and scaled exports ask
        check_target(other / "adapter", [str(run / "adapter")])
    (other / "model").mkdir()
    check_target(other / "model", [str(run / "adapter")])  # an earlier export, and no result of the training
