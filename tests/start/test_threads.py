"""Garbage collection waits while libraries are imported, and not longer."""

from __future__ import annotations

import gc

import pytest

from semalign_pl.start.threads import collecting_later


@pytest.mark.parametrize("collecting", [True, False])
def test_collection_is_as_before_after_the_imports(collecting: bool) -> None:
    if not collecting:
        gc.disable()
    try:
        with pytest.raises(ImportError), collecting_later():
            assert not gc.isenabled()
            import semalign_pl.no_such_module  # noqa: F401  # pyright: ignore[reportMissingImports]
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
