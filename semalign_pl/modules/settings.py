"""Settings of a run, saved in its checkpoints, so that a run that resumes with other settings is refused."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from semalign_pl.types import Json

Settings = dict[str, Json]
"""Plain values (``None``, bool, int, float, str, lists of them) by dotted YAML key."""

LENGTH = ("trainer.max_steps", "trainer.max_epochs")
"""Keys that may change in a resumed run; the schedule is then that of the new length."""

_KEPT = re.compile(
    r"seed_everything|model\.|data\.|trainer\.(max_steps|max_epochs|limit_train_batches|overfit_batches|callbacks)\b"
)
# Keys that do not change the training result, but only how it is computed or measured; and keys whose content is
# compared elsewhere: corpora by the data module; adapter, start of its scale, new tokens, chat template and the
# anchor's text by their fingerprints.
_FREE = re.compile(
    r"(model|data)\.init_args\.(seed|adapter|scale_from|vocabulary(?!\.lr\b)|chat_template|micro_batch|micro_batch_tokens"
    r"|recompute|rollout_rows|rollout_weights|workers"
    r"|lora\.file|rollouts\.init_args\.(url|folder|key_variable|parallel|timeout|patience)"
    r"|validation|test|eval_batch_size|eval_limit)\b"
    r"|model\.init_args\.anchor\.file$|data\.init_args\.train$|data\.init_args\.train\b.*\.(path|name)$"
    r"|trainer\.callbacks\..*\.(cache|micro_batch_tokens)$"
)
_FOLDERS = re.compile(r"\.(base|encoder|judge)$")  # compared by the last part of the path, as folders may be moved
_HOW = ("foreach", "fused", "capturable", "differentiable")  # optimiser options that do not change the result


def run_settings(config: Mapping[str, object]) -> Settings:
    """List the settings that determine the training result.

    Args:
        config: Parsed config of ``fit``, as nested dicts and lists.

    Returns:
        Values by dotted key.
    """
    given = config.get("trainer")
    trainer = dict(given) if isinstance(given, Mapping) else {}
    trainer["callbacks"] = _training_callbacks(trainer.get("callbacks"))
    flat = _flatten({**config, "trainer": trainer}, "")
    kept = {key: value for key, value in flat if _KEPT.match(key) and not _FREE.search(key)}
    # A folder may be moved, so only its name is compared.
    return {
        key: Path(value).name if isinstance(value, str) and value and _FOLDERS.search(key) else value
        for key, value in kept.items()
    }


def built_settings(optimizer: Optimizer, schedule: LRScheduler) -> Settings:
    """List the settings of an optimiser and a schedule as built, before any step.

    They must be read before a checkpoint is loaded: its states silently replace them by the earlier values.

    Args:
        optimizer: Optimiser of the run.
        schedule: Schedule of the run, not yet stepped.

    Returns:
        Values by dotted key.
    """
    state = {name: value for name, value in schedule.state_dict().items() if name[0] != "_" and name != "last_epoch"}
    built = {
        "optimizer": {
            "class": type(optimizer).__name__,
            **{k: v for k, v in optimizer.defaults.items() if k not in _HOW},
        },
        "lr_scheduler": {"class": type(schedule).__name__, **state},
    }
    return dict(_flatten(built, "model.init_args."))


def compare_settings(saved: Settings, now: Settings, resume_hint: str) -> list[str]:
    """Compare a checkpoint's settings with those of the run that resumes from it.

    A value where the other has a block of settings is a change, such as null for settings of a server. Any other key
    that only one of them has belongs to an option of another version, and is ignored.

    Args:
        saved: Settings of the checkpoint.
        now: Settings of the run.
        resume_hint: Sentence that ends the message: how to start a new run from the trained result.

    Returns:
        Changes of the run's length, one phrase each.

    Raises:
        ValueError: If another setting differs; names each with both values.
    """
    keys = {key for key in saved.keys() & now.keys() if saved[key] != now[key]}
    keys |= _values_for_blocks(saved, now) | _values_for_blocks(now, saved)
    changed = [(key, f"{key} was {_words(saved, key)} and is {_words(now, key)}") for key in sorted(keys)]
    # If a class differs, its arguments are not listed: they belong to different classes.
    classes = [key.rsplit(".", 1)[0] for key, _ in changed if key.endswith(("class_path", ".class"))]
    refused = [
        words
        for key, words in changed
        if key not in LENGTH and not any(f"{key}.".startswith(f"{of}.init_args.") for of in classes)
    ]
    if refused:
        raise ValueError(
            f"--ckpt_path: a resumed run goes on with the settings that it was begun with, but {'; '.join(refused)}; "
            f"set {'it' if len(refused) == 1 else 'them'} back, or begin a new run in another folder. {resume_hint}"
        )
    return [words for key, words in changed if key in LENGTH]


def _training_callbacks(entries: object) -> dict[str, object]:
    """Arguments of the callbacks that take part in training, by class name; a second one of a class is numbered."""
    from semalign_pl.callbacks.tax_budget import TaxBudget
    from semalign_pl.rewards.base import Reward

    arguments: dict[str, object] = {}
    for entry in entries if isinstance(entries, Sequence) else [entries]:
        if not isinstance(entry, Mapping):
            continue
        kind = pydoc.locate(entry.get("class_path", ""))
        if not (isinstance(kind, type) and issubclass(kind, Reward | TaxBudget)):
            continue
        same = sum(name.split("#")[0] == kind.__name__ for name in arguments)
        arguments[kind.__name__ + (f"#{same + 1}" if same else "")] = {
            name: _OwnKeys(value) if isinstance(value, Mapping) and _has_own_keys(kind, name) else value
            for name, value in (entry.get("init_args") or {}).items()
        }
    return {"listed": sorted(arguments), **arguments}


class _OwnKeys(dict[str, object]):
    """Option whose keys the user chooses; those of other blocks are options, which may differ between versions."""


def _has_own_keys(kind: type, option: str) -> bool:
    parameter = inspect.signature(kind).parameters.get(option)
    return parameter is not None and re.search(r"\b(dict|Mapping)\b", str(parameter.annotation)) is not None


def _flatten(value: object, prefix: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, _OwnKeys):
        yield prefix[:-1], [*sorted(map(str, value))]
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}{key}.")
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value):
            yield from _flatten(inner, f"{prefix}{place}.")
    else:
        yield prefix[:-1], _plain(value)


def _plain(value: object) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value)


def _values_for_blocks(settings: Settings, others: Settings) -> set[str]:
    """Keys of values in whose place the other settings have a block."""
    values = {key for key, value in settings.items() if value != "{}"}  # a block without options
    return (values - _blocks(settings)) & _blocks(others)


def _blocks(settings: Settings) -> set[str]:
    return {key[:place] for key in settings for place, sign in enumerate(key) if sign == "."}


def _words(settings: Settings, key: str) -> str:
    if key not in settings:
        names = [name for name in sorted(settings) if name.startswith(f"{key}.")]
        return "{" + ", ".join(f"{name[len(key) + 1 :]}: {_words(settings, name)}" for name in names) + "}"
    return "null" if settings[key] is None else str(settings[key])
