"""List the commands of a study. A study runs only commands that a user could type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semalign_pl.run.finished import OWN_RANKS, STARTS, WHOLE
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.judge_settings import JudgePair, JudgeSettings
from semalign_pl.study.systems import BASE, ENCODER, ENCODER_FOLDER, System

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
        command: ``fit``, ``test``, ``judge``, or ``frontier``, which tests several points of a system.
        system: Name of the system or variant to train or test; ``encoder``; of two judged systems ``A-vs-B``.
        seed: Seed of the run.
        config: Recipe of the system.
        folder: Folder to write to.
        adapter: Folder of the adapter to start from or to test; ``None`` for the base model.
        flags: Settings of the variant, as flags.
        scales: Scales to test by ``frontier``.
        scale_from: Adapter at scale 0: ``base`` or ``start``.
        overlay: Config laid over the recipe, for the choice among variants; ``None`` for the recipe alone.
        answers: Folders of the tests of two systems, for ``judge``.
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


def choosing_steps(
    systems: Sequence[System], out: Path, seeds: int, frontier: FrontierSettings, encoder: System | None = None
) -> Iterator[Step]:
    """Yield the commands that the choice among variants needs, in order: all trainings, and points on other data.

    With ``scale_from: start``, a variant's curve leads to the system that it starts from, which is then tested too.

    Args:
        systems: Systems of the study, each after the one that it starts from.
        out: Folder of the study; tests write to ``validation/seed-N/SYSTEM`` in it.
        seeds: Number of seeds of the choice.
        frontier: Points to test of each variant, and the config laid over the recipes.
        encoder: Encoder that the study trains; ``None`` if it trains none.
    """
    swept = [one for one in systems if one.sweep]
    tested = {BASE, *(one.name for one in swept)}
    if frontier.scale_from != BASE:
        tested |= {one.start for one in swept}
    for step in steps(systems, out, seeds, frontier, encoder):
        if step.command == "fit":
            yield step
        elif step.system in tested:
            folder = out / VALIDATION / step.folder.relative_to(out)
            yield replace(step, folder=folder, overlay=frontier.choose_on)


def steps(
    systems: Sequence[System],
    out: Path,
    seeds: int,
    frontier: FrontierSettings | None = None,
    encoder: System | None = None,
    judge: JudgeSettings | None = None,
) -> Iterator[Step]:
    """Yield all commands of a study, in order.

    The encoder is trained once, because it also measures: scores of seeds with different encoders have no mean. The
    base model is tested once, because it does not depend on the seed; base, data and callbacks are the first system's.
    Each system is trained from the base model or from another system's adapter, and then tested with its own adapter,
    or at all points of its frontier. A scale in the recipe is that of the adapter that its training starts from, so a
    test does not scale the trained one.

    Args:
        systems: Systems of the study, each after the one that it starts from.
        out: Folder of the study; each run writes to ``seed-N/SYSTEM`` in it.
        seeds: Number of seeds; they are 0, 1, ….
        frontier: Points to test of each system; ``None`` to test the finished adapters only.
        encoder: Encoder that the study trains; ``None`` if it trains none.
        judge: Pairs of systems to judge after their tests; ``None`` to judge none.
    """
    if encoder is not None:
        yield Step("fit", ENCODER, 0, encoder.config, out / ENCODER, None, encoder.flags)
    for seed in range(seeds):
        root = out / f"seed-{seed}"
        if seed == 0:
            first, flags = systems[0].config, _name_encoder(flags_of_the_test(systems[0].flags), out)
            yield Step("test", BASE, seed, first, root / BASE, None, (*flags, *_undo_start(first)))
        for system in systems:
            start = None if system.start == BASE else root / system.start / "adapter"
            folder, own = root / system.name, _name_encoder(system.flags, out)
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


def _judge_step(pair: JudgePair, judge: JudgeSettings, seed: int, root: Path) -> Step:
    flags = [word for name in judge.judges for word in ("--judge", name)] + ["--rubric", pair.rubric]
    flags += ["--language", judge.language] if judge.language else []
    folder, answers = root / "judge" / pair.name, (root / pair.a, root / pair.b)
    return Step("judge", pair.name, seed, Path(), folder, None, (*flags, *judge.set), answers=answers)


def _name_encoder(flags: Sequence[str], out: Path) -> tuple[str, ...]:
    """Flags with the path of the study's encoder in the place of its placeholder."""
    path = json.dumps(str(out / ENCODER / "encoder"), ensure_ascii=False)[1:-1]  # it is part of a JSON text
    return tuple(flag.replace(ENCODER_FOLDER, path) for flag in flags)


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
