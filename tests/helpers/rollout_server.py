"""Server that speaks vLLM's protocol: a process of its own with a Hugging Face model and PEFT adapters.

It forwards every token with the whole sequence, by transformers and PEFT alone, and can be killed and started again. It
has no state but the adapters that it was given, so that a new process has none.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from helpers.small_runs import _free_port, forked

SERVERS: dict[str, RolloutServer] = {}
"""Servers by address, for callbacks of a run in this process."""


@dataclass
class RolloutServer:
    """Handle on the server's process.

    Attributes:
        base: Folder of the base model.
        folder: Folder of its log.
        options: ``key``: key that it asks for; ``raw``: True for log-probs of temperature 1; ``static``: True without
            the endpoint for adapters; ``stops``: token id at which it ends completions in place of those that are asked
            for; ``faults``: names of faults in place of the first answers.
    """

    base: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=_free_port)
    process: Any = None

    @property
    def url(self) -> str:
        """Address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        log = self.folder / f"server{self.port}.jsonl"
        self.process = forked(serve, (self.base, self.port, str(log), self.options))
        for _ in range(1200):
            try:
                urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the server has not started")

    def kill(self) -> None:
        """End the process as the kernel does when memory runs out."""
        self.process.kill()
        self.process.join()

    def log(self) -> list[dict[str, Any]]:
        """Requests so far, of all processes: path, status, and the body."""
        return [json.loads(line) for line in (self.folder / f"server{self.port}.jsonl").read_text().splitlines()]


@contextmanager
def serving(base: str, folder: Path, **options: Any) -> Iterator[RolloutServer]:
    """Serve until the block ends."""
    server = RolloutServer(base, folder, options)
    SERVERS[server.url] = server
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Restart(Callback):
    """Kill the server after a step (from 1), start it again while the next step waits, and let it die once more there.

    The second death is that of the next step's first completion, when the server has its adapter.
    """

    def __init__(self, url: str, step: int) -> None:
        super().__init__()
        self.server, self.step = SERVERS[url], step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Kill, and start later."""
        if trainer.global_step == self.step:
            self.server.kill()
            threading.Thread(target=self._revive, daemon=True).start()

    def _revive(self) -> None:
        for faults in (["exit"], []):
            time.sleep(0.5)
            self.server.options["faults"] = faults
            self.server.start()
            if faults:
                self.server.process.join()


# -- in the server's process ---------------------------------------------------------------------------------------


def serve(base: str, port: int, log: str, options: dict[str, Any]) -> None:
    """Serve forever."""
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"
    engine = Engine(base, log, options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, "")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with engine.lock:
                status, answer = engine.answer(self.path, self.headers.get("authorization"), body)
                with Path(log).open("a") as file:
                    file.write(json.dumps({"path": self.path, "status": status, "body": body}) + "\n")
            if status == 0:  # half of an answer
                self.wfile.write(b"HTTP/1.0 200 OK\r\ncontent-length: 1000\r\n\r\n{")
            else:
                self.reply(status, answer)

        def reply(self, status: int, answer: Any) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def error(status: int, message: str) -> tuple[int, Any]:
    """Answer in vLLM's form."""
    return status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


class Engine:
    """Model with adapters, as vLLM's endpoints treat them."""

    def __init__(self, base: str, log: str, options: dict[str, Any]) -> None:
        from transformers import AutoModelForCausalLM

        self.lock = threading.Lock()
        self.options, self.faults = options, list(options.get("faults", []))
        self.model: Any = AutoModelForCausalLM.from_pretrained(base).eval()
        self.adapters: set[str] = set()

    def answer(self, path: str, key: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and content."""
        if self.options.get("key") and key != f"Bearer {self.options['key']}":
            return 401, {"error": "Unauthorized"}
        if path == "/v1/completions":
            if self.faults:
                if self.faults[0] == "exit":
                    os.kill(os.getpid(), signal.SIGKILL)
                return {"500": error(500, "the engine has a fault"), "cut": (0, ""), "503": error(503, "busy")}[
                    self.faults.pop(0)
                ]
            if body["model"] not in self.adapters:
                return error(404, f"The model `{body['model']}` does not exist.")
            return 200, self.complete(body)
        if self.options.get("static"):
            return 404, {"detail": "Not Found"}
        return self.load(body) if path == "/v1/load_lora_adapter" else self.unload(body)

    def load(self, body: dict[str, Any]) -> tuple[int, Any]:
        from peft import PeftModel

        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return error(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(path, "adapter_config.json").is_file():
            return error(404, f"Loading lora {name} failed: No adapter found for {path}")
        if isinstance(self.model, PeftModel):
            self.model.load_adapter(path, adapter_name=name)
        else:
            self.model = PeftModel.from_pretrained(self.model, path, adapter_name=name).eval()
        self.adapters.add(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["lora_name"] not in self.adapters:
            return error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        self.adapters.remove(body["lora_name"])
        return 200, "Success"

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Completions with the seeds of vLLM: that of the request plus their index."""
        self.model.set_adapter(body["model"])
        choices = [self.choice(body, index) for index in range(body["n"])]
        return {"id": "1", "object": "text_completion", "model": body["model"], "choices": choices}

    def choice(self, body: dict[str, Any], index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(body["seed"] + index)
        ids, logps = list(body["prompt"]), []
        ends = [self.options["stops"]] if "stops" in self.options else body["stop_token_ids"]
        assert body["ignore_eos"] and body["repetition_penalty"] == 1.0 and body["return_token_ids"]
        for _ in range(body["max_tokens"]):
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            scores = logits / body["temperature"]
            if body["top_k"] > 0:
                scores[scores < scores.topk(body["top_k"]).values[-1]] = -float("inf")
            token = int(torch.multinomial(scores.softmax(-1), 1, generator=generator))
            reported = logits if self.options.get("raw") else scores
            logps.append(float(reported.log_softmax(-1)[token]))
            ids.append(token)
            if token in ends:
                break
        made = ids[len(body["prompt"]) :]
        ended = made[-1] in ends
        return {
            "index": index,
            "text": "",
            "token_ids": made,
            "finish_reason": "stop" if ended else "length",
            "stop_reason": made[-1] if ended else None,
            "logprobs": {"token_logprobs": logps} if body.get("logprobs") is not None else None,
        }
