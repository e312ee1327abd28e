"""Who may have which repository: the rule that ties repository, bucket, user and group together."""

from __future__ import annotations

from datetime import datetime

from events import EventError, RepositoryRequested, bucket_of
from functions.errors import RepositoryNotReady, RepositoryRefused
from functions.publishing.records import RepositoryRecord, Standing


def granted_bucket(request: RepositoryRequested, domain: str) -> str:
    """The bucket of a requested repository; raises RepositoryRefused.

    A personal repository is named after its user, a group's after the group: ``<bucket>.<domain>``.
    """
    try:
        bucket = bucket_of(request.repository, domain)
    except EventError as err:
        raise RepositoryRefused(str(err)) from err
    owner = request.username if request.group is None else request.group
    if bucket != owner:
        kind = "user" if request.group is None else "group"
        raise RepositoryRefused(
            f"{request.repository} belongs to the {kind} {bucket!r}, but was requested for the {kind} {owner!r}"
        )
    return bucket


def check_owner(record: RepositoryRecord, *, subject: str, group: str | None) -> None:
    """Refuse a request for a repository that somebody else has already; raises RepositoryRefused."""
    if record.group != group or (group is None and record.subject != subject):
        raise RepositoryRefused(f"{record.repository} exists already and has another owner")


def check_deletion(record: RepositoryRecord, asked_at: datetime) -> None:
    """Refuse what was asked for before the repository was deleted, and comes late; raises RepositoryRefused.

    Raises RepositoryNotReady while it is being deleted: the request is granted when that is over.
    """
    if record.standing is Standing.DELETING:
        raise RepositoryNotReady(f"{record.repository} is being deleted")
    if record.deleted_at is not None and asked_at < record.deleted_at:
        raise RepositoryRefused(f"{record.repository} was requested before it was deleted")
