"""The page for readers in headless Chromium: keyboard, kept progress, export, two widths, and hostile text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (pip install 'semalign-pl[dev]')")
from helpers.browser import Opened, chromium, opened
from playwright.sync_api import Browser, Page, expect

from semalign_pl.judge.humans.answers import read_answers
from semalign_pl.judge.humans.blinding import blind
from semalign_pl.judge.humans.write import write_page
from semalign_pl.judge.pairs import Pair

SEED, GUIDE = 7, "Prefer the answer that a reader would take for a translation of the source."
LONG = "ཀ" * 4000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Path:
    return write_page(pairs, tmp_path_factory.mktemp("page") / "readers.html", "translation", GUIDE, SEED)


@pytest.fixture
def seen(browser: Browser, page_file: Path) -> Iterator[Opened]:
    with opened(browser, page_file) as seen:
        yield seen
        assert not seen.complaints and not seen.requests


def export(page: Page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export answers").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def number(page: Page) -> int:
    """Number of the item that is shown, from its answers."""
    return int((page.locator("#first").text_content() or "").split()[0].removeprefix("བོད་"))


def wanted(n: int) -> str:
    """Winner that the reader of these tests prefers for an item."""
    return ("a", "b", "tie")[n % 3]


def test_twenty_pairs_by_keyboard(seen: Opened, pairs: list[Pair], tmp_path: Path) -> None:
    page, order = seen.page, blind(pairs, SEED)
    expect(page.locator("#rubric")).to_contain_text(GUIDE)
    page.get_by_label("Your name").fill("བཀྲ་ཤིས།")
    page.keyboard.press("Enter")
    for place in range(20):
        expect(page.locator("#progress")).to_have_text(f"Pair {place + 1} of 20 · {place} answered")
        assert order[place].pair.id == f"test.jsonl:{number(page)}"
        left_is_first = "left" in (page.locator("#first").text_content() or "")
        assert left_is_first == (order[place].first == "a")
        keys = {"tie": "t" if place % 2 else "3"}
        keys |= {"a": "aA"[place % 2], "b": "b"} if left_is_first else {"a": "2", "b": "1"}
        if place == 4:
            page.keyboard.press("c")
            page.keyboard.type("བཟང་ a b 1")
            page.keyboard.press("Escape")
        if place == 5:  # wrong, then back and mended
            page.keyboard.press("t" if wanted(number(page)) != "tie" else "a")
            page.keyboard.press("Backspace")
        if place == 9:
            page.reload()
            expect(page.get_by_label("Your name")).to_have_value("བཀྲ་ཤིས།")
            expect(page.locator("#progress")).to_have_text("Pair 10 of 20 · 9 answered")
            page.keyboard.press("ArrowLeft")
            pressed = page.locator('[aria-pressed="true"]')
            expect(pressed).to_have_count(1)
            page.keyboard.press("ArrowRight")
        page.keyboard.press(keys[wanted(number(page))])
    expect(page.get_by_role("heading", name="This was the last pair")).to_be_visible()
    file = export(page, tmp_path)
    judgements = read_answers(file, list(reversed(pairs)))
    assert {(one.id, one.winner) for one in judgements} == {(f"test.jsonl:{n}", wanted(n)) for n in range(1, 21)}
    assert [(one.id, one.first) for one in judgements] == [(one.pair.id, one.first) for one in order]
    assert {one.judge for one in judgements} == {"བཀྲ་ཤིས།"} and {one.rubric for one in judgements} == {"translation"}
    assert [one.reason for one in judgements] == [None] * 4 + ["བཟང་ a b 1"] + [None] * 15


def test_the_page_does_not_tell_the_sides_apart(page_file: Path, pairs: list[Pair]) -> None:
    data = json.loads(page_file.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
    assert data.keys() == {"format", "page", "pairs", "rubric", "seed", "items"}
    assert all(item.keys() == {"id", "source", "reference", "first", "second"} for item in data["items"])
    assert sum("left" in item["first"]["text"] for item in data["items"]) == 10


def test_unfinished_answers_are_exported(seen: Opened, pairs: list[Pair], tmp_path: Path) -> None:
    page = seen.page
    page.get_by_role("button", name="A is better").click()
    page.get_by_role("button", name="Export answers").click()
    expect(page.locator("#said")).to_contain_text("Write your name first")
    page.keyboard.type("Dolma")
    page.get_by_role("button", name="Tie").click()
    (one, other) = read_answers(export(page, tmp_path), pairs)
    assert one.winner == one.first and other.winner == "tie"
    page.locator("#as-text summary").click()
    text = tmp_path / "copied.json"
    text.write_text(page.get_by_label("Answers as text").input_value(), encoding="utf-8")
    assert read_answers(text, pairs) == [one, other]
    page.get_by_role("button", name="Tie").click()
    text.write_text(page.get_by_label("Answers as text").input_value(), encoding="utf-8")
    assert [judgement.winner for judgement in read_answers(text, pairs)] == [one.winner, "tie", "tie"]


def test_keys_of_a_tibetan_keyboard_and_held_keys(seen: Opened) -> None:
    press = "(init) => document.body.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, ...init}))"
    seen.page.evaluate(press, {"key": "ཨ", "code": "KeyB"})
    expect(seen.page.locator("#progress")).to_have_text("Pair 2 of 20 · 1 answered")
    held, command, unknown = {"key": "a", "repeat": True}, {"key": "a", "ctrlKey": True}, {"key": "x"}
    for init in (held, command, unknown, {"key": "འ", "code": "constructor"}):
        seen.page.evaluate(press, {"code": "KeyA", **init})
    expect(seen.page.locator("#progress")).to_have_text("Pair 2 of 20 · 1 answered")
    seen.page.keyboard.press("ArrowLeft")
    expect(seen.page.get_by_role("button", name="B is better")).to_have_attribute("aria-pressed", "true")


def test_a_browser_that_keeps_nothing_says_so(browser: Browser, page_file: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})")
    page = context.new_page()
    page.goto(page_file.as_uri())
    expect(page.get_by_text("This browser keeps nothing of this page")).to_be_visible()
    page.keyboard.press("a")
    expect(page.locator("#progress")).to_have_text("Pair 2 of 20 · 1 answered")
    context.close()


@pytest.mark.parametrize("kept", ["{", "null", "7", '{"reader": "x", "at": 0, "answers": [1]}'])
def test_damaged_progress_is_begun_anew(seen: Opened, kept: str) -> None:
    seen.page.keyboard.press("a")
    seen.page.evaluate("(kept) => localStorage.setItem(Object.keys(localStorage)[0], kept)", kept)
    seen.page.reload()
    expect(seen.page.locator("#progress")).to_have_text("Pair 1 of 20 · 0 answered")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_long_and_right_to_left_texts_fit(
    browser: Browser, pairs: list[Pair], tmp_path: Path, width: int, scheme: str
) -> None:
    hard = replace(pairs[0], source="أي ترجمة أفضل؟ " * 40, a=LONG, b="</script><img src=x onerror=alert(1)>")
    file = write_page([hard], tmp_path / "hard.html", "own", "W" * 3000, SEED)
    with opened(browser, file, width, scheme=scheme) as seen:
        seen.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        assert not seen.scrolls_sideways()
        texts = seen.page.locator("#first, #second")
        assert {*texts.all_text_contents()} == {hard.a, hard.b}
        assert seen.page.locator("img").count() == 0
        style = "one => { const s = getComputedStyle(one); return [s.direction, s.fontSize, s.lineHeight, one.lang]; }"
        assert seen.page.locator("#source").evaluate(style)[0] == "rtl"
        tibetan = seen.page.locator("#first, #second").filter(has_text="ཀཀ").evaluate(style)
        assert tibetan[0] == "ltr" and tibetan[3] == "bo"
        assert float(tibetan[1][:-2]) >= 24 and float(tibetan[2][:-2]) >= 2 * float(tibetan[1][:-2])  # pixels
        boxes = [texts.nth(n).bounding_box() for n in range(2)]
        assert (boxes[0]["y"] == boxes[1]["y"]) == (width > 1000), "side by side where there is room"
        assert not seen.complaints and not seen.requests
