"""How often a repository may get a new revision: at once after quiet, at a steady pace under load.

A bucket of tokens per repository: a revision takes one, every interval returns one, and a few may be saved up. The
first changes after quiet find tokens and do not wait; a stream of changes settles at one revision per interval.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

SAVED_UP = 3.0
"""Revisions that may follow each other at once after quiet."""

REMEMBERED = 10_000
"""Repositories whose pace a process remembers; forgotten ones start anew."""


class Pace:
    """The pace of all repositories that one process publishes. Times are seconds of any steady clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, fqrn: str, now_s: float, interval_s: float | None = None) -> float:
        """Seconds until the next revision of `fqrn` is due, by its own interval if it has one; 0 if it is due now."""
        interval_s = self._interval_s if interval_s is None else interval_s
        with self._lock:
            return max(0.0, (1.0 - self._available(fqrn, now_s, interval_s)) * interval_s)

    def spend(self, fqrn: str, now_s: float, interval_s: float | None = None) -> None:
        """Note a revision."""
        interval_s = self._interval_s if interval_s is None else interval_s
        with self._lock:
            self._tokens[fqrn] = (self._available(fqrn, now_s, interval_s) - 1.0, now_s)
            self._tokens.move_to_end(fqrn)
            if len(self._tokens) > REMEMBERED:
                self._tokens.popitem(last=False)

    def _available(self, fqrn: str, now_s: float, interval_s: float) -> float:
        if interval_s <= 0:
            return SAVED_UP
        tokens, since_s = self._tokens.get(fqrn, (SAVED_UP, now_s))
        return min(SAVED_UP, tokens + (now_s - since_s) / interval_s)
