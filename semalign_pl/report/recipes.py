"""Recipes that a study's runs wrote: the task of each system, and how each recipe differs from the first one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semalign_pl.files.documents import read_yaml
from semalign_pl.languages import get_language

from .files import find
from .json_values import get_object
from .results import Results

PLACES = ("trainer.default_root_dir", "seed_everything", "ckpt_path")
"""Settings that differ between any two runs and say nothing about the method."""
MISSING = "–"


@dataclass(frozen=True)
class EvaluatedTask:
    """Task and test set of a system.

    Attributes:
        title: Task in words, such as ``Translation zh → bo``; empty if the run left no recipe.
        test: Test file or files.
        language: Code of the language of the references.
        prompt_languages: Codes of the languages that prompts may be in.
    """

    title: str = ""
    test: str = ""
    language: str = ""
    prompt_languages: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Difference:
    """One setting in which a recipe differs from the base recipe.

    Attributes:
        key: Path of the setting; callbacks and classes are named, not numbered.
        base: Value in the base recipe.
        own: Value in the system's recipe.
    """

    key: str
    base: str
    own: str


def read_recipe(folder: Path, system: str, names: Sequence[str] = ("test.yaml", "fit.yaml")) -> Mapping[str, object]:
    """Recipe of a system's first seed, as the run wrote it; empty if there is none.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        names: Names of the file, the preferred one first.

    Raises:
        ValueError: If the file is not YAML; names file and remedy.
    """
    for name in names:
        for path in find(folder, system, name).values():
            recipe = read_yaml(path)
            return recipe if isinstance(recipe, Mapping) else {}
    return {}


def read_tasks(folder: Path, parsed: Results) -> dict[str, EvaluatedTask]:
    """Task of each system, from the recipe of its test; systems that left no recipe are taken to share the first task.

    Args:
        folder: Folder of the study.
        parsed: Results of the study.
    """
    tasks = {system: task_of(read_recipe(folder, parsed.folder_of(system))) for system in parsed.systems}
    first = next((task for task in tasks.values() if task.title), EvaluatedTask())
    return {system: task if task.title else first for system, task in tasks.items()}


def task_of(recipe: Mapping[str, object]) -> EvaluatedTask:
    """Task of a recipe, and the languages of its texts."""
    data, callbacks = get_object(recipe, "data", "init_args"), get_object(recipe, "trainer").get("callbacks")
    settings, name = get_object(data, "task", "init_args"), _class_name(data.get("task"))
    if not name:
        return EvaluatedTask()
    source, target = settings.get("source"), settings.get("target", settings.get("language"))
    title = f"{name} {source} → {target}" if source else f"{name} ({target})" if target else name
    every = callbacks if isinstance(callbacks, list) else []
    evaluation = next((get_object(one, "init_args") for one in every if _class_name(one) == "Evaluation"), {})
    language = evaluation.get("language", target)
    test = data.get("test")
    return EvaluatedTask(
        title=title,
        test=test if isinstance(test, str) else json.dumps(test, ensure_ascii=False, sort_keys=True),
        language=_code(language or target),
        prompt_languages=tuple(
            dict.fromkeys(_code(one) for one in (settings.get("prompt_language"), source, target) if one)
        ),
    )


def differences(base: Mapping[str, object], own: Mapping[str, object]) -> list[Difference]:
    """Settings in which a recipe differs from the base recipe, in the order of the files.

    Args:
        base: Base recipe.
        own: Recipe of the system.
    """
    left, right = dict(_flat(base)), dict(_flat(own))
    return [
        Difference(key, left.get(key, MISSING), right.get(key, MISSING))
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key) and key not in PLACES
    ]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every value; the path has no ``init_args``, and classes of a list are named (``A``, ``A#2``)."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, path if key == "init_args" else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and any(map(_class_name, value)):
        names = [_class_name(item) for item in value]
        for at, item in enumerate(value):
            earlier = names[:at].count(names[at])
            yield from _flat(item, f"{path}.{names[at]}" + (f"#{earlier + 1}" if earlier else ""))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _class_name(value: object) -> str:
    path = value.get("class_path") if isinstance(value, Mapping) else None
    return path.rsplit(".", 1)[-1] if isinstance(path, str) else ""


def _code(language: object) -> str:
    """Code of a language; of a file of the user's own, the code in it, or empty if it is gone."""
    try:
        return get_language(str(language)).code
    except ValueError:
        return ""
