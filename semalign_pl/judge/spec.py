"""Judges as a user names them: ``MODEL@URL``, ``MODEL@URL,KEY_VARIABLE`` or ``local:FOLDER``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from semalign_pl.run.named_files import LOCAL

OPENAI_HOST, OPENAI_KEY = "api.openai.com", "OPENAI_API_KEY"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Names of variables, in capitals only: keys such as ``hf_aB3`` or ``gsk_aB3`` have the form of other names."""
FORMS = "MODEL@URL (gpt-5-mini@https://api.openai.com/v1), MODEL@URL,KEY_VARIABLE or local:FOLDER"


@dataclass(frozen=True)
class JudgeSpec:
    """One judge.

    Attributes:
        model: Name of the model at the server, or folder or hub id of a local one.
        url: Base of the server's addresses, such as ``https://api.openai.com/v1``; empty for a local model.
        key_variable: Environment variable with the key; empty to send none.
    """

    model: str
    url: str = ""
    key_variable: str = ""

    @property
    def host(self) -> str:
        """Host, with its port, of the server; empty for a local model."""
        return urlsplit(self.url).netloc

    def read_key(self, option: str, environment: Mapping[str, str] = os.environ) -> str:
        """Key for the server; empty if it needs none.

        Args:
            option: Flag or YAML key, for the message.
            environment: Environment variables.

        Raises:
            ValueError: If the variable is not set, or its content is no key; the content is not shown.
        """
        if not self.key_variable:
            return ""
        key = environment.get(self.key_variable, "").strip()
        if not key:
            raise ValueError(
                f"{option}: {self.model}: the environment variable {self.key_variable} is not set; run export "
                f"{self.key_variable}=… with the key for {self.host}, or name another variable: {self.model}@"
                f"{self.url},VARIABLE"
            )
        if not all("!" <= character <= "~" for character in key):
            raise ValueError(
                f"{option}: {self.model}: the content of {self.key_variable} is no key, as it has blanks or characters "
                "outside of ASCII; set it again"
            )
        return key


def parse_judge(option: str, text: str) -> JudgeSpec:
    """Judge from a user's text.

    Without a variable, a key is sent to api.openai.com only: a key must not reach a server that it is not for.

    Args:
        option: Flag or YAML key, for the message.
        text: Judge in one of the ``FORMS``.

    Raises:
        ValueError: If the text has none of the forms, or the address holds a secret.
    """
    if text.startswith(LOCAL):
        if not text[len(LOCAL) :].strip():
            raise ValueError(f"{option}: local: names no model; give local:FOLDER with a causal LM")
        return JudgeSpec(text[len(LOCAL) :].strip())
    model, at, address = text.partition("@http")
    url, comma, variable = f"http{address}".partition(",")
    try:
        target = urlsplit(url)
        host = target.hostname
    except ValueError:
        target, host = None, None
    if not model.strip() or not at or target is None or not host or target.scheme not in ("http", "https"):
        shown = "MODEL" if "://" in model else model.partition(",")[0]  # never a password or a key
        raise ValueError(f"{option}: {shown!r} is no judge; give {FORMS}")
    if target.username is not None or target.query or target.fragment:
        raise ValueError(
            f"{option}: {model}: the address has more than scheme, host and path; a key belongs into an environment "
            f"variable: {model}@{target.scheme}://{host}{target.path},VARIABLE"
        )
    if comma and not _VARIABLE.fullmatch(variable.strip()):
        raise ValueError(
            f"{option}: {model}: after the comma there must be the name of an environment variable in capitals, not "
            f"a key; give {model}@{url},VARIABLE"
        )
    url = url.rstrip("/").removesuffix("/chat/completions")
    default = OPENAI_KEY if host == OPENAI_HOST else ""
    return JudgeSpec(model.strip(), url, variable.strip() or default)
