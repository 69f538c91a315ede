"""Cache of a judge's answers: a file that only grows, so that a killed command loses no answer that was paid for."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from semalign_pl.files.atomic import append_text
from semalign_pl.judge.question import Question, Reply

FILE = "answers.jsonl"


def key_of(identity: str, question: Question) -> str:
    """Digest of everything that an answer depends on: judge, sampling, rubric, texts and their order.

    Args:
        identity: Judge and its sampling.
        question: Question with the texts in their order.
    """
    content = [identity, question.system, question.user, question.keyword, *question.options]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Answers:
    """Answers by key, read from a file and added to it; used as a context, in which no other process writes it.

    Args:
        path: File of JSON lines, made if absent; ``None`` to keep the answers in memory only.
        notify: Function that shows a line to the user.

    Raises:
        ValueError: If another process writes the file, or a line in its middle is malformed.
    """

    def __init__(self, path: Path | None, notify: Callable[[str], None] = lambda line: None) -> None:
        self.path, self._file = path, None
        self._replies: dict[str, Reply] = {}
        if path is None:
            return
        if not path.exists():
            append_text(path, "")
        self._file = path.open("rb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise ValueError(f"{path}: another process is writing it; wait for it, or give another folder") from error
        content = self._file.read()
        whole, _, half = content.rpartition(b"\n")
        if half:
            notify(f"{path}: half a line at its end, from a killed process, is dropped; its question is asked again")
            append_text(path, "")
        for number, line in enumerate(whole.split(b"\n"), start=1):
            if line.strip():
                self._read(line, number)

    def _read(self, line: bytes, number: int) -> None:
        try:
            row = json.loads(line)
            key, probabilities = row.pop("key"), tuple(row.pop("probabilities"))
            self._replies[key] = Reply(**row, probabilities=probabilities)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.close()
            raise ValueError(
                f"{self.path}:{number}: is no answer of a judge ({type(error).__name__}); delete this line, its "
                "question is then asked again"
            ) from error

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> Reply | None:
        """Answer to a question.

        Args:
            key: Key of the question.

        Returns:
            The answer; ``None`` if it is not in the file.
        """
        return self._replies.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Add an answer to the file.

        Args:
            key: Key of the question.
            reply: The answer.
        """
        if self.path is not None:
            append_text(self.path, json.dumps({"key": key, **asdict(reply)}, ensure_ascii=False) + "\n")
        self._replies[key] = reply

    def close(self) -> None:
        """Let other processes write the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
