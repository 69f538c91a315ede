"""``semalign demo``: three models in one policy are those of three loads, and the page works in a browser."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest
from helpers.browser import chromium
from helpers.pairs import PAIRS
from helpers.tiny import CPU
from playwright.sync_api import expect

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.engine.generate import generate
from semalign_pl.inference.loaded_run import RunRecipe
from semalign_pl.inference.server import Server, listen
from semalign_pl.inference.sides import Sides
from semalign_pl.languages import get_language
from semalign_pl.policy.load import load_policy
from semalign_pl.run.finished import FinishedRun

TEXT = PAIRS[3]["zh"]


@pytest.fixture(scope="module")
def sides(run) -> Sides:
    return Sides(RunRecipe.of(FinishedRun.of(run)))


@pytest.fixture(scope="module")
def server(sides) -> Iterator[Server]:
    with listen("127.0.0.1", 0) as server:
        server.sides = sides
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def plain_answer(base: str, adapter: str | None, scale: float, prompt: str) -> str:
    """Answer of a policy that is loaded for this alone."""
    policy = load_policy(base, "fp32", None, adapter, CPU, adapter_scale=scale)
    return generate(policy, [policy.encoder.encode_prompt(prompt, 200)], max_new_tokens=12).texts[0]


def test_sides_are_those_of_separate_loads(sides, run, base, sft_adapter, encoder) -> None:
    own, prompt = str(run / "adapter"), sides.prompt(TEXT)
    assert TEXT in prompt and prompt != TEXT
    expected = {
        "Base": plain_answer(base, None, 1.0, prompt),
        "Cold start": plain_answer(base, sft_adapter, 1.0, prompt),
        "Adapter": plain_answer(base, own, 1.0, prompt),
    }
    assert len({*expected.values()}) == 3, "equal answers would show nothing"
    assert {side.name: side.text for side in sides.answer(TEXT, 1.0)} == expected
    half = {side.name: side.text for side in sides.answer(TEXT, 0.5)}
    assert half == expected | {"Adapter": plain_answer(base, own, 0.5, prompt)}
    assert sides.answer(TEXT, 0.0)[2].text == expected["Base"]
    again = sides.answer(TEXT, 1.0)
    assert {side.name: side.text for side in again} == expected, "the scale is set back"
    for side in again:
        assert side.share == get_language("bo").share(side.text)
        assert side.in_language == get_language("bo").is_consistent(side.text)
        cosine = SentenceEncoder(encoder).similarity([TEXT], [side.text]).item()
        assert side.similarity == pytest.approx(cosine, abs=1e-6)


def send(server: Server, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request(method, path, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read().decode()
    connection.close()
    return reply.status, content


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("GET", "/", "", {"Host": "evil.example"}, 403, "open http://127.0.0.1"),
        (
            "POST",
            "/answer",
            '{"text": "a"}',
            {"Host": "evil.example:80", "Content_Type": "application/json"},
            403,
            "open",
        ),
        ("POST", "/answer", '{"text": "a"}', {"Content_Type": "text/plain"}, 400, "send JSON"),
        ("POST", "/answer", "[" * 9, {"Content_Type": "application/json"}, 400, "not JSON"),
        ("POST", "/answer", "[1]", {"Content_Type": "application/json"}, 400, "text: there is none"),
        ("POST", "/answer", '{"text": "a", "scale": 2}', {"Content_Type": "application/json"}, 400, "not between 0"),
        ("POST", "/answer", '{"text": "a", "scale": NaN}', {"Content_Type": "application/json"}, 400, "no number"),
        ("POST", "/answer", "", {"Content_Type": "application/json"}, 400, "empty"),
        ("GET", "/../pyproject.toml", "", {}, 404, "only /"),
    ],
)
def test_other_requests_are_refused(server, method, path, body, headers, status, message) -> None:
    found, content = send(server, method, path, body, **headers)
    assert (found, message in content) == (status, True), content


def test_a_port_in_use_is_one_line(server) -> None:
    with pytest.raises(ValueError, match=f"--port: {server.server_port} is in use; give another one"):
        listen("127.0.0.1", server.server_port)
    with pytest.raises(ValueError, match="--host: '192.0.2.1' is no address of this machine"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize("width", [1280, 390])
def test_page_compares_and_scales_and_asks_nobody_else(server, sides, width) -> None:
    whole, half = sides.answer(TEXT, 1.0), sides.answer(TEXT, 0.5)
    with chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(server.address)
        page.get_by_label("Source text").fill(TEXT)
        page.get_by_role("button", name="Answer").click()
        for side in whole:
            section = page.locator(f'[data-side="{side.name}"]')
            expect(section.locator(".text")).to_have_text(side.text + ("" if side.finished else " …"))
            expect(section.locator(".language")).to_contain_text("yes" if side.in_language else "no")
            expect(section.locator(".similarity")).to_have_text(f"{side.similarity:.2f}")
        page.get_by_label("Scale of the adapter").fill("0.5")
        expect(page.get_by_role("heading", name="Adapter × 0.50")).to_be_visible()
        expect(page.locator('[data-side="Adapter"] .text')).to_contain_text(half[2].text)
        expect(page.locator("#prompt pre")).to_have_text(sides.prompt(TEXT))
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not complaints and all(url.startswith(server.address) for url in requests)


def test_a_text_is_shown_as_text_and_a_dead_server_is_said(server, sides) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(server.address)
        page.get_by_label("Source text").fill("<img src=x onerror=alert(1)>")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#prompt pre")).to_contain_text("<img src=x onerror=alert(1)>")
        assert page.locator("img").count() == 0
        expect(page.locator("dl .seconds").first).not_to_contain_text("max_prompt_tokens")
        page.get_by_label("Source text").fill(TEXT * 60)
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("dl .seconds").first).to_contain_text("the source was cut at max_prompt_tokens")
        page.route("**/answer", lambda route: route.abort())
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#status")).to_contain_text("is semalign demo still running?")
