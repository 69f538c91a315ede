"""Names of bases in an adapter's folder, by which other machines find them."""

from pathlib import Path

import pytest

from semalign_pl.policy.adapter import portable_base


def test_a_snapshot_in_the_cache_is_named_by_its_hub_id(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen3-0.6B--base" / "snapshots" / "c1899de289a04d12"
    snapshot.mkdir(parents=True)
    assert portable_base(str(snapshot)) == "Qwen/Qwen3-0.6B--base"


def test_other_folders_are_named_by_their_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert portable_base("mine") == str(tmp_path.resolve() / "mine")
    assert portable_base("Qwen/Qwen3-4B") == "Qwen/Qwen3-4B"
