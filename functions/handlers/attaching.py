"""Connecting a repository with its bucket, whenever that comes to be there."""

from __future__ import annotations

from dataclasses import dataclass

from functions.handlers.cloud import Cloud
from functions.publishing.reconciliations import (
    Attachment,
    attachment_of,
    is_made_anew,
    keep_attachment,
    stop_waiting,
    wait_for_bucket,
)
from functions.publishing.records import RepositoryRecord


@dataclass(frozen=True, slots=True)
class Bucket:
    """A repository's bucket as it is now; `made_anew` if it is not the one that the repository has followed so far."""

    exists: bool
    identity: str = ""
    made_anew: bool = False


def attach(record: RepositoryRecord, cloud: Cloud) -> Bucket:
    """Attach the notifications of the bucket if it is there, else note that the repository waits for it."""
    if not cloud.buckets.exists(record.bucket):
        wait_for_bucket(cloud.state, record.repository)
        return Bucket(exists=False)
    cloud.buckets.ensure_notifications(record.bucket)
    identity = cloud.buckets.identity(record.bucket) or ""
    known = attachment_of(cloud.state, record.repository)
    if known is None:
        follow(record, identity, cloud)
    stop_waiting(cloud.state, record.repository)
    return Bucket(exists=True, identity=identity, made_anew=is_made_anew(known, identity))


def follow(record: RepositoryRecord, identity: str, cloud: Cloud) -> None:
    """Note which bucket the repository follows from now on."""
    attachment = Attachment(repository=record.repository, bucket_id=identity, attached_at=cloud.clock())
    keep_attachment(cloud.state, attachment)
