"""What RewardWatch says: a panel on the terminal, a line of JSON in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import append_text
from semalign_pl.files.json_text import to_json

Alarm = dict[str, Any]
"""``step``, ``reward`` and ``metric`` by name, ``reward_z`` and ``metric_z``, and under ``before`` and ``now``:
``steps`` (first and last of the window), the means ``reward`` and ``metric``, and ``samples``."""


def samples(outputs: dict[str, Any], groups: int = 3) -> list[dict[str, Any]]:
    """The best paid completion of each of a step's first groups: what the policy is led to.

    Args:
        outputs: What GRPO's ``training_step`` returns.
        groups: How many.

    Returns:
        Objects with id, prompt, reference, completion, and rewards by name (``None`` where not scored).
    """
    rollouts, k = outputs["rollouts"], outputs["rollouts"].num_generations
    found = []
    for group, example in enumerate(outputs["examples"][:groups]):
        best = group * k + int(outputs["rewards"][group * k : (group + 1) * k].nan_to_num(-float("inf")).argmax())
        rewards = {name: float(part[best]) for name, part in outputs["parts"].items()}
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
    """Add one JSON object an alarm to a file.

    Args:
        path: Made if it is not there.
        alarms: Of one step.
    """
    append_text(path, "".join(to_json(alarm, path) + "\n" for alarm in alarms))


def show(alarms: Sequence[Alarm]) -> None:
    """Print a panel on stderr.

    Args:
        alarms: Of one step, at least one.
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
