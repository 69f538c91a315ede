"""``semalign judge`` against a real local server: figures, cost, key and flags."""

from __future__ import annotations

from math import comb
from pathlib import Path

import pytest
from helpers.judge_command import KEY, fair, figures, judge, write
from helpers.judge_server import completion, send, serving, texts_of

from semalign_pl.__main__ import main
from semalign_pl.judge.records import Judgement, read_judgements
from semalign_pl.judge.result import all_figures, sentences
from semalign_pl.judge.session import Verdicts


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


@pytest.mark.parametrize("items", [7, 9, 13, 15])
def test_fair_judgements_seldom_name_a_winner(items: int) -> None:
    """The exact chance over all 2 ** items outcomes of fair coins."""
    chance = 0.0
    for wins in range(items + 1):
        judged = [
            Judgement(str(item), "m", "translation", first, "a" if item < wins else "b")
            for item in range(items)
            for first in ("a", "b")
        ]
        verdict = Verdicts("m", judged, [], 0, 0, 0, 0, 0.0)
        (line, *_) = sentences(all_figures([verdict], {}, {"m": ""}), [verdict])
        chance += comb(items, wins) / 2**items * ("is preferred" in line)
        if wins in (0, items):
            assert f"{'AB'[wins == 0]} is preferred" in line
    assert 0 < chance <= 0.05


def test_a_win_rate_against_most_items_names_no_winner() -> None:
    """Nine judges: of 30 items, A wins 10 by all votes, and loses 20 by four votes to five."""
    judged = [
        Judgement(str(item), f"m{judge}", "translation", "a", "a" if item < 10 or judge < 4 else "b")
        for judge in range(9)
        for item in range(30)
    ]
    verdict = Verdicts("m", judged, [], 0, 0, 0, 0, 0.0)
    figures = all_figures([verdict], {}, {"m": ""})
    assert figures["m"]["win_rate"]["low"] > 0.5 and (figures["m"]["items_a"], figures["m"]["items_b"]) == (10, 20)
    (line, *_) = sentences(figures, [verdict])
    assert line.startswith("m: no difference is shown: ") and line.endswith(" over 30 items, sign test p = 0.099")


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--judge: missing"),
        (["--judge", "m@http://h/v1", "--seed", "1"], "--seed: is for --humans, the page for readers; add --humans"),
        (["--judge", "gpt"], "--judge: 'gpt' is no judge; give MODEL@URL"),
        (["--judge", "m@http://h/v1", "--weights", "nf4"], "--weights: is for local judges, and none is given"),
        (["--judge", "local:m", "--per-minute", "9"], "--per-minute: is for judges at a server, and none is given"),
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
