"""Signals to a command that does not train: one line, a status, and an end in any case."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from helpers.small_runs import Runs

from semalign_pl.run.signals import ASKING, SAME_REQUEST_SECONDS, Stopped, StopRequest

# nohup and background jobs ignore them, and so would every process that they start.
HEEDED = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
COMMAND = """
import ctypes, os, signal, sys, threading, time
from semalign_pl.run import signals
signals.GRACE_SECONDS = 1
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.{name})).start()
with signals.ending_by_signals():
    {wait}
print("came to its end")
"""
IN_PYTHON = "time.sleep(30)"
# A lock taken twice: a main thread that waits in C, as ranks wait for each other, runs no signal handler.
IN_C = "lock = ctypes.create_string_buffer(128); [ctypes.CDLL(None).pthread_mutex_lock(lock) for _ in range(2)]"


# The signal comes to another thread, so that no wait of the main thread is interrupted by it.
ELSEWHERE = "threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start(); "


def run(name: str, wait: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = HEEDED + before + COMMAND.format(name=name, wait=wait)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"])
def test_a_command_ends_with_a_line_and_the_status_of_its_signal(name: str) -> None:
    done = run(name, IN_PYTHON)
    assert done.returncode == 128 + signal.Signals[name]
    assert done.stderr == f"semalign: stopped by {'Ctrl-C' if name == 'SIGINT' else name}\n"
    assert done.stdout == ""


def test_a_command_that_waits_outside_of_python_ends_too() -> None:
    assert run("SIGTERM", IN_C).returncode == 128 + signal.SIGTERM


def test_a_signal_that_does_not_interrupt_a_wait_ends_it_soon() -> None:
    """Otherwise the clean-up is not reached before the process is ended without it."""
    done = run("SIGURG", f"try: {ELSEWHERE} time.sleep(5)\n    finally: print('clean', flush=True)")
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "clean\n")


def test_one_signal_during_a_long_wait_outside_of_python_is_one_request() -> None:
    """A training step may be in C for seconds; it is finished and saved, and not taken for one that hangs."""
    wait = "signals.install(signals.StopRequest(waits=True)); lock = ctypes.create_string_buffer(128); "
    wait += "threading.Timer(2, lambda: ctypes.CDLL(None).pthread_mutex_unlock(lock)).start(); "
    wait += f"{IN_C.partition('; ')[2]}; time.sleep(2)"
    done = run("SIGTERM", wait)
    assert (done.returncode, done.stdout) == (0, "came to its end\n")


def test_a_command_under_nohup_lives_on() -> None:
    done = run("SIGHUP", "time.sleep(1)", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "came to its end\n", "")


def test_a_forked_child_has_its_own_signals() -> None:
    """A pool ends its workers with SIGTERM; this must not end the process that owns the pool."""
    wait = "pid = os.fork() or [time.sleep(20), os._exit(0)]; time.sleep(0.5); os.kill(pid, signal.SIGTERM); "
    wait += "print(os.waitpid(pid, 0)[1] == signal.SIGTERM); time.sleep(2)"
    done = run("SIGURG", wait)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\ncame to its end\n", "")


def test_signals_in_quick_succession_are_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    request = StopRequest(waits=True)
    request(signal.SIGTERM)
    request(signal.SIGHUP)  # systemd, and a terminal that closes, send more than one signal
    assert request.number == signal.SIGTERM
    now[0] += SAME_REQUEST_SECONDS
    with pytest.raises(Stopped) as stopped:
        request(signal.SIGHUP)
    assert stopped.value.code == 128 + signal.SIGHUP


def strike(name: str, hook: str, step: int) -> dict[str, Any]:
    return {
        "class_path": "helpers.run_callbacks.Strike",
        "init_args": {"step": step, "signal_name": name, "hook": hook},
    }


@pytest.mark.parametrize("strikes", [[], [strike("SIGTERM", "on_before_optimizer_step", 1)]], ids=["ended", "stopped"])
def test_a_run_gives_the_signals_back(runs: Runs, strikes: list[dict[str, Any]]) -> None:
    before = [signal.getsignal(number) for number in ASKING]
    try:
        runs("fit", "sft", "run", "trainer.max_steps=1", callbacks=strikes)
    except Stopped as stopped:
        assert stopped.code == 143
    assert [signal.getsignal(number) for number in ASKING] == before


def test_loading_is_broken_off(runs: Runs) -> None:
    [(code, log)] = runs.processes(runs.args("fit", "sft", "run", callbacks=[strike("SIGTERM", "setup", 0)]))
    assert code == 143 and "Traceback" not in log and "semalign: stopped by SIGTERM" in log, log
    assert not (runs.folder / "run" / "checkpoints").exists()


SLURM = {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}
SLURM |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1"}


def test_slurms_signal_waits_for_the_step_and_nothing_is_requeued(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    struck = [strike("SIGUSR1", "on_before_optimizer_step", 2)]
    with pytest.raises(Stopped) as stopped:
        runs("fit", "sft", "run", callbacks=struck)
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert not list((runs.folder / "run").glob("hpc*")) and (runs.folder / "run/checkpoints/interrupted.ckpt").exists()
    assert "scontrol requeue $SLURM_JOB_ID" in caplog.text


def test_a_checkpoint_that_lightning_wrote_under_slurm_is_never_taken_up_silently(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    left = runs.folder / "run" / "hpc_ckpt_3.ckpt"
    left.parent.mkdir()
    left.write_bytes(b"")
    with pytest.raises(ValueError, match=f"trainer.default_root_dir: {left}.*--ckpt_path {left}"):
        runs("fit", "sft", "run")
