"""What ``handle_bucket_notification`` tells ``publish_transaction``: one object of a bucket as it was seen.

Not a CloudEvent: a short JSON message on the queue ``changes.<fqrn>``. It says what to enter into the catalog and, by
bucket, key and etag, what was looked at, so that the publisher can look again. Digests are hash strings, since this
room knows nothing of the repository format.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from events.errors import EventError

_QUEUE = "changes."


def change_queue(fqrn: str) -> str:
    """The queue on which the change records of a repository wait."""
    return f"{_QUEUE}{fqrn}"


def repository_of_queue(queue: str) -> str | None:
    """The repository whose change queue this is; None for any other queue."""
    return queue.removeprefix(_QUEUE) if queue.startswith(_QUEUE) else None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ChunkRecord(_Record):
    """A stored chunk: offset and size in bytes of content, and the hash string of its object."""

    offset: int
    size: int
    digest: str


class EntryRecord(_Record):
    """A catalog entry: complete ``st_mode``, size in bytes, mtime in seconds since the epoch."""

    mode: int
    size: int
    mtime: int
    mtime_ns: int | None = None
    digest: str | None = None
    chunks: tuple[ChunkRecord, ...] = ()
    symlink: str = ""
    compression: int = 0


class TreeRecord(_Record):
    """An unpacked archive: its stored nested catalog, and the counters of the whole tree."""

    catalog: str
    catalog_size: int
    counters: dict[str, int]
    entries: int
    root: EntryRecord
    linkcount: int


class Withheld(StrEnum):
    """Why an object that is there is not to be published."""

    REFUSED = "refused"
    """It cannot be published as it is; the user has been told."""
    EXCLUDED = "excluded"
    """The rules in its bucket leave it out."""


class ChangeRecord(_Record):
    """One object as it was seen: to be entered as `entry` or `tree`, or to go where both are None.

    It goes because it was found absent, or is `withheld`. `path` is the repository path it stands for; `modified` the
    object's LastModified in seconds since the epoch, and of one that is gone when its removal was told of, or 0 if only
    its absence was seen. `rules` tells by which rules of its bucket it was taken in, and `permissions` which of these
    decided its permissions; both are empty for the usual ones.
    """

    bucket: str
    key: str
    path: str
    etag: str = ""
    modified: int = 0
    entry: EntryRecord | None = None
    tree: TreeRecord | None = None
    withheld: Withheld | None = None
    rules: str = ""
    permissions: str = ""
    traceparent: str | None = None

    @property
    def removed(self) -> bool:
        """Whether what was published of the object is to go."""
        return self.entry is None and self.tree is None

    def to_bytes(self) -> bytes:
        """The message body."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read a message body; raises EventError."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as err:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in err.errors()]
            raise EventError(faults) from err
