"""Stand-in for the HTTP API of the Hugging Face hub, on this machine: repositories, uploads and faults."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """State of the stand-in.

    Attributes:
        token: Token that it accepts.
        address: Address of the server.
        repositories: Whether each repository is private.
        files: Content of each committed file, by repository and path.
        faults: Answers to give before the real one, by endpoint (``create`` or ``commit``): a status, or ``hang up``.
        requests: Endpoint of each request.
    """

    token: str
    address: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def hub_stand_in(token: str) -> Iterator[Hub]:
    """Serve the endpoints that ``create_repo``, ``model_info`` and ``upload_folder`` of huggingface_hub use."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))

        def do_PUT(self) -> None:
            hub.stored[self.path.removeprefix("/store/")] = self.rfile.read(int(self.headers["content-length"]))
            self._answer(200, {})

        def do_GET(self) -> None:
            repository = self.path.removeprefix("/api/models/").partition("?")[0]
            if repository in hub.repositories:
                names = [name.removeprefix(f"{repository}/") for name in hub.files if name.startswith(f"{repository}/")]
                siblings = [{"rfilename": name} for name in names]
                self._answer(200, {"id": repository, "private": hub.repositories[repository], "siblings": siblings})
            else:
                self._answer(404, {"error": "Repository not found"})

        def _serve(self, body: bytes) -> None:
            path = self.path.partition("?")[0]
            kind = "create" if path == "/api/repos/create" else path.rsplit("/", 2)[-2]
            kind = {"objects": "lfs"}.get(kind, kind)
            hub.requests.append(kind)
            if faults := hub.faults.get(kind):
                fault = faults.pop(0)
                if fault == "hang up":
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(int(fault), {"error": f"a fault {self.headers.get('authorization')}"})
            elif kind != "api" and self.headers.get("authorization") != f"Bearer {hub.token}":
                self._answer(401, {"error": "Invalid credentials"})
            else:
                getattr(self, f"_{kind}")(path, body)

        def _create(self, _: str, body: bytes) -> None:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"you/{asked['name']}"
            if name in hub.repositories:
                self._answer(409, {"error": "You already created this model repo", "url": f"{hub.address}/{name}"})
            else:
                hub.repositories[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
                self._answer(200, {"url": f"{hub.address}/{name}"})

        def _api(self, path: str, _: bytes) -> None:
            self._answer(200 if path == "/api/validate-yaml" else 404, {"errors": [], "warnings": []})

        def _preupload(self, _: str, body: bytes) -> None:
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith((".safetensors", ".gguf")) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})

        def _lfs(self, _: str, body: bytes) -> None:
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.address}/store/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})

        def _commit(self, path: str, body: bytes) -> None:
            repository = path.removeprefix("/api/models/").rpartition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[f"{repository}/{value['path']}"] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[f"{repository}/{value['path']}"] = hub.stored[value["oid"]]
            answer = {
                "success": True,
                "commitOid": "0" * 40,
                "commitUrl": f"{hub.address}/{repository}/commit/{'0' * 40}",
            }
            self._answer(200, answer)

        def _answer(self, status: int, content: dict[str, object] | list[dict[str, object]]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
