"""Try an adapter's regular expressions on module names in a separate process, before PEFT uses them.

PEFT matches a pattern against the name of every module. A pattern of ten characters, such as ``(.+)+!``, may never
finish, and Python cannot interrupt it. So each pattern is tried in a separate process, which can be killed, by the same
engine on the same names.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from peft import LoraConfig

MAX_SECONDS = 0.5
"""Maximum processor time of one pattern on all names, in seconds. Usual patterns take milliseconds; PEFT uses each one
several times."""
PATIENCE_SECONDS = 6.0
"""Maximum wall-clock seconds of all patterns: the processor may be busy, and a process takes 50 ms to start."""
_PLAIN = re.compile(r"[\w.-]*")
_AROUND = ("{}", "{}.base_layer", "{}.lora_A.default", "base_model.model.{}")
"""Forms of the names that PEFT matches: those of the base, and of a model that already has an adapter."""
_TRIAL = """
import json, re, sys, time
patterns, names, limit = json.load(sys.stdin)
for pattern in patterns:
    print(flush=True)
    began = time.process_time()
    try:
        matches = re.compile(pattern).match
        for name in names:
            matches(name)
    except Exception as error:
        sys.exit(f"is no regular expression ({error})")
    if time.process_time() - began > limit:
        sys.exit("takes too long")
"""


def check_patterns(where: str, config: LoraConfig, model: nn.Module) -> None:
    """Refuse patterns of a ``LoraConfig`` that are invalid, or take too long on the names of a model's modules.

    Args:
        where: Option, and file if there is one, for the message.
        config: ``LoraConfig`` with the patterns.
        model: Base model.

    Raises:
        ValueError: Names the field and the pattern.
    """
    tried = [
        (field, written, pattern) for field, written, pattern in _patterns(config) if not _PLAIN.fullmatch(written)
    ]
    if not tried:
        return
    names = [form.format(name) for name, _ in model.named_modules() for form in _AROUND]
    given = json.dumps([[pattern for *_, pattern in tried], names, MAX_SECONDS])
    trial = [sys.executable, "-I", "-S", "-c", _TRIAL]  # without packages: starts fast, runs no code of the folder
    patience = PATIENCE_SECONDS + MAX_SECONDS / 10 * len(tried)
    try:
        done = subprocess.run(trial, input=given, capture_output=True, text=True, timeout=patience)
        if done.returncode == 0:
            return
        begun, reason = done.stdout, done.stderr.strip()
    except subprocess.TimeoutExpired as error:
        begun, reason = error.stdout or b"", "takes too long"
    field, written, _ = tried[max(0, len(begun) - 1)]  # one line break per pattern that was started
    raise ValueError(
        f"{where}: {field}: {written[:100]!r} {' '.join(reason.split())[:200]} on the module names of the base; write "
        "the names out, or a pattern without repetition within repetition"
    )


def _patterns(config: LoraConfig) -> Iterator[tuple[str, str, str]]:
    """Yield field, pattern as written, and pattern as PEFT matches it (``peft.tuners.tuners_utils``)."""
    for field in ("target_modules", "exclude_modules"):
        value = getattr(config, field, None)
        if isinstance(value, str) and value != "all-linear":
            yield field, value, f"(?:{value})\\Z"
    several = {
        "modules_to_save": r"(^|.*\.){}($|\..*)",
        "layers_pattern": r"(?:^|.*?\.){}\.(?P<idx>\d+)\.",
        "rank_pattern": r"(.*\.)?({})$",
        "alpha_pattern": r"(.*\.)?({})$",
    }
    for field, form in several.items():
        value = getattr(config, field, None) or ()
        for one in [value] if isinstance(value, str) else value:
            yield field, str(one), form.replace("{}", str(one))
