"""The repository records that a process remembers for a moment: a storm of events reads them once."""

from __future__ import annotations

from datetime import timedelta

from functions.ports import BlobStore, Clock
from functions.publishing.records import RepositoryRecord, Standing, load_record
from functions.publishing.remembered import Remembered


class KnownRepositories:
    """Records by repository name, read again once they are older than `keep`; safe for several threads.

    A suspension, a resumption or a new setting is therefore followed by every process within that time.
    """

    def __init__(self, state: BlobStore, clock: Clock, keep: timedelta = timedelta(seconds=5)) -> None:
        self._state = state
        self._clock = clock
        self._records: Remembered[RepositoryRecord] = Remembered(keep)

    def get(self, fqrn: str) -> RepositoryRecord:
        """The record as it was at most `keep` ago; raises RepositoryUnknown."""
        now = self._clock()
        record = self._records.recent(fqrn, now)
        if record is None:
            record = load_record(self._state, fqrn)
            self._records.note(fqrn, record, now)
        return record

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
        self._records.forget(fqrn)
