"""The repository records that a process remembers for a moment: a storm of events reads them once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from functions.ports import BlobStore, Clock
from functions.publishing.records import RepositoryRecord, Standing, load_record

REMEMBERED = 10_000
"""Records that a process keeps at most."""


class KnownRepositories:
    """Records by repository name, read again once they are older than `keep`; safe for several threads.

    A suspension, a resumption or a new setting is therefore followed by every process within that time.
    """

    def __init__(self, state: BlobStore, clock: Clock, keep: timedelta = timedelta(seconds=5)) -> None:
        self._state = state
        self._clock = clock
        self._keep = keep
        self._records: OrderedDict[str, tuple[datetime, RepositoryRecord]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, fqrn: str) -> RepositoryRecord:
        """The record as it was at most `keep` ago; raises RepositoryUnknown."""
        now = self._clock()
        with self._lock:
            read_at, record = self._records.get(fqrn, (None, None))
        # A clock that is set back must not make a record be remembered until it has caught up.
        if read_at is not None and record is not None and timedelta(0) <= now - read_at < self._keep:
            return record
        fresh = load_record(self._state, fqrn)
        with self._lock:
            self._records[fqrn] = (now, fresh)
            self._records.move_to_end(fqrn)
            if len(self._records) > REMEMBERED:
                self._records.popitem(last=False)
        return fresh

    def active(self, fqrn: str) -> RepositoryRecord | None:
        """The record of a repository that follows its bucket; None if it rests or is gone, looked at this very moment.

        What is left out because a repository rests is found by the look at the whole bucket that follows its
        resumption, if it was left out before. So nobody leaves anything out on the word of a remembered record.
        """
        record = self.get(fqrn)
        if record.standing is not Standing.ACTIVE:
            self.forget(fqrn)
            record = self.get(fqrn)
        return record if record.standing is Standing.ACTIVE else None

    def forget(self, fqrn: str) -> None:
        """Read the record anew the next time."""
        with self._lock:
            self._records.pop(fqrn, None)
