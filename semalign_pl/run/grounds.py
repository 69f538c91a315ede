"""Collect all dependencies of a command's result by name, to tell what changed since the command was run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_yaml
from semalign_pl.messages.terminal import visible
from semalign_pl.run.digests import Digests
from semalign_pl.run.named_files import LOCAL, OUTPUT_KEYS, find_files, flatten, holds_results
from semalign_pl.run.results import versions

Grounds = dict[str, str]
"""Dependencies: digest or value by name, such as ``file data/train.jsonl`` or ``setting trainer.max_steps``."""
Settings = Mapping[str, Any]
"""Parsed settings of a command; jsonargparse knows the types."""
NAMED = 3
"""Number of changes to name in a message; the others are counted."""


def collect(command: str, settings: Settings, folder: Path, adapter: Path | None, digests: Digests) -> Grounds:
    """Return the current dependencies of a command's result.

    They are

    - the parsed settings, including defaults and flags, so that a comment in the YAML changes nothing;
    - the content of every file that a setting names, including folders, patterns and the user's own classes, and of
      the model of identification that a language file names;
    - the adapter that the command starts from;
    - the revisions of hub models and datasets in the local cache;
    - the versions of the packages.

    A fit does not depend on probes that only measure in a test, unless FrontierScore runs them in validation. It
    depends on the test corpus only if training rows that occur in the test corpus are dropped. A test depends on the
    training corpus only through its adapter.

    Args:
        command: ``fit`` or ``test``.
        settings: Parsed settings of the command.
        folder: Folder that the command writes to.
        adapter: Folder of the adapter that the command starts from; ``None`` for the base model.
        digests: Digests of files.

    Raises:
        ValueError: If a file cannot be read.
    """
    grounds = {f"version {name}": version for name, version in versions().items()}
    for key, value in flatten(_relevant(settings, command)):
        if key.split(".")[-1] in OUTPUT_KEYS or key == "model.init_args.adapter":
            continue
        grounds[f"setting {key}"] = json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(value, str) and not holds_results(value, folder):
            grounds |= {f"file {file}": digests.of(file) for file in find_files(value)}
            grounds |= _hub_revisions(value)
            if model := _identification_model(value):
                grounds |= {f"file {file}": digests.of(file) for file in find_files(model)} | _hub_revisions(model)
    return grounds | adapter_grounds(adapter, digests)


def adapter_grounds(adapter: Path | None, digests: Digests) -> Grounds:
    """Return the digests of the files in an adapter's folder.

    Their names are relative to the folder, so that they stay the same if the folder is moved.

    Args:
        adapter: Folder of the adapter; ``None`` for no adapter.
        digests: Digests of files.
    """
    files = [] if adapter is None else find_files(str(adapter))
    return {f"adapter {file.relative_to(adapter)}": digests.of(file) for file in files if adapter is not None}


def complete(before: Grounds, after: Grounds) -> Grounds:
    """Add the revisions that a command downloaded itself to its dependencies from before it started.

    Args:
        before: Dependencies collected before the command.
        after: Dependencies collected after the command.
    """
    return {name: digest for name, digest in after.items() if name.startswith("hub ")} | before


def changes(then: Mapping[str, str], now: Grounds) -> str:
    """Describe the dependencies that changed since a command was run.

    Args:
        then: Dependencies when the command was run.
        now: Dependencies now.

    Returns:
        Text such as ``data/train.jsonl changed, trainer.max_steps is 2 and was 1``; empty if nothing changed.
    """
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    changed = [_describe(name, then.get(name), now.get(name)) for name in names if _is_comparable(name, then, now)]
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return ", ".join(changed[:NAMED]) + more


def _is_comparable(name: str, then: Mapping[str, str], now: Grounds) -> bool:
    """Return false for a revision that is gone from the cache, and for a version that only one of the two names.

    An earlier version of this package may not have recorded it, or the package, of an extra, was not needed.
    """
    if name.startswith("version "):
        return name in then and name in now
    return name in now or not name.startswith("hub ")


def _describe(name: str, then: str | None, now: str | None) -> str:
    kind, _, name = name.partition(" ")
    label = visible(f"{kind} {name}" if kind == "adapter" else name)
    if kind in ("file", "adapter"):
        return f"{label} is new" if then is None else f"{label} is gone" if now is None else f"{label} changed"
    return f"{label} is {_short(now)} and was {_short(then)}"


def _short(value: str | None) -> str:
    return "not set" if value is None else visible(value if len(value) <= 40 else f"{value[:40]}…")


def _relevant(config: Settings, command: str) -> dict[str, object]:
    """Settings that the result of a command (``fit`` or ``test``) depends on."""
    data = config["data"]["init_args"]
    prepare = data.get("prepare")
    apart = prepare is not None and prepare.get("decontaminate", True)
    unread = ("train",) if command == "test" else () if apart else ("test",)
    callbacks = config["trainer"].get("callbacks") or []
    if command == "fit":
        callbacks = _read_by_fit(callbacks)
    return {
        **{key: value for key, value in config.items() if key != "config"},
        "trainer": {**config["trainer"], "callbacks": callbacks},
        "data": {**config["data"], "init_args": {key: value for key, value in data.items() if key not in unread}},
    }


def _read_by_fit(callbacks: Sequence[Settings]) -> list[Settings]:
    """Callbacks without the probes that only measure in a test."""
    from semalign_pl.callbacks import FrontierScore

    if any(issubclass(class_of(one), FrontierScore) for one in callbacks):
        return [*callbacks]
    return [one for one in callbacks if not _measures_only_in_a_test(one)]


def _measures_only_in_a_test(callback: Settings) -> bool:
    from semalign_pl.probes.base import Probe

    given = callback.get("init_args", {})
    return issubclass(class_of(callback), Probe) and "every_n_steps" in given and given["every_n_steps"] is None


def class_of(callback: Settings) -> type:
    """Class of a callback, by its ``class_path``."""
    module, _, name = callback["class_path"].rpartition(".")
    return getattr(import_module(module), name)


def _hub_revisions(value: str) -> Grounds:
    """Commits of the hub model and dataset of this name in the local cache; empty if there are none."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = re.match(r"[\w.-]+(/[\w.-]+)?", value.removeprefix(LOCAL))
    name = found[0] if found else ""
    places = {kind: Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}/refs/main" for kind in _KINDS if name}
    return {f"hub {name} ({kind})": _read_commit(place) for kind, place in places.items() if place.is_file()}


def _identification_model(value: str) -> str | None:
    """Model or corpus of identification that a language file names; ``None`` if the text names no such file."""
    if not value.endswith((".yaml", ".yml")) or not Path(value).is_file():
        return None
    try:
        entry = read_yaml(Path(value))
    except ValueError:  # the command that reads the file says so
        return None
    identification = entry.get("identification") if isinstance(entry, dict) else None
    model = identification.get("model", identification.get("corpus")) if isinstance(identification, dict) else None
    return model if isinstance(model, str) else None


_KINDS = ("models", "datasets")


def _read_commit(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
