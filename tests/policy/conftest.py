"""Fixtures of the tests of adapters."""

import pytest


@pytest.fixture(scope="session")
def bases(tokenizer, tmp_path_factory) -> dict[str, str]:
    """Folders of random models of several families."""
    from helpers.adapter_kinds import BASES, make_base

    return {name: make_base(name, tokenizer, tmp_path_factory.mktemp(name)) for name in BASES}
