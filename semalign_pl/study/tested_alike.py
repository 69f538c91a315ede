"""Check that the systems that a study compares will be tested alike, before anything is trained."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from semalign_pl.messages.terminal import visible
from semalign_pl.run.grounds import Settings, class_of
from semalign_pl.run.named_files import flatten
from semalign_pl.study.grounds import parse
from semalign_pl.study.protocol import flags_of_the_test
from semalign_pl.study.systems import Study

_KEYS = {
    "data": ("test", "task", "columns", "eval_limit"),
    "model": ("chat_template", "max_prompt_tokens", "max_new_tokens"),
}
"""Settings of a test's rows and answers."""


def check_tested_alike(study: Study, where: str) -> None:
    """Refuse to compare systems whose tests have other rows, other limits or other settings of a probe.

    The base model, which every system is compared with, is tested with the settings of the first system. A probe that
    only one of two systems has is no difference, and probes of one class without names are not compared.

    Args:
        study: Study with settings of the frontier.
        where: File and key to name in messages.

    Raises:
        ValueError: If the settings of a compared system's test differ from those of the first system's.
    """
    assert study.frontier is not None
    compared = {key for pair in study.frontier.compare for key in pair}
    first = study.systems[0]
    settings = cache(_settings_of_the_test)
    expected = settings(first.config, flags_of_the_test(first.flags))
    for one in (one for one in study.systems if one.key in compared):
        found = settings(one.config, flags_of_the_test(one.flags))
        for name in (name for name in expected if name in found and found[name] != expected[name]):
            raise ValueError(
                f"{where}: {visible(one.name)} would be tested with {visible(name)} {visible(str(found[name]))}, and "
                f"{visible(first.name)}, with whose settings the base model is tested, with "
                f"{visible(str(expected[name]))}; give both the same, list another system first, or compare others"
            )


def _settings_of_the_test(config: Path, flags: tuple[str, ...]) -> dict[str, object]:
    """Settings by name of what a test measures, on which rows."""
    settings = parse(("test", "--config", str(config), *flags))
    named: dict[str, object] = {}
    for section, keys in _KEYS.items():
        given = settings[section]["init_args"]
        named |= {f"{section}.init_args.{key}": _plain(given[key]) for key in keys if key in given}
    probes = [_probe(callback) for callback in settings["trainer"].get("callbacks") or []]
    several = Counter(owner for owner, _ in probes)
    for owner, given in probes:
        if several[owner] == 1:
            named |= {f"{owner}: {key}": _plain(value) for key, value in given.items() if key != "every_n_steps"}
    return named


def _probe(callback: Settings) -> tuple[str, Settings]:
    """Class and name of a probe or of the evaluation, and its settings; no settings of another callback."""
    from semalign_pl.callbacks import Evaluation
    from semalign_pl.probes.base import Probe

    given = callback.get("init_args", {}) if issubclass(class_of(callback), Probe | Evaluation) else {}
    return f"{callback['class_path'].rpartition('.')[2]} {given.get('name') or ''}".strip(), given


def _plain(value: Any) -> object:
    """Nested settings as their scalars by key; whether a task reads references matters in training only."""
    if not isinstance(value, dict | list):
        return value
    return {key: scalar for key, scalar in flatten(value) if not key.endswith(".source_only")}
