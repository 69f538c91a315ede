"""Judge of the toy world: a server with OpenAI's protocol that compares two texts with the reference.

It reads with the world's sentence encoder, whose cosine falls with every wrong slot of the meaning: a reader who
knows the language, without order bias or taste.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from semalign_pl.toy import generator, grammar
from semalign_pl.toy.corruption import CORRUPTIONS, corrupt
from semalign_pl.toy.encoder import SHARPNESS
from semalign_pl.toy.grammar import Meaning

PORT = 8765
TIE = 0.03
"""Largest difference in quality that is a tie."""
_PROMPT = re.compile(r"<reference>(.*)</reference>\s*<first>(.*)</first>\s*<second>(.*)</second>", re.DOTALL)


class Case(NamedTuple):
    """Question to the judge with its answer.

    Attributes:
        reference: Right text.
        first: First text.
        second: Second text.
        answer: Better text: ``1``, ``2`` or ``tie``.
    """

    reference: str
    first: str
    second: str
    answer: str


def draw_text(rng: random.Random, meaning: Meaning, headline: bool) -> tuple[str, float]:
    """Draw a text that has some of a meaning, and its quality, 0 to 1.

    The quality is the share of the meaning's slots that are right, to the power of ``SHARPNESS``, as in the target of
    the toy world's encoder, times that of the wording.

    Args:
        rng: Random numbers.
        meaning: Meaning of the reference.
        headline: True to write headlines.
    """
    write = grammar.tibetan_headline if headline else grammar.tibetan
    other = meaning
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
        other = generator.neighbour(rng, other)
    kept = (grammar.headline_meaning(one) if headline else one for one in (meaning, other))
    shared, filled = grammar.shared_slots(*kept)
    quality = (shared / filled) ** SHARPNESS
    if rng.random() < 0.75:
        return write(other), quality
    text, wording = corrupt(rng, rng.choice(list(CORRUPTIONS)), write(other), grammar.chinese(other))
    return text, quality * wording


def draw_case(rng: random.Random, split: str) -> Case:
    """Draw a question: a translation's two times of three, else a headline's.

    Args:
        rng: Random numbers.
        split: Split of the meanings, a key of ``SPLITS``.
    """
    meaning, headline = generator.draw(rng, generator.SPLITS[split]), rng.random() < 1 / 3
    reference = (grammar.tibetan_headline if headline else grammar.tibetan)(meaning)
    (first, one), (second, other) = (draw_text(rng, meaning, headline) for _ in range(2))
    return Case(reference, first, second, _verdict(one, other))


def _verdict(first: float, second: float) -> str:
    return "tie" if abs(first - second) <= TIE else "1" if first > second else "2"


class Reader:
    """Reader of the toy world's Tibetan.

    Args:
        encoder: Folder of the world's encoder.

    Raises:
        ValueError: If there is no such folder.
    """

    def __init__(self, encoder: Path) -> None:
        if not encoder.is_dir():
            raise ValueError(f"{encoder} is no folder; first run python -m semalign_pl.toy write {encoder.parent}")
        from sentence_transformers import SentenceTransformer

        self._encoder = SentenceTransformer(str(encoder), device="cpu", trust_remote_code=False)
        self._lock = threading.Lock()

    def compare(self, reference: str, first: str, second: str) -> tuple[str, int]:
        """Compare two texts with the reference.

        Returns:
            The better one, ``1``, ``2`` or ``tie``, and the number of tokens that were read.
        """
        texts = [reference, first, second]
        with self._lock:
            right, one, other = self._encoder.encode(texts, convert_to_tensor=True, show_progress_bar=False)
            tokens = sum(len(ids) for ids in self._encoder.tokenizer(texts)["input_ids"])
        return _verdict(float(right @ one), float(right @ other)), tokens

    def accuracy(self, questions: int, split: str = "test") -> float:
        """Share of new questions that are answered right.

        Args:
            questions: Number of questions.
            split: Split of their meanings.
        """
        cases = [draw_case(random.Random(f"{split}-{number}"), split) for number in range(questions)]
        return sum(self.compare(*case[:3])[0] == case.answer for case in cases) / questions


@contextlib.contextmanager
def serving(reader: Reader, port: int = PORT) -> Iterator[ThreadingHTTPServer]:
    """Serve a judge on this machine while the block runs; prompts are of the form of ``rubric.yaml``.

    Args:
        reader: Reader that answers.
        port: Port; 0 for any free one.

    Raises:
        ValueError: If the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = _PROMPT.search(body["messages"][-1]["content"])
            if asked is None:
                self._send(400, {"error": {"message": "the prompt has no reference, first and second"}})
                return
            verdict, tokens = reader.compare(*asked.groups())
            choice = {"message": {"role": "assistant", "content": f"VERDICT: {verdict}"}, "finish_reason": "stop"}
            self._send(200, {"choices": [choice], "usage": {"prompt_tokens": tokens, "completion_tokens": 2}})

        def _send(self, status: int, body: dict[str, object]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ValueError(f"port {port} cannot be used ({error.strerror}); is the judge running already?") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
