"""What a process remembers of each repository for a moment, so that a storm of events reads it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Generic, TypeVar

V = TypeVar("V")

REMEMBERED = 10_000
"""Repositories of which a process remembers something at most."""


def is_recent(then: datetime, now: datetime, within: timedelta) -> bool:
    """Whether `then` was less than `within` ago; both aware.

    What is yet to come was noted by a clock that was ahead, or that has been set back: nobody waits until it has come.
    """
    return timedelta(0) <= now - then < within


class Remembered(Generic[V]):
    """Values by repository name, with the time at which they were true; safe for several threads."""

    def __init__(self, keep: timedelta, most: int = REMEMBERED) -> None:
        self._keep = keep
        self._most = most
        self._values: OrderedDict[str, tuple[datetime, V]] = OrderedDict()
        self._lock = threading.Lock()

    def recent(self, fqrn: str, now: datetime) -> V | None:
        """The value, if it was true less than `keep` ago."""
        with self._lock:
            found = self._values.get(fqrn)
        return found[1] if found is not None and is_recent(found[0], now, self._keep) else None

    def last(self, fqrn: str) -> V | None:
        """The value, however old it is."""
        with self._lock:
            found = self._values.get(fqrn)
        return None if found is None else found[1]

    def note(self, fqrn: str, value: V, now: datetime) -> None:
        """Remember a value; the one that was noted longest ago makes room for it."""
        with self._lock:
            self._values[fqrn] = (now, value)
            self._values.move_to_end(fqrn)
            if len(self._values) > self._most:
                self._values.popitem(last=False)

    def forget(self, fqrn: str) -> None:
        """Remember nothing of a repository."""
        with self._lock:
            self._values.pop(fqrn, None)
