"""List the commands of a study. A study runs only commands that a user could type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semalign_pl.run.finished import OWN_RANKS, STARTS, WHOLE
from semalign_pl.study.back_translation import ANSWERS, PAIRS
from semalign_pl.study.judge_settings import JudgePair, JudgeSettings
from semalign_pl.study.systems import (
    BACK_TRANSLATION,
    BASE,
    ENCODER,
    PLACEHOLDERS,
    SHARED,
    BackTranslation,
    Study,
    System,
)

VALIDATION = "validation"
"""Subfolder of a study with the tests that variants are chosen by."""

_OF_THE_MODEL = ("base", "weights", "chat_template", "max_prompt_tokens", "max_new_tokens")
_OF_THE_TEST = (
    *("--trainer.callbacks", "--trainer.precision", "--trainer.accelerator", "--trainer.devices", "--data."),
    *(f"--model.init_args.{name}" for name in _OF_THE_MODEL),
)
"""Beginnings of the flags that a test of the base model depends on."""


@dataclass(frozen=True)
class Step:
    """One ``semalign`` command of a study.

    Attributes:
        command: ``fit``, ``test``, ``translate``, ``judge``, or ``frontier``, which tests several points of a system.
        system: Name of the system or variant to train or test; ``encoder`` or ``back_translation``; of two judged
            systems ``A-vs-B``.
        seed: Seed of the run.
        config: Recipe of the system.
        folder: Folder to write to.
        adapter: Folder of the adapter to start from or to test; ``None`` for the base model.
        flags: Settings of the variant, as flags.
        scales: Scales to test by ``frontier``.
        scale_from: Adapter at scale 0: ``base`` or ``start``.
        overlay: Config laid over the recipe, for the choice among variants; ``None`` for the recipe alone.
        answers: Folders of the tests of two systems, for ``judge``.
        texts: Corpus to translate, for ``translate`` and the training of its translator.
    """

    command: str
    system: str
    seed: int
    config: Path
    folder: Path
    adapter: Path | None
    flags: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    scale_from: str = BASE
    overlay: Path | None = None
    answers: tuple[Path, ...] = ()
    texts: str = ""

    @property
    def name(self) -> str:
        """Command and system, such as ``fit cold_start``."""
        return f"{self.command} {self.system}" + (f" on {self.overlay.stem}" if self.overlay else "")

    @property
    def args(self) -> tuple[str, ...]:
        """Command and flags.

        Those of ``fit`` and ``test`` always set the adapter: ``null`` for the base model, whatever the config says.
        """
        if self.command == "judge":
            files = [str(folder / "predictions.jsonl") for folder in self.answers]
            return ("judge", *files, *self.flags, "--out", str(self.folder))
        if self.command == "translate":
            return (self.command, str(self.folder), "--file", self.texts, "--out", str(self.folder / ANSWERS))
        if self.system == ENCODER:
            return (self.command, *self.recipe_args, "--trainer.default_root_dir", str(self.folder))
        if self.command != "frontier":
            adapter = "null" if self.adapter is None else str(self.adapter)
            folder = ("--trainer.default_root_dir", str(self.folder))
            return (self.command, *self.recipe_args, *folder, "--model.init_args.adapter", adapter)
        scales = ",".join(f"{scale:g}" for scale in self.scales)
        return (
            *("frontier", str(self.adapter), *self.recipe_args, "--scales", scales, "--scale_from", self.scale_from),
            *("--out", str(self.folder)),
        )

    @property
    def recipe_args(self) -> tuple[str, ...]:
        """Recipe, seed and the settings of the variant, as flags."""
        laid_over = () if self.overlay is None else ("--config", str(self.overlay))
        return ("--config", str(self.config), *laid_over, "--seed_everything", str(self.seed), *self.flags)


def choosing_steps(study: Study, out: Path, seeds: int) -> Iterator[Step]:
    """Yield the commands that the choice among variants needs, in order: all trainings, and points on other data.

    With ``scale_from: start``, a variant's curve leads to the system that it starts from, which is then tested too.

    Args:
        study: Study with a frontier.
        out: Folder of the study; tests write to ``validation/seed-N/SYSTEM`` in it.
        seeds: Number of seeds of the choice.
    """
    frontier = study.frontier
    assert frontier is not None, "read_study refuses a sweep without one"
    swept = [one for one in study.systems if one.sweep]
    tested = {BASE, *(one.name for one in swept)}
    if frontier.scale_from != BASE:
        tested |= {one.start for one in swept}
    for step in steps(replace(study, judge=None), out, seeds):
        if step.command == "fit" or step.system in SHARED:
            yield step
        elif step.system in tested:
            folder = out / VALIDATION / step.folder.relative_to(out)
            yield replace(step, folder=folder, overlay=frontier.choose_on)


def steps(study: Study, out: Path, seeds: int) -> Iterator[Step]:
    """Yield all commands of a study, in order.

    The encoder is trained once, because it also measures: scores of seeds with different encoders have no mean. The
    translator of back-translation is trained once too, because it belongs to the data, which seeds have in common. The
    base model is tested once, because it does not depend on the seed; base, data and callbacks are the first system's.
    Each system is trained from the base model or from another system's adapter, and then tested with its own adapter,
    or at all points of its frontier. A scale in the recipe is that of the adapter that its training starts from, so a
    test does not scale the trained one.

    Args:
        study: Study.
        out: Folder of the study; each run writes to ``seed-N/SYSTEM`` in it.
        seeds: Number of seeds; they are 0, 1, ….
    """
    systems, frontier, judge = study.systems, study.frontier, study.judge
    if study.encoder is not None:
        yield _shared_step(study.encoder, out)
    if study.back_translation is not None:
        yield from _translate(study.back_translation, out)
    for seed in range(seeds):
        root = out / f"seed-{seed}"
        if seed == 0:
            first, flags = systems[0].config, _fill_in(flags_of_the_test(systems[0].flags), out)
            yield Step("test", BASE, seed, first, root / BASE, None, (*flags, *_undo_start(first)))
        for system in systems:
            start = None if system.start == BASE else root / system.start / "adapter"
            folder, own = root / system.name, _fill_in(system.flags, out)
            run = (system.name, seed, system.config, folder)
            yield Step("fit", *run, start, own)
            if frontier is None:
                yield Step("test", *run, folder / "adapter", (*own, *_undo_start(system.config, own)))
            else:
                # The start of a system that starts from the base model is the base.
                scale_from = frontier.scale_from if system.start != BASE else BASE
                yield Step("frontier", *run, folder / "adapter", own, frontier.scales, scale_from)
        if judge is not None:
            yield from (_judge_step(pair, judge, seed, root) for pair in judge.pairs)


def _shared_step(system: System, out: Path) -> Step:
    return Step("fit", system.name, 0, system.config, out / system.name, None, system.flags)


def _translate(given: BackTranslation, out: Path) -> Iterator[Step]:
    trained = replace(_shared_step(given.translator, out), texts=given.texts)
    yield trained
    adapter = trained.folder / "adapter"
    yield Step("translate", trained.system, 0, trained.config, trained.folder, adapter, texts=given.texts)


def _judge_step(pair: JudgePair, judge: JudgeSettings, seed: int, root: Path) -> Step:
    flags = [word for name in judge.judges for word in ("--judge", name)] + ["--rubric", pair.rubric]
    flags += ["--language", judge.language] if judge.language else []
    folder, answers = root / "judge" / pair.name, (root / pair.a, root / pair.b)
    return Step("judge", pair.name, seed, Path(), folder, None, (*flags, *judge.set), answers=answers)


def _fill_in(flags: Sequence[str], out: Path) -> tuple[str, ...]:
    """Flags with the paths of what the study makes before its systems in the place of their placeholders."""
    made = {ENCODER: out / ENCODER / "encoder", BACK_TRANSLATION: out / BACK_TRANSLATION / PAIRS}
    for key, placeholder in PLACEHOLDERS.items():
        path = json.dumps(str(made[key]), ensure_ascii=False)[1:-1]  # it is part of a JSON text
        flags = [flag.replace(placeholder, path) for flag in flags]
    return tuple(flags)


def flags_of_the_test(flags: Sequence[str]) -> tuple[str, ...]:
    """Flags of a system that a test of its base model depends on: the model, what is measured, and on which rows.

    Args:
        flags: Flags of the system, each a key and a value.
    """
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return tuple(word for pair in pairs if pair[0].startswith(_OF_THE_TEST) for word in pair)


def _undo_start(config: Path, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """Flags that undo what a recipe sets for the start of its training: a scale, CorDA, and OSF.

    There are none without them, because a user's own module may have no such setting.
    """
    given = " ".join((config.read_text(encoding="utf-8", errors="replace"), *flags))
    scale = WHOLE if re.search(r"\b(adapter_scale|scale_from)\b", given) else ()
    return (*scale, *(OWN_RANKS if re.search(rf"\b({'|'.join(STARTS)})\b", given) else ()))
