"""``semalign judge`` when a server or a process fails: retries, limits, refusals, and what a stopped command keeps."""

from __future__ import annotations

import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from helpers.judge_command import KEY, fair, figures, judge
from helpers.judge_server import cut_off, hang, send, send_blanks, serving
from helpers.small_runs import finish, start

from semalign_pl.__main__ import main

FAULTS = {
    "too many requests": send(429, {"error": {"message": "slow down"}}, retry_after="0.3"),
    "server error": send(500, {"error": {"message": "oops"}}),
    "timeout": hang(3.0),
    "blanks": send_blanks(3.0),
    "malformed JSON": send(200, b'{"choices": ['),
    "no JSON": send(200, b"<html>busy</html>"),
    "no choices": send(200, {"choices": []}),
    "an error with status 200": send(200, {"error": {"message": "overloaded"}}),
    "half a response": cut_off,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_survived(kind: str, files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    slow = kind in ("timeout", "blanks")
    with serving(fair, FAULTS[kind]) as server:
        assert judge(files, server, *(["--timeout", "2"] if slow else [])) == 0
    found = figures(files)["m"]
    assert found["win_rate"]["value"] == pytest.approx(0.7) and found["failed_requests"] == 1
    assert len(server.requests) == 21
    assert ("m: no answer within 2 s (--timeout); trying again" in capsys.readouterr().err) == slow


def test_retry_after_stops_all_requests(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    wait = send(429, {"error": {"message": "slow down"}}, retry_after="0.6")
    with serving(fair, wait, delay=0.3) as server:
        assert judge(files, server) == 0
    assert len([at for at in server.times if at < server.times[0] + 0.6]) <= 8
    assert "m: 127.0.0.1" in capsys.readouterr().err


def test_a_fault_that_stays_is_one_line_and_nothing_is_lost(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = send(503, {"error": {"message": "down"}})
    with serving(fair, None, None, *[broken] * 20) as server:
        assert judge(files, server, "--retries", "1", "--parallel", "1") == 2
        message = capsys.readouterr().err
        assert "semalign: error: m: 2 tries failed, the last one: 127.0.0.1" in message and "HTTP 503 (" in message
        assert "2 answers were added" in message and "Traceback" not in message
        server.faults.clear()
        before = len(server.requests)
        assert judge(files, server) == 0
    assert len(server.requests) - before == 18
    assert figures(files)["m"]["cached"] == 2


def test_a_refused_question_is_reported(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    long = send(400, {"error": {"message": "context too long"}})
    with serving(fair, None, long, *[None] * 18, long) as server:
        for requests in (20, 21):  # the second command asks nothing but the refused question
            assert judge(files, server, "--parallel", "1") == 0
            assert len(server.requests) == requests
            assert figures(files)["m"]["refused"] == 1 and figures(files)["m"]["unreadable"] == 1
            assert "1 question was refused: m: 127.0.0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (send(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), "check the key in JUDGE_KEY"),
        (send(404, {"error": {"message": "no model m"}}), "check the model's name and the address"),
        (send(400, {"error": {"message": "bad"}}), "mend what it names"),
        (send(400, {"error": {"message": "Unsupported value: 'temperature'"}}), "give --temperature default"),
        (send(429, {"error": {"message": "no", "code": "insufficient_quota"}}), "the account has no credit left"),
        (send(429, {"error": {"message": "no"}}, retry_after="86400"), "asks to wait 86,400 s"),
    ],
)
def test_a_lasting_refusal_is_one_line(
    response,
    message: str,
    files: tuple[str, str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    a, b, out = files
    with serving(fair, *[response] * 20) as server:
        assert main(["judge", a, b, "--judge", f"m@{server.url},JUDGE_KEY", "--out", out]) == 2
    shown = capsys.readouterr().err
    assert message in shown and KEY not in shown and "Traceback" not in shown


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_newer_name_of_the_limit_is_found(parallel: int, files: tuple[str, str, str]) -> None:
    refusal = send(400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead."}})
    all_sent = threading.Barrier(parallel)

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        all_sent.wait(30)
        refusal(handler)

    with serving(fair, *[refuse] * parallel) as server:
        assert judge(files, server, "--parallel", str(parallel)) == 0
    older, newer = server.requests[:parallel], server.requests[parallel:]
    assert all("max_tokens" in one for one in older) and len(newer) == 20
    assert all("max_completion_tokens" in one and "max_tokens" not in one for one in newer)
    assert figures(files)["m"]["requests"] == 20 + parallel


def test_requests_are_limited(files: tuple[str, str, str]) -> None:
    with serving(fair, delay=0.02) as server:
        assert judge(files, server, "--per-minute", "300", "--parallel", "3") == 0
    assert server.times[-1] - server.times[0] >= 19 * 0.2 * 0.95 and server.most_at_once <= 3
    with serving(fair, delay=0.05) as server:
        assert judge(files, server, "--parallel", "4", "--language", "x") == 0
    assert 1 < server.most_at_once <= 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_command_goes_on(number: int, files: tuple[str, str, str], tmp_path: Path) -> None:
    a, b, out = files
    with serving(fair, delay=0.1) as server:
        log = tmp_path / "log"
        process = start(["judge", a, b, "--judge", f"m@{server.url}", "--out", out, "--parallel", "1"], log)
        answers = Path(out, "answers.jsonl")
        deadline = time.monotonic() + 60
        while not (answers.exists() and answers.read_text(encoding="utf-8").count("\n") >= 3):
            assert time.monotonic() < deadline and process.is_alive()
            time.sleep(0.02)
        os.kill(process.pid, number)
        assert finish(process, 30) == (-9 if number == signal.SIGKILL else 130)
        error = log.read_text(encoding="utf-8")
        assert "Traceback" not in error
        if number == signal.SIGINT:
            assert "the same command goes on from there" in error and "stopped by Ctrl-C" in error
        kept = answers.read_text(encoding="utf-8").count("\n")
        server.delay = 0.0
        before = len(server.requests)
        assert judge(files, server) == 0
    assert len(server.requests) - before == 20 - kept
    assert figures(files)["m"]["cached"] == kept and figures(files)["m"]["win_rate"]["value"] == pytest.approx(0.7)


def test_half_a_line_is_dropped_and_a_malformed_one_named(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Path(files[2], "answers.jsonl")
    with serving(fair) as server:
        assert judge(files, server) == 0
        content = answers.read_text(encoding="utf-8")
        answers.write_text(content[:-20], encoding="utf-8")
        assert judge(files, server) == 0
        assert len(server.requests) == 21
        assert "half a line at its end, from a killed process, is dropped" in capsys.readouterr().err
        answers.write_text("{}\n" + content, encoding="utf-8")
        assert judge(files, server) == 2
        assert "answers.jsonl:1: is no answer of a judge" in capsys.readouterr().err
