"""Loggers of others: each has the metrics and the recipe, and the run's folder is as whole as without it."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import Runs
from lightning.pytorch.loggers.logger import DummyLogger

from semalign_pl.run.loggers import log_recipe

NAME = "lightning.pytorch.loggers."
PARAMS = {"model.init_args.lora.r": "4", "seed_everything": "3", "trainer.max_steps": "2"}
CLASS = "trainer.callbacks.0.class_path"


def fit(runs: Runs, name: str, /, **settings: Any) -> Path:
    """Folder of a run of two steps with one logger."""
    recipe = runs.recipe("sft", [{"class_path": "Evaluation"}])
    recipe["trainer"] |= {"max_steps": 2, "default_root_dir": str(runs.folder / "run")}
    recipe["trainer"]["logger"] = {"class_path": NAME + name, "init_args": settings}
    from semalign_pl.__main__ import main

    assert main(["fit", "--config", str(runs.write(recipe))]) == 0
    return runs.folder / "run"


def check_whole(folder: Path) -> list[float]:
    """Check that a run's folder has all of the run; return its losses."""
    files = {path.name for path in folder.iterdir()} - {".fit.lock"}
    assert {"fit.yaml", "metrics.csv", "checkpoints", "adapter"} <= files
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "epoch=0-step=2.ckpt"}
    assert yaml.safe_load((folder / "fit.yaml").read_text(encoding="utf-8"))["model"]["init_args"]["lora"]["r"] == 4
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 2
    return losses


def test_wandb_offline(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    monkeypatch.setenv("WANDB_SILENT", "true")
    losses = check_whole(fit(runs, "WandbLogger", project="tibetan", offline=True, save_dir=str(runs.folder)))
    assert wandb.run is None, "the next step of a study begins a run of its own"
    [file] = (runs.folder / "wandb").glob("offline-run-*/*.wandb")
    store, config, logged = DataStore(), dict[str, str](), list[float]()
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        for one in (*record.run.config.update, *record.config.update):
            config[one.key or "/".join(one.nested_key)] = one.value_json.strip('"')
        for one in record.history.item:
            if (one.key or "/".join(one.nested_key)) == "train/loss":
                logged.append(float(one.value_json))
    assert logged == pytest.approx(losses)
    assert PARAMS.items() <= config.items() and config[CLASS].endswith("Evaluation")


def test_mlflow_file_store(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions refuse it otherwise
    store = f"file:{runs.folder / 'mlruns'}"
    losses = check_whole(fit(runs, "MLFlowLogger", experiment_name="tibetan", tracking_uri=store))
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tibetan")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert PARAMS.items() <= run.data.params.items() and run.data.params[CLASS].endswith("Evaluation")
    logged = client.get_metric_history(run.info.run_id, "train/loss")
    assert [one.value for one in logged] == pytest.approx(losses)


def test_tensorboard(runs: Runs) -> None:
    losses = check_whole(fit(runs, "TensorBoardLogger", save_dir=str(runs.folder), name="board", version=""))
    [file] = (runs.folder / "board").glob("events.out.tfevents.*")
    events = [value for event in read_events(file) for value in event.summary.value]
    assert [one.simple_value for one in events if one.tag == "train/loss"] == pytest.approx(losses)
    recipe = yaml.safe_load((runs.folder / "board" / "hparams.yaml").read_text(encoding="utf-8"))
    assert recipe["model.init_args.lora.r"] == 4 and recipe[CLASS].endswith("Evaluation")
    shown = [one.metadata.plugin_data for one in events if one.tag == "_hparams_/session_start_info"]
    assert len(shown) == 1 and b"model.init_args.lora.r" in shown[0].content


class _Recorder(DummyLogger):
    """Logger that keeps its hyperparameters."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.given = params


def test_a_key_of_one_logger_is_no_hyperparameter_of_another() -> None:
    logger = _Recorder()
    settings = {"class_path": "CometLogger", "init_args": {"api_key": "secret"}}
    log_recipe([logger], {"trainer": {"max_steps": 2, "logger": [settings]}, "model": {"init_args": {"seed": 0}}})
    assert logger.given == {"trainer.max_steps": 2, "model.init_args.seed": 0}
    log_recipe([logger], {"trainer": {"max_steps": 2, "logger": settings}})
    assert logger.given == {"trainer.max_steps": 2}


def read_events(file: Path) -> Iterator[Any]:
    """Events of a TensorBoard file: records of length, checksum, content and checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def test_a_csv_logger_in_the_runs_folder_is_the_runs_own(runs: Runs) -> None:
    folder = runs.folder / "run"
    check_whole(fit(runs, "CSVLogger", save_dir=str(folder.parent), name="run", version=""))
    assert not (folder / "hparams.yaml").exists()
