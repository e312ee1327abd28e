"""What a check finds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Some official program refuses, misreads or complains."""

    WARNING = "warning"
    """Against the rules of the format, but nothing is known to stumble over it yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a path in the repository's tree, an object's path, or a file in its root folder."""

    severity: Severity
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}"


def error(where: str, what: object) -> Finding:
    """A finding that breaks something; an empty path is shown as ``/``."""
    return Finding(Severity.ERROR, where or "/", str(what))


def warning(where: str, what: object) -> Finding:
    """A finding that breaks nothing yet; an empty path is shown as ``/``."""
    return Finding(Severity.WARNING, where or "/", str(what))
