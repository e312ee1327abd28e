"""What a run is about: one upload for each operation that succeeded, and the rows of a tree that come from uploads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Place = tuple[str, str]
"""Repository and path."""


class Row(NamedTuple):
    """A file or archive that a revision has new or changed, as a ``revision`` line tells it in `there`.

    `etag` is that of the object it came from, `object` the name under which its content is stored.
    """

    path: str
    etag: str
    size: int
    object: str


@dataclass(slots=True)
class Upload:
    """One operation that succeeded and when it reached each stage, by the probe's clock; None if it never did.

    `files` is what it adds to a tree; `last` whether no later one changed the same object.
    """

    number: int
    fqrn: str
    path: str
    key: str
    kind: str
    size: int
    etag: str
    load: str
    start: float
    end: float
    files: int = 1
    notified: float | None = None
    stored: float | None = None
    visible: float | None = None
    readable: float | None = None
    revision: int = 0
    last: bool = True

    @property
    def place(self) -> Place:
        """Where a client finds it."""
        return self.fqrn, self.path
