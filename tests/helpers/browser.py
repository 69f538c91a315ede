"""Headless Chromium for tests of pages, with a record of everything that a page complains about or asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-default-apps", "--disable-sync", "--disable-extensions"),
)


def find_chromium() -> str | None:
    """Path of an installed Chromium: that of the environment variable CHROMIUM, or on PATH; ``None`` without one."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Opened:
    """A page in a browser.

    Attributes:
        page: Playwright's page.
        complaints: Errors and warnings in the console, and exceptions.
        requests: Addresses other than the page's own that it asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        """Return true if the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start headless Chromium; skip the test if none is installed."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)}; apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, file: Path, width: int = 1280, height: int = 900, scheme: str = "light"
) -> Iterator[Opened]:
    """Open a page of the disk in a context of its own.

    Args:
        browser: Running browser.
        file: HTML file.
        width: Width of the window in CSS pixels.
        height: Height of the window in CSS pixels.
        scheme: ``light`` or ``dark``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    seen = Opened(context.new_page())

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen.complaints.append(message.text)

    def note(request: Request) -> None:
        if request.url != file.resolve().as_uri() and not request.url.startswith(("data:", "blob:")):
            seen.requests.append(request.url)

    seen.page.on("console", listen)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", note)
    seen.page.goto(file.resolve().as_uri())
    yield seen
    context.close()
