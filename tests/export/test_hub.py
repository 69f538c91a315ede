"""Upload to the hub: huggingface_hub's own client against a stand-in of the hub's HTTP API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.hub_stand_in import Hub, hub_stand_in

from semalign_pl.export.hub import Upload

TOKEN = "hf_secretsecretsecret"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_stand_in(TOKEN) as served:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.constants.HF_HUB_OFFLINE", False)
        yield served


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlanguage: [bo]\n---\n\n# A card\n")
    (folder / "training.json").write_text('{"started_from": "/home/me/adapter"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    return folder


def test_files_arrive_in_a_private_repository(hub: Hub, model: Path) -> None:
    upload = Upload("you/name", 0.01)
    assert hub.requests == ["create"]  # before any file is asked for
    assert upload.send([model]) == f"{hub.address}/you/name"
    sent = {path.name: path.read_bytes() for path in model.iterdir() if path.name != "training.json"}
    assert hub.files == {f"you/name/{name}": content for name, content in sent.items()}
    assert hub.repositories == {"you/name": True}
    Upload("you/name", 0.01, "adapter_config.json").send([model])  # it exists now


def test_a_public_repository_is_said_before_the_upload(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    Upload("you/name", 0.01)
    assert not caplog.messages
    hub.repositories["you/name"] = False
    Upload("you/name", 0.01)
    assert caplog.messages == ["--push: you/name is public, so everyone will be able to read what is uploaded"]


def test_an_adapter_and_a_merged_model_do_not_share_a_repository(hub: Hub) -> None:
    hub.repositories["you/name"], hub.files["you/name/adapter_config.json"] = True, b"{}"
    with pytest.raises(ValueError, match="--push: you/name has a file adapter_config.json, .* name another repository"):
        Upload("you/name", 0.01, foreign="adapter_config.json")
    Upload("you/name", 0.01, foreign="config.json")  # the next adapter


@pytest.mark.parametrize(
    ("endpoint", "faults", "tries", "message"),
    [
        ("create", [401], 1, r"--push: the hub does not accept the token \(401\); make a new one"),
        ("create", [403], 1, r"--push: the token may not write to you/name \(403\)"),
        ("create", [404], 1, r"--push: the hub has no owner or repository you/name"),
        ("create", [400], 1, r"--push: the hub refuses the upload \(400\)"),
        ("create", [429] * 9, 3, r"--push: the hub refuses further requests for now \(429\) after 3 tries"),
        ("create", [500] * 9, 3, r"--push: the hub has a fault \(500\) after 3 tries"),
        ("create", ["hang up"] * 9, 3, r"--push: http://127.0.0.1:\d+ does not answer \(RemoteProtocolError"),
        ("commit", [403], 1, r"may not write .* `hf upload you/name .*/model --exclude training.json` upl"),
        ("commit", [503] * 9, 3, r"has a fault \(503\) .*; .*/model is written"),
        ("create", [500, 429], 3, None),
        ("commit", ["hang up", 502], 3, None),
    ],
)
def test_faults(
    hub: Hub, model: Path, endpoint: str, faults: list[int | str], tries: int, message: str | None, capfd: object
) -> None:
    """Faults that pass are tried again; others are one line, which never has the token."""
    hub.faults[endpoint] = list(faults)
    if message is None:
        Upload("you/name", 0.01).send([model])
        assert len(hub.files) == 3
    else:
        with pytest.raises(ValueError, match=message) as caught:
            Upload("you/name", 0.01).send([model])
        assert TOKEN not in str(caught.value) and "\n" not in str(caught.value)
    assert hub.requests.count(endpoint) == tries
    assert not any(TOKEN.encode() in path.read_bytes() for path in model.rglob("*"))


def test_mistakes_before_any_request(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--push: name is no repository of the hub; give you/name"):
        Upload("name")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="--push: there is no token; .* set HF_TOKEN"):
        Upload("you/name")
    assert hub.requests == []
