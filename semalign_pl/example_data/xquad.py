"""XQuAD's English questions (Artetxe et al., ACL 2020): paragraphs to measure drift on, and questions to answer."""

from collections.abc import Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Copy the downloaded file.

    Args:
        files: Downloaded file by its path.

    Returns:
        Content of ``xquad_en.json``.
    """
    return {"xquad_en.json": next(iter(files.values())).read_bytes()}


XQUAD = DataSet(
    name="xquad",
    what="English reading comprehension: the English file of XQuAD, in SQuAD's layout",
    rows="240 paragraphs, 1,190 questions",
    licence="CC BY-SA 4.0",
    source="https://github.com/google-deepmind/xquad",
    changes="none, the file is copied as xquad_en.json",
    used_by="configs/real: study",
    make=make,
    root="https://raw.githubusercontent.com/google-deepmind/xquad/7d30520c717524000f0d9d2f9c10a069acd9d285",
    downloads=(Download("xquad.en.json", "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29", 609_383),),
)
