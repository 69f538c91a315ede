"""Table of all systems with their quality columns grouped by task, so that scores of two tasks never share a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .recipes import EvaluatedTask
from .results import Column, Results
from .table import Cell, Grid, grid


@dataclass(frozen=True)
class TaskTable:
    """Content of the table.

    Attributes:
        groups: Title and quality columns of each task.
        cost: Columns of general ability lost.
        rows: Per system: its title, its quality cells per task (dashes for tasks that it was not tested on), its cost
            cells.
        note: Explanation of the signs in the table; may be empty.
    """

    groups: list[tuple[str, list[Column]]]
    cost: list[Column]
    rows: list[tuple[str, list[list[Cell]], list[Cell]]]
    note: str


def by_task(
    results: Mapping[str, object], parsed: Results, tasks: Mapping[str, EvaluatedTask]
) -> dict[EvaluatedTask, dict[str, object]]:
    """Results of each task's systems alone, in the order of the tasks' first systems.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
        tasks: Task of each system.
    """
    systems = results["systems"]
    assert isinstance(systems, Mapping)  # `parse` has checked it
    groups: dict[EvaluatedTask, dict[str, object]] = {}
    for system in parsed.systems:
        groups.setdefault(tasks.get(system, EvaluatedTask()), {})[system] = systems[system]
    return {task: {**results, "systems": members} for task, members in groups.items()}


def titles_of(tasks: Collection[EvaluatedTask]) -> list[str]:
    """Titles that tell tasks apart, in their order; empty for a single task.

    Args:
        tasks: Different tasks.
    """
    titles = [task.title if len(tasks) > 1 else "" for task in tasks]
    if len(set(titles)) < len(titles):  # one task on several test sets
        titles = [f"{task.title} ({task.test})" for task in tasks]
    return titles


def task_table(results: Mapping[str, object], parsed: Results, tasks: Mapping[str, EvaluatedTask]) -> TaskTable:
    """Content of the table of all systems.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
        tasks: Task of each system.
    """
    grids: dict[EvaluatedTask, Grid] = {task: grid(subset) for task, subset in by_task(results, parsed, tasks).items()}
    rows: dict[str, tuple[str, list[list[Cell]], list[Cell]]] = {}
    for number, (task, one) in enumerate(grids.items()):
        members = [system for system in parsed.systems if tasks.get(system, EvaluatedTask()) == task]
        for key, (title, quality, cost) in zip([*members, ""], one.rows, strict=False):  # the last row: references
            row = rows.setdefault(key, (title, [[Cell()] * len(other.quality) for other in grids.values()], cost))
            row[1][number] = quality
    return TaskTable(
        groups=[(title, one.quality) for title, one in zip(titles_of(grids), grids.values(), strict=True)],
        cost=next(iter(grids.values())).cost,
        rows=[rows[key] for key in [*parsed.systems, ""] if key in rows],
        note=" ".join(dict.fromkeys(one.note for one in grids.values())),
    )
