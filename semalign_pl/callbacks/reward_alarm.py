"""Alarms of RewardWatch: a panel on the terminal, and a line of JSON in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import append_text
from semalign_pl.files.json_text import to_json

Alarm = dict[str, Any]
"""Alarm about a reward and a metric. Keys are ``step``, the names ``reward`` and ``metric``, ``reward_z`` and
``metric_z``, and two windows, ``before`` and ``now``. The keys of a window are ``steps`` (first and last), the means
``reward`` and ``metric``, and ``samples``."""


def samples(outputs: dict[str, Any], groups: int = 3) -> list[dict[str, Any]]:
    """Best-rewarded completion of each of a step's first groups: the text that the policy is led to.

    Args:
        outputs: Return value of GRPO's ``training_step``.
        groups: Number of groups.

    Returns:
        Objects with id, prompt, reference, completion, and rewards by name (``None`` where not scored).
    """
    rollouts, k = outputs["rollouts"], outputs["rollouts"].num_generations
    found = []
    for group, example in enumerate(outputs["examples"][:groups]):
        best = group * k + int(outputs["rewards"][group * k : (group + 1) * k].nan_to_num(-float("inf")).argmax())
        rewards = {name: float(part[best]) for name, part in outputs["rewards_per_func"].items()}
        found.append(
            {
                "id": example.id,
                "prompt": example.prompt,
                "reference": example.reference,
                "completion": rollouts.texts[best],
                "rewards": {name: value if value == value else None for name, value in rewards.items()},
            }
        )
    return found


def append(path: Path, alarms: Sequence[Alarm]) -> None:
    """Append one JSON object per alarm to a file.

    Args:
        path: Path of the file; created if missing.
        alarms: Alarms of one step.
    """
    append_text(path, "".join(to_json(alarm, path) + "\n" for alarm in alarms))


def show(alarms: Sequence[Alarm]) -> None:
    """Print a panel on stderr.

    Args:
        alarms: Alarms of one step, at least one.
    """
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    from semalign_pl.messages.console import Console, Text

    figures = Table("climbs", "from", "to", "while this falls away", "from", "to", "since steps", box=None)
    for alarm in alarms:
        before, now = alarm["before"], alarm["now"]
        first, last = before["steps"]
        figures.add_row(
            Text(alarm["reward"]), f"{before['reward']:.3f}", f"{now['reward']:.3f}",
            alarm["metric"], f"{before['metric']:.3f}", f"{now['metric']:.3f}", f"{first}-{last}",
        )  # fmt: skip
    reward = alarms[0]["reward"]
    texts = Table("", reward, box=None)
    for column in ("best paid completion", "reference"):
        texts.add_column(column, overflow="fold")  # Tibetan has no spaces to break lines at
    for when in ("before", "now"):
        for sample in alarms[0][when]["samples"]:
            paid = sample["rewards"][reward]
            cells = [_cut(sample["completion"]), _cut(sample["reference"])]
            texts.add_row(when, "-" if paid is None else f"{paid:.3f}", *map(Text, cells))
    title = f"RewardWatch, step {alarms[0]['step']}: the reward climbs, but is the policy better?"
    Console(stderr=True).print(Panel(Group(figures, "", texts), title=title, border_style="bold yellow"))


def _cut(text: str, characters: int = 200) -> str:
    return text if len(text) <= characters else text[:characters] + " …"
