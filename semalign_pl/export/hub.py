"""Upload of exported folders to a private repository of the Hugging Face hub, by its own client."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from semalign_pl.messages.error_text import first_line

log = logging.getLogger(__name__)
T = TypeVar("T")
TRIES = 3
"""Number of times that a request is tried while the hub is busy or does not answer."""
LOCAL = ("training.json",)
"""Files that stay on this machine: they name its folders."""
_TOKENS = "https://huggingface.co/settings/tokens"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Upload:
    """Repository to upload to. It is made, or found, at once, so that a wrong token is known before long work.

    The token is the client's own: HF_TOKEN of the environment, or that of ``hf auth login``. This class never holds it.

    Args:
        repository: Repository, ``owner/name``. A new one is private; a warning says if an old one is public.
        wait_seconds: Seconds to wait before the second try; doubled before each further one.
        foreign: File that the repository must not have, since transformers would load it with what is uploaded.

    Raises:
        ValueError: If there is no token, the hub refuses it or cannot be reached, or the repository has ``foreign``;
            with the remedy.
    """

    def __init__(self, repository: str, wait_seconds: float = 2.0, foreign: str | None = None) -> None:
        from huggingface_hub import HfApi, get_token

        if not _NAME.fullmatch(repository):
            raise ValueError(f"--push: {repository} is no repository of the hub; give you/name")
        if not get_token():
            raise ValueError(
                f"--push: there is no token; make one with write access at {_TOKENS} and set HF_TOKEN in the "
                "environment, or run hf auth login"
            )
        self.repository, self.wait_seconds, self._api = repository, wait_seconds, HfApi()
        self._try(lambda: self._api.create_repo(repository, private=True, exist_ok=True))
        found = self._try(lambda: self._api.model_info(repository))
        if foreign is not None and foreign in {file.rfilename for file in found.siblings or ()}:
            raise ValueError(
                f"--push: {repository} has a file {foreign}, and adapters and merged models need a repository each: "
                "transformers would load the one in place of the other; name another repository"
            )
        if not found.private:
            log.warning("--push: %s is public, so everyone will be able to read what is uploaded", repository)

    def send(self, folders: Sequence[Path]) -> str:
        """Upload the files of folders to the top of the repository, one commit per folder.

        Args:
            folders: Folders to upload.

        Returns:
            Address of the repository.

        Raises:
            ValueError: If the hub refuses a file or does not answer; the folders stay on this machine.
        """
        for folder in folders:
            command = f"hf upload {self.repository} {shlex.quote(str(folder))} --exclude {LOCAL[0]}"
            self._try(
                lambda folder=folder: self._api.upload_folder(
                    repo_id=self.repository,
                    folder_path=folder,
                    ignore_patterns=list(LOCAL),
                    commit_message=f"Upload {folder.name} by semalign export",
                ),
                f"; {folder} is written, and `{command}` uploads it without a new export",
            )
        return f"{self._api.endpoint}/{self.repository}"

    def _try(self, request: Callable[[], T], rest: str = "") -> T:
        """Result of a request, tried again while the hub is busy or does not answer."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        # HTTPError of the client's library: httpx, or httpx2 since 2.0.
        transport_error: type[Exception] = HfHubHTTPError.__bases__[0]
        wait = self.wait_seconds
        for last in (number == TRIES for number in range(1, TRIES + 1)):
            try:
                return request()
            except OfflineModeIsEnabled as error:
                raise ValueError("--push: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it") from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                if last or not (status == 429 or status >= 500):
                    raise ValueError(f"--push: {self._explain(status, error)}{rest}") from error
                after = error.response.headers.get("retry-after", "")
                pause = min(60.0, float(after)) if after.isdigit() else wait
            except (transport_error, ConnectionError, TimeoutError) as error:
                if last:
                    raise ValueError(
                        f"--push: {self._api.endpoint} does not answer ({type(error).__name__}: {first_line(error)}); "
                        f"check the network and try again{rest}"
                    ) from error
                pause = wait
            time.sleep(pause)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _explain(self, status: int, error: Exception) -> str:
        """Reason and remedy of an answer of the hub."""
        if status == 401:
            return f"the hub does not accept the token (401); make a new one with write access at {_TOKENS}"
        if status == 403:
            return (
                f"the token may not write to {self.repository} (403); give it write access at {_TOKENS}, or name a "
                "repository of yours"
            )
        if status == 404:
            return f"the hub has no owner or repository {self.repository} that this token sees (404); check the name"
        if status == 429:
            return f"the hub refuses further requests for now (429) after {TRIES} tries; try again in some minutes"
        if status >= 500:
            return f"the hub has a fault ({status}) after {TRIES} tries; see https://status.huggingface.co, try again"
        return f"the hub refuses the upload ({status}): {first_line(error)}; correct that and try again"
