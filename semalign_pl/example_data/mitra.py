"""MITRA-parallel (Nehrdich and Keutzer): Buddhist Chinese and classical Tibetan, aligned automatically.

The corpus has 12,481 files. These are twenty of the largest of the two languages, each of another Tibetan and another
Chinese text, so that little is repeated. The authors aligned the pairs automatically; some are partial translations.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download, jsonl

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
QUOTES = str.maketrans("", "", " 「」『』")
FOLIO = "༄"
DEV_ROWS = 1000


def _read(file: Path) -> Iterator[dict[str, str]]:
    """Pairs of a file, without the spaces and quotation marks of the Chinese text. The cells have no quoting.

    Most quotations begin in one segment and end in another, so that their marks are unbalanced.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield {"zh": row["tgt_original"].translate(QUOTES), "bo": row["src_original"].strip()}


def _filter(pairs: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Pairs of usable length, without a folio's number within the text, whose two texts are both new."""
    seen: set[str] = set()
    for pair in pairs:
        han, letters = len(HAN.findall(pair["zh"])), len(pair["bo"])
        fits = FOLIO not in pair["bo"] and 4 <= han <= 100 and 16 <= letters <= 400 and 2.2 <= letters / han <= 10
        if fits and seen.isdisjoint(pair.values()):
            yield pair
        seen.update(pair.values())


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Collect the pairs of all files; those of the last file are held out.

    Args:
        files: Downloaded files by path, in the order of ``DOWNLOADS``.

    Returns:
        Content of ``train.jsonl`` and ``dev.jsonl``.
    """
    *train, dev = files.values()
    return {
        "train.jsonl": jsonl(_filter(pair for file in train for pair in _read(file))),
        "dev.jsonl": jsonl(list(_filter(_read(dev)))[:DEV_ROWS]),
    }


DOWNLOADS = (
    Download(
        "K10D0119_H0368_T12n0374.tsv", "1dc5c24141267d5c8b8316219a02a45868145f5eaebe2a7e45f61691c375f5fa", 3_637_703
    ),
    Download("T06D4038-1_T30n1579.tsv", "a6a8475d19eebbd8894c597864ba3557477f13b61bfe97abe33514fa2b0b6fb3", 3_153_575),
    Download(
        "K10D0287-2_H0289-2_T17n0721.tsv", "e1748804a7468c3c6dac7785a9ea3ace0311a2811f1b06946bcefcd1c2c4dd9a", 2_806_931
    ),
    Download(
        "K01D0006-2_H0006-2_T24n1451.tsv", "3a9503cb0574df089a9d56cd5b5a9194e7e7a6476ca58f5637232883df56ca89", 2_391_046
    ),
    Download(
        "K08D0056_H0056_T11n0316.tsv", "5ee0a0e2498061d036784532cde88a2e6155edb629387c051c05fe59a045dcc3", 2_206_047
    ),
    Download("T07D4090-1_T29n1559.tsv", "c9f0c30fb452e47dceada751f6e1df4f5ebac7ee03e8cc5efe581714c4d2f7e5", 2_160_650),
    Download("T03D3790-3_T07n0220c.tsv", "b47f5b3f207c6662ef4d2fbe9cbcdd30ec169663cac49c2d6515f4d8cf90caa6", 2_083_566),
    Download(
        "K01D0001-2_H0001-2_T24n1448.tsv", "670236525490817353da518d71b72746595a973b2958f3b7c8997a5492e07cff", 1_968_739
    ),
    Download("T06D4037_T30n1581.tsv", "ff1647a88c98c7a8dbd83ab08c2b3e68755a1741f6c3c08f27f402916d419ed4", 1_947_607),
    Download(
        "K10D0112_H0115_T03n0158.tsv", "4b08a41b22854a2d8090bd7e7009e5e1dc9b23ce8603858e88747cecd1a6c4f8", 1_830_004
    ),
    Download(
        "K09D0044-2_H0094-2_T09n0278.tsv", "82a35e109a2628becabf666eb1ed056967eae8f18edb29aeba119366515bf43c", 1_792_783
    ),
    Download(
        "K10D0341_H0347_T04n0202.tsv", "2ca6bb3c384c9444421a4331bfa40d1dd01bfd706c348031d0b59a30ad929f47", 1_768_940
    ),
    Download(
        "K08D0060_H0060_T11n0310.tsv", "f4f71ae3cbaf7bb1164d4023c3e4508a104ff7e3d43ec903397f2cc0b8cbeba3", 1_745_578
    ),
    Download("T06D4054_T31n1606.tsv", "57a0fdf23c11412e322a6cbfe8708a558865d87c4ae5f1845045c48f6d032d7d", 1_700_906),
    Download(
        "K04D0012_H0011_T08n0228.tsv", "8cf605f4fbd1e8a562ecd9e24b980786ceef86b5f0db9947a7057aa2687bc521", 1_690_496
    ),
    Download(
        "K10D0239_H0240_T13n0411.tsv", "9f605cd2a3621cdf68d8d3ee7bcedb01b74e3a1222a10ebb9a049f80ce0651fc", 1_633_497
    ),
    Download(
        "K01D0003_H0003_T23n1442.tsv", "7cef16e2aa0516a4247130adb8eb6a857bf6bf8b169dd7458865a8d8750e822b", 1_583_698
    ),
    Download("T05D3993_T26n1522.tsv", "914fbd20fb75ce96aa8fa10cc8443ae17a367b25f13406c7aa7b203c99e243f1", 1_504_496),
    Download(
        "K10D0101_H0104_T16n0657.tsv", "617e21ca6770b467f05feab67be087f3d41c77ee51fbca1928c99cceb6c77d1e", 1_491_976
    ),
    Download(
        "K10D0107_H0110_T16n0671.tsv", "43a2ddd36051858a426cb115b2c65b19a0c0607f5d1bd02679eca3dca334f497", 1_168_067
    ),  # Laṅkāvatāra, held out
)

MITRA = DataSet(
    name="mitra",
    what="Buddhist Chinese–Tibetan sentence pairs, aligned automatically: 20 of the files of MITRA-parallel",
    rows="58,061 pairs for training, 1,000 of another text held out",
    licence="CC BY-SA 4.0",
    source="https://github.com/dharmamitra/mitra-parallel",
    changes="spaces and quotation marks of the Chinese text removed; pairs left out if they are repeated, of unusual "
    "length, or have a folio's number within the text",
    used_by="configs/real: source_only; benchmarks: data.py, embedder.py, vocabulary.py",
    make=make,
    root="https://raw.githubusercontent.com/dharmamitra/mitra-parallel/301e922605d833da9bec8bebaf7fc99118b74840"
    "/mitra-parallel/tsv",
    downloads=DOWNLOADS,
)
