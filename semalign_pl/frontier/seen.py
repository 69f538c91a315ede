"""Metrics that a reward optimised: they measure how well the reward was fitted, not the quality of a system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from semalign_pl.run.results import read_training


def seen_by(metric: str, signature: str, rewards: Sequence[str]) -> list[str]:
    """Rewards that scored completions by a metric.

    An overlap reward has the metric's name. The language reward scores language consistency. A semantic reward scores
    semantic similarity if both use the same encoder, and a judge's reward its wins if the same judge counted them.
    Encoders are compared by the digest of their weights if both signatures have one; otherwise, like judges, by the
    last name of their path or hub id.

    Args:
        metric: Name of the metric, such as ``chrf``, or ``news_chrf`` if its signature names the task ``news``.
        signature: Signature of the metric.
        rewards: Signatures of rewards.

    Returns:
        Signatures of the rewards that scored by it.

    >>> seen_by("chrf", "", ["reward:chrf|weight:1|nc:6", "reward:language|weight:1"])
    ['reward:chrf|weight:1|nc:6']
    >>> seen_by("news_chrf", "nc:6|task:news", ["reward:chrf"]), seen_by("news_chrf", "nc:6", ["reward:chrf"])
    (['reward:chrf'], [])
    """
    options = _options(signature)
    metric = metric.removeprefix(f"{options.get('task', '')}_")
    return [reward for reward in rewards if _scores_by(_options(reward), metric, options)]


def read_rewards(run: Path) -> list[str]:
    """Signatures of the rewards that an adapter was trained with, from its ``training.json``.

    Args:
        run: Folder of the run, with ``adapter/training.json``.

    Returns:
        Signatures; empty if there is no such file.

    Raises:
        ValueError: If the file cannot be read.
    """
    trained = read_training(str(run / "adapter")) or {}
    signatures = trained.get("signatures")
    return [s for s in map(str, signatures) if s.startswith("reward:")] if isinstance(signatures, list) else []


def rewards_of(
    systems: Iterable[str], starts: Mapping[str, str], own: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Reward signatures by system, those of the systems that its training started from included.

    Args:
        systems: Names of the systems.
        starts: System that the training started from, by system.
        own: Reward signatures of each system's own training.

    >>> rewards_of(["b"], {"b": "a", "a": "base"}, {"a": ["reward:x"], "b": ["reward:y"]})
    {'b': ['reward:y', 'reward:x']}
    """
    chains: dict[str, list[str]] = {}
    for system in systems:
        chain = [system]
        while (start := starts.get(chain[-1])) is not None and start not in chain:
            chain.append(start)
        chains[system] = list(dict.fromkeys(reward for name in chain for reward in own.get(name, ())))
    return chains


def _scores_by(reward: Mapping[str, str], metric: str, options: Mapping[str, str]) -> bool:
    name = reward.get("reward", "")
    if metric == "semantic_similarity" and "encoder" in reward:
        return "encoder" not in options or _same_encoder(options["encoder"], reward["encoder"])
    if metric == "judge_win" and name == "judge":
        return _model(reward.get("judge", "")) in map(_model, options.get("judges", "").split(","))
    return name == metric or (name == "language" and metric == "language_consistency")


def _same_encoder(one: str, other: str) -> bool:
    digests = [digest for _, at, digest in (one.rpartition("@"), other.rpartition("@")) if at]
    return digests[0] == digests[1] if len(digests) == 2 else _model(one) == _model(other)


def _options(signature: str) -> dict[str, str]:
    """Options of a signature by key, of those with a colon."""
    return dict(option.split(":", 1) for option in signature.split("|") if ":" in option)


def _model(text: str) -> str:
    """Name of a model, without its folder, the digest of its weights, and its server."""
    return PurePosixPath(text.split("@")[0].replace("\\", "/")).name
