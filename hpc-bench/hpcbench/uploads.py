"""One row for each operation of a run, and what must be zero in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

Place = tuple[str, str]
"""Repository and path."""

EXAMPLES = 20


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


@dataclass(slots=True)
class Verdict:
    """What must be zero, with the first few examples."""

    lost: int = 0
    duplicated: int = 0
    late: int = 0
    wrong: int = 0
    not_read_back: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Keep an example."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, duplicated or wrong, and everything was read back."""
        return not (self.lost or self.duplicated or self.wrong or self.not_read_back)
