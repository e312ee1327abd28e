"""A notification of RadosGW -> contents stored -> change records queued -> repository.changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cloudevents.http import CloudEvent

from events import ChangeRecord, EventError, Record, RepositoryChanged, bucket_of, parse_notification
from events.event import traceparent_of
from functions.errors import Permanent, RepositoryUnknown, Retryable, UploadRefused, VersionMoved
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.problems import tell
from functions.publishing.ingest import Ingest, removal
from functions.publishing.keys import TargetKind, in_area, key_to_target
from functions.publishing.objects import Objects, Uploads
from functions.publishing.records import RepositoryRecord, clear_problems

STEP = "handle-bucket-notification"

READ_ATTEMPTS = 3
"""How often an object that is replaced while it is read is looked at again before the event is kept for later."""


def handle_bucket_notification(event: CloudEvent, cloud: Cloud) -> None:
    """Look at every object the notification names; what is wrong with one of them harms no other.

    Raises EventError if it is no notification, and the first Retryable after everything else was done.
    """
    later: list[Retryable] = []
    waiting: dict[str, list[ChangeRecord]] = {}
    for record, raw in _records(event):
        try:
            if isinstance(record, EventError):
                raise record
            if not in_area(record.key):
                continue
            repository = _repository_of(record, cloud)
            change = _look(record, repository, cloud)
            if change is not None:
                waiting.setdefault(repository.repository, []).append(change)
        except Retryable as err:
            later.append(err)
        except (Permanent, EventError) as err:
            body = json.dumps({"Records": [raw]}, ensure_ascii=False).encode()
            cloud.bus.park(STEP, body, reason=str(err), headers={"content-type": "application/json"})
    for fqrn, changes in waiting.items():
        _send(fqrn, changes, event, cloud)
    if later:
        raise later[0]


def _records(event: CloudEvent) -> list[tuple[Record | EventError, Any]]:
    """Every record of the notification with its JSON, as which it is parked if it has to be."""
    data: Any = event.get_data()
    parsed = parse_notification(data)
    raw = (
        data
        if isinstance(data, Mapping)
        else json.loads(data.decode("utf-8", "replace") if isinstance(data, bytes) else data)
    )
    return list(zip(parsed, raw["Records"], strict=True))


def _repository_of(record: Record, cloud: Cloud) -> RepositoryRecord:
    fqrn = f"{record.bucket}.{cloud.settings.repository_domain}"
    try:
        bucket_of(fqrn, cloud.settings.repository_domain)
    except EventError as err:
        raise RepositoryUnknown(f"bucket {record.bucket!r} feeds no repository: {err}") from err
    known = cloud.known.get(fqrn)
    if fqrn not in cloud.declared_queues:
        # A broker that was set up anew has lost the queue; once per process is often enough to bring it back.
        cloud.bus.declare_changes(fqrn)
        cloud.declared_queues.add(fqrn)
    return known


def _look(record: Record, repository: RepositoryRecord, cloud: Cloud) -> ChangeRecord | None:
    """The change a record stands for, or None where there is nothing to publish; raises UploadRefused when refused."""
    try:
        target = key_to_target(record.key, unpack_archives=repository.settings.unpack_archives)
        if target.kind is TargetKind.ROOT:
            return None
        uploads = Uploads(Objects(cloud.repository_store(repository.repository), cloud.clock), cloud.executor)
        ingest = Ingest(cloud.recipe, uploads.put, cloud.archive_limits, executor=cloud.executor)
        for _ in range(READ_ATTEMPTS):
            reader = cloud.source.open(record.bucket, record.key)
            if reader is None:
                return removal(record.bucket, record.key, target)
            try:
                change = ingest.take(record.bucket, target, reader)
            except VersionMoved:
                continue
            finally:
                uploads.finish()
            return change
    except UploadRefused as err:
        _tell(err, record, repository, cloud)
        return None
    raise VersionMoved(f"{record.key!r} in {record.bucket} was replaced {READ_ATTEMPTS} times while it was read")


def _tell(refused: UploadRefused, record: Record, repository: RepositoryRecord, cloud: Cloud) -> None:
    """Make a refusal visible to the user, unless the object is gone and with it the problem."""
    if cloud.source.head(record.bucket, record.key) is None:
        clear_problems(cloud.state, repository.repository, frozenset({record.key}))
        return
    tell(
        refused,
        step=STEP,
        repository=repository.repository,
        bucket=record.bucket,
        key=record.key,
        etag=record.etag,
        cloud=cloud,
    )
    raise refused


def _send(fqrn: str, changes: list[ChangeRecord], event: CloudEvent, cloud: Cloud) -> None:
    state = cloud.bus.send_changes(fqrn, [change.to_bytes() for change in changes])
    if state.consumers:
        # A publisher is at work. It looks at the queue once more after it has left it, so it will see these.
        return
    wake_up = RepositoryChanged(repository=fqrn, cause=changes[-1].etag or str(event["id"]))
    cloud.bus.publish(
        [wake_up.to_cloudevent(source=event_source(STEP), time=cloud.clock(), traceparent=traceparent_of(event))]
    )
