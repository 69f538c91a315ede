"""Screen of a run: page before, progress, validation scores, summary after; none of it changes the training."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import lightning.pytorch  # noqa: F401  (its log handler keeps the stream of the time of import, which a test would close)
import pytest
from helpers.small_runs import Runs, assert_same, weights
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from rich.cells import cell_len

from semalign_pl.callbacks.on_screen import with_screen
from semalign_pl.callbacks.pre_run import PreRunPage, count_weights
from semalign_pl.callbacks.starting_samples import describe_language
from semalign_pl.languages import get_language
from semalign_pl.rewards import SemanticReward
from semalign_pl.types import Example

DICE = {"class_path": "helpers.run_callbacks.Dice"}
COMPLAINT = {"class_path": "helpers.run_callbacks.Complaint"}
EVALUATION = {"class_path": "Evaluation"}
SHOWN = ("trainer.enable_model_summary=true", "trainer.enable_progress_bar=true")


class Terminal(io.StringIO):
    """Stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """Messages that Lightning logs, after filters."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lines
    for logger in loggers:
        logger.removeHandler(handler)


def test_the_screen_of_grpo(runs: Runs, capfd: pytest.CaptureFixture[str], log_lines: list[str]) -> None:
    """Plain lines in a file; the same bits as without them, though a reward draws from a global generator."""
    given = (f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "data.init_args.eval_limit=2")
    given += ("trainer.val_check_interval=2", "trainer.max_steps=4", "data.init_args.limit=16")
    written = {}
    for name, flags in (("shown", SHOWN), ("hidden", ())):
        cli = runs("fit", "grpo", name, *given, *flags, callbacks=[DICE, EVALUATION])
        written[name] = capfd.readouterr()
        assert count_weights(cli.model) == cli.model.policy.model.get_nb_trainable_parameters()
    assert_same(weights(runs.folder / "shown"), weights(runs.folder / "hidden"))
    rows = [
        [{k: v for k, v in row.items() if "time/" not in k} for row in runs.metrics(name)]
        for name in ("shown", "hidden")
    ]
    assert rows[0] == rows[1] and any("reward/dice" in key for key in rows[0][0])

    assert written["hidden"].out == ""
    out, err = written["shown"]
    page, steps = out[: out.index("\nstep 1/4")], out[out.index("step 1/4") :]
    assert page.startswith("before training\n  data     ") and max(map(len, page.splitlines())) <= 110  # long paths
    page = " ".join(page.split())
    assert "train.jsonl: 40 rows read, 40 kept 16 of them are trained on" in page
    assert "weights are trained" in page and "4; 2 rows per step, 2 completions each" in page
    assert re.search(r"semantic: weight 1.5; mean -?\d\.\d\d, from", page) and "dice: weight 1; mean 0." in page
    assert re.search(r"\d %? Tibetan", page) and str(runs.folder / "shown") in page
    assert [int(step) for step in re.findall(r"^step (\d)/4  ", steps, re.M)] == [1, 2, 3, 4]
    last = r"^step 4/4  took .* s  reward \d\.\d+  kl \d\.\d+  semantic 0\.\d\d  language 0.00  dice 0"
    assert re.search(last, steps, re.M)
    assert len(re.findall(r"^validation after step [24]  .*chrf", steps, re.M)) == 2
    summary = out[out.index("done: 4 steps") :]
    assert "training    reward " in summary and "reward dice 0." in summary and "validation  " in summary
    assert f"adapter     {runs.folder / 'shown' / 'adapter'}" in summary and "semalign test --config" in summary
    assert "\r" not in out and "\x1b" not in out
    noise = "GPU available|TPU available|Seed set|Loading weights|`Trainer.fit` stopped|Tip:"
    assert not re.search(noise, out + err + "\n".join(log_lines))

    runs("fit", "grpo", "shown", *given, *SHOWN, "trainer.max_steps=5", "ckpt_path=last", callbacks=[DICE, EVALUATION])
    out = capfd.readouterr().out
    assert "5, of which 4 are done" in out and "starting policy" not in out and "done: 5 steps" in out


def test_the_screen_of_sft_on_a_terminal(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line of at most 80 columns that changes in place; scores of validate and test as tables; stderr in a file."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("semalign_pl.callbacks.progress.REFRESH_SECONDS", 0.0)
    given = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "data.init_args.eval_limit=4", *SHOWN]

    file = str(runs.corpus / "text.txt")
    drift = {"class_path": "DriftProbe", "init_args": {"file": file, "limit": 2, "every_n_steps": 1}}

    def screen(command: str, *flags: str) -> str:
        monkeypatch.setattr("sys.stdout", stream := Terminal())
        runs(command, "sft", "run", *given, *flags, callbacks=[EVALUATION, drift, COMPLAINT])
        return stream.getvalue()

    fit = screen("fit", "trainer.max_steps=2", "trainer.val_check_interval=1")
    assert capfd.readouterr().err.count("a complaint\n") == 2 and "complaint" not in fit
    lines = re.split(r"[\r\n]+|\x1b\[\d*[A-Z]", re.sub(r"\x1b\[[\d;?]*[mhl]", "", fit))
    frames = [line for line in lines if line.startswith("step ")]
    assert frames[0].startswith("step 1/2  ") and "step 2/2  took" in frames[-1]
    assert any("val loss" in frame for frame in frames) and any("validation 2/2" in frame for frame in frames)
    assert max(map(cell_len, frames)) <= 80
    assert "rewards" not in fit and "validation after step 2  loss 5." in fit and "done: 2 steps" in fit
    assert "too long" not in fit  # none is
    assert "general ability after step 2  nll change" in fit
    assert re.search(r"  nll change mean -?\d\S* after step 2; the base has 0\n", fit)

    validated = screen("validate")
    assert "val/chrf" in validated and "DataLoader" not in validated and "━┳━" in validated
    tested = screen("test")
    assert "language_consistency" in tested and "DataLoader" not in tested


@pytest.mark.parametrize("probes", [0, 1])
def test_a_test_in_a_file_says_what_it_does(
    probes: int, runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("semalign_pl.callbacks.progress.QUIET_BATCHES_SECONDS", 0.0)
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt"), "limit": 2}}
    flags = ("data.init_args.batch_size=4", "data.init_args.eval_limit=8", "trainer.enable_progress_bar=true")
    runs("test", "sft", "run", *flags, callbacks=[EVALUATION, *[drift] * probes])
    shown = [line for line in capfd.readouterr().out.splitlines() if re.match(r"test  |test \d+/\d+$", line)]
    batches = int(shown[-1].split("/")[1])
    assert batches > 1
    assert shown == ["test  probes measure"] * probes + [f"test {n}/{batches}" for n in range(1, batches + 1)]


def test_the_summary_of_raw_text_proposes_no_conversation(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    raw = f"data.init_args.train={{path: {runs.corpus / 'text.txt'}, task: {{class_path: RawText}}}}"
    given = [raw, "data.init_args.test=null", "trainer.enable_model_summary=true"]
    runs("fit", "sft", "run", "trainer.max_steps=1", *given)
    assert "done: 1 steps" in (out := capsys.readouterr().out) and "semalign chat" not in out


@pytest.mark.parametrize(
    ("flags", "callbacks", "added"),
    [
        ({}, [], {"PreRunPage", "ValidationScores", "RunSummary", "Progress"}),
        ({"enable_model_summary": False}, [], {"Progress"}),
        ({"enable_progress_bar": False}, [], {"PreRunPage", "ValidationScores", "RunSummary"}),
        ({}, [TQDMProgressBar(), PreRunPage()], {"ValidationScores", "RunSummary"}),
    ],
)
def test_lightnings_flags_and_own_callbacks_replace_them(
    flags: dict[str, bool], callbacks: list[Callback], added: set[str]
) -> None:
    chosen = with_screen(callbacks, flags)
    assert chosen[: len(callbacks)] == callbacks
    assert {type(callback).__name__ for callback in chosen[len(callbacks) :]} == added


@pytest.mark.parametrize(
    ("texts", "adapter", "expected"),
    [
        (["Hello.", "你好"], None, "0 % Tibetan: no cold start? .* train SFT first, and give its folder as model.init"),
        (
            ["Hello.", "你好"],
            "runs/cold/adapter",
            "0 % Tibetan: no cold start? .* runs/cold/adapter does not",
        ),
        (["བོད་ཡིག་", "Hi", "བོད་ཡིག་", "བོད་ཡིག་"], None, "75 % Tibetan$"),
    ],
)
def test_completions_in_another_language_suggest_a_cold_start(
    texts: list[str], adapter: str | None, expected: str
) -> None:
    assert re.match(expected.replace("?", r"\?"), describe_language(get_language("bo"), texts, adapter))


def test_rehearsed_scores_are_those_of_training_and_are_not_counted(encoder: str) -> None:
    reward, example = SemanticReward(encoder, cache=None), Example("1", "问", "བོད་ཡིག")
    texts = ["བོད་" * 400]
    reward([example], [""])  # loads the encoder
    rehearsed = reward.rehearse([example], texts)
    assert reward.encoder is not None and reward.encoder.truncated == 0
    assert reward([example], texts).equal(rehearsed) and reward.encoder.truncated == 1
