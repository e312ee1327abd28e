"""The older comma-separated messages: a request on the queue ``cvmfs``, a reply on ``cvmfs_reply``.

::

    request   AAIusername,subject,repository_name,issuer_url,commonKey      commonKey is Y or N
    reply     AAIusername,subject,repository_name,Y|N,error                 error is "-" after Y
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from events.errors import EventError
from events.repositories import RepositoryCreated, RepositoryRefused, RepositoryRequested

LEGACY_REPLY_QUEUE: Final = "cvmfs_reply"
"""Where the senders of comma-separated requests listen for the outcome."""

_NO_ERROR = "-"
_FIELDS = ("AAIusername", "subject", "repository_name", "issuer_url", "commonKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyRequest:
    """The five fields of a request, split but not yet checked, except `common_key`."""

    username: str
    subject: str
    repository: str
    issuer: str
    common_key: bool

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a message; raises EventError if it does not have five fields or the last one is not Y or N."""
        try:
            fields = [field.strip() for field in body.decode("utf-8").split(",")]
        except UnicodeDecodeError as err:
            raise EventError(["body: is not UTF-8"]) from err
        if len(fields) != len(_FIELDS):
            raise EventError([f"body: has {len(fields)} comma-separated fields, expected {','.join(_FIELDS)}"])
        username, subject, repository, issuer, common_key = fields
        if common_key not in {"Y", "N"}:
            raise EventError([f"commonKey: is {common_key!r}, expected Y or N"])
        return cls(
            username=username, subject=subject, repository=repository, issuer=issuer, common_key=common_key == "Y"
        )

    def to_requested(self, domain: str) -> RepositoryRequested:
        """The event that asks for the same; raises EventError if a field breaks a rule.

        The repository is personal if it is named after the user in `domain`, else it belongs to the group that its
        first label names.
        """
        personal = self.repository == f"{self.username}.{domain}"
        return RepositoryRequested(
            repository=self.repository,
            username=self.username,
            subject=self.subject,
            group=None if personal else self.repository.partition(".")[0],
            issuer=self.issuer,
            reply_queue=LEGACY_REPLY_QUEUE,
        )


def reply_to_created(event: RepositoryCreated) -> bytes:
    """The reply that says: done."""
    return _reply(event, "Y", _NO_ERROR)


def reply_to_refused(event: RepositoryRefused) -> bytes:
    """The reply that says: no, and why; commas in the reason become semicolons, line breaks become blanks."""
    error = " ".join(f"{event.reason} {event.hint}".split()).replace(",", ";")
    return _reply(event, "N", error or _NO_ERROR)


def _reply(event: RepositoryCreated | RepositoryRefused, answer: str, error: str) -> bytes:
    return f"{event.username},{event.subject},{event.repository},{answer},{error}".encode()
