"""A store in memory with somebody else at work: what is to happen right before or right after its writes."""

from __future__ import annotations

from collections.abc import Callable

from functions.adapters.memory import MemoryBlobStore


class InterruptedStore(MemoryBlobStore):
    """Calls `before_swap` once, before the next conditional write of a path, and `after_write` after every write."""

    def __init__(self, files: MemoryBlobStore) -> None:
        super().__init__(files._clock)
        self._files = files._files
        self._versions = files._versions
        self._lock = files._lock
        self.before_swap: dict[str, Callable[[], object]] = {}
        self.after_write: Callable[[str], object] = lambda _path: None

    def put(self, path: str, body: bytes) -> None:
        super().put(path, body)
        self.after_write(path)

    def create(self, path: str, body: bytes) -> str:
        self.before_swap.pop(path, lambda: None)()
        version = super().create(path, body)
        self.after_write(path)
        return version

    def replace(self, path: str, body: bytes, version: str) -> str:
        self.before_swap.pop(path, lambda: None)()
        version = super().replace(path, body, version)
        self.after_write(path)
        return version
