"""Inputs of a study of real data beside its pairs: two sentence encoders, and general English text."""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import harness
from embedder import make_start

from semalign_pl.files.atomic import write_text

GENERAL = Path("runs/real/general")
"""Folder of the general text, which the recipes in configs/real name."""
SECOND: dict[str, Any] = {"vocabulary": 6_000, "dimensions": 256, "seed": 1}
"""Settings of the second encoder that differ from the first's."""


def write_general(folder: Path = GENERAL) -> None:
    """Write the general English text of replay, anchor and probes; files that have it already are not touched.

    ``replay.jsonl`` has OpenBookQA's questions with their right answers. ``anchor.jsonl`` has the same as
    conversations, and SIB-200's English sentences. ``paragraphs.txt`` has XQuAD's paragraphs, one per line, and
    ``questions.jsonl`` its questions with the letters of English. So no probe has text of replay or anchor.

    Args:
        folder: Folder to write to.
    """
    answered = [
        {"question": row["query"], "answer": row["choices"][row["gold"]]}
        for row in _rows(harness.existing("data/choices/openbook_qa.jsonl"))
    ]
    sentences = [{"text": row["en"]} for row in _rows(harness.existing("data/sib200/train.jsonl"))]
    talks = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in (tuple(row.values()) for row in answered)
    ]
    articles = json.loads(harness.existing("data/xquad/xquad_en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [one for article in articles for one in article["paragraphs"]]
    texts = [" ".join(one["context"].split()) for one in paragraphs]
    questions = [
        {"question": qa["question"].strip(), "letters": [*string.ascii_letters]}
        for one in paragraphs
        for qa in one["qas"]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"paragraphs.txt": "".join(f"{text}\n" for text in texts)}
    for name, rows in (("replay", answered), ("anchor", sentences + talks), ("questions", questions)):
        contents[f"{name}.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for name, content in contents.items():
        if not (file := folder / name).is_file() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")


def train_encoders(recipe: Path) -> None:
    """Write untrained encoders, train and test them: the reward's, and a second one that measures.

    Finished encoders are not trained again, and an interrupted training goes on.

    Args:
        recipe: Recipe of the reward's encoder. The second one is written to the folder ``second`` beside it.

    Raises:
        SystemExit: If an encoder, or its unfinished training, is of other pairs or another recipe.
    """
    settings: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    first, base = Path(settings["trainer"]["default_root_dir"]), Path(settings["model"]["init_args"]["base"])
    for out, start, own in ((first, base, {}), (first.with_name("second"), base.with_name("second"), SECOND)):
        pairs, record = harness.existing(settings["data"]["init_args"]["train"]), out / "trained_on.json"
        made_of = {"pairs": sha256(pairs.read_bytes()).hexdigest(), "recipe": json.loads(json.dumps(settings | own))}
        encoder, begun = out / "encoder", any(out.rglob("*.ckpt"))
        if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != made_of:
            sys.exit(f"{out}: its encoder is of other pairs or another recipe; delete the folder, and start again")
        if not record.is_file() and (begun or encoder.is_dir()):
            unchecked = f"no {record.name}, so its pairs and recipe are not checked"
            print(f"{out}: {unchecked}; delete the folder to train it again")
        flags = {
            "--seed_everything": str(own.get("seed", 0)),
            "--model.init_args.base": str(start),
            "--trainer.default_root_dir": str(out),
        }
        if not encoder.is_dir():
            if not begun:  # a training goes on from the tokens and vectors that it began with
                make_start(start, _texts(settings["data"]["init_args"]), **own)
                write_text(record, json.dumps(made_of, indent=1))  # before the training, which may be interrupted
            semalign("fit", recipe, flags, *(["--resume"] if begun else []))
        if not (out / "results.json").is_file():
            semalign("test", recipe, flags | {"--model.init_args.base": str(encoder)})


def semalign(command: str, recipe: Path, flags: Mapping[str, str], *more: str) -> None:
    """Run a command of the package in this process; end this process if it fails."""
    from semalign_pl.__main__ import main

    if status := main([command, "--config", str(recipe), *(word for flag in flags.items() for word in flag), *more]):
        sys.exit(status)


def _texts(data: Mapping[str, Any]) -> Iterator[str]:
    """Texts of both columns of the training pairs."""
    columns = [data["task"]["init_args"][key] for key in ("source", "target")]
    for row in _rows(harness.existing(data["train"])):
        yield from (row[column] for column in columns)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
