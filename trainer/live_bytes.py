"""How many bytes the storages on a device hold, by every operation of torch, and the most that they held.

torch's own `MemTracker` does the same by module, and refuses a module that is called more than once a step, which
GradCache does. Works on real tensors and on those of a `FakeTensorMode`, which have a size and no memory.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class LiveBytes(TorchDispatchMode):
    """`with LiveBytes(device) as live`: `live.now` and `live.peak`, of what comes about within it, and of what `count`
    is told. Memory that a kernel takes for itself is not seen."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device_type = device.type
        self._known: Any = WeakIdKeyDictionary()
        self.now = self.peak = 0

    def count(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if tensor.device.type != self._device_type or storage in self._known:
                continue
            size = storage.nbytes()
            self._known[storage] = size
            weakref.finalize(storage, self._freed, size)
            self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **kwargs or {})
        self.count(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _freed(self, size: int) -> None:
        self.now -= size
