"""CMRC 2018's questions (Cui et al., EMNLP 2019), which the probes of the recipes ask: trial and dev set."""

import json
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download

CONTEXTS = "contexts.txt"
"""File of texts, one per line, on which `DriftProbe` measures how far the model has moved from its base."""


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Copy the downloaded files, and write the texts that the last one asks about, each once, to a text file.

    Args:
        files: Downloaded files by name.

    Returns:
        Content of the same files, and of `CONTEXTS`.
    """
    copies = {name: file.read_bytes() for name, file in files.items()}
    articles = json.loads(copies[list(copies)[-1]])["data"]
    texts = [" ".join(part["context"].split()) for article in articles for part in article["paragraphs"]]
    return {**copies, CONTEXTS: "".join(f"{text}\n" for text in dict.fromkeys(texts) if text).encode()}


CMRC2018 = DataSet(
    name="cmrc2018",
    what="Chinese reading comprehension: the trial set and the dev set of CMRC 2018",
    rows="1,002 questions in the trial set, 3,219 in the dev set",
    licence="CC BY-SA 4.0",
    source="https://github.com/ymcui/cmrc2018",
    changes="none, the files are copied; the texts of the dev set's questions are also in contexts.txt",
    used_by="the probes of all recipes in configs/real (trial set) and configs/paper (dev set)",
    make=make,
    root="https://raw.githubusercontent.com/ymcui/cmrc2018/c0eb1b6ba219847457e6af3180da722bbeb656af/squad-style-data",
    downloads=(
        Download("cmrc2018_trial.json", "f3fae95b57da8e03afb2b57467dd221417060ef4d82db13bf22fc88589f3a6f3", 800_221),
        Download("cmrc2018_dev.json", "e9ff74231f05c230c6fa88b84441ee334d97234cbb610991cd94b82db00c7f1f", 3_299_139),
    ),
)
