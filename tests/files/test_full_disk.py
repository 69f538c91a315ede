"""Everywhere results are written, the last good state is complete after the disk fills or the process is killed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.filling import fill, in_process, killed_at, room, small_disk, tree, unfinished
from helpers.pairs import PAIRS
from helpers.small_runs import Runs
from helpers.tiny import CPU, stir

from semalign_pl.callbacks.scored_rows import write_predictions
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.encoder.corpus_embeddings import CorpusEmbeddings
from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.modules.embedder import EmbedderModule
from semalign_pl.modules.encoder import load_encoder
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.run.results import write_results, write_training
from semalign_pl.types import MetricResult

Writer = Callable[[Path, int], object]
POINTS = ["adapter", "checkpoint", "corpus", "encoder", "predictions", "results", "training"]


@pytest.fixture(scope="module")
def writers(base: str, encoder: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Writer]:
    """Functions that write version 0 or 1 of a result to a folder, each through the function that a run calls."""
    made = tmp_path_factory.mktemp("writers")
    policies = [stir(load_policy(base, "fp32", LoraSettings(32, 8, 0.0), None, CPU), seed=seed) for seed in (1, 2)]
    module = EmbedderModule(base=encoder)
    module._encoder = load_encoder(encoder, None)
    trainer = Runs(made, base, encoder, corpus)("fit", "sft", "run", "trainer.max_steps=1").trainer
    for version in (0, 1):
        rows = [{"zh": f"{pair['zh']}{version}{i}", "bo": pair["bo"]} for i in range(20) for pair in PAIRS]
        (made / f"{version}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def write_encoder(folder: Path, version: int) -> None:
        with torch.no_grad():
            for parameter in module.encoder.parameters():
                parameter.fill_(float(version))
        module.export(folder)

    def write_checkpoint(folder: Path, version: int) -> None:
        state = {"weights": torch.full((20_000,), float(version)), "lists": [version] * 1000}
        trainer.strategy.checkpoint_io.save_checkpoint(state, folder / "last.ckpt")

    def write_predictions_file(folder: Path, version: int) -> None:
        rows = [{"id": str(i), "prediction": str(version) * 99} for i in range(200)]
        write_predictions(folder / "predictions.jsonl", rows)

    def write_results_file(folder: Path, version: int) -> None:
        write_results(folder, {"bleu4": MetricResult(version, None, "x")}, {"trained": str(version) * 20_000})

    def write_training_file(folder: Path, version: int) -> None:
        folder.mkdir(exist_ok=True)
        write_training(folder, facts=str(version) * 20_000)

    return {
        "adapter": lambda folder, version: export_adapter(policies[version], folder / "adapter"),
        "checkpoint": write_checkpoint,
        "corpus": lambda folder, version: prepare(
            CorpusRequest(str(made / f"{version}.jsonl"), {"zh": "zh", "bo": "bo"}), cache=folder / "cache"
        ),
        "encoder": write_encoder,
        "predictions": write_predictions_file,
        "results": write_results_file,
        "training": write_training_file,
    }


def without_time(state: dict[str, bytes | None]) -> dict[str, int | None]:
    """Names and sizes only, since results contain the time of writing."""
    return {name: None if content is None else len(content) for name, content in state.items()}


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("point", POINTS)
def test_a_full_disk_leaves_the_last_good_state(
    writers: dict[str, Writer], point: str, share: float, tmp_path: Path
) -> None:
    write, disk = writers[point], tmp_path / "disk"
    write(tmp_path / "whole", 1)
    size = sum(len(content) for content in tree(tmp_path / "whole").values() if content)
    with small_disk(disk, 4 * size + 2**20) as mounted:
        write(disk, 0)
        old = tree(disk)
        if not mounted:  # the limit applies to each file, not to all together
            size = max(len(content) for content in tree(tmp_path / "whole").values() if content)
        with room(disk, int(share * size) // 4096 * 4096, mounted), pytest.raises(ValueError) as raised:
            write(disk, 1)
        message = str(raised.value)
        assert f"{disk}" in message and "the disk is full" in message and "free some space" in message
        assert "\n" not in message
        now = tree(disk)
        assert {name: now.get(name) for name in old} == old and not unfinished(disk)
        assert point == "corpus" or now == old
        write(disk, 1)
        assert without_time(tree(disk)).items() >= without_time(tree(tmp_path / "whole")).items()


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_while_writing_leaves_the_last_good_state(
    writers: dict[str, Writer], point: str, share: float, tmp_path: Path
) -> None:
    """And the next process removes what the killed one left."""
    write, folder = writers[point], tmp_path / "run"
    write(tmp_path / "whole", 1)
    size = max(len(content) for content in tree(tmp_path / "whole").values() if content)
    assert in_process(lambda: write(folder, 0)) == 0
    old = tree(folder)
    assert killed_at(int(share * size), lambda: write(folder, 1)) == -25  # SIGXFSZ
    now = tree(folder)
    assert {name: now.get(name) for name in old} == old
    assert in_process(lambda: write(folder, 1)) == 0
    assert not unfinished(folder)
    assert without_time(tree(folder)).items() >= without_time(tree(tmp_path / "whole")).items()


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_full_disk_costs_embeddings_time_alone(
    encoder: str, tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [text for pair in PAIRS for text in pair.values()]
    sentence_encoder, disk = SentenceEncoder(encoder), tmp_path / "disk"
    right = CorpusEmbeddings(sentence_encoder, texts, None)(texts)
    with small_disk(disk, 2**20) as mounted:
        CorpusEmbeddings(sentence_encoder, texts[:3], disk)(texts[:3])
        old = tree(disk)
        block = 64 * right.shape[1] * 4
        with room(disk, int(share * block) // 4096 * 4096, mounted):
            assert torch.equal(CorpusEmbeddings(sentence_encoder, texts, disk)(texts), right)
        now = tree(disk)
        assert {name: now.get(name) for name in old} == old and not unfinished(disk)
        assert torch.equal(CorpusEmbeddings(sentence_encoder, texts, disk)(texts), right)  # no damaged vector on disk
    (message,) = [record.getMessage() for record in caplog.records]
    reason = "No space left on device" if mounted else "File too large"
    assert message.startswith(f"{disk}: embeddings cannot be kept there ({reason})") and "\n" not in message


# -- complete runs -----------------------------------------------------------------------------------------------


def callbacks(runs: Runs, step: int, mounted: bool) -> list[dict[str, Any]]:
    """A checkpoint after each step, and a disk that is full from a given step on."""
    disk = str(runs.folder / "disk")
    init = {"dirpath": f"{disk}/checkpoints", "filename": "x", "save_last": True, "every_n_train_steps": 1}
    full = {"folder": disk, "step": step, "free": 8192, "mounted": mounted}
    return [
        {"class_path": "ModelCheckpoint", "init_args": init},
        {"class_path": "helpers.run_callbacks.FillDisk", "init_args": full},
    ]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_whose_checkpoint_cannot_be_written_ends_in_one_line(runs: Runs, ranks: int) -> None:
    disk = runs.folder / "disk"
    with small_disk(disk, 2**25) as mounted:
        flags = ["trainer.strategy=ddp_find_unused_parameters_false", "trainer.devices=2"] if ranks == 2 else []
        args = runs.args("fit", "sft", "disk/run", "trainer.max_steps=3", *flags, callbacks=callbacks(runs, 2, mounted))
        ended = runs.processes(args, ranks=ranks, timeout_seconds=120)
        status, output = ended[0]
        last = disk / "checkpoints" / "last.ckpt"
        assert status == 2 and "Traceback" not in output and all(status not in (0, -9) for status, _ in ended)
        (line,) = [line for line in output.splitlines() if "disk is full" in line]
        assert line.startswith(f"semalign: error: {disk / 'checkpoints'}/")
        assert line.endswith("The run has stopped; go on from its newest checkpoint with --ckpt_path " + str(last))
        assert torch.load(last, weights_only=False)["global_step"] == 1 and not unfinished(disk)


def test_a_run_whose_adapter_cannot_be_written_ends_in_one_line(runs: Runs) -> None:
    disk = runs.folder / "disk"
    with small_disk(disk, 2**25) as mounted:
        full = callbacks(runs, 2, mounted)[1]
        flags = ["trainer.max_steps=2", "trainer.enable_checkpointing=false"]
        ((status, output),) = runs.processes(runs.args("fit", "sft", "disk/run", *flags, callbacks=[full]))
        assert status == 2 and "Traceback" not in output
        assert f"semalign: error: {disk}/run/adapter: not written, because the disk is full (" in output
        assert "holds no earlier checkpoint" in output  # the training is lost, and the message says so
        assert not (disk / "run" / "adapter").exists() and not unfinished(disk)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_nothing_is_written_to_a_full_tmpdir(runs: Runs, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run must write only to its own disk. If no disk can be mounted, TMPDIR is a folder that does not exist."""
    disk = runs.folder / "tmpdir"
    with small_disk(disk, 2**16) as mounted:
        if mounted:
            fill(disk, 0)
        monkeypatch.setattr(tempfile, "tempdir", str(disk if mounted else disk / "absent"))
        table = {"class_path": "SampleTable"}
        init = {"dirpath": str(runs.folder / "c"), "every_n_train_steps": 1, "save_last": True}
        steps = [table, {"class_path": "ModelCheckpoint", "init_args": init}]
        runs("fit", stage, "run", "trainer.max_steps=2", callbacks=steps)
        adapter = f"model.init_args.adapter={runs.folder}/run/adapter"
        runs("test", "sft", "tested", adapter, callbacks=[{"class_path": "Evaluation"}])
        assert (runs.folder / "c" / "last.ckpt").is_file() and (runs.folder / "run" / "adapter").is_dir()
        assert (runs.folder / "tested" / "results.json").is_file()
        assert not mounted or list(tree(disk)) == ["filler"]
