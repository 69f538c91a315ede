"""Multiple-choice questions in English: ARC-Easy, PIQA, COPA and OpenBookQA, as LLM Foundry lays them out."""

from collections.abc import Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Copy the downloaded files.

    Args:
        files: Downloaded files by path.

    Returns:
        Content of the same files by name, such as ``piqa.jsonl``.
    """
    return {Path(path).name: file.read_bytes() for path, file in files.items()}


CHOICES = DataSet(
    name="choices",
    what="English multiple-choice questions: ARC-Easy, PIQA, COPA, OpenBookQA; columns query, choices, gold",
    rows="2,376, 1,838, 100 and 500 questions",
    licence="CC BY-SA 4.0 (ARC), AFL 3.0 (PIQA), BSD (COPA), Apache-2.0 (OpenBookQA, LLM Foundry)",
    source="https://github.com/mosaicml/llm-foundry",
    changes="none, the files are copied",
    used_by="configs/real: study",
    make=make,
    root="https://raw.githubusercontent.com/mosaicml/llm-foundry/8c8dd48f72168c5d51e2f7b151595892a8fba43d"
    "/scripts/eval/local_data",
    downloads=(
        Download(
            "world_knowledge/arc_easy.jsonl",
            "d2d12e59543acf9a5ef6079634a72b30215e36c2fd4236fff3bc855d287b87f5",
            636_665,
        ),
        Download(
            "commonsense_reasoning/piqa.jsonl",
            "d2870e73aec5154df3faf259b7700876e11608eebdf69e9d6667435673dbe4e0",
            533_992,
        ),
        Download(
            "commonsense_reasoning/copa.jsonl",
            "595dca44dec54c849490bd403a3e24a29e3b944065783222ebb0eb1a55298846",
            14_627,
        ),
        Download(
            "commonsense_reasoning/openbook_qa.jsonl",
            "adb2e5c7f8db810ddad4d6b2bf53dcc86dcc545499f7aafcaf42a8e179476c09",
            88_043,
        ),
    ),
)
