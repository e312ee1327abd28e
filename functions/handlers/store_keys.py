"""repository.requested -> the repository's keys are in the vault -> repository.keys-stored."""

from __future__ import annotations

from datetime import datetime

from cloudevents.http import CloudEvent

from events import RepositoryKeysStored, RepositoryRefused, RepositoryRequested
from events.event import time_of, traceparent_of
from functions import errors
from functions.handlers.cloud import Cloud, event_source
from functions.publishing.naming import check_deletion, check_owner, granted_bucket
from functions.publishing.records import load_record

STEP = "store-keys"


def store_keys(event: CloudEvent, cloud: Cloud) -> None:
    """Make the keys of a requested repository, once; a request that cannot be granted is refused and answered."""
    request = RepositoryRequested.from_cloudevent(event)
    now = cloud.clock()
    trace = traceparent_of(event)
    try:
        _check(request, time_of(event, now), cloud)
    except errors.RepositoryRefused as err:
        refused = RepositoryRefused(
            repository=request.repository,
            username=request.username,
            subject=request.subject,
            code=err.code,
            reason=str(err),
            hint=err.hint,
            reply_queue=request.reply_queue,
        )
        cloud.bus.publish([refused.to_cloudevent(source=event_source(STEP), time=now, traceparent=trace)])
        raise
    keys = cloud.keys.ensure_keys(request.repository, subject=request.subject, group=request.group, now=now)
    stored = RepositoryKeysStored(**request.model_dump(), public_key=keys.public_key, certificate=keys.certificate)
    cloud.bus.publish([stored.to_cloudevent(source=event_source(STEP), time=now, traceparent=trace)])


def _check(request: RepositoryRequested, asked_at: datetime, cloud: Cloud) -> None:
    granted_bucket(request, cloud.settings.repository_domain)
    try:
        record = load_record(cloud.state, request.repository)
    except errors.RepositoryUnknown:
        return
    check_owner(record, subject=request.subject, group=request.group)
    check_deletion(record, asked_at)
