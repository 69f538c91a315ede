"""Tasks of lm-evaluation-harness by name; imports the harness, and so is imported inside functions only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import lm_eval.tasks
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from lm_eval.tasks.manager import TaskDict

from semalign_pl.messages.suggestion import suggest

SHIPPED = Path(lm_eval.tasks.__file__).parent
FEWSHOT_SEED = 1234
"""Seed of the draw of examples, the harness's own default."""
OPTION = "LMEvalProbe.task"
_NAME = re.compile(r"^ *(?:- *)?(?:task|group|tag): *['\"]?([\w.:-]+)", re.MULTILINE)
"""Name of a task, group or tag in a task file."""


def load_tasks(name: str, include_path: str | None, num_fewshot: int | None) -> TaskDict:
    """Load a task, or the tasks of a group or tag, with their data.

    Args:
        name: Name of the task, group or tag.
        include_path: Folder with task files of the user's own, which come before those of the harness.
        num_fewshot: Number of examples per prompt; ``None`` for the task's own.

    Returns:
        Tasks and groups by name.

    Raises:
        ValueError: If there is no such task, or it or its data cannot be loaded; one line.
    """
    own: list[str | Path] = [] if include_path is None else [include_path]
    files = [path for folder in (SHIPPED, *map(Path, own)) for path in folder.rglob("*.yaml")]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    for manager in _managers(name, texts, own):
        if name not in manager.all_tasks:
            continue
        try:
            loaded = manager.load(name)
        except KeyError:  # a group whose tasks are elsewhere
            continue
        except Exception as error:  # a task may run code of its own, and read from any place
            raise ValueError(
                f"{OPTION}: {name} cannot be loaded ({_one_line(error)}); if it needs the hub, run it once with a "
                "network, or give files of your own with include_path"
            ) from error
        for task in loaded["tasks"].values():
            _set_number_of_examples(task, num_fewshot)
        return loaded
    names = sorted({found for text in texts.values() for found in _NAME.findall(text)} - {name})
    raise ValueError(
        f"{OPTION}: lm-eval has no task {name!r}; {suggest(name, names, 'list them with `lm-eval ls tasks`')}"
    )


def _managers(name: str, texts: Mapping[Path, str], own: list[str | Path]) -> Iterator[TaskManager]:
    """Managers that may know the name: of few folders first, because to index the whole harness takes 15 seconds."""
    whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    mentions = [path for path, text in texts.items() if whole.search(text)]
    shipped = {path.relative_to(SHIPPED).parts[0] for path in mentions if path.is_relative_to(SHIPPED)}
    if mentions:
        folders: list[str | Path] = [SHIPPED / folder for folder in sorted(shipped)]
        yield TaskManager(include_path=[*folders, *own], include_defaults=False)
        yield TaskManager(include_path=own or None)


def seed_examples(tasks: Iterable[Task]) -> None:
    """Seed the draw of examples, which else goes on where the last measurement ended.

    Args:
        tasks: Tasks that are about to be run.
    """
    for task in tasks:
        task.set_fewshot_seed(seed=FEWSHOT_SEED)


def _set_number_of_examples(task: Task, num_fewshot: int | None) -> None:
    """Set the number of examples in a prompt, as the harness's command does."""
    given = task.get_config("num_fewshot")
    if given is None or (num_fewshot is not None and given != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)


def _one_line(error: Exception) -> str:
    text: Sequence[str] = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
