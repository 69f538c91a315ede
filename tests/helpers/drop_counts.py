"""Comparison of the counts of ``semalign corpus`` with what preparation drops from the same file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.storing.cache import format_counts


def compare_drops(
    file: Mapping[str, Any], request: CorpusRequest, cache: Path, against: Sequence[CorpusRequest] = ()
) -> None:
    """Compare the command's account of a file with the report and the list of dropped rows of preparation."""
    counts, settings = file["prepare"], Preparation()
    held_out = [
        prepare(dataclasses.replace(other, prepare=settings, filters=False, bad_rows="quarantine"), cache=cache)
        for other in against
    ]
    assert counts["read"] == file["read"] == file["good"] + file["empty"] + file["bad"]["rows"]
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["dropped"].get("bad_row", 0) == file["bad"]["rows"] + file["empty"]
    if not against:
        assert counts["dropped"].get("duplicate", 0) == file["duplicates"]["rows"]
    assert list(counts["examples"]) == list(counts["dropped"])
    try:
        made = prepare(dataclasses.replace(request, prepare=settings, bad_rows="quarantine"), held_out, cache)
    except ValueError as error:
        if counts["stops"]:
            assert str(error) == counts["stops"]
        else:
            total = format_counts(dict(sorted(counts["dropped"].items())))
            said = str(error).partition("is left: ")[2].partition("; change")[0]
            assert counts["kept"] == 0 and sorted(said.split(", ")) == sorted(total.split(", "))
        return
    assert counts["stops"] is None
    assert (counts["read"], counts["kept"]) == (made.report["read"], made.report["kept"])
    assert dict(counts["dropped"]) == made.report["dropped"]
    for kind in ("lines", "blank", "header", "continued", "skipped"):
        assert file[kind] == made.report[kind], kind
    lines = [json.loads(line) for line in (made.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
    for reason, example in counts["examples"].items():
        first = next(line for line in lines if line["reason"] == reason)
        assert example["id"] == first["id"]
        assert example["detail"] == first["detail"] or (reason == "bad_row" and file["empty"])
