"""The data module as a recipe configures it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.batch_recorder import parse, train_ids

from semalign_pl.data import CorpusDataModule, Headline, Translation


def test_everything_from_yaml(tmp_path: Path, corpus: Path) -> None:
    cli = parse(
        tmp_path,
        f"""
        data:
          class_path: CorpusDataModule
          init_args:
            train: {corpus / "train.jsonl"}
            task:
              class_path: Headline
              init_args: {{article: bo, headline: zh, language: zh, prompt: "{{article}}？"}}
            columns: {{topic: zh}}
            batch_size: 3
            limit: 5
            skip: 2
            seed: 7
        """,
    )
    data = cli.datamodule
    assert isinstance(data, CorpusDataModule) and isinstance(data.task, Headline)
    assert data.task.template == "{article}？" and data.task.target_language == "zh"
    assert (data.columns, data.batch_size, data.limit, data.skip, data.seed) == ({"topic": "zh"}, 3, 5, 2, 7)
    assert len(train_ids(data)) == 5 and set(data.examples["train"][0].columns) == {"bo", "zh", "topic"}


def test_the_default_task_and_an_overlay(tmp_path: Path) -> None:
    plain = parse(tmp_path, "data: CorpusDataModule")
    assert plain.datamodule.task.fields == ("zh", "bo") == CorpusDataModule().task.fields
    saved = plain.parser.dump(plain.config)
    assert "source: zh" in saved and "target: bo" in saved
    assert parse(tmp_path, saved).config.data == plain.config.data

    flag = parse(tmp_path, "data: CorpusDataModule", "--data.init_args.task.init_args.target=ug")
    assert type(flag.datamodule.task) is Translation and flag.datamodule.task.target_language == "ug"


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("task: Translator", "Translator"),
        ("limit: many", "limit"),
        ("colums: {zh: a}", "colums"),
        ("batch_size: 0", "batch_size"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str, wanted: str) -> None:
    with pytest.raises((SystemExit, ValueError)) as caught:
        parse(tmp_path, f"data: {{class_path: CorpusDataModule, init_args: {{{setting}}}}}")
    assert wanted in str(caught.value) + capfd.readouterr().err


def test_help_explains_every_argument(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(tmp_path, "{}", "--data.help=CorpusDataModule")
    shown = " ".join(capfd.readouterr().out.split())
    for words in ("File to train on", "a Task of your own", "Leave out the first rows", "Draws the rows"):
        assert words in shown
