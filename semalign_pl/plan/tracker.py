"""Count the memory that tensor operations would take, while they run on the meta device."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Context that counts the bytes of every storage created inside it, as long as the storage is alive.

    Storages from before are not counted. Workspace that a kernel allocates and frees within one operation is not seen.

    Attributes:
        live: Bytes alive now.
        peak: Maximum of ``live`` after an operation so far.
        place: Index of the decoder's layer that runs now; ``None`` before the first one, or if nobody tells.
        allocations: Bytes of each new storage, and ``live`` with it, by place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.place: int | None = None
        self.allocations: defaultdict[int | None, list[tuple[int, int]]] = defaultdict(list)
        self._sizes: dict[int, int] = {}

    def register(self, tensors: Sequence[Tensor], count: bool = False) -> None:
        """Register tensors that already exist, so that operations which return them do not count them.

        Args:
            tensors: Tensors created before.
            count: Flag to count their bytes here; by default they are counted elsewhere.
        """
        for tensor in tensors:
            self._add(tensor, count)

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run an operation and count its outputs."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.is_meta and (size := self._add(leaf)) is not None:
                self.peak = max(self.peak, self.live)
                self.allocations[self.place].append((size, self.live))
        return out

    def _add(self, tensor: Tensor, count: bool = True) -> int | None:
        """Bytes of a tensor's storage, now counted; ``None`` if it is a storage from before."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return None
        self._sizes[key] = storage.nbytes() if count else 0
        weakref.finalize(storage, self._drop, key)
        self.live += self._sizes[key]
        return self._sizes[key]

    def _drop(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
