"""A full card says nothing about an architecture."""

import pytest
import torch

from semalign_pl.engine.self_check import check_logits, choose_forward


@pytest.mark.parametrize("place", [0, 4])
def test_out_of_memory_is_neither_an_unfit_base_nor_a_reason_for_the_slower_forward(policy, place: int) -> None:
    """At the first forward, and after the plain forwards of the four rows."""
    forwards = iter(range(place + 1))

    def fail(*_: object) -> None:
        if next(forwards) == place:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    handle = policy.decoder.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        choose_forward(policy, "base") if place else check_logits(policy, "base", "fp32", None)
    handle.remove()
    assert policy.prefix_sharing_unsupported_reason is None
