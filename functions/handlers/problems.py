"""Telling the user what is wrong with an object: a record in the state bucket, and an event for who listens."""

from __future__ import annotations

import events
from functions.errors import UploadRefused
from functions.handlers.cloud import Cloud, event_source
from functions.publishing.records import Problem


def tell(
    refused: UploadRefused,
    *,
    step: str,
    repository: str,
    bucket: str,
    key: str,
    etag: str,
    modified: int = 0,
    cloud: Cloud,
) -> None:
    """Keep the problem until the object is fixed or removed, and send ``upload.refused``.

    `etag` and `modified` (LastModified, s) are those of the version that was refused, as far as they are known.
    """
    now = cloud.clock()
    problem = Problem.of(refused, repository=repository, bucket=bucket, key=key, etag=etag, modified=modified, now=now)
    cloud.state.put(problem.path, problem.to_bytes())
    told = events.UploadRefused(
        repository=repository,
        bucket=bucket,
        key=key,
        etag=etag,
        code=problem.code,
        reason=problem.reason,
        hint=problem.hint,
    )
    cloud.bus.publish([told.to_cloudevent(source=event_source(step), time=now)])
