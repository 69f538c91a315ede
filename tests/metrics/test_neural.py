"""Neural metrics: languages that are refused, the commands, and the files that the programs exchange.

The programs here are stand-ins with the interface of ``comet-score`` 2.2.7 and ``metricx24.predict``, run as real
processes: the real ones need an environment of their own, and models of gigabytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semalign_pl.languages.read import language_codes
from semalign_pl.metrics.neural_comet import Comet
from semalign_pl.metrics.neural_languages import METRICX, XLM_R
from semalign_pl.metrics.neural_metricx import MetricX

COMET = """#!{python}
import argparse, json
parser = argparse.ArgumentParser()
for flag in ("-s", "-t", "-r"):
    parser.add_argument(flag)
for flag in ("--model", "--gpus", "--batch_size", "--to_json"):
    parser.add_argument(flag, required=True)
for flag in ("--quiet", "--only_system"):
    parser.add_argument(flag, action="store_true")
given = parser.parse_args()
if given.model == "broken":
    raise SystemExit("OSError: broken is not on the hub")
columns = [open(path, encoding="utf-8").read().splitlines() for path in (given.s, given.t, given.r or given.t)]
rows = [{{"src": s, "mt": t, "ref": r, "COMET": float(t == r) / len(s.split())}} for s, t, r in zip(*columns)]
if given.model == "short":
    rows = rows[1:]
if given.model != "silent":
    json.dump({{given.t: rows}}, open(given.to_json, "w", encoding="utf-8"), ensure_ascii=False)
"""
METRICX_PROGRAM = """
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert set(given) >= {"--tokenizer", "--model_name_or_path", "--max_input_length", "--batch_size"}
with open(given["--output_file"], "w", encoding="utf-8") as output:
    for line in open(given["--input_file"], encoding="utf-8"):
        row = json.loads(line)
        wanted = row["source" if sys.argv[-1] == "--qe" else "reference"]
        row["prediction"] = 25.0 * (row["hypothesis"] != wanted)
        print(json.dumps(row), file=output)
"""


@pytest.fixture
def comet(tmp_path: Path) -> str:
    path = tmp_path / "comet-score"
    path.write_text(COMET.format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("code", [*language_codes(), "fr"])
@pytest.mark.parametrize("side", ["source_language", "language"])
def test_untrained_languages_are_refused_before_anything_else(code: str, side: str, tmp_path: Path) -> None:
    """Neither program exists here, so a language that is let through meets that error and no other."""
    if code == "fr":
        file = tmp_path / "fr.yaml"
        file.write_text("{code: fr, name: French, scripts: [Latin], unit: word}", encoding="utf-8")
    languages = {"source_language": "en", "language": "en", side: str(file) if code == "fr" else code}
    for metric, trained, missing in (
        (Comet, XLM_R, {"program": "/none/comet-score"}),
        (MetricX, METRICX, {"folder": "/none"}),
    ):
        wanted = (
            "there is no /none|has no metricx24" if code in trained else f"{side}: {code} .* is not among the languag"
        )
        with pytest.raises(ValueError, match=wanted) as caught:
            metric(**languages, **missing)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_tibetan_and_its_neighbours_are_on_no_list() -> None:
    assert not {"bo", "dz", "za", "ii", "mn-Mong"} & (XLM_R | METRICX)
    assert {"ug", "mn", "kk", "my", "km", "th", "ne", "zh", "zh-Hans"} <= XLM_R and "ug" not in METRICX


def test_the_missing_program_names_the_conflict_and_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"transformers<5.*transformers>=5.10.*comet/bin/pip install unbabel-comet"):
        Comet("zh", "en", program="no-such-program")


def test_comet_scores_rows_and_their_mean(comet: str) -> None:
    metric = Comet("zh", "en", program=comet)
    texts = ["a b", "a\nb", "c"], ["x", "y", "z w"], ["x", "not y", "z  w"]
    assert metric.score_rows(*texts) == [0.5, 0.0, 1.0]
    result = metric.score(*texts)
    assert result.value == 0.5 and result.ci is not None and result.formula == "mean"
    signature = "comet|model:Unbabel/wmt22-comet-da|languages:zh-en|with:source+reference|bs:1000|seed:12345"
    assert result.signature == signature
    without = metric.score(*texts[:2])
    assert without.value == pytest.approx((0.5 + 0.5 + 1.0) / 3) and "|with:source|" in without.signature


def test_the_command_of_comet(comet: str, tmp_path: Path) -> None:
    command = Comet("zh", "en", "Unbabel/XCOMET-XL", comet, gpus=1, batch_size=4)._command(tmp_path, True)
    wanted = "COMET -s D/source -t D/translation -r D/reference --model Unbabel/XCOMET-XL --gpus 1 --batch_size 4"
    wanted += " --quiet --only_system --to_json D/scores.json"
    assert command == wanted.replace("COMET -s", f"{comet} -s").replace("D/", f"{tmp_path}/").split()


def test_metricx_scores_rows_with_and_without_references(tmp_path: Path) -> None:
    (tmp_path / "metricx24").mkdir()
    (tmp_path / "metricx24" / "predict.py").write_text(METRICX_PROGRAM, encoding="utf-8")
    metric = MetricX("zh", "en", str(tmp_path), python=sys.executable)
    assert metric.score_rows(["a", "b"], ["x", "y"], ["x", "z"]) == [0.0, 25.0]
    assert metric.score(["x", "b"], ["x", "y"]).value == 12.5


def test_folders_of_metricx_are_those_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("metricx24", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "metricx24" / "predict.py").touch()
    monkeypatch.chdir(tmp_path)
    command = MetricX("zh", "en", ".", model="model", tokenizer="google/mt5-xl")._command(tmp_path, True)
    given = dict(zip(command[3::2], command[4::2], strict=False))
    assert given["--model_name_or_path"] == str(tmp_path / "model") and given["--tokenizer"] == "google/mt5-xl"


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("broken", "Comet: comet-score failed with status 1: OSError: broken is not on the hub"),
        ("short", "Comet: the program gave 1 scores for 2 texts"),
        ("silent", "Comet: the program wrote no scores .*FileNotFoundError"),
    ],
)
def test_faults_of_the_program_in_one_line(comet: str, model: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted) as caught:
        Comet("zh", "en", model, comet).score_rows(["a", "b"], ["x", "y"], ["x", "z"])
    assert "\n" not in str(caught.value)


def test_texts_of_different_number_are_refused(comet: str) -> None:
    with pytest.raises(ValueError, match=r"Comet: the numbers of texts differ \(1, 2\)"):
        Comet("zh", "en", program=comet).score_rows(["a"], ["x", "y"])
