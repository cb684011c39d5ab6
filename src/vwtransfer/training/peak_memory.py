"""How much memory a computation takes at its peak, counted by the tensors it makes."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


def peak_bytes(compute: Callable[[], Any], beside: Iterable[Tensor] = ()) -> int:
    """Bytes of the tensors that are there at once while `compute` runs, on any device.

    What a backward computes anew, because its forward did not keep it, is counted too. A tensor
    from before, such as a weight, counts once something is a view of it, unless it is among those
    `beside`. Compiled parts run as they are written. What operations take for themselves, behind
    torch's back, is not counted.
    """
    with torch.compiler.set_stance("force_eager"), _Tensors(beside) as tensors:
        compute()
    return tensors.peak


class _Tensors(TorchDispatchMode):
    """The bytes of all tensors that operations return, from then until they are freed."""

    def __init__(self, beside: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._known = WeakIdKeyDictionary()
        for tensor in beside:
            self._known[tensor.untyped_storage()] = 0
        self._freeing: list[weakref.finalize[..., Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return result

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for each in self._freeing:  # some storages are of weights, and stay for long
            each.detach()

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self._live += size
        self.peak = max(self.peak, self._live)
        self._freeing.append(weakref.finalize(storage, self._freed, size))

    def _freed(self, size: int) -> None:
        self._live -= size
