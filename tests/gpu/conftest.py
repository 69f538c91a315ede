"""Tests on CUDA. Each is marked ``gpu``, and skipped here, in one place, where there is no CUDA."""

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    import torch

    for item in here:
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.fixture(scope="session")
def cuda():
    import torch

    return torch.device("cuda", 0)


@pytest.fixture
def within(record_property) -> Callable[[str, float, float], None]:
    """Check of a difference against a tolerance; the difference is kept in the JUnit report."""

    def check(name: str, difference: float, tolerance: float) -> None:
        record_property(name, difference)
        assert difference <= tolerance, f"{name}: {difference:.3g} > {tolerance:g}"

    return check
