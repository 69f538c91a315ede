"""Server of files on this machine, with real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """Server of files from memory.

    Attributes:
        files: Content by path, without the slash at the beginning.
        asked: Paths of all requests.
        busy: Number of requests that are answered with 503 first.
        stalled: Set once a request to the path ``stall`` was answered by half a file; it then waits for ``release``.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.busy = 0
        self.stalled, self.release = threading.Event(), threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path[1:]
        self.server.asked.append(name)
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
        elif name in ("stall", "break"):
            self._head(1000)
            self.wfile.write(b"x" * 500)
            self.wfile.flush()
            if name == "stall":
                self.server.stalled.set()
                self.server.release.wait(60)
        elif name in self.server.files:
            self._head(len(self.server.files[name]))
            self.wfile.write(self.server.files[name])
        else:
            self.send_error(404)

    def _head(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()
