"""A finished run, loaded to answer prompts as ``semalign predict`` does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from transformers.utils.logging import disable_progress_bar

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.corpora import prompt_tasks
from semalign_pl.data.tasks import Task
from semalign_pl.engine.generate import generate
from semalign_pl.engine.model import Role
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.supported import check_precision
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.run.finished import RECIPE, FinishedRun
from semalign_pl.types import Prompt


@dataclass(frozen=True)
class Answer:
    """Completion of a policy.

    Attributes:
        text: Text of the completion, without special tokens.
        finished: True if it ended by itself; false if it was cut off at ``max_new_tokens``.
        cut: True if the source was cut, since the prompt was longer than ``max_prompt_tokens``.
    """

    text: str
    finished: bool
    cut: bool


@dataclass(frozen=True)
class RecipeTask:
    """Data module of a recipe, and the task that makes prompts of the user's texts.

    Attributes:
        data: Data module of the recipe.
        task: Task of a corpus with prompts.
        columns: Name of the corpus' column for each field of the task, as far as the recipe names them.
    """

    data: CorpusDataModule
    task: Task
    columns: dict[str, str]

    @classmethod
    def of_data(cls, data: CorpusDataModule) -> RecipeTask:
        """Take the task of the first corpus that a run is tested on.

        Args:
            data: Data module of the recipe.

        Raises:
            ValueError: If the recipe has no corpus with prompts.
        """
        return cls(data, *_choose_task(data, None))


@dataclass(frozen=True)
class RunRecipe(RecipeTask):
    """Recipe of a finished run, without weights.

    Attributes:
        run: Folder of the run.
        module: Module of the recipe, whose settings hold for generation too.
        precision: Value of ``trainer.precision``; ``None`` for Lightning's default.
    """

    run: FinishedRun
    module: AlignModule
    precision: str | int | None

    @classmethod
    def of(cls, run: FinishedRun, corpus: str | None = None) -> RunRecipe:
        """Read the recipe of a run.

        Args:
            run: Folder of the run.
            corpus: Name of the corpus of the recipe whose task is used; ``None`` for the task that it is tested on.

        Raises:
            ValueError: If the run trained no policy, or its recipe has no corpus of this name, none with prompts, or
                a precision that a test refuses.
        """
        if run.adapter is None:
            raise ValueError(
                f"{run.path} trained an encoder, which writes no text; give the run of an SFT or GRPO stage"
            )
        parsed = parse_recipe(["--config", str(run.path / RECIPE)], "predict")
        check_precision(parsed.settings.trainer.precision)
        settings = parsed.settings.model.init_args
        if "anchor" in settings:
            settings.anchor = None  # only training needs its file, which may be missing here
        module, data = parsed.make_module(), parsed.make_data()
        if not isinstance(module, AlignModule) or not isinstance(data, CorpusDataModule):
            kinds = f"{type(module).__name__} and {type(data).__name__}"
            raise ValueError(f"{run.path}/{RECIPE}: {kinds} cannot be used here; use semalign predict")
        return cls(data, *_choose_task(data, corpus), run, module, parsed.settings.trainer.precision)

    def load(self, adapter: str | None = None) -> LoadedRun:
        """Load base and adapter.

        Args:
            adapter: PEFT folder to load in place of the run's own adapter.
        """
        disable_progress_bar()  # a bar of its own, before the first answer
        device = torch.device("cpu")
        if self._accelerator != "cpu" and torch.cuda.is_available():
            device = torch.device("cuda")
        policy = load_policy(self.run.base, self.module.weights, None, adapter or str(self.run.adapter), device)
        return LoadedRun(self, policy)

    @property
    def _accelerator(self) -> str:
        return str(self.run.recipe.get("trainer", {}).get("accelerator", "auto"))


@dataclass(frozen=True)
class LoadedRun:
    """Policy of a finished run.

    Attributes:
        recipe: Module, data module and task of the run.
        policy: Base and adapters.
    """

    recipe: RunRecipe
    policy: Policy

    def answer(self, prompts: Sequence[Prompt], role: Role = "policy") -> list[Answer]:
        """Complete prompts greedily, as a test of the run does.

        Args:
            prompts: User's messages, or conversations.
            role: Weights to use: ``policy``, ``reference`` or ``base``.

        Raises:
            ValueError: If the chat template cannot render a prompt, or the template alone is longer than
                ``max_prompt_tokens``.
        """
        module, encoder = self.recipe.module, self.policy.encoder
        ids: list[list[int]] = []
        cut: list[bool] = []
        for prompt in prompts:
            before = encoder.truncated_prompts
            ids.append(encoder.encode_prompt(prompt, module.max_prompt_tokens))
            cut.append(encoder.truncated_prompts > before)
        with self._autocast(), self.policy.acting_as(role):
            rollouts = generate(self.policy, ids, max_new_tokens=module.max_new_tokens)
        return [Answer(*one) for one in zip(rollouts.texts, rollouts.finished.tolist(), cut, strict=True)]

    def _autocast(self) -> AbstractContextManager[None]:
        """Autocast of a test's steps at the recipe's precision."""
        precision, device = str(self.recipe.precision), self.policy.device.type
        if "16" not in precision:
            return nullcontext()
        bf16 = "bf16" in precision or device == "cpu"  # a CPU has no autocast in float16: Lightning takes bfloat16
        return MixedPrecision("bf16-mixed" if bf16 else "16-mixed", device).forward_context()


def _choose_task(data: CorpusDataModule, name: str | None) -> tuple[Task, dict[str, str]]:
    """Task and columns of a named corpus, or of the first one that a run is tested on.

    Raises:
        ValueError: If there is no such corpus, or its task is raw text, which has no prompt.
    """
    found = prompt_tasks(data, replayed=name is not None)
    if name is None and found:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    if name is None:
        raise ValueError("data.init_args: no corpus of this recipe has prompts, so there is nothing to answer")
    names = ", ".join(filter(None, found)) or "none with a name; leave --corpus out"
    raise ValueError(f"--corpus: {name!r} is no corpus with prompts of this recipe, which has {names}")
