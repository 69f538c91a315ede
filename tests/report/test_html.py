"""The page: well formed, self-contained, safe, and with the same samples for every system."""

import json
import re
from html.parser import HTMLParser

import pytest

from semalign_pl.report import verdict, write_report
from semalign_pl.report.files import evenly_spaced
from semalign_pl.report.html import duration

SYSTEMS = ("base", "cold_start", "strong_sft", "semantic_grpo")
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Parser that checks nesting while it collects tags and text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(folder) -> tuple[Page, str]:
    path = write_report(folder)
    assert path == folder / "report.html" and (folder / "quality_against_tax.png").stat().st_size > 10_000
    source = path.read_text(encoding="utf-8")
    return Page(source), source


@pytest.mark.parametrize("seeds", [(), (2, 10, 1)])
def test_page_is_well_formed_self_contained_and_complete(results, study, seeds):
    page, source = report(study(results, seeds))
    addresses = [
        value or "" for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")
    ]
    assert len(addresses) == 2 and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"url\(|@import|<link|<script", source)
    assert all(image["alt"] for image in page.of("img")) and all("scope" in cell for cell in page.of("th"))
    text = " ".join(" ".join(page.text).split())
    assert verdict(results) in text and "metric:chrf|rows:137" in text
    assert "1 h 24 min, 30.0 s" in text and "semalign study --out runs/study <&>" in text and "0.1.0" in text
    assert ("seed-1, seed-2, seed-10" in text) == bool(seeds)
    assert ("strong_sft seed-1" in text) == bool(seeds) and "seed-2 " not in "".join(text.split("Samples")[1:])


def test_references_are_in_the_table_and_among_the_signatures(results, study):
    for body in results["systems"].values():
        for name, signature in (("", "rule"), ("_references", "rule|texts:references")):
            score = {"value": 0.58, "ci": None, "signature": signature}
            body["metrics"][f"language_consistency{name}"] = score
    page, source = report(study(results))
    assert '<th scope="row">References</th>' in source and "rule|texts:references" in source
    assert "practical ceiling" in source and "Language consistency of the references" in source


def test_hostile_predictions_are_text(results, study):
    page, source = report(study(results))
    assert not page.of("script") and "&lt;script&gt;" in source
    assert sum('<script>alert("x")</script>' in text for text in page.text) == 20 * len(SYSTEMS)


def test_twenty_samples_have_the_same_ids_for_all_systems(results, study, tmp_path):
    study(results)
    path = tmp_path / "strong_sft" / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(reversed(lines[:50])), encoding="utf-8")  # another order, fewer rows
    page, source = report(tmp_path)
    ids = re.findall(r"<code>(test\.jsonl:\d+)</code>", source)
    assert len(ids) == len(set(ids)) == len(page.of("article")) == 20
    assert ids[0] == "test.jsonl:1" and ids[-1] == "test.jsonl:50"
    assert all(source.count(f" {system} {tmp_path.name}</p>") == 20 for system in SYSTEMS)


def test_systems_without_files_or_metrics_do_not_crash(results, study, tmp_path):
    results["systems"]["other"] = {"metrics": {}}
    study({**results, "systems": {"base": results["systems"]["base"], "semantic_grpo": {}}, "run": {}})
    (tmp_path / "semantic_grpo" / "metrics.csv").unlink()
    page, _ = report(tmp_path)
    assert len(page.of("img")) == 1 and len(page.of("article")) == 20


def test_results_alone_make_a_page(results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    page, source = report(tmp_path)
    assert len(page.of("img")) == 1 and not page.of("article") and "There are no predictions next to" in source


def test_missing_results_and_a_broken_line_name_file_and_remedy(results, study, tmp_path):
    with pytest.raises(ValueError, match=r"results\.json: cannot be read"):
        write_report(tmp_path)
    path = study(results) / "cold_start" / "predictions.jsonl"
    path.write_text('{"id": 1, "prediction": "a"}\n{"prediction"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"predictions\.jsonl:2: every line must be.*Evaluate this system again"):
        write_report(tmp_path)


def test_samples_are_evenly_spaced():
    assert evenly_spaced(list("abcdefghi"), 3) == ["a", "e", "i"]
    assert evenly_spaced(["a", "b"], 20) == ["a", "b"]
    assert evenly_spaced(["a", "b"], 1) == ["a"] and evenly_spaced([], 20) == []


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (2.25, 90.0, 3599.9, 5025.0)] == ["2.2 s", "1.5 min", "60.0 min", "1 h 24 min"]
