"""SIB-200 (Adelani et al., EACL 2024): sentences of FLORES-200, translated by professionals, with their topics."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download, jsonl

LANGUAGES = {"zh": "zho_Hans", "bo": "bod_Tibt", "en": "eng_Latn", "zh_hant": "zho_Hant"}
FLORES_DEV = 997
"""Number of sentences of FLORES-200's dev split, whose ids come before those of devtest."""


def _read(file: Path) -> dict[int, dict[str, str]]:
    """Rows of a file by id. Cells with quotation marks are quoted as in CSV."""
    with file.open(encoding="utf-8", newline="") as lines:
        return {int(row["index_id"]): row for row in csv.DictReader(lines, delimiter="\t")}


def _join(texts: Mapping[str, dict[int, dict[str, str]]]) -> list[dict[str, object]]:
    """Rows with the sentence in all languages, by ascending id."""
    rows: list[dict[str, object]] = []
    for id in sorted(texts["zh"]):
        in_dev = id < FLORES_DEV
        row: dict[str, object] = {
            "index_id": id,
            "flores_split": "dev" if in_dev else "devtest",
            "flores_line": id if in_dev else id - FLORES_DEV,
            "category": texts["zh"][id]["category"],
        }
        rows.append(row | {field: texts[field][id]["text"].strip() for field in LANGUAGES})
    return rows


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Join the languages by id.

    Args:
        files: Downloaded files by path, such as ``bod_Tibt/train.tsv``.

    Returns:
        Content of ``train.jsonl`` and ``dev.jsonl``.
    """
    return {
        f"{split}.jsonl": jsonl(
            _join({field: _read(files[f"{name}/{split}.tsv"]) for field, name in LANGUAGES.items()})
        )
        for split in ("train", "dev")
    }


DOWNLOADS = (
    Download("bod_Tibt/train.tsv", "471bf903f82659fb368ed870bdf4945eaee2447959e143ea9d8f9d895e575570", 318_368),
    Download("bod_Tibt/dev.tsv", "6a7a8e1b72922e3e7d00572a8c030f092d2016be222181e0dfba3a7d10f8debe", 42_135),
    Download("zho_Hans/train.tsv", "76e5b0b6a3e8f8249d0574b8574b00a7cf625f00d0ac681cfe2db43dffcc3000", 96_974),
    Download("zho_Hans/dev.tsv", "6725566efdc427daf2ca9fdb557fc803ce6c8e6fee60d6616ac0d8dd194f84fd", 12_647),
    Download("zho_Hant/train.tsv", "ffce7e8f3fede69e72ae29227c3791543cac2b2f4b7568e39bd8472d84e3182e", 92_865),
    Download("zho_Hant/dev.tsv", "912d2901e38c2940732433645a7587579f958c2029365679fe343a704a67bd91", 12_320),
    Download("eng_Latn/train.tsv", "056c2989673d0724cb27edb0d9ee5c6305b2548c17f9fd8f2092f40c98ac0156", 102_878),
    Download("eng_Latn/dev.tsv", "48fe23ed3c66e6978c6cdeff3f661ab9ea6451001d967e23d94796b009777181", 13_639),
)

SIB200 = DataSet(
    name="sib200",
    what="modern Chinese–Tibetan sentence pairs, also in English: SIB-200, whose sentences are FLORES-200's",
    rows="701 pairs for training, 99 held out",
    licence="CC BY-SA 4.0 for the text (FLORES-200); Apache-2.0 for the repository",
    source="https://github.com/dadelani/sib-200",
    changes="four languages joined by id, spaces at the ends of sentences removed",
    used_by="configs/real: sft, grpo, source_only; benchmarks/vocabulary.py",
    make=make,
    root="https://raw.githubusercontent.com/dadelani/sib-200/593cea88519930f776c1a4a1980b6a35b39dca57/data/annotated",
    downloads=DOWNLOADS,
)
