"""Small command-line runs in this process or a separate one, with the fixtures' model and corpus."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor


@dataclass(frozen=True)
class Runs:
    """Writer and runner of recipes, each run in a folder of its own.

    Attributes:
        folder: Folder of runs and recipes.
        base: Folder of the base model.
        encoder: Folder of the sentence encoder.
        corpus: Folder with train.jsonl, dev.jsonl, text.txt and reading.json.
    """

    folder: Path
    base: str
    encoder: str
    corpus: Path

    def recipe(self, stage: str, callbacks: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Recipe of one stage, ``sft`` or ``grpo``, with its rewards before ``callbacks``."""
        model: dict[str, Any] = {
            "base": self.base,
            "weights": "fp32",
            "lora": {"r": 4, "alpha": 8, "dropout": 0.2},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
            "micro_batch_tokens": 90,
            "max_new_tokens": 40,
        }
        rewards = []
        if stage == "grpo":
            model |= {"num_generations": 2, "temperature": 1.0, "top_p": 1.0}
            model |= {"max_new_tokens": 6, "micro_batch_tokens": 90}
            rewards = [
                {"class_path": "SemanticReward", "init_args": {"encoder": self.encoder, "tau": -0.5}},
                {"class_path": "LanguageReward"},
            ]
        trainer: dict[str, Any] = {
            "accelerator": "cpu",
            "max_steps": 3,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [*rewards, *(callbacks or [])],
        }
        return {
            "seed_everything": 3,
            "model": {"class_path": {"sft": "SFTModule", "grpo": "GRPOModule"}[stage], "init_args": model},
            "data": {
                "class_path": "CorpusDataModule",
                "init_args": {
                    "train": str(self.corpus / "train.jsonl"),
                    "test": str(self.corpus / "dev.jsonl"),
                    "batch_size": {"sft": 6, "grpo": 2}[stage],
                    "eval_batch_size": 3,
                },
            },
            "trainer": trainer,
        }

    def write(self, recipe: dict[str, Any], name: str = "recipe") -> Path:
        """The recipe as a YAML file."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
        return path

    def args(
        self, command: str, stage: str, name: str, *flags: str, callbacks: list[dict[str, Any]] | None = None
    ) -> list[str]:
        """Command line of a run in the folder ``name``; flags without dashes are ``key=value``."""
        path = self.write(self.recipe(stage, callbacks), f"{name}-{command}")
        given = [f"--{flag}" if not flag.startswith("-") else flag for flag in flags]
        return [command, "--config", str(path), f"--trainer.default_root_dir={self.folder / name}", *given]

    def __call__(
        self,
        command: str,
        stage: str,
        name: str = "run",
        *flags: str,
        callbacks: list[dict[str, Any]] | None = None,
    ) -> Any:
        """Run in this process; return the CLI with trainer, model and data module."""
        from semalign_pl.cli import main

        return main(self.args(command, stage, name, *flags, callbacks=callbacks))

    def checkpoints(self, name: str, every: int) -> dict[str, Any]:
        """Callback that keeps a checkpoint ``step=N.ckpt`` every given number of steps."""
        init = {"dirpath": str(self.folder / name), "filename": "{step}", "every_n_train_steps": every}
        return {"class_path": "ModelCheckpoint", "init_args": {**init, "save_top_k": -1}}

    def processes(
        self, args: list[str], ranks: int = 1, timeout_seconds: float = 300, before: list[list[str]] | None = None
    ) -> list[tuple[int, str]]:
        """Run in ``ranks`` separate processes, set up like torchrun's if there are several.

        Args:
            args: Command line.
            ranks: Number of processes.
            timeout_seconds: Seconds after which they are killed.
            before: Command lines to run first in the same processes; the status of each is added to the output.

        Returns:
            Exit status and output (stdout and stderr) of each process.
        """
        port = _free_port()
        logs = [self.folder / f"rank{rank}.log" for rank in range(ranks)]
        started = []
        for rank, log in enumerate(logs):
            settings = torchrun_environment(rank, ranks, port) if ranks > 1 else {}
            started.append(forked(_run, (args, settings, log, torch.get_num_threads(), before or [])))
        statuses = [finish(process, timeout_seconds) for process in started]
        return [(status, log.read_text(encoding="utf-8")) for status, log in zip(statuses, logs, strict=True)]

    def start(self, args: list[str]) -> Any:
        """Start a run in a separate process, without waiting for it.

        Returns:
            Process, a ``multiprocessing.Process``.
        """
        return start(args, self.folder / "started.log")

    def environment(self) -> dict[str, str]:
        """Environment for a process of another kind: this one's, with as many threads, as bits depend on it."""
        return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}

    def metrics(self, name: str = "run") -> list[dict[str, str]]:
        """Rows of a run's metrics.csv."""
        with (self.folder / name / "metrics.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def predictions(self, name: str = "run") -> list[dict[str, Any]]:
        """Rows of a run's predictions.jsonl."""
        text = (self.folder / name / "predictions.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def items(self, name: str = "run") -> list[dict[str, Any]]:
        """Rows of a run's items.jsonl."""
        with (self.folder / name / "items.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def results(self, name: str = "run") -> dict[str, Any]:
        """A run's results.json."""
        return json.loads((self.folder / name / "results.json").read_text(encoding="utf-8"))


def torchrun_environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Environment variables that torchrun sets for one process of a node."""
    torchrun = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    return {name: str(value) for name, value in {**torchrun, "GLOO_SOCKET_IFNAME": "lo"}.items()}


def forked(function: Callable[..., None], args: tuple[Any, ...]) -> Any:
    """Start a function in a process forked from one that has done the slow imports and nothing else.

    Returns:
        Process, a ``multiprocessing.Process``.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["semalign_pl.cli", "peft", "transformers", "sentence_transformers", "helpers.warm"])
    process = context.Process(target=function, args=args)
    process.start()
    return process


def start(args: list[str], log: Path, working_folder: Path | None = None, script: str = "semalign") -> Any:
    """Start a command as the console script does, in a forked process, without waiting for it.

    Args:
        args: Command line.
        log: File for stdout and stderr.
        working_folder: Working folder of the process; ``None`` for this one's.
        script: Path of the console script, from which Lightning starts further processes.

    Returns:
        Process, a ``multiprocessing.Process``.
    """
    return forked(_run, (args, {}, log, torch.get_num_threads(), [], working_folder, script))


def finish(process: Any, timeout_seconds: float) -> int:
    """Wait for a process, and kill it after the given time.

    Returns:
        Exit status, or minus the number of the signal that killed it.
    """
    try:
        process.join(timeout_seconds)
    finally:  # Ctrl-C, too, which reaches only the process group of the terminal
        process.kill()
        process.join()
    return process.exitcode


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _run(
    args: list[str],
    settings: dict[str, str],
    log: Path,
    threads: int,
    before: list[list[str]],
    working_folder: Path | None = None,
    script: str = "semalign",
) -> None:
    os.setsid()  # a process group of its own, as of a command in a terminal
    if working_folder is not None:
        os.chdir(working_folder)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(settings)
    sys.argv = ["semalign"]  # LightningCLI warns about further arguments
    # A background job and nohup ignore these, and so would every process that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    torch.set_num_threads(threads)  # the bits depend on the number of threads
    from semalign_pl.__main__ import main

    for earlier in before:
        try:
            status = main(earlier)
        except SystemExit as stopped:
            status = stopped.code
        print(f"status {status}", flush=True)
    sys.argv = [script, *args]
    sys.exit(main())


def weights(folder: Path) -> dict[str, Tensor]:
    """Weights of an exported adapter."""
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Return true if two values are equal bit for bit, through nested dicts and lists."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    else:
        assert a == b, where
