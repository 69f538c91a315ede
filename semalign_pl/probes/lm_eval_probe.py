"""Tasks of lm-evaluation-harness, during training and in a test."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.types import Measurement


class LMEvalProbe(Probe):
    """Scores of a task of lm-evaluation-harness, with the harness's own prompts, answers and metrics.

    The numbers are those of the harness's ``hf`` backend up to rounding. A score that is a mean over documents has
    items. Needs the extra ``lm-eval``. A task is a program: its file may name Python code beside it, which is run.

    Args:
        task: Name of a task, group or tag, such as gsm8k, cmmlu or belebele_bod_Tibt; lm-eval ls tasks lists them.
        include_path: Folder with task files of your own; null for the harness's tasks alone.
        num_fewshot: Number of examples per prompt, unless the task fixes it to 0; null for the task's own.
        limit: Maximum number of documents per task, from the first one on, as in lm-eval --limit; null for all.
        apply_chat_template: Flag to write prompts with the base's chat template, as in lm-eval --apply_chat_template.
        fewshot_as_multiturn: Flag to write examples as earlier turns of the conversation.
        system_instruction: System text before each prompt; null for none.
        enable_thinking: Value of the chat template's variable enable_thinking; null to leave it to the template.
        max_length: Maximum number of tokens of context and answer; null for the base's own. Contexts are cut at their
            beginning, and the signature counts them.
        name: Prefix of the scores' names, and name of the set of items; null for the task's name.
        seed: Seed of the sampling, for tasks that sample their answers.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self,
        task: str,
        include_path: str | None = None,
        num_fewshot: int | None = None,
        limit: int | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        system_instruction: str | None = None,
        enable_thinking: bool | None = None,
        max_length: int | None = None,
        name: str | None = None,
        seed: int = 0,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        for key, value, least in (("num_fewshot", num_fewshot, 0), ("limit", limit, 1), ("max_length", max_length, 2)):
            if value is not None and value < least:
                raise ValueError(f"LMEvalProbe.{key}: {value} is less than {least}; give a larger number, or null")
        if include_path is not None and not Path(include_path).is_dir():
            raise ValueError(f"LMEvalProbe.include_path: there is no folder {include_path}; give one with task files")
        if not apply_chat_template and (fewshot_as_multiturn or enable_thinking is not None):
            key = "fewshot_as_multiturn" if fewshot_as_multiturn else "enable_thinking"
            raise ValueError(
                f"LMEvalProbe.{key}: needs the chat template; set apply_chat_template: true, or leave it out"
            )
        self.task, self.limit, self.max_length, self.seed = task, limit, max_length, seed
        self.apply_chat_template, self.fewshot_as_multiturn = apply_chat_template, fewshot_as_multiturn
        self.system_instruction, self.enable_thinking = system_instruction, enable_thinking
        self.name = re.sub(r"\W+", "_", task) if name is None else name
        with _unchanged_process():
            try:
                from semalign_pl.probes.lm_eval_tasks import load_tasks
            except ModuleNotFoundError as error:
                raise ValueError(
                    f"LMEvalProbe: the package {error.name} is not installed; run `pip install "
                    "'semalign-pl[lm-eval]'`, or leave the probe out"
                ) from error
            self._loaded = load_tasks(task, include_path, num_fewshot)

    def measure(self, policy: Policy) -> Measurement:
        """Run the task.

        Raises:
            ValueError: If the task cannot be run with this base; names the task.
        """
        with _unchanged_process():
            from lm_eval.evaluator import evaluate

            from semalign_pl.probes.lm_eval_model import PolicyLM
            from semalign_pl.probes.lm_eval_scores import measurement_of
            from semalign_pl.probes.lm_eval_tasks import seed_examples

            seed_examples(self._loaded["tasks"].values())
            model = PolicyLM(policy, self.max_length, self.seed, self.enable_thinking)
            # The harness shows progress on stderr, which would tear the progress line of a training.
            with contextlib.redirect_stderr(io.StringIO()):
                try:
                    results = evaluate(
                        model,
                        self._loaded,
                        limit=self.limit,
                        bootstrap_iters=0,
                        system_instruction=self.system_instruction,
                        apply_chat_template=self.apply_chat_template,
                        fewshot_as_multiturn=self.fewshot_as_multiturn,
                    )
                except ValueError as error:
                    raise ValueError(f"LMEvalProbe.task: {self.task}: {error}") from error
            assert results is not None, "there is one process as far as the harness knows"
            signature = self._signature(model.truncated)
            # Also inside, because the harness draws a random number whenever a task is asked for its name.
            return measurement_of(results, self._loaded["tasks"], self._loaded.get("groups", {}), self.name, signature)

    def _signature(self, truncated: int) -> str:
        """Options that every score depends on; prompts, examples and options of generation are in its digest."""
        chat = "none"
        if self.apply_chat_template:
            turns = "|turns:many" if self.fewshot_as_multiturn else ""
            thinking = "" if self.enable_thinking is None else f"|thinking:{self.enable_thinking}"
            chat = f"base{turns}{thinking}"
        return (
            f"lm-eval:{version('lm_eval')}|task:{self.task}|limit:{self.limit}|chat:{chat}|max_length:{self.max_length}"
            f"|truncated:{truncated}|seed:{self.seed}"
        )


@contextlib.contextmanager
def _unchanged_process() -> Iterator[None]:
    """Seed the global random states as the harness's command does, and restore them and the environment on exit."""
    environment, of_python, of_numpy = dict(os.environ), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(1234)
        torch.default_generator.manual_seed(1234)  # not torch.manual_seed, which also seeds CUDA
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
