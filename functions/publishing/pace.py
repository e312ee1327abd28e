"""How often a repository may get a new revision: at once after quiet, at a steady pace under load.

A bucket of tokens per repository: a revision takes one, every interval returns one, and a few may be saved up. The
first changes after quiet find tokens and do not wait; a stream of changes settles at one revision per interval. Where a
revision takes long, the interval is longer, and more changes share the next one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

SAVED_UP = 3.0
"""Revisions that may follow each other at once after quiet."""

SHARE = 0.1
"""Share of its time that a busy repository spends on making revisions; what is left gathers changes."""

LONGEST_S = 4.0
"""Seconds to which revisions that take long may stretch an interval; changes wait no longer for company."""

REMEMBERED = 10_000
"""Repositories whose pace a process remembers; forgotten ones start anew."""


@dataclass(frozen=True, slots=True)
class _Spent:
    """What is left of a repository's tokens after its newest revision, when that was, and how long it took."""

    tokens: float
    since_s: float
    took_s: float


class Pace:
    """The pace of all repositories that one process publishes. Times are seconds of any steady clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._spent: OrderedDict[str, _Spent] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, fqrn: str, now_s: float, interval_s: float | None = None) -> float:
        """Seconds until the next revision of `fqrn` is due, by its own interval if it has one; 0 if it is due now."""
        with self._lock:
            spent = self._spent.get(fqrn)
            interval_s = self._stretched(spent, interval_s)
            return max(0.0, (1.0 - _available(spent, now_s, interval_s)) * interval_s)

    def spend(self, fqrn: str, now_s: float, interval_s: float | None = None, *, took_s: float = 0.0) -> None:
        """Note a revision that was made until now, and took `took_s` seconds."""
        with self._lock:
            spent = self._spent.get(fqrn)
            left = _available(spent, now_s, self._stretched(spent, interval_s)) - 1.0
            self._spent[fqrn] = _Spent(left, now_s, took_s)
            self._spent.move_to_end(fqrn)
            if len(self._spent) > REMEMBERED:
                self._spent.popitem(last=False)

    def _stretched(self, spent: _Spent | None, interval_s: float | None) -> float:
        """The interval after a revision; none remains none."""
        asked_for_s = self._interval_s if interval_s is None else interval_s
        if spent is None or asked_for_s <= 0:
            return asked_for_s
        return max(asked_for_s, min(LONGEST_S, spent.took_s / SHARE))


def _available(spent: _Spent | None, now_s: float, interval_s: float) -> float:
    if spent is None or interval_s <= 0:
        return SAVED_UP
    return min(SAVED_UP, spent.tokens + (now_s - spent.since_s) / interval_s)
