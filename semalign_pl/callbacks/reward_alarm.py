"""Alarms of RewardWatch: a panel on the terminal, and a line of JSON in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from semalign_pl.files.atomic import append_text
from semalign_pl.files.json_text import to_json
from semalign_pl.types import StepOutputs


class Sample(TypedDict):
    """Best-rewarded completion of a group, with its rewards by name (``None`` where not scored)."""

    id: str
    prompt: str
    reference: str
    completion: str
    rewards: dict[str, float | None]


class Window(TypedDict):
    """Window of watched steps.

    Attributes:
        steps: First and last optimiser step.
        reward: Mean of the reward.
        metric: Mean of the metric.
        samples: Completions of one of the steps.
    """

    steps: list[int]
    reward: float
    metric: float
    samples: list[Sample]


class Alarm(TypedDict):
    """Alarm about a reward and a metric that diverge.

    Attributes:
        step: Optimiser step of the alarm.
        reward: Name of the reward.
        metric: Name of the metric.
        reward_z: Rise of the reward, in standard errors.
        metric_z: Change of the metric, in standard errors; negative for a fall.
        before: The metric's best window.
        now: Last window.
    """

    step: int
    reward: str
    metric: str
    reward_z: float
    metric_z: float
    before: Window
    now: Window


def best_completions(outputs: StepOutputs, groups: int = 3) -> list[Sample]:
    """Best-rewarded completion of each of a step's first groups: the text that the policy is led to.

    Args:
        outputs: Result of GRPO's ``training_step``.
        groups: Number of groups.

    Returns:
        One sample per group.
    """
    rollouts, k = outputs["rollouts"], outputs["rollouts"].num_generations
    samples: list[Sample] = []
    for group, example in enumerate(outputs["examples"][:groups]):
        best = group * k + int(outputs["rewards"][group * k : (group + 1) * k].nan_to_num(-float("inf")).argmax())
        rewards = {name: float(scores[best]) for name, scores in outputs["rewards_per_func"].items()}
        samples.append(
            {
                "id": example.id,
                "prompt": example.prompt,
                "reference": example.reference,
                "completion": rollouts.texts[best],
                "rewards": {name: value if value == value else None for name, value in rewards.items()},
            }
        )
    return samples


def append_alarms(path: Path, alarms: Sequence[Alarm]) -> None:
    """Append one JSON object per alarm to a file.

    Args:
        path: Path of the file; created if missing.
        alarms: Alarms of one step.
    """
    append_text(path, "".join(to_json(alarm, path) + "\n" for alarm in alarms))


def print_alarms(alarms: Sequence[Alarm]) -> None:
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
    for column in ("best-rewarded completion", "reference"):
        texts.add_column(column, overflow="fold")  # Tibetan has no spaces to break lines at
    for when, window in (("before", alarms[0]["before"]), ("now", alarms[0]["now"])):
        for sample in window["samples"]:
            value = sample["rewards"][reward]
            cells = [_cut(sample["completion"]), _cut(sample["reference"])]
            texts.add_row(when, "-" if value is None else f"{value:.3f}", *map(Text, cells))
    title = f"RewardWatch, step {alarms[0]['step']}: the reward climbs, but is the policy better?"
    Console(stderr=True).print(Panel(Group(figures, "", texts), title=title, border_style="bold yellow"))


def _cut(text: str, characters: int = 200) -> str:
    return text if len(text) <= characters else text[:characters] + " …"
