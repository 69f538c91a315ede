"""Server of the page: Python's own, for one user on one machine.

Other pages in the user's browser can send requests to it. So a request must name this host, which a page of another
name cannot (DNS rebinding), and be JSON, which a page of another origin may not send.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import math
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING

from semalign_pl.files.html_page import page_style, render_html_page, security_policy
from semalign_pl.messages.out_of_memory import explain_out_of_memory
from semalign_pl.report.fonts import SHIPPED

if TYPE_CHECKING:
    from semalign_pl.inference.sides import Sides

MAX_BYTES = 2**20
"""Largest request, in bytes."""


class Server(ThreadingHTTPServer):
    """Server with the models of one run.

    Attributes:
        sides: Models that answer; set before the first request is served.
    """

    daemon_threads = True
    sides: Sides

    @property
    def address(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def names_this_host(self, host: str) -> bool:
        """Return true if a request was sent to this server by a name that no other page can have.

        Args:
            host: Value of the request's header ``Host``.
        """
        name = host.rpartition(":")[0] if ":" in host else host
        if not ipaddress.ip_address(str(self.server_address[0])).is_loopback:
            return True  # the user has opened the page to other machines, by whatever names they reach it
        return name in ("127.0.0.1", "localhost", str(self.server_address[0]))


def listen(host: str, port: int) -> Server:
    """Take a port; requests wait until they are served.

    Args:
        host: Address to listen on.
        port: Port; 0 for any free one.

    Raises:
        ValueError: If the address cannot be used; names the flag.
    """
    try:
        return Server((host, port), Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"--port: {port} is in use; give another one, or 0 for any free one") from error
        if error.errno == errno.EACCES:
            raise ValueError(f"--port: {port} is reserved for the system; give one above 1023") from error
        raise ValueError(f"--host: {host!r} is no address of this machine ({error.strerror}); leave it out") from error


class Handler(BaseHTTPRequestHandler):
    """Handler of one request: the page, or the answers to a text."""

    server_version = "semalign"
    sys_version = ""
    timeout = 60

    @property
    def _owner(self) -> Server:
        assert isinstance(self.server, Server), "only Server has this handler"
        return self.server

    def do_GET(self) -> None:  # noqa: N802 (name given by http.server)
        """Send the page."""
        if self._is_refused():
            return
        font = next((font.file for font in SHIPPED if self.path == f"/{font.file}"), None)
        if font is not None:
            self._send(HTTPStatus.OK, "font/woff", (files("semalign_pl.report") / "fonts" / font).read_bytes())
            return
        if self.path != "/":
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "there is only /")
            return
        page, policy = make_page(self._owner.sides)
        self._send(HTTPStatus.OK, "text/html", page, policy)

    def do_POST(self) -> None:  # noqa: N802
        """Send the answers to a text as JSON."""
        if self._is_refused():
            return
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if self.path != "/answer" or self.headers.get_content_type() != "application/json":
                raise ValueError("send JSON to /answer")
            if not 0 < length <= MAX_BYTES:
                raise ValueError(f"the text is empty or longer than {MAX_BYTES} bytes")
            text, scale = _parse(self.rfile.read(length))
            sides = self._owner.sides
            answer = {"prompt": sides.prompt(text), "sides": [asdict(side) for side in sides.answer(text, scale)]}
        except ValueError as error:
            self._send(HTTPStatus.BAD_REQUEST, "application/json", json.dumps({"error": str(error)}))
            return
        except RuntimeError as error:
            explained = explain_out_of_memory(error, ["demo"])
            if explained is None:
                raise
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", json.dumps({"error": explained}))
            return
        self._send(HTTPStatus.OK, "application/json", json.dumps(answer, ensure_ascii=False))

    def _is_refused(self) -> bool:
        refused = not self._owner.names_this_host(self.headers.get("Host", ""))
        if refused:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"open {self._owner.address}")
        return refused

    def _send(self, status: HTTPStatus, kind: str, content: str | bytes, policy: str = "default-src 'none'") -> None:
        body = content.encode("utf-8", "replace") if isinstance(content, str) else content
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8" if isinstance(content, str) else kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _parse(body: bytes) -> tuple[str, float]:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise ValueError("the request is not JSON") from error
    text, scale = (given.get("text"), given.get("scale", 1.0)) if isinstance(given, dict) else (None, None)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("text: there is none; write some")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise ValueError("scale: no number between 0 and 1")
    return text.strip(), float(scale)


def make_page(sides: Sides) -> tuple[str, str]:
    """Render the page.

    Args:
        sides: Models that answer.

    Returns:
        HTML, and the content security policy to send with it.
    """
    from markupsafe import Markup

    style, script = page_style() + _text("demo.css") + _font_faces(), _text("demo.js")
    page = render_html_page(
        "semalign_pl.inference",
        "page/demo.html.jinja",
        style=Markup(style),
        script=Markup(script),
        run=sides.recipe.run,
        names=sides.names,
        missing_start=sides.missing_start,
        language=sides.language,
        encoder=sides.encoder_name,
        max_new_tokens=sides.recipe.module.max_new_tokens,
    )
    policy = security_policy(style, script).replace("font-src data:", "font-src 'self'")
    return page, f"{policy}; connect-src 'self'"


def _font_faces() -> str:
    """CSS of the package's fonts: a bare Linux machine has neither Tibetan nor Chinese, and would show boxes."""
    return "".join(
        f'@font-face {{ font-family: "{font.family}"; src: url("/{font.file}") format("woff"); '
        f"unicode-range: {font.range}; }}\n"
        for font in SHIPPED
    )


def _text(name: str) -> str:
    return (files("semalign_pl.inference") / "page" / name).read_text(encoding="utf-8")
