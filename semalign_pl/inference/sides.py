"""Base, cold start and scaled adapter of a run, side by side in one loaded policy."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.engine.model import Role
from semalign_pl.inference.inputs import Inputs
from semalign_pl.inference.loaded_run import RunRecipe
from semalign_pl.languages import get_language
from semalign_pl.policy.adapter import load_adapter_state
from semalign_pl.policy.adapter_folder import AdapterFolder, read_adapter_folder
from semalign_pl.policy.adapter_start import Terms, read_terms
from semalign_pl.policy.blend import blend_state, plain_terms, write_common
from semalign_pl.run.finished import FinishedRun

BASE, START, ADAPTER = "Base", "Cold start", "Adapter"


@dataclass(frozen=True)
class Side:
    """Answer of one model, and what can be checked of it without a reference.

    Attributes:
        name: Name of the model: ``Base``, ``Cold start`` or ``Adapter``.
        scale: Scale of the run's own adapter; ``None`` for the other models.
        text: Answer.
        cut: True if the source was cut, since the prompt was longer than ``max_prompt_tokens``.
        finished: False if the answer was cut off at ``max_new_tokens``.
        in_language: True if it is wholly in the task's language (R_lang); ``None`` if the task names no language.
        share: Share of its words that are in the language, 0 to 1; ``None`` if the task names no language.
        similarity: Cosine with the source by the recipe's encoder; ``None`` without an encoder.
        seconds: Time to generate it; 0 for an answer that was kept.
    """

    name: str
    scale: float | None
    text: str
    cut: bool
    finished: bool
    in_language: bool | None
    share: float | None
    similarity: float | None
    seconds: float


class Sides:
    """Models of one run, whose base is loaded once: the adapter is switched off, replaced by its start, or scaled.

    Args:
        recipe: Recipe of the run.

    Attributes:
        recipe: Recipe of the run.
        names: Names of the models: without the cold start if the run did not start from an adapter.
        language: Language of the answers; ``None`` if the task names none.
        encoder_name: Sentence encoder of the recipe, as it names it; ``None`` if it names none.
        missing_start: Reason for which the cold start is left out, though the run started from one; else empty.

    Raises:
        ValueError: If base, adapter or encoder cannot be loaded.
    """

    def __init__(self, recipe: RunRecipe) -> None:
        self.recipe = recipe
        self._inputs, self._lock = Inputs(recipe), threading.Lock()
        code = recipe.task.target_language
        self.language = get_language(code) if code else None
        self._adapter = read_adapter_folder(str(recipe.run.adapter))
        self.missing_start = ""
        try:
            start = _read_start(recipe)
            self._load(start)
        except ValueError as error:
            if recipe.module.adapter is None:
                raise
            start, self.missing_start = [], str(error)
            self._load([])
        self.names = [BASE, *([START] if start else []), ADAPTER]
        self.encoder_name = _find_encoder(recipe.run)
        self._encoder = None
        if self.encoder_name is not None:
            self._encoder = SentenceEncoder(recipe.run.locate(self.encoder_name), self._loaded.policy.device)
        self._scale, self._kept = 1.0, dict[tuple[str, str, float | None], Side]()

    def _load(self, start: Terms) -> None:
        whole: Terms = [(self._adapter, 1.0)]
        with tempfile.TemporaryDirectory() as folder:
            # Wide enough for both adapters, so that their weights are exchanged without loading the base again.
            self._common = write_common([whole, *([start] if start else [])], Path(folder))
            self._loaded = self.recipe.load(folder)
        self._put(whole, "default")
        if start:
            self._put(start, "reference")

    def _put(self, terms: Terms, name: str) -> None:
        policy = self._loaded.policy
        load_adapter_state(policy, blend_state(plain_terms(terms, policy.model), self._common, policy.model), name)

    def prompt(self, text: str) -> str:
        """User's message that the models get.

        Args:
            text: Source text.
        """
        return self._inputs.example(text, "page").prompt

    def answer(self, text: str, scale: float) -> list[Side]:
        """Answers of all models, one at a time.

        Args:
            text: Source text.
            scale: Scale of the adapter's update of the base, between 0 and 1.

        Raises:
            ValueError: If the scale is out of range, the adapter cannot be scaled, or the prompt cannot be rendered.
        """
        if not 0 <= scale <= 1:
            raise ValueError(f"scale: {scale} is not between 0 (the base) and 1 (the adapter itself)")
        with self._lock:
            if scale != self._scale:
                self._put([(self._adapter, scale)], "default")
                self._scale = scale
            return [self._side(name, text, scale if name == ADAPTER else None) for name in self.names]

    def _side(self, name: str, text: str, scale: float | None) -> Side:
        key = (name, text, scale)
        if key not in self._kept:
            while len(self._kept) > 999:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._make(name, text, scale)
            return self._kept[key]
        return replace(self._kept[key], seconds=0.0)

    def _make(self, name: str, text: str, scale: float | None) -> Side:
        roles: dict[str, Role] = {BASE: "base", START: "reference", ADAPTER: "policy"}
        begun = time.monotonic()
        (answer,) = self._loaded.answer([self._inputs.example(text, "page").policy_prompt], roles[name])
        seconds = time.monotonic() - begun
        language = self.language
        return Side(
            name=name,
            scale=scale,
            text=answer.text,
            cut=answer.cut,
            finished=answer.finished,
            in_language=None if language is None else language.is_consistent(answer.text),
            share=None if language is None else language.share(answer.text),
            similarity=None if self._encoder is None else self._encoder.similarity([text], [answer.text]).item(),
            seconds=seconds,
        )


def _read_start(recipe: RunRecipe) -> list[tuple[AdapterFolder, float]]:
    """Adapter that the run started from, with its weights; none if it started from a new one.

    Raises:
        ValueError: If it cannot be read.
    """
    module, run = recipe.module, recipe.run
    if module.adapter is None:
        return []
    return read_terms(
        read_adapter_folder(run.locate(module.adapter)), module.adapter_scale, run.locate(module.scale_from)
    )


def _find_encoder(run: FinishedRun) -> str | None:
    """Sentence encoder of the recipe: the first that one of its callbacks names."""
    callbacks: Any = run.recipe.get("trainer", {}).get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        settings = callback.get("init_args") if isinstance(callback, dict) else None
        name = settings.get("encoder") if isinstance(settings, dict) else None
        if isinstance(name, str):
            return name
    return None
