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
    """A repository's bucket as it is now.

    `is_known` if the repository has followed a bucket before, `made_anew` if that was another one.
    """

    exists: bool
    identity: str = ""
    is_known: bool = False
    made_anew: bool = False


def look_at(record: RepositoryRecord, cloud: Cloud) -> Bucket:
    """The bucket of a repository as it is now."""
    if not cloud.buckets.exists(record.bucket):
        return Bucket(exists=False)
    identity = cloud.buckets.identity(record.bucket) or ""
    known = attachment_of(cloud.state, record.repository)
    return Bucket(True, identity, is_known=known is not None, made_anew=is_made_anew(known, identity))


def attach(record: RepositoryRecord, cloud: Cloud) -> Bucket:
    """Attach the notifications of the bucket if it is there, else note that the repository waits for it."""
    bucket = look_at(record, cloud)
    if not bucket.exists:
        wait_for_bucket(cloud.state, record.repository)
        return bucket
    cloud.buckets.ensure_notifications(record.bucket)
    if not bucket.is_known:
        follow(record, bucket.identity, cloud)
    stop_waiting(cloud.state, record.repository)
    return bucket


def follow(record: RepositoryRecord, identity: str, cloud: Cloud) -> None:
    """Note which bucket the repository follows from now on."""
    attachment = Attachment(repository=record.repository, bucket_id=identity, attached_at=cloud.clock())
    keep_attachment(cloud.state, attachment)
