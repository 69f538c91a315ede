"""YAML and JSON within limits: bombs give one line at once, and ordinary files are read as before."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from semalign_pl.files import documents
from semalign_pl.files.documents import MAX_DEPTH, MAX_VALUES, check_yaml, load_yaml, read_json, read_yaml
from semalign_pl.languages import get_language
from semalign_pl.policy.adapter_folder import read_config
from semalign_pl.probes.reading_comprehension import read_questions
from semalign_pl.report.results import load_results
from semalign_pl.run.results import read_training
from semalign_pl.study.study_file import read_study
from semalign_pl.toy.speech import speech

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
BOMBS = {
    "aliases of aliases": (LAUGHS, "more than 100,000 keys and values"),
    "lists in lists": ("a: " + "[" * 100_000, "more than 64 levels"),
    "lists in lists, closed": ("a: " + "[" * 100 + "]" * 100, "more than 64 levels"),
    "mappings in mappings": ("".join(" " * i + "a:\n" for i in range(100)), "more than 64 levels"),
    "aliases of depth": (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99)),
        "more than 64 levels",
    ),
    "an alias of itself": ("a: &a [x, *a]", "*a is used within &a itself"),
    "a large file": ("# " + "x" * documents.MAX_YAML_BYTES, "262,144 are the limit"),
}
DEEP_JSON = "[" * 100_000 + "]" * 100_000


def study(path: Path) -> None:
    (path.parent / "study.yaml").write_bytes(path.read_bytes())
    read_study(path.parent)


def toy(path: Path) -> None:
    path.with_suffix(".tsv").write_text("", encoding="utf-8")
    speech(str(path))


READERS: dict[str, Callable[[Path], Any]] = {
    "language": lambda path: get_language(str(path)),
    "study": study,
    "toy": toy,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("text", "answer"), BOMBS.values(), ids=BOMBS)
def test_yaml_bombs_get_one_line_wherever_yaml_is_read(text, answer, reader, tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"(own|study)\.yaml: ") as error:
        reader(path)
    assert answer in str(error.value) and len(str(error.value)) < 400


def seconds_of_fit(path: Path) -> tuple[float, str]:
    """CPU seconds of the command after its imports, in its own process, and its output."""
    script = (
        "import sys, time, semalign_pl.cli, semalign_pl.messages.mistakes; from semalign_pl.__main__ import main; "
        "begun = time.process_time(); code = main(['fit', '--config', sys.argv[1]]); "
        "print(code, time.process_time() - begun)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=90)
    code, seconds = done.stdout.split()[-2:]
    assert code == "2", done.stderr
    return float(seconds), done.stderr.strip().splitlines()[-1]


def test_an_alias_bomb_as_a_recipe_is_refused_within_seconds(tmp_path) -> None:
    """It hung for more than 90 s: parsing took no time, but the values were then copied and compared one by one."""
    path = tmp_path / "recipe.yaml"
    path.write_text(LAUGHS, encoding="utf-8")
    seconds, said = seconds_of_fit(path)
    assert seconds < 5
    assert said.startswith(f"semalign: error: --config: {path}: more than 100,000 keys and values")


def test_a_number_that_is_too_long_as_a_recipe(tmp_path, capsys) -> None:
    from semalign_pl.__main__ import main

    path = tmp_path / "recipe.yaml"
    path.write_text(f"seed_everything: {'1' * 5000}\n", encoding="utf-8")
    assert main(["fit", "--config", str(path)]) == 2
    assert f"--config: {path} cannot be read" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("name", [name for name in BOMBS if name != "aliases of aliases"])
def test_other_bombs_as_a_recipe(name, tmp_path, capsys) -> None:
    from semalign_pl.__main__ import main

    path = tmp_path / "recipe.yaml"
    path.write_text(BOMBS[name][0], encoding="utf-8")
    assert main(["fit", "--config", str(path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"semalign: error: --config: {path}: ") and BOMBS[name][1] in said


def expanded(value: Any) -> tuple[int, int]:
    """Number of values and levels of loaded YAML, with each alias counted at each use."""
    if isinstance(value, dict):
        parts = [expanded(part) for item in value.items() for part in item]
    elif isinstance(value, list):
        parts = [expanded(part) for part in value]
    else:
        return 1, 0
    return 1 + sum(count for count, _ in parts), 1 + max((levels for _, levels in parts), default=0)


def random_yaml(rng: random.Random) -> str:
    """Flow YAML with anchors and aliases; an alias refers to an anchor that is complete."""
    closed: list[str] = []

    def value(levels: int) -> str:
        kind = rng.choice("sslma" if closed else "sslm") if levels else "s"
        if kind == "s":
            return f"v{rng.randrange(99)}"
        if kind == "a":
            return f"*{rng.choice(closed)}"
        name = f"n{rng.randrange(10**9)}" if rng.random() < 0.5 else ""
        parts = [value(levels - 1) for _ in range(rng.randrange(4))]
        keyed = [f"k{i}: {part} " for i, part in enumerate(parts)]
        text = f"[{' , '.join(parts)} ]" if kind == "l" else f"{{{', '.join(keyed)}}}"
        if name:
            closed.append(name)
        return f"&{name} {text}" if name else text

    return f"[{', '.join(value(5) + ' ' for _ in range(6))}]"


def test_values_and_levels_are_those_of_what_is_made(monkeypatch) -> None:
    """A limit equal to the count of the expanded value passes, one less does not; the same for levels."""
    rng = random.Random(0)
    for _ in range(150):
        text = random_yaml(rng)
        values, levels = expanded(yaml.safe_load(text))
        for limit, least in (("MAX_VALUES", values), ("MAX_DEPTH", levels)):
            with monkeypatch.context() as patch:
                patch.setattr(documents, limit, least)
                check_yaml(text)
                patch.setattr(documents, limit, least - 1)
                with pytest.raises(documents.TooLargeError):
                    check_yaml(text)


def test_anchors_of_recipes_are_read_as_ever(tmp_path) -> None:
    text = "defaults: &d {a: 1, b: [2, 3]}\none: {<<: *d, a: 5}\ntwo: *d\n"
    assert load_yaml(text) == yaml.safe_load(text) == {
        "defaults": {"a": 1, "b": [2, 3]},
        "one": {"a": 5, "b": [2, 3]},
        "two": {"a": 1, "b": [2, 3]},
    }  # fmt: skip
    path = tmp_path / "many.yaml"
    path.write_text(f"[{','.join(['x'] * (MAX_VALUES - 1))}]", encoding="utf-8")
    assert len(read_yaml(path)) == MAX_VALUES - 1
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH, encoding="utf-8")
    read_yaml(path)


@pytest.mark.parametrize("value", ["2001-99-99", "1" * 5000])
def test_what_only_looks_like_a_number_or_a_date(value, tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"code: {value}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.yaml: not valid YAML .*put the value in quotes"):
        get_language(str(path))


JSON_READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "results of a study": ("results.json", load_results),
    "a training": ("training.json", lambda path: read_training(str(path.parent))),
    "an adapter": ("adapter_config.json", lambda path: read_config(str(path.parent))),
    "questions": ("q.json", lambda path: read_questions(str(path), None, 0)),
    "any": ("any.json", lambda path: read_json(path, "write it again")),
}


@pytest.mark.parametrize(("name", "read"), JSON_READERS.values(), ids=JSON_READERS)
@pytest.mark.parametrize(
    ("text", "answer"), [(DEEP_JSON, "nested deeper than Python reads"), ("{", "not valid JSON"), ("", "UTF-8")]
)
def test_json_that_cannot_be_read_gets_one_line_wherever_json_is_read(text, answer, name, read, tmp_path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff" if answer == "UTF-8" else text.encode())
    with pytest.raises(ValueError, match=answer) as error:
        read(path)
    assert name in str(error.value) and len(str(error.value)) < 600 and type(error.value) is ValueError


def test_deep_predictions_get_one_line(tmp_path) -> None:
    from semalign_pl.report.files import read_predictions

    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({"id": 1, "prediction": "x"}) + "\n" + DEEP_JSON + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"predictions.jsonl:2: every line must be a JSON object.*RecursionError"):
        read_predictions(path)


def test_a_large_file_is_refused_unread(tmp_path, monkeypatch) -> None:
    path = tmp_path / "results.json"
    path.write_text("[" + " " * 100 + "]", encoding="utf-8")
    monkeypatch.setattr(documents, "MAX_JSON_BYTES", 100)
    with pytest.raises(ValueError, match=r"results.json: 102 bytes, and 100 are the limit"):
        read_json(path, "")
