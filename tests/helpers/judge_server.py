"""A real HTTP server that speaks the chat-completions protocol, with planted preferences and faults."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Respond = Callable[[BaseHTTPRequestHandler], None]


def texts_of(prompt: str) -> tuple[str, str]:
    """The two texts of a comparison, in the order of the prompt."""
    one, two = (re.search(rf"<translation_{i}>\n(.*?)\n</translation_{i}>", prompt, re.DOTALL) for i in (1, 2))
    assert one and two, prompt
    return one[1], two[1]


@dataclass
class JudgeServer:
    """Server whose answers a test plants.

    Attributes:
        answer: Function from the prompt to the answer's text.
        faults: Responses to send in place of the first answers, in this order; ``None`` for an answer.
        delay: Seconds before each answer.
        finish: Reason for the end of an answer, ``stop`` or ``length``.
        requests: Bodies of the requests so far.
        times: Times of the requests, in seconds.
        keys: Values of the header Authorization so far.
        headers: Headers of the requests so far, as text.
        most_at_once: Largest number of requests at the same time.
    """

    answer: Callable[[str], str]
    faults: list[Respond | None] = field(default_factory=list)
    delay: float = 0.0
    finish: str = "stop"
    requests: list[dict] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            self.requests.append(body)
            self.times.append(time.monotonic())
            self.keys.append(handler.headers.get("authorization", ""))
            self.headers.append(str(handler.headers))
            fault = self.faults.pop(0) if self.faults else None
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if fault is None:
                time.sleep(self.delay)
                prompt = body["messages"][-1]["content"]
                send(200, completion(self.answer(prompt), self.finish))(handler)
            else:
                fault(handler)
        finally:
            with self._lock:
                self._at_once -= 1


def completion(text: str | None, finish: str = "stop") -> dict:
    """Body of an answer: 100 tokens read, 10 written."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "planted",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def send(status: int, body: object, **headers: str) -> Respond:
    """Response with a JSON body, or with bytes as they are."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


def hang(seconds: float) -> Respond:
    """No response for some time."""
    return lambda handler: time.sleep(seconds)


def send_blanks(seconds: float) -> Respond:
    """A blank every tenth of a second, as gateways send while a model thinks, and no answer."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        for _ in range(round(10 * seconds)):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
        handler.close_connection = True

    return respond


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    """Half of a response, then the connection is closed."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


@contextmanager
def serving(answer: Callable[[str], str], *faults: Respond | None, **options: object) -> Iterator[JudgeServer]:
    """Serve in threads, on a free port of this machine."""
    planted = JudgeServer(answer, list(faults), **options)  # pyright: ignore[reportArgumentType]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                planted.handle(self)
            except OSError:
                self.close_connection = True  # the client is gone

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, client_address: None  # a client that is gone is part of the tests
    server.daemon_threads = True
    planted.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield planted
    finally:
        server.shutdown()
        server.server_close()
