"""``semalign reward-check`` on the miniature world: the source-copy reward is refused, the method's passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.audit.dev_pairs import read_dev_pairs
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.conversation import Conversation
from semalign_pl.data.tasks import Instruction

CONFIGS = Path(__file__).parents[2] / "configs"
DEV = ["--data.init_args.validation", "runs/quickstart/world/pairs/dev.jsonl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, miniature: Path) -> Path:
    """Working folder with the quickstart's world."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "runs/quickstart").mkdir(parents=True)
    shutil.copytree(miniature, folder / "runs/quickstart/world")
    return folder


def check(recipe: str, folder: Path, monkeypatch, *flags: str) -> tuple[int, dict]:
    monkeypatch.chdir(folder)
    out = folder / recipe.replace("/", "-")
    status = main(["reward-check", "--config", str(CONFIGS / recipe), "--out", str(out), *flags])
    written = out / "reward_check.json"
    assert (out / "reward_check.png").is_file() == written.is_file()
    return status, json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}


def test_the_source_copy_reward_of_the_ablation_is_refused(folder, monkeypatch, capsys) -> None:
    status, result = check("ablation/source_language.yaml", folder, monkeypatch, *DEV)
    assert status == 1 and result["refused"] and result["origin"] == "the recipe's validation rows"
    assert result["verdict"].startswith("do not train on this reward: it pays for copying the source")
    assert result["rewards"]["total"]["spoilers"]["copied_source"]["0.5"]["high"] < 0.5
    assert "do not train on this reward: it pays for copying the source" in capsys.readouterr().out
    assert not list(folder.rglob("*.ckpt")) and not (folder / "runs/ablation").exists()  # nothing was trained


@pytest.mark.parametrize("recipe", ["quickstart/semantic_grpo.yaml", "sg_srl/reinforce.yaml"])
def test_the_method_and_the_gated_source_pass(recipe, folder, monkeypatch, capsys) -> None:
    status, result = check(recipe, folder, monkeypatch, *DEV, "--pairs", "80")
    assert status == 0 and not result["refused"] and result["pairs"] == 80
    total = result["rewards"]["total"]
    assert total["more_damage"]["low"] > 0.5 and total["spoilers"]["copied_source"]["0.5"]["low"] > 0.85
    assert total["spoilers"]["wrong_number"]["0"]["value"] is None  # the world has no digits
    if recipe.startswith("sg_srl"):  # without the gate, a copy has the highest cosine to the source
        assert any("'language' keeps it from paying for copying the source" in note for note in result["warnings"])
    assert "no objection to this reward" in capsys.readouterr().out


def test_the_bases_own_features_have_a_row(folder, monkeypatch) -> None:
    overlay = ["--config", str(CONFIGS / "methods/ebft.yaml")]
    status, result = check("quickstart/semantic_grpo.yaml", folder, monkeypatch, *overlay, *DEV, "--pairs", "25")
    assert status == 0 and list(result["rewards"]) == ["feature_matching", "language", "total"]
    assert result["rewards"]["feature_matching"]["more_damage"]["value"] > 0.8
    assert "features of 'feature_matching' are those of the frozen base" in result["notes"][0]


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("quickstart/cold_start.yaml", [], "trains SFTModule, which uses no rewards"),
        ("sg_srl/reinforce.yaml", [], "data.init_args.train: its rows have no references"),
        ("quickstart/semantic_grpo.yaml", ["--pairs", "5"], "--pairs: 5 pairs say too little; give 20 or more"),
        ("quickstart/semantic_grpo.yaml", ["--data.init_args.limit", "9"], ""),
    ],
)
def test_a_mistake_is_one_line(recipe, flags, message, folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    if not message:  # nine rows are trained on: the others are audited
        flags, message = [*flags, "--data.init_args.skip", "4975"], "only 16 of 16 rows"
    status = main(["reward-check", "--config", str(CONFIGS / recipe), *flags])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("semalign: error")]
    assert status == 2 and message in line


@pytest.mark.parametrize(
    ("settings", "origin", "rows"),
    [
        ({"validation": "pairs/dev.jsonl", "limit": 100}, "the recipe's validation rows", 200),
        ({"limit": 4000}, "training rows that the run leaves out (limit 4000)", 1000),
        ({"limit": 4000, "skip": 500}, "training rows that the run leaves out (limit 4000)", 500),
        ({}, "training rows, as there is no validation corpus and no row is left out", 5000),
        ({"limit": 5000}, "training rows, as there is no validation corpus and no row is left out", 5000),
    ],
)
def test_rows_that_are_trained_on_are_the_last_resort(settings, origin, rows, folder, monkeypatch) -> None:
    monkeypatch.chdir(folder / "runs/quickstart/world")
    found = read_dev_pairs(CorpusDataModule(train="pairs/train.jsonl", **settings))
    assert found.origin.startswith(origin) and len(found.rows) == rows
    if rows < 1001 and "validation" not in settings:
        data = CorpusDataModule(train="pairs/train.jsonl", **settings)
        data.setup("fit")
        assert not {e.id for e, _ in found.rows} & {e.id for e in data.examples["train"]}


def test_replayed_rows_are_not_audited(folder, monkeypatch) -> None:
    """GRPO never rewards them, and their tasks need not name a language."""
    monkeypatch.chdir(folder / "runs/quickstart/world")
    replayed = {"path": "pairs/train.jsonl", "columns": {"prompt": "zh", "completion": "bo"}, "task": Conversation()}
    for split in ("train", "validation"):
        mix = [{**replayed, "replay": True}, {"path": "pairs/dev.jsonl"}]
        found = read_dev_pairs(CorpusDataModule(**{"train": "pairs/dev.jsonl", split: mix}))
        assert len(found.rows) == 200 and {e.id.split(":")[0] for e, _ in found.rows} == {"dev.jsonl"}


def test_a_corpus_without_a_language_is_named(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder / "runs/quickstart/world")
    task = Instruction("{zh}", "{bo}", language=None)
    data = CorpusDataModule(train=["pairs/dev.jsonl", {"path": "pairs/train.jsonl", "task": task, "name": "chat"}])
    wanted = "^data.init_args.train: chat: its task names no language.*set task.init_args.language, or audit other rows"
    with pytest.raises(ValueError, match=wanted):
        read_dev_pairs(data)
