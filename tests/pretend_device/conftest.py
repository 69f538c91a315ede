"""Tests on a pretended CUDA device; where there is a real one, it is used instead (tests/gpu)."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    for item in items:
        if Path(__file__).parent in item.path.parents and torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is a real CUDA device"))
