"""Last hidden states of whole texts, many texts per forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedSequences, decode


def text_states(policy: CausalPolicy, texts: Sequence[Sequence[int]]) -> list[Float[Tensor, "tokens hidden"]]:
    """Last hidden states that predict each token of a text but the first, by one forward of all texts.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        texts: Token ids, at least two per text.

    Returns:
        States per text, on the policy's device.
    """
    if policy.prefix_sharing_unsupported_reason is None:
        # A text's last token predicts nothing: it is not fed.
        hidden = decode(policy, PackedSequences([list(ids[:-1]) for ids in texts], policy.device))
    else:
        hidden = unshared_hidden(policy, [list(ids[:1]) for ids in texts], [list(ids[1:]) for ids in texts])
    return list(hidden.split([len(ids) - 1 for ids in texts]))


def group_texts(texts: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """Indices of texts to forward together: texts of similar length, so that little of a batch is padding.

    Args:
        texts: Token ids.
        tokens: Maximum number of tokens per group, padding included; a longer text is alone.

    >>> list(group_texts([[1] * 5, [1] * 2, [1] * 4, [1] * 3], tokens=8))
    [[1, 3], [2], [0]]
    """
    group: list[int] = []
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        if group and (len(group) + 1) * len(texts[index]) > tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
