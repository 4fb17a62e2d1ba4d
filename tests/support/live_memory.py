"""Counts the bytes of living tensors, on any device."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """While it is active, counts the bytes of tensors that exist: `now`, and at most so far `most`.

    meta: those without numbers, and no others
    """

    def __init__(self, meta: bool = False):
        super().__init__()
        self.meta = meta
        self.known: set[int] = set()
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if not isinstance(tensor, torch.Tensor) or tensor.is_meta is not self.meta:  # those of plans: no memory
                continue
            if (storage := tensor.untyped_storage())._cdata not in self.known:
                self._count(storage._cdata, storage.nbytes())
                weakref.finalize(storage, self._uncount, storage._cdata, storage.nbytes())
        return made

    def _count(self, key: int, size: int) -> None:
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)

    def _uncount(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
