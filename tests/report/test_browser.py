"""The page in headless Chromium: it draws, sorts, filters and is operated by keyboard, hostile text does nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (pip install 'semalign-pl[dev]')")
from helpers.browser import Opened, chromium, opened
from helpers.report_study import HOSTILE, write_study, write_task
from playwright.sync_api import Browser, expect

from semalign_pl.report import write_report

HEADLINE = {"class_path": "semalign_pl.Headline", "init_args": {"language": "bo"}}
GRPO = "#sample-rows [data-system=semantic_grpo]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = write_study(tmp_path_factory.mktemp("study"))
    write_task(study, "headline", HEADLINE)
    return write_report(study)


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Opened]:
    with opened(browser, report) as seen:
        yield seen
        assert not seen.complaints and not seen.requests


def scores(seen: Opened, metric: str, system: str = "semantic_grpo") -> list[float]:
    """Scores of one system on the samples that are shown."""
    lines = seen.page.locator(f"#sample-rows [data-system={system}] .scores").all_text_contents()
    return [float(re.search(rf"{metric} (-?[\d.]+)", line)[1]) for line in lines]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_silent(browser: Browser, report: Path, width: int, scheme: str) -> None:
    with opened(browser, report, width, scheme=scheme) as seen:
        seen.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        expect(seen.page.locator("#sample-rows article")).to_have_count(10)
        assert not seen.scrolls_sideways()
        assert not seen.complaints and not seen.requests
        paper, ink = (
            seen.page.evaluate(f"getComputedStyle(document.body).{key}") for key in ("backgroundColor", "color")
        )
        brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
        assert (brightness[0] > brightness[1]) == (scheme == "light")
        smallest = seen.page.evaluate(
            "Math.min(...[...document.querySelectorAll('.chart text')].map(one => one.getBoundingClientRect().height))"
        )
        assert smallest > 9  # pixels


def test_verdicts_and_frontier_come_first(page: Opened) -> None:
    sections = page.page.locator("main > section").evaluate_all("all => all.map(one => one.querySelector('h2').id)")
    assert sections == ["frontier", "tested", "ledger", "drift", "training", "samples", "run"]
    assert page.page.locator(".verdicts li").count() >= 2
    titles = page.page.locator("section[aria-labelledby=frontier] .chart-title").all_text_contents()
    assert titles == ["chrF against CMRC F1 lost", "chrF against NLL change (nats/token)"]


@pytest.mark.parametrize("direction, order", [("1", sorted), ("-1", lambda values: sorted(values, reverse=True))])
def test_samples_are_sorted(page: Opened, direction: str, order) -> None:
    page.page.select_option("#sort-metric", "chrf")
    page.page.select_option("#sort-system", "semantic_grpo")
    page.page.select_option("#sort-order", direction)
    first = scores(page, "chrF")
    page.page.click("#page-next")
    every = first + scores(page, "chrF")
    assert len(every) == 20 and every == order(every) and len(set(every)) > 10


def test_samples_are_filtered_by_score_and_text(page: Opened) -> None:
    expect(page.page.locator("#sample-count")).to_have_text("30 of 30 rows")
    page.page.select_option("#filter-metric", "chrf")
    page.page.select_option("#filter-system", "semantic_grpo")
    page.page.fill("#filter-low", "20")
    page.page.fill("#filter-high", "50")
    expect(page.page.locator("#sample-count")).to_have_text(re.compile(r"^[1-9] of 30 rows"))
    assert all(20 <= score <= 50 for score in scores(page, "chrF"))
    page.page.click("button[type=reset]")
    page.page.fill("#sample-query", "第7句")
    expect(page.page.locator("#sample-count")).to_have_text("1 of 30 rows")
    assert page.page.locator("#sample-rows h3 code").text_content() == "test.jsonl:7"


def test_a_metric_named_like_a_property_is_filtered(browser: Browser, tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=1, rows=4)
    path = study / "seed-0" / "strong_sft" / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "scores": {"constructor": number}}) + "\n" for number, row in enumerate(rows)]
    path.write_text("".join(lines), encoding="utf-8")
    with opened(browser, write_report(study)) as seen:
        seen.page.select_option("#filter-metric", "constructor")
        seen.page.select_option("#filter-system", "*any")
        seen.page.fill("#filter-low", "2")
        expect(seen.page.locator("#sample-count")).to_have_text("2 of 4 rows")
        assert not seen.complaints


def test_a_click_on_a_point_shows_its_samples(page: Opened) -> None:
    page.page.locator("[data-system=strong_sft][data-point=step-60]").first.click()
    cards = page.page.locator("#sample-rows [data-system=strong_sft]")
    expect(cards.first).to_contain_text("strong_sft step-60")
    assert set(cards.evaluate_all("all => all.map(one => one.dataset.point)")) == {"step-60"}
    expect(page.page.locator("#point-shown")).to_contain_text("Strong SFT, step-60: chrF")
    expect(page.page.locator("#samples")).to_be_in_viewport()
    pressed = page.page.locator(".mark[aria-pressed=true]")
    assert {*pressed.evaluate_all("all => all.map(one => one.dataset.point)")} == {"step-60"}


def test_the_keyboard_reaches_a_point_and_the_pages(page: Opened) -> None:
    first = page.page.locator("svg .mark[tabindex='0']").first
    first.focus()
    start = first.get_attribute("aria-label")
    page.page.keyboard.press("ArrowRight")
    label = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label and label != start
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#point-shown")).to_contain_text(label)
    assert page.page.evaluate("document.activeElement.id") == "samples"
    page.page.locator("#page-next").focus()
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#page-number")).to_have_text("Page 2 of 3")


def test_hostile_text_is_text(page: Opened) -> None:
    shown = page.page.locator(f"{GRPO} .text").first
    assert shown.text_content() == HOSTILE
    assert "harmed" not in page.page.title() and page.page.locator("main img").count() == 0


def test_the_policy_stops_a_script_that_an_escape_missed(browser: Browser, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    planted = f"<main>{HOSTILE.removeprefix('</script>').partition('<!--')[0]}<script>document.title='harmed'</script>"
    broken.write_text(report.read_text(encoding="utf-8").replace("<main>", planted, 1), encoding="utf-8")
    with opened(browser, broken) as seen:
        seen.page.wait_for_timeout(100)
        assert "harmed" not in seen.page.title()
        assert any("Content Security Policy" in line for line in seen.complaints)


def test_every_text_has_its_language_and_a_font(page: Opened) -> None:
    languages = (
        page.page.locator("#sample-rows article").first.locator(".text").evaluate_all("all => all.map(p => p.lang)")
    )
    assert languages[:2] == ["zh", "bo"] and set(languages[2:]) == {"bo"}
    assert {
        *page.page.locator("section[aria-labelledby=ledger] .text").evaluate_all("all => all.map(p => p.lang)")
    } == {"zh"}
    loaded = page.page.evaluate(
        """document.fonts.ready.then(
            () => [...document.fonts].map(font => [font.family.replaceAll('"', ""), font.status])
        )"""
    )
    assert loaded == [["Page Tibetan", "loaded"], ["Page Chinese", "loaded"]]


def test_the_cut_font_draws_stacks_as_the_whole_font(page: Opened) -> None:
    whole = base64.b64encode((files("semalign_pl.report") / "fonts" / "NotoSerifTibetan.woff").read_bytes()).decode()
    equal = page.page.evaluate(
        """async (whole) => {
            const bytes = Uint8Array.from(atob(whole), (character) => character.charCodeAt(0));
            document.fonts.add(await new FontFace("Whole", bytes.buffer).load());
            await document.fonts.ready;
            const draw = (text, family) => {
                const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 120 });
                const context = canvas.getContext("2d");
                context.font = `40px "${family}"`;
                context.fillText(text, 10, 60);
                return context.getImageData(0, 0, 400, 120).data.join();
            };
            return ["བསྒྲུབས་", "རྒྱལ་པོའི་", "ལྗོངས་ཤིས"].map(text => draw(text, "Page Tibetan") === draw(text, "Whole"))
                .concat(draw("བསྒྲུབས་", "serif") === draw("བསྒྲུབས་", "Whole"));
        }""",
        whole,
    )
    assert equal == [True, True, True, False]


def test_a_missing_font_is_noticed(browser: Browser, report: Path, tmp_path: Path) -> None:
    source = report.read_text(encoding="utf-8")
    assert source.count('data-unembedded="误"') == 1  # not among the commonest characters
    for characters, to_be in (("", "hidden"), ("a\u0378", "visible"), ("aé", "hidden")):
        changed = tmp_path / "changed.html"
        changed.write_text(source.replace('data-unembedded="误"', f'data-unembedded="{characters}"'), encoding="utf-8")
        with opened(browser, changed) as seen:
            seen.page.evaluate("document.fonts.ready.then(() => new Promise(done => setTimeout(done)))")
            assert seen.page.locator("#font-notice").is_visible() == (to_be == "visible"), characters


def test_two_tasks_do_not_mix(page: Opened) -> None:
    groups = page.page.locator("#table + .scroll th[scope=colgroup]").all_text_contents()
    assert groups == ["Translation zh → bo", "Headline (bo)", "General ability lost"]
    page.page.select_option("#test-set", label="Headline (bo), headlines.jsonl")
    expect(page.page.locator("#sample-count")).to_have_text("12 of 12 rows")
    assert page.page.locator("#sample-rows [data-system]").first.get_attribute("data-system") == "headline"
    assert page.page.locator(GRPO).count() == 0
    page.page.locator("[data-system=semantic_grpo][data-point=end]").first.click()
    expect(page.page.locator("#sample-count")).to_have_text("30 of 30 rows")


def test_a_thousand_rows_stay_fast(browser: Browser, tmp_path: Path) -> None:
    report = write_report(write_study(tmp_path, seeds=1, rows=1000))
    with opened(browser, report) as seen:
        seconds = seen.page.evaluate(
            """() => {
                const start = performance.now();
                document.getElementById("sort-metric").value = "chrf";
                document.getElementById("sample-query").value = "བདེ";
                document.getElementById("sort-metric").dispatchEvent(new Event("input", { bubbles: true }));
                return new Promise(done => setTimeout(() => done((performance.now() - start) / 1000), 0));
            }"""
        )
        assert seconds < 1
        expect(seen.page.locator("#sample-count")).to_have_text(re.compile(r"of 1,000 rows"))
        assert seen.page.locator("#sample-rows article").count() == 10
    assert json.dumps(HOSTILE)[1:-1] not in report.read_text(encoding="utf-8")
