"""Reward by a language model as judge: a grade by a rubric, or a comparison with the reference."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.judge.answers import Answers
from semalign_pl.judge.ask import Outcome, ask_all
from semalign_pl.judge.endpoint import Endpoint, Sampling
from semalign_pl.judge.local import LocalModel
from semalign_pl.judge.pairwise import ORDERS, winner_of
from semalign_pl.judge.question import ABSOLUTE, PAIRWISE, Question
from semalign_pl.judge.rubric import read_rubric
from semalign_pl.judge.spec import parse_judge
from semalign_pl.policy.causal_lm import Weights
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.rewards.task_language import draw_evenly
from semalign_pl.types import Example

log = logging.getLogger(__name__)

FILE = "judge_answers.jsonl"
_WINS = {"a": 1.0, "tie": 0.5, "b": 0.0}


@dataclass(frozen=True)
class StepCost:
    """Cost of a step's scores.

    Attributes:
        prompt_tokens: Tokens that the judge read.
        completion_tokens: Tokens that the judge wrote.
        seconds: Time from the first question to the last answer, in seconds.
        questions: Number of questions.
        cached: Number of answers from the cache.
        unscored: Number of completions without a verdict.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    questions: int = 0
    cached: int = 0
    unscored: int = 0


class JudgeReward(Reward):
    """Grade of a completion from 0 to 1 by a language model: a server's, or one on this machine.

    The judge grades from 1 to 5 by the rubric's ``absolute`` prompt, which gives 0 to 1. With ``pairwise`` it compares
    the completion with the reference instead, in both orders: a win is 1, a tie 0.5. A local judge gives the mean of
    the grades by their probabilities. A completion whose answer has no verdict, also when asked again, is not scored.

    Answers are kept in ``judge_answers.jsonl`` in the run's folder, so that a resumed run pays for none twice. Each
    step logs tokens and seconds as ``train/judge/…``. A judge at a server works while the other rewards score.

    Args:
        judge: ``MODEL@URL``, ``MODEL@URL,KEY_VARIABLE`` with the environment variable that holds the key, or
            ``local:FOLDER``.
        rubric: Name of a shipped rubric (`translation`, `headline`), or a YAML file.
        pairwise: True to compare completions with the reference.
        source: Column with the text that the completion is about; the prompt by default.
        with_reference: True to show the reference to a judge that grades.
        language: Language of all completions, which the judge is told, such as `Tibetan`.
        max_tokens: Maximum number of tokens of an answer, thoughts included.
        temperature: Temperature of the judge; null for the server's default.
        parallel: Maximum number of requests at the same time.
        per_minute: Maximum number of requests per minute; null for no limit.
        timeout: Seconds that an answer may take.
        retries: Number of further tries after a failed request; the run ends with one line if all fail.
        weights: Format of a local judge's weights: nf4, bf16 or fp32.
        weight: Factor in the total reward.

    Attributes:
        cost: Cost since the last step.
    """

    best = 1.0

    def __init__(
        self,
        judge: str,
        rubric: str = "translation",
        pairwise: bool = False,
        source: str | None = None,
        with_reference: bool = True,
        language: str = "",
        max_tokens: int = 1024,
        temperature: float | None = 0.0,
        parallel: int = 16,
        per_minute: float | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        weights: Weights = "bf16",
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        self.spec = parse_judge("JudgeReward.judge", judge)
        self.rubric = read_rubric("JudgeReward.rubric", rubric, language)
        kind = "pairwise" if pairwise else "absolute"
        if not getattr(self.rubric, kind):
            raise ValueError(f"JudgeReward.rubric: {rubric} has no {kind}; add it, or change JudgeReward.pairwise")
        for name, value in (("max_tokens", max_tokens), ("parallel", parallel), ("timeout", timeout)):
            if value <= 0:
                raise ValueError(f"JudgeReward.{name}: {value:g} is not positive; give a larger number")
        if retries < 0:
            raise ValueError(f"JudgeReward.retries: {retries} is negative; give 0 or more")
        if per_minute is not None and per_minute <= 0:
            raise ValueError(f"JudgeReward.per_minute: {per_minute:g} is not positive; give null for no limit")
        self.pairwise, self.source, self.with_reference = pairwise, source, with_reference
        self.weights: Weights = weights
        self._sampling = Sampling(max_tokens, temperature)
        self._limits = (parallel, per_minute, timeout, retries)
        self._model: Endpoint | LocalModel | None = None
        self._answers = Answers(None)
        self.cost = StepCost()

    @property
    def signature(self) -> str:
        """Every option that changes the score; the rubric as a digest."""
        how = "pairwise" if self.pairwise else f"absolute|with_reference:{self.with_reference}"
        sampled = f"{self._sampling.max_tokens}|temperature:{self._sampling.temperature}"
        answer = f"max_tokens:{sampled}" if self.spec.url else f"weights:{self.weights}"
        return (
            f"{super().signature}|judge:{self.spec.model}@{self.spec.url or 'local'}|rubric:{self.rubric.name}|prompts:"
            f"{self.rubric.digest}|{how}|source:{self.source or 'prompt'}|{answer}"
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the key, load a local judge, and open the file of answers; a test uses no rewards.

        Raises:
            ValueError: If the key's variable is not set, openai is not installed, or the model cannot be loaded.
        """
        if stage != "fit" or self._answers.path is not None:
            return
        folder = Path(trainer.default_root_dir)
        rank = f".rank-{trainer.global_rank}" if trainer.global_rank else ""
        self._model = self._load(folder / "judge_digests.json", trainer.strategy.root_device)
        self._answers = Answers(folder / f"{FILE}{rank}", lambda line: log.warning("%s", line))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a mix in several languages, of which the judge is told one."""
        if trainer.is_global_zero and (warning := self.check_languages(training_examples(trainer))):
            log.warning("%s", warning)

    def check_languages(self, examples: Sequence[Example]) -> str | None:
        """Warning in one line if the judge is told one language, and the tasks of a mix name several, else ``None``.

        Args:
            examples: Training examples; about 1,000 of them, evenly spaced, are checked.
        """
        named = {example.language: example.corpus for example in draw_evenly(examples) if example.language}
        if not self.rubric.language or len(named) < 2:
            return None
        listed = ", ".join(f"{corpus} in {language}" for language, corpus in named.items())
        return (
            f"JudgeReward.language: the judge is told {self.rubric.language} for every completion, but the tasks have "
            f"{listed}; leave it out, and let a rubric of your own say which languages are wanted"
        )

    def _load(self, digests: Path, device: torch.device) -> Endpoint | LocalModel:
        if self.spec.url:
            key = self.spec.read_key("JudgeReward.judge")
            parallel, per_minute, timeout, retries = self._limits
            model = Endpoint(
                self.spec, key, self._sampling, parallel, per_minute, timeout, retries, "JudgeReward",
                lambda line: log.warning("%s", line),
            )  # fmt: skip
        else:
            model = LocalModel(self.spec.model, digests, self.weights, device, "JudgeReward.judge", "JudgeReward")
        model.prepare()
        return model

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let other processes write the file of answers."""
        self._answers.close()
        self._answers = Answers(None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Log the cost of the step, over all ranks."""
        for name, value in vars(self.cost).items():
            pl_module.log(f"train/{self.name}/{name}", float(value), batch_size=1, sync_dist=True, reduce_fx="sum")
        self.cost = StepCost()

    async def score(  # pyright: ignore[reportIncompatibleMethodOverride]  (the base class allows async)
        self, *, prompts: list[str], completions: list[str], references: list[str], **columns: list[str]
    ) -> list[float | None]:
        """One grade per completion; an empty completion has 0, and one without a verdict ``None``.

        Raises:
            ValueError: If the corpus has no column with the source's name, or the judge cannot be asked.
        """
        if self._model is None:  # without a trainer, as in reward-check
            self._model = self._load(Path(".semalign_cache") / "judge_digests.json", torch.device("cpu"))
        sources = prompts if self.source is None else columns.get(self.source)
        if sources is None:
            raise ValueError(
                f"JudgeReward.source: no column of the corpus is called {self.source!r}; take one of "
                f"{', '.join(columns) or 'none'} (in a mix, each corpus needs it), or null for the prompt"
            )
        rows = list(zip(sources, references, completions, strict=True))
        asked = {row: self._questions(*row) for row in dict.fromkeys(rows) if row[2].strip()}
        questions = [question for of_row in asked.values() for question in of_row]
        begun = time.monotonic()
        outcomes = iter(await ask_all(self._model, questions, self._answers))
        found = {row: [next(outcomes) for _ in of_row] for row, of_row in asked.items()}
        scores = [self._value(found[row]) if row in found else 0.0 for row in rows]
        self._count([one for of_row in found.values() for one in of_row], time.monotonic() - begun, scores)
        return scores

    def _questions(self, source: str, reference: str, completion: str) -> list[Question]:
        if not self.pairwise:
            return [self.rubric.grade(source, reference if self.with_reference else None, completion)]
        if not reference.strip():
            raise ValueError("JudgeReward.pairwise: a row has no reference to compare with; set it to false")
        orders = {"a": (completion, reference), "b": (reference, completion)}
        return [self.rubric.compare(source, None, *orders[first]) for first in ORDERS]

    def _value(self, outcomes: Sequence[Outcome]) -> float | None:
        """Score from the answers about one completion; ``None`` if one has no verdict."""
        if any(outcome.option is None for outcome in outcomes):
            return None
        if not self.pairwise:
            (outcome,) = outcomes
            options = ABSOLUTE[1]
            grades = [index / (len(options) - 1) for index in range(len(options))]
            return _mean(outcome, options, grades)
        values = []
        for first, outcome in zip(ORDERS, outcomes, strict=True):
            wins = [_WINS[winner] for option in PAIRWISE[1] if (winner := winner_of(option, first)) is not None]
            values.append(_mean(outcome, PAIRWISE[1], wins))
        return fmean(values)

    def _count(self, outcomes: Sequence[Outcome], seconds: float, scores: Sequence[float | None]) -> None:
        new = [outcome.reply for outcome in outcomes if not outcome.cached]
        self.cost = replace(
            self.cost,
            prompt_tokens=self.cost.prompt_tokens + sum(reply.prompt_tokens for reply in new),
            completion_tokens=self.cost.completion_tokens + sum(reply.completion_tokens for reply in new),
            seconds=self.cost.seconds + seconds,
            questions=self.cost.questions + len(outcomes),
            cached=self.cost.cached + len(outcomes) - len(new),
            unscored=self.cost.unscored + sum(score is None for score in scores),
        )


def _mean(outcome: Outcome, options: Sequence[str], values: Sequence[float]) -> float:
    """Value of the verdict; its mean by probability if the judge's probabilities are known."""
    if outcome.reply.probabilities:
        return sum(p * value for p, value in zip(outcome.reply.probabilities, values, strict=True))
    assert outcome.option is not None, "checked by the caller"
    return values[options.index(outcome.option)]
