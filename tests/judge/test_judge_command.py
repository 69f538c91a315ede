"""``semalign judge`` against a real local server, faults included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from helpers.judge_server import JudgeServer, completion, cut_off, hang, send, serving, texts_of

from semalign_pl.__main__ import main
from semalign_pl.judge.records import read_judgements

KEY = "sk-planted-0123456789abcdef"


def fair(prompt: str) -> str:
    """The text with more of the word ``good`` is better."""
    one, two = (text.count("good") for text in texts_of(prompt))
    return f"Because.\nVERDICT: {'tie' if one == two else '1' if one > two else '2'}"


def write(path: Path, texts: list[str]) -> Path:
    rows = [{"id": str(i), "source": f"source {i}", "prediction": text} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """A is better in six of ten items, B in two; and where the results go."""
    a = write(tmp_path / "a.jsonl", [f"{i} good" if i < 6 else f"{i}" for i in range(10)])
    b = write(tmp_path / "b.jsonl", [f"{i} other good" if 6 <= i < 8 else f"{i} other" for i in range(10)])
    return str(a), str(b), str(tmp_path / "out")


def judge(files: tuple[str, str, str], server: JudgeServer, *flags: str) -> int:
    a, b, out = files
    return main(["judge", a, b, "--judge", f"m@{server.url}", "--out", out, *flags])


def figures(files: tuple[str, str, str]) -> dict:
    return json.loads(Path(files[2], "judge.json").read_text(encoding="utf-8"))["judges"]


def test_a_planted_preference_is_found(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with serving(fair) as server:
        assert judge(files, server, "--price", "m=2,10") == 0
    found = figures(files)["m"]
    assert found["win_rate"]["value"] == pytest.approx(0.7)
    assert (found["wins_a"], found["ties"], found["wins_b"], found["unreadable"]) == (12, 4, 4, 0)
    assert found["order_bias"]["value"] == 0.0 and found["order_agreement"] == 1.0
    cost = found["cost"]
    assert (cost["prompt_tokens"], cost["completion_tokens"]) == (2000, 200) and found["requests"] == 20
    assert cost["money"] == pytest.approx(0.006)
    judgements = read_judgements(Path(files[2], "judgements.jsonl"))
    assert [(one.id, one.first, one.winner) for one in judgements[:2]] == [("0", "a", "a"), ("0", "b", "a")]
    assert judgements[0].reason == "Because." and judgements[0].rubric == "translation"
    assert Path(files[2], "judge.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert "70.0 % [" in shown and "12 / 4 / 4" in shown and "2,000 tokens read, 200 written, price 0.006;" in shown


def test_a_planted_order_bias_is_found_and_favours_nobody(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda prompt: "VERDICT: 1") as server:
        assert judge(files, server) == 0
    found = figures(files)["m"]
    assert found["order_bias"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["win_rate"]["value"] == 0.5 and found["order_agreement"] == 0.0
    assert "prefers the answer that it is shown first" in capsys.readouterr().out


def test_an_order_without_a_verdict_is_told(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda prompt: "I cannot say." if texts_of(prompt)[0] == "0 other" else "VERDICT: 1") as server:
        assert judge(files, server) == 0
    assert figures(files)["m"]["win_rate"]["value"] == pytest.approx((1.0 + 9 * 0.5) / 10)
    shown = capsys.readouterr().out
    assert "m: 1 item has a verdict in one order only" in shown and "favours neither side" not in shown


@pytest.mark.parametrize(("items", "verdict"), [(1, "too few items to tell"), (5, "too few"), (6, "A is preferred")])
def test_few_items_show_no_preference(
    items: int, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.jsonl", ["good"] * items), write(tmp_path / "b.jsonl", ["bad"] * items)
    with serving(fair) as server:
        assert judge((str(a), str(b), str(tmp_path / "out")), server) == 0
    assert f"m: {verdict}" in capsys.readouterr().out


def test_a_server_without_numbers_of_tokens_has_no_known_cost(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(fair, *[send(200, completion("VERDICT: 1") | {"usage": None})] * 20) as server:
        assert judge(files, server, "--price", "m=2,10") == 0
    assert "money" not in figures(files)["m"]["cost"]
    assert "m: its server sends no numbers of tokens, so the cost is not known" in capsys.readouterr().out


def test_judges_are_compared(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    def contrary(prompt: str) -> str:
        text = fair(prompt)
        return text.replace(": 1", ": x").replace(": 2", ": 1").replace(": x", ": 2")

    with serving(fair) as one, serving(contrary) as other:
        assert judge(files, one, "--judge", f"n@{other.url}") == 0
    found = figures(files)
    assert set(found) == {"m", "n", "all judges"}
    assert found["all judges"]["win_rate"]["value"] == 0.5
    assert found["all judges"]["judge_agreement"] == [{"judges": ["m", "n"], "agreement": 0.2}]
    assert "m and n agree on 20 % of items" in capsys.readouterr().out


FAULTS = {
    "too many requests": send(429, {"error": {"message": "slow down"}}, retry_after="0.3"),
    "server error": send(500, {"error": {"message": "oops"}}),
    "timeout": hang(3.0),
    "malformed JSON": send(200, b'{"choices": ['),
    "no JSON": send(200, b"<html>busy</html>"),
    "no choices": send(200, {"choices": []}),
    "an error with status 200": send(200, {"error": {"message": "overloaded"}}),
    "half a response": cut_off,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_survived(fault, files: tuple[str, str, str]) -> None:
    with serving(fair, fault) as server:
        assert judge(files, server, *(["--timeout", "2"] if fault is FAULTS["timeout"] else [])) == 0
    found = figures(files)["m"]
    assert found["win_rate"]["value"] == pytest.approx(0.7) and found["failed_requests"] == 1
    assert len(server.requests) == 21


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


def test_an_answer_without_a_verdict_is_asked_again_once(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def unsure(prompt: str) -> str:
        if "source 0\n" in prompt:
            return "I cannot say."
        return fair(prompt) if "Do not explain" in prompt else "Let me think."

    with serving(unsure) as server:
        assert judge(files, server) == 0
        assert len(server.requests) == 40
        found = figures(files)["m"]
        assert (found["unreadable"], found["asked_again"], found["ties"]) == (2, 20, 4)
        assert found["cost"]["prompt_tokens"] == 4000
        assert found["items"] == 9 and found["win_rate"]["value"] == pytest.approx((5 + 2 * 0.5) / 9)
        assert "2 of 20 answers have no verdict" in capsys.readouterr().out
        assert [one.winner for one in read_judgements(Path(files[2], "judgements.jsonl"))[:2]] == [None, None]
        assert judge(files, server) == 0  # from the cache
        assert len(server.requests) == 40


def test_a_cut_off_answer_is_no_verdict(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with serving(fair, finish="length") as server:
        assert judge(files, server) == 2
    assert "m: none of 20 judgements has a verdict" in capsys.readouterr().err


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


def test_the_key_is_sent_and_written_nowhere(
    tmp_path: Path, files: tuple[str, str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(prompt: str) -> str:
        return f"Your key is {KEY}.\n{fair(prompt)}"

    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    monkeypatch.setenv("OPENAI_LOG", "debug")
    a, b, out = files
    error = send(500, {"error": {"message": f"Bearer {KEY} failed"}})
    with serving(echo, error, send(200, KEY.encode())) as server:
        assert main(["judge", a, b, "--judge", f"m@{server.url},JUDGE_KEY", "--out", out]) == 0
    assert set(server.keys) == {f"Bearer {KEY}"}
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err
    holding = [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
    assert holding == []
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 6


def test_a_key_for_openai_is_not_sent_elsewhere(files: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}\nX-Gateway-Key: {KEY}")
    with serving(fair) as server:
        assert judge(files, server) == 0
    assert len(server.headers) == 20 and not any(KEY in headers for headers in server.headers)


def test_equal_questions_are_asked_once_and_changed_ones_again(tmp_path: Path) -> None:
    files = (str(write(tmp_path / "a.jsonl", ["x", "y good"])), str(write(tmp_path / "b.jsonl", ["x", "z"])), "")
    files = (*files[:2], str(tmp_path / "out"))
    with serving(fair) as server:
        assert judge(files, server) == 0
        assert len(server.requests) == 3  # the two orders of equal texts are the same question
        assert figures(files)["m"]["cost"]["prompt_tokens"] == 300
        assert judge(files, server) == 0
        assert len(server.requests) == 3
        write(tmp_path / "b.jsonl", ["x", "z good"])
        assert judge(files, server) == 0
        assert len(server.requests) == 5
        assert judge(files, server, "--language", "Tibetan") == 0
        assert len(server.requests) == 8
        assert "into Tibetan" in server.requests[-1]["messages"][-1]["content"]
        assert judge(files, server, "--max-tokens", "99") == 0
        assert len(server.requests) == 11


def test_requests_are_limited(files: tuple[str, str, str]) -> None:
    with serving(fair, delay=0.02) as server:
        assert judge(files, server, "--per-minute", "1200", "--parallel", "3") == 0
    assert server.times[-1] - server.times[0] >= 19 * 0.05 * 0.95 and server.most_at_once <= 3
    with serving(fair, delay=0.05) as server:
        assert judge(files, server, "--parallel", "4", "--language", "x") == 0
    assert 1 < server.most_at_once <= 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_command_goes_on(number: int, files: tuple[str, str, str], tmp_path: Path) -> None:
    a, b, out = files
    with serving(fair, delay=0.1) as server:
        command = [sys.executable, "-m", "semalign_pl", "judge", a, b, "--judge", f"m@{server.url}", "--out", out]
        process = subprocess.Popen([*command, "--parallel", "1"], stderr=subprocess.PIPE, text=True, env=os.environ)
        answers = Path(out, "answers.jsonl")
        deadline = time.monotonic() + 60
        while not (answers.exists() and answers.read_text(encoding="utf-8").count("\n") >= 3):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130)
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--judge: missing"),
        (["--judge", "gpt"], "--judge: 'gpt' is no judge; give MODEL@URL"),
        (["--judge", "https://user:secret@h/v1"], "is no judge; give MODEL@URL"),
        (["--judge", "gpt,sk-secret"], "--judge: 'gpt' is no judge; give MODEL@URL"),
        (["--judge", "m@http://user:secret@h/v1"], "belongs into an environment variable"),
        (["--judge", "m@http://h/v1?key=secret"], "belongs into an environment variable"),
        (["--judge", "m@http://h/v1,sk-secret"], "there must be the name of an environment variable"),
        (["--judge", "m@http://h/v1,hf_secret0aB"], "there must be the name of an environment variable in capitals"),
        (["--judge", "m@http://h/v1,UNSET_KEY"], "the environment variable UNSET_KEY is not set; run export"),
        (["--judge", "m@https://api.openai.com/v1"], "the environment variable OPENAI_API_KEY is not set"),
        (["--judge", "m@http://h/v1", "--judge", "m@http://h/v1"], "--judge: m@h is given twice"),
        (["--judge", "local:"], "local: names no model"),
        (["--judge", "local:./nowhere"], "--judge: there is no folder ./nowhere"),
        (["--judge", "m@http://h/v1", "--rubric", "nothing"], "there is no rubric 'nothing'; take headline or"),
        (["--judge", "m@http://h/v1", "--parallel", "0"], "--parallel: 0 is too small; give 1 or more"),
        (["--judge", "m@http://h/v1", "--per-minute", "0"], "--per-minute: 0 is no positive number"),
        (["--judge", "m@http://h/v1", "--temperature", "hot"], "--temperature: 'hot' is no temperature"),
        (["--judge", "m@http://h/v1", "--price", "m=1"], "--price: 'm=1' is no price"),
        (["--judge", "m@http://h/v1", "--price", "n=1,2"], "--price: there is no judge 'n'; there are m"),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str],
    message: str,
    files: tuple[str, str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    a, b, out = files
    assert main(["judge", a, b, "--out", out, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and "secret" not in error and error.count("\n") == 1
