"""What the state bucket knows of reconciliations: how the last one of each repository went, and who has no bucket yet.

``reconciliations/<fqrn>.json`` is for people and for the next part of a long one; losing it costs nothing.
``attachments/<fqrn>.json`` says which bucket it follows, ``unattached/<fqrn>`` that it waits for one: a single listing
finds all that wait, however many repositories there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from functions.errors import RepositoryDamaged
from functions.ports import BlobStore
from functions.publishing.records import StateFile

UNATTACHED = "unattached/"


class Progress(StrEnum):
    """How far a reconciliation is."""

    UNDER_WAY = "under way"
    DONE = "done"
    REFUSED = "refused"
    """It would have emptied the repository, or could not read the bucket; `reason` says more."""


class Counts(StateFile):
    """What a reconciliation has met so far: objects, entries from objects, and keys that differ."""

    objects: int = 0
    entries: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    kept: int = 0
    """Entries whose object is gone, and which stay, since the bucket is another one than it was."""
    held: int = 0
    """Differences from before a rollback, which it holds back."""
    refused: int = 0
    """Objects that stay out, since the user has been told why already."""

    @property
    def differences(self) -> int:
        """Keys that were sent to be looked at again."""
        return self.new + self.changed + self.gone

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: number + getattr(other, name) for name, number in self})


class Reconciliation(StateFile):
    """The newest reconciliation of a repository; `position` is the last key that was looked at, while it is under way.

    `whole` tells whether all keys from the first one on are in `counts`.
    """

    repository: str
    cause: str
    prefix: str = ""
    progress: Progress = Progress.UNDER_WAY
    reason: str = ""
    started_at: datetime
    finished_at: datetime | None = None
    position: str = ""
    whole: bool = True
    counts: Counts = Counts()

    @property
    def path(self) -> str:
        """Where it is kept in the state bucket."""
        return reconciliation_path(self.repository)


class Attachment(StateFile):
    """The bucket that a repository follows; `bucket_id` tells it from a later one, and is empty if nobody knows it."""

    repository: str
    bucket_id: str = ""
    attached_at: datetime

    @property
    def path(self) -> str:
        """Where it is kept in the state bucket."""
        return _attachment_path(self.repository)


def reconciliation_path(repository: str) -> str:
    """The path of the newest reconciliation of a repository."""
    return f"reconciliations/{repository}.json"


def last_reconciliation(state: BlobStore, repository: str) -> Reconciliation | None:
    """The newest reconciliation of a repository; None if there was none, or what is known of it cannot be read."""
    blob = state.get(reconciliation_path(repository))
    try:
        return None if blob is None else Reconciliation.from_bytes(blob.body)
    except RepositoryDamaged:
        return None


def attachment_of(state: BlobStore, repository: str) -> Attachment | None:
    """What is known of the bucket that a repository follows; None if nothing is, or it cannot be read."""
    blob = state.get(_attachment_path(repository))
    try:
        return None if blob is None else Attachment.from_bytes(blob.body)
    except RepositoryDamaged:
        return None


def is_made_anew(known: Attachment | None, identity: str) -> bool:
    """Whether the bucket is not the one that the repository has followed so far, as far as anybody can tell."""
    return known is not None and bool(known.bucket_id and identity) and known.bucket_id != identity


def keep_attachment(state: BlobStore, attachment: Attachment) -> None:
    """Note the bucket that a repository follows from now on."""
    state.put(attachment.path, attachment.to_bytes())


def wait_for_bucket(state: BlobStore, repository: str) -> None:
    """Note that a repository waits for its bucket; repeating is fine."""
    state.put(UNATTACHED + repository, b"")


def stop_waiting(state: BlobStore, repository: str) -> None:
    """Note that a repository waits for no bucket any more; repeating is fine."""
    state.delete(UNATTACHED + repository)


def is_waiting(state: BlobStore, repository: str) -> bool:
    """Whether a repository waits for its bucket."""
    return state.has(UNATTACHED + repository)


def waiting_repositories(state: BlobStore) -> Iterator[str]:
    """The repositories that wait for their buckets."""
    for info in state.list(UNATTACHED):
        yield info.path.removeprefix(UNATTACHED)


def forget(state: BlobStore, repository: str) -> None:
    """Remove all of this about a deleted repository; repeating is fine."""
    for path in (reconciliation_path(repository), _attachment_path(repository), UNATTACHED + repository):
        state.delete(path)


def _attachment_path(repository: str) -> str:
    return f"attachments/{repository}.json"
