"""The page: well formed, self-contained, safe, and with every sample of every system; test_browser.py operates it."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from helpers.frontier_study import write_json
from helpers.report_study import write_study

from semalign_pl.report import samples, verdict, write_report
from semalign_pl.report.files import evenly_spaced
from semalign_pl.report.run_facts import duration

SYSTEMS = ("base", "cold_start", "strong_sft", "semantic_grpo")
HOSTILE = '<script>alert("x")</script><img src="https://example.invalid/x.png">'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Parser that checks nesting while it collects tags and text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[tuple[str, dict[str, str | None]], str]] = []
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
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.tags[-1], data))
        else:
            self.text.append(data)

    def samples(self) -> dict:
        """Data of the sample browser."""
        (data,) = [text for (tag, attributes), text in self.scripts if attributes.get("id") == "samples-data"]
        return json.loads(data)

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
    assert addresses and all(address.startswith("#") for address in addresses)
    assert not re.search(r"url\((?!data:font/woff;base64,|#plot)|@import|<link", source)
    assert all("style" not in attributes and "onclick" not in attributes for _, attributes in page.tags)
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") for drawing in page.of("svg"))
    assert all("scope" in cell for cell in page.of("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and {address[1:] for address in addresses} <= {*ids}
    text = " ".join(" ".join(page.text).split())
    assert verdict(results) in text and "metric:chrf|rows:137" in text
    assert "1 h 24 min, 30.0 s" in text and "semalign study --out runs/study <&>" in text and "0.1.0" in text
    assert ("seed-1, seed-2, seed-10" in text) == bool(seeds)
    predictions = " ".join(page.samples()["texts"])
    assert ("strong_sft seed-1" in predictions) == bool(seeds) and "seed-2" not in predictions


def test_only_the_pages_own_script_and_style_may_act(results, study):
    page, source = report(study(results))
    policy = next(tag["content"] for tag in page.of("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "unsafe" not in policy
    for directive, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (content,) = re.findall(pattern, source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive}-src 'sha256-{digest}'" in policy


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
    assert len(page.of("script")) == 2 and source.count("<script") == 2 and source.count("</script") == 2
    assert sum('<script>alert("x")</script>' in text for text in page.samples()["texts"]) == len(SYSTEMS)


def test_hostile_names_and_settings_are_text(results, study):
    hostile = f'">{HOSTILE}'
    results["systems"]["strong_sft"] |= {"label": hostile, "points": []}
    results["systems"]["strong_sft"]["metrics"][hostile] = {"value": 1.0, "ci": None, "signature": hostile}
    results["run"] |= {hostile: hostile, "versions": {hostile: hostile}, "seconds": {hostile: hostile}}
    folder = study(results)
    for system in ("cold_start", "strong_sft"):
        recipe = {"trainer": {hostile: system, "callbacks": [{"class_path": hostile, "init_args": {"a": system}}]}}
        (folder / system / "fit.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        row = {"id": hostile, "prompt": hostile, "reference": hostile, "prediction": "", "scores": {hostile: 1}}
        (folder / system / "predictions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    log = folder / "semantic_grpo" / "metrics.csv"
    quoted = hostile.replace('"', '""')
    log.write_text(f'step,train/reward,"train/reward/{quoted}"\n0,1,1\n1,2,2\n', encoding="utf-8")
    page, source = report(folder)
    assert source.count("&#34;&gt;&lt;script&gt;") > 10
    assert len(page.of("script")) == 2 and not page.of("img") and source.count("<script") == 2


def test_every_row_of_every_system_is_in_the_page(results, study, tmp_path):
    study(results)
    path = tmp_path / "strong_sft" / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(reversed(lines[:50])), encoding="utf-8")  # another order, fewer rows
    page, _ = report(tmp_path)
    (group,) = page.samples()["groups"]
    assert group["ids"] == [f"test.jsonl:{number}" for number in range(1, 138)]
    answers = {system["name"]: system["points"]["end"] for system in group["systems"]}
    assert [*answers] == [*SYSTEMS]
    assert [number >= 0 for number in answers["strong_sft"]["texts"]] == [True] * 50 + [False] * 87
    assert answers["strong_sft"]["scores"]["semantic_similarity"][49:51] == [pytest.approx(49 / 137, abs=1e-5), None]
    assert "All 137 test rows" in " ".join(" ".join(page.text).split())


def test_a_page_that_would_be_too_large_says_so(results, study, monkeypatch):
    monkeypatch.setattr(samples, "MAX_CHARACTERS", 3000)
    page, _ = report(study(results))
    ids = page.samples()["groups"][0]["ids"]
    assert 2 < len(ids) < 137 and ids[0] == "test.jsonl:1" and ids[-1] == "test.jsonl:137"
    assert f"{len(ids)} of 137 test rows, evenly spaced" in " ".join(" ".join(page.text).split())


def test_systems_without_files_or_metrics_do_not_crash(results, study, tmp_path):
    results["systems"]["other"] = {"metrics": {}}
    study({**results, "systems": {"base": results["systems"]["base"], "semantic_grpo": {}}, "run": {}})
    (tmp_path / "semantic_grpo" / "metrics.csv").unlink()
    page, _ = report(tmp_path)
    assert len(page.samples()["groups"][0]["systems"]) == 2
    assert "There is no log of a training with rewards next to these results." in "".join(page.text)


def test_results_alone_make_a_page(results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    page, source = report(tmp_path)
    assert page.samples()["groups"] == [] and "There are no predictions next to" in source
    assert len([tag for tag in page.of("g") if tag.get("role") == "button"]) == 2 * 3
    assert source.count("← Base: chrF 5.0") == 2  # further from the others than they are from each other


def test_systems_with_one_label_keep_their_sections(results, study, tmp_path):
    results["systems"]["strong_sft"]["label"] = "Semantic GRPO"
    folder = study(results)
    for system in ("cold_start", "strong_sft", "semantic_grpo"):
        steps = {"max_steps": len(system)}
        (folder / system / "fit.yaml").write_text(json.dumps({"trainer": steps}), encoding="utf-8")
    shutil.copy(folder / "semantic_grpo" / "metrics.csv", folder / "strong_sft" / "metrics.csv")
    _, source = report(folder)
    assert source.count("<h3>Semantic GRPO</h3>") == 2
    assert source.count("<summary>Semantic GRPO: settings that differ (1)</summary>") == 1


@pytest.mark.filterwarnings("ignore:Glyph")  # of the picture, whose fonts are Matplotlib's
def test_labels_and_signatures_of_any_script_and_half_characters(results, tmp_path):
    results["systems"]["strong_sft"]["label"] = "藏文"
    results["systems"]["strong_sft"]["metrics"]["chrf"]["signature"] = "file:\udcff"
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    _, source = report(tmp_path)
    assert "font-family: 'Page Chinese'; src:" in source and "Page Tibetan'; src:" not in source
    assert "(c) 2014-2021 Adobe" in source  # the licence asks for the copyright notice of the font
    assert "file:?" in source


def test_missing_results_and_a_broken_line_name_file_and_remedy(results, study, tmp_path):
    with pytest.raises(ValueError, match=r"results\.json: cannot be read"):
        write_report(tmp_path)
    path = study(results) / "cold_start" / "predictions.jsonl"
    path.write_text('{"id": 1, "prediction": "a"}\n{"prediction"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"predictions\.jsonl:2: every line must be.*Evaluate this system again"):
        write_report(tmp_path)
    path.unlink()
    with (tmp_path / "semantic_grpo" / "metrics.csv").open("a", encoding="utf-8") as log:
        log.write("0,61,,1e-")  # the process was killed while it wrote
    with pytest.raises(ValueError, match=r"metrics\.csv:122: is no log of numbers.*'1e-'.*Train this system again"):
        write_report(tmp_path)


@pytest.mark.parametrize("point", ["", "points/scale-0.5"])
def test_a_test_of_an_interrupted_rerun_is_refused(tmp_path, point):
    """Its histogram and samples would be shown beside the numbers of the test before it."""
    folder = write_study(tmp_path, rows=3)
    file = folder / "seed-1" / "strong_sft" / point / "results.json"
    tested = json.loads(file.read_text(encoding="utf-8"))
    value = tested["metrics"]["chrf"]["value"]
    write_json(file, {**tested, "metrics": {**tested["metrics"], "chrf": {"value": None}, "new": {"value": 1.0}}})
    joined = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    joined["systems"]["strong_sft"]["metrics"]["judge_win"] = {"value": 50.0, "ci": None, "seeds": [40.0, 60.0]}
    write_json(folder / "results.json", joined)
    assert write_report(folder).is_file(), "what one of the two has not cannot differ"
    (folder / "report.html").unlink()
    tested["metrics"]["chrf"]["value"] = value + 1e-9
    write_json(file, tested)
    with pytest.raises(ValueError) as error:
        write_report(folder)
    assert str(error.value) == (
        f"{file}: is of another test than {folder / 'results.json'}: chrf is {value + 1e-9} and not {value}; run "
        "semalign study again"
    )
    assert not (folder / "report.html").exists()


def test_samples_are_evenly_spaced():
    assert evenly_spaced(list("abcdefghi"), 3) == ["a", "e", "i"]
    assert evenly_spaced(["a", "b"], 20) == ["a", "b"]
    assert evenly_spaced(["a", "b"], 1) == ["a"] and evenly_spaced([], 20) == []


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (2.25, 90.0, 3599.9, 5025.0)] == ["2.2 s", "1.5 min", "60.0 min", "1 h 24 min"]
