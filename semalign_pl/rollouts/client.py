"""Client of one vLLM server: loads an adapter, and waits for a server that does not answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from semalign_pl.judge.endpoint import FIRST_WAIT, LONGEST_WAIT
from semalign_pl.judge.failures import TemporaryFailure
from semalign_pl.rollouts.connection import Connection, RequestRefused
from semalign_pl.types import Json

log = logging.getLogger(__name__)
T = TypeVar("T")
OPTION = "model.init_args.rollouts"
LOADS = 3
"""Number of tries to load an adapter, as a folder may appear later on another machine."""


class ServerClient:
    """Client that repeats requests until they succeed; several threads may use it.

    Args:
        connection: Connection to the server.
        key_variable: Environment variable with the key, for messages; ``None`` if none is sent.
        patience: Seconds to wait for a server that does not answer.

    Attributes:
        losses: Number of times that the server had lost the adapter, as a restarted one has.
        stop: Event that ends all waiting.
    """

    def __init__(self, connection: Connection, key_variable: str | None, patience: float) -> None:
        self._connection, self._key_variable, self._patience = connection, key_variable, patience
        self._folder, self._rank = Path(), 0
        self._told = False
        self._lock = threading.Lock()
        self.losses = 0
        self.stop = threading.Event()

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return self._connection.host

    def load(self, folder: Path, rank: int) -> None:
        """Load an adapter under the name of its folder.

        Args:
            folder: PEFT folder.
            rank: Rank of the adapter, for messages.

        Raises:
            ValueError: If the server refuses it, or does not answer in time.
        """
        self._folder, self._rank = folder, rank
        self._patiently(self._try_to_load)

    def unload(self, name: str) -> None:
        """Unload an adapter, or leave that to the server's own limit (``--max-cpu-loras``).

        Args:
            name: Name of the adapter.
        """
        try:
            self._connection.post("/unload_lora_adapter", {"lora_name": name})
        except (RequestRefused, TemporaryFailure) as error:
            log.debug("rollouts: %s keeps %s: %s", self.host, name, error)

    def complete(self, body: dict[str, Json], read: Callable[[Json], T]) -> T:
        """Completions of one prompt, in as many tries as it takes.

        Args:
            body: Body of the request.
            read: Function that reads the response.

        Raises:
            ValueError: If the server refuses the request, its response cannot be used, or it does not answer in time.
        """
        return self._patiently(partial(self._try_to_complete, body, read))

    def _try_to_load(self) -> None:
        refused = RequestRefused(0, "")
        for attempt in range(LOADS):
            try:
                body: dict[str, Json] = {"lora_name": self._folder.name, "lora_path": str(self._folder)}
                self._connection.post("/load_lora_adapter", body)
                return
            except RequestRefused as error:
                if error.status == 400 and "already" in error.words:  # by another process or thread
                    return
                self._check_access(error)
                refused = error
            self.stop.wait(1 if attempt + 1 < LOADS else 0)
        raise ValueError(
            f"{OPTION}: {self.host} does not load the adapter {self._folder}: {refused}; start it with "
            f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and --max-lora-rank {self._rank} or more, where it "
            "sees this folder under the same path"
        )

    def _try_to_complete(self, body: dict[str, Json], read: Callable[[Json], T]) -> T:
        try:
            return read(self._connection.post("/completions", body))
        except RequestRefused as error:
            self._check_access(error)
            if error.status == 404:  # a restarted server, which does not know the adapter
                with self._lock:
                    self.losses += 1
                    self._try_to_load()
                raise TemporaryFailure(f"{self.host} had lost the adapter") from None
            if error.status >= 500:
                raise TemporaryFailure(f"{self.host} answered {error}") from None
            raise ValueError(f"{OPTION}: {self.host} refuses a request: {error}; mend what it names") from None
        except ValueError as error:
            raise ValueError(f"{OPTION}: {self.host}: {error}") from None

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Result of an attempt, which is repeated with growing pauses while the server does not answer."""
        begun, tries = time.monotonic(), 0
        while True:
            try:
                result = attempt()
            except TemporaryFailure as failure:
                waited = time.monotonic() - begun
                if waited >= self._patience or self.stop.is_set():
                    raise ValueError(
                        f"{OPTION}: {failure}, also after {waited:.0f} s (patience); start the server again, and "
                        "resume the run"
                    ) from None
                self._tell(failure)
                pause = min(LONGEST_WAIT, FIRST_WAIT * 2**tries) * (1 - random.random() / 4)
                pause = pause if failure.retry_after is None else failure.retry_after
                self.stop.wait(min(pause, self._patience - waited))
                tries += 1
                continue
            if tries:
                self._tell(None)
            return result

    def _tell(self, failure: TemporaryFailure | None) -> None:
        """Show a failure, once until the server answers again; then show that."""
        with self._lock:
            told, self._told = self._told, failure is not None
        if failure is not None and not told:
            log.warning("rollouts: %s; trying again, for up to %g s", failure, self._patience)
        if failure is None and told:
            log.warning("rollouts: %s answers again", self.host)

    def _check_access(self, error: RequestRefused) -> None:
        if error.status in (401, 403):
            sent = f"check the key in {self._key_variable}" if self._key_variable else "name the variable with its key"
            raise ValueError(f"{OPTION}.init_args.key_variable: {self.host} answered {error}; {sent}") from None
