"""Swap the weights of a loaded policy's adapter for those of another point."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from semalign_pl.frontier.points import Point
from semalign_pl.policy.adapter import load_adapter_state
from semalign_pl.policy.adapter_checks import check_same_base
from semalign_pl.policy.adapter_folder import AdapterFolder, read_adapter_folder
from semalign_pl.policy.blend import blend_state, plain_terms, write_common
from semalign_pl.policy.policy import Policy


class Swap:
    """Weights of points, put into one policy in turn.

    Args:
        points: Points whose terms decide the rank of the policy's adapter: narrower ones are padded with zeros.
        base: Hub id or folder of the base.

    Raises:
        ValueError: If an adapter is not a complete LoRA adapter of this base; names file and remedy.
    """

    def __init__(self, points: Sequence[Point], base: str) -> None:
        # One point per form: the kept steps of a training have the same one, and need not all be in memory.
        forms: dict[str, list[tuple[AdapterFolder, float]]] = {}
        for point in points:
            terms = _read(point.terms)
            for adapter, _ in terms:
                check_same_base(adapter, base)
            forms.setdefault(str([sorted(term.config.to_dict().items(), key=str) for term, _ in terms]), terms)
        self._forms = [terms for terms in forms.values() if terms]
        self._common: AdapterFolder | None = None

    @contextlib.contextmanager
    def common(self) -> Iterator[str]:
        """Yield a temporary PEFT folder that is wide enough for all points; the policy is to be loaded with it.

        Raises:
            ValueError: If the adapters differ in their layers or new tokens.
        """
        with tempfile.TemporaryDirectory() as folder:
            write_common(self._forms, Path(folder))
            self._common = read_adapter_folder(folder)
            yield folder

    def __call__(self, policy: Policy, given: Sequence[tuple[str, float]]) -> None:
        """Put a point's weights into a policy, as its trained adapter and as its reference.

        Args:
            policy: Policy that was loaded with the folder of `common`.
            given: Terms of the point.

        Raises:
            ValueError: If the common adapter cannot hold them.
        """
        assert self._common is not None, "the policy is loaded with the common adapter"
        terms = _read(given) or [(self._forms[0][0][0], 0.0)]
        state = blend_state(plain_terms(terms, policy.model), self._common, policy.model)
        for name in ("default", "reference"):
            load_adapter_state(policy, state, name, source=terms[-1][0].path)


def _read(terms: Sequence[tuple[str, float]]) -> list[tuple[AdapterFolder, float]]:
    return [(read_adapter_folder(path), weight) for path, weight in terms]
