"""Notifications to change records: every object that one names looked at, the records sent, a publisher woken up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cloudevents.http import CloudEvent

from events import (
    ChangeRecord,
    EventError,
    ReconciliationRequested,
    Record,
    RepositoryChanged,
    bucket_of,
    parse_notification,
)
from events.event import traceparent_of
from functions.errors import Permanent, RepositoryUnknown, Retryable, StoreForbids, UploadRefused, VersionMoved
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.problems import tell
from functions.publishing.ingest import Ingest
from functions.publishing.keys import SETTINGS_KEY, in_area
from functions.publishing.look import Look, RefusedAsItIs, limits_of
from functions.publishing.objects import Objects, Uploads
from functions.publishing.records import RepositoryRecord, clear_problems, problem_of
from functions.publishing.selection import as_listed

STEP = "handle-bucket-notification"

UNREADABLE = "object-unreadable"
"""The code of the problem with an object that the store does not let the service read."""


@dataclass(frozen=True, slots=True)
class Notified:
    """One entry of a notification, or why it cannot be read; `raw` is its JSON, as which it is parked."""

    record: Record | EventError
    raw: Any


@dataclass(frozen=True, slots=True)
class Intake:
    """What came of a notification: changes to send and how their objects were looked at, by repository.

    `later` are the reasons why it has to come again.
    """

    began: datetime
    changes: dict[str, list[ChangeRecord]] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    later: list[Exception] = field(default_factory=list)


def notified_by(event: CloudEvent) -> list[Notified]:
    """Every entry of the notification; raises EventError if it is none."""
    data: Any = event.get_data()
    parsed = parse_notification(data)
    raw = (
        data
        if isinstance(data, Mapping)
        else json.loads(data.decode("utf-8", "replace") if isinstance(data, bytes) else data)
    )
    return [Notified(record, each) for record, each in zip(parsed, raw["Records"], strict=True)]


def take_in(notified: Sequence[Notified], event: CloudEvent, cloud: Cloud) -> Intake:
    """Look at every object and store what is in it; what is wrong with one of them harms no other."""
    intake = Intake(cloud.clock())
    for each in notified:
        try:
            _take_one_in(each, intake, event, cloud)
        except Retryable as err:
            intake.later.append(err)
        except (Permanent, EventError) as err:
            _park(err, each, cloud)
        except Exception as err:  # noqa: BLE001 - what nobody expected of one object must not hold up all others
            intake.later.append(err)
    return intake


def _take_one_in(notified: Notified, intake: Intake, event: CloudEvent, cloud: Cloud) -> None:
    """Look at one object and add what comes of it to `intake`; raises what is wrong with it."""
    record = notified.record
    if isinstance(record, EventError):
        raise record
    repository = _repository_of(record, cloud) if in_area(record.key) else None
    # A suspended repository is held against its whole bucket when it is resumed; until then nothing is kept.
    if repository is None:
        return
    if record.key == SETTINGS_KEY:
        _follow(repository, event, cloud)
        return
    fqrn = repository.repository
    look = intake.looks.get(fqrn)
    if look is None:
        look = intake.looks[fqrn] = _look_by(repository, cloud)
    try:
        change = _look(look, record, repository, cloud)
    except RefusedAsItIs as err:
        # Every day's reconciliation looks at it again, and the user has been told: one parked copy is enough.
        if not record.is_look:
            _park(err, notified, cloud)
        change = err.record
    if change is not None:
        intake.changes.setdefault(fqrn, []).append(change)


def send(intakes: Sequence[Intake], event: CloudEvent, cloud: Cloud) -> None:
    """Send the changes of some notifications, those of one repository together, and add to `later` what is in doubt."""
    together: dict[str, list[ChangeRecord]] = {}
    for intake in intakes:
        for fqrn, changes in intake.changes.items():
            together.setdefault(fqrn, []).extend(changes)
    for fqrn, changes in together.items():
        _send(fqrn, changes, event, cloud)
    for intake in intakes:
        for fqrn, changes in intake.changes.items():
            intake.later.extend(_doubts(intake.looks[fqrn], changes, intake.began))


def _doubts(look: Look, changes: list[ChangeRecord], began: datetime) -> Iterator[Retryable]:
    """A reason to look again for every record that others may have made stale without telling."""
    for change in changes:
        try:
            if not look.still_holds(change, began):
                yield VersionMoved(f"{change.key!r} in {change.bucket} has other metadata than when it was read")
        except Retryable as err:
            yield err


def _park(error: Permanent | EventError, notified: Notified, cloud: Cloud) -> None:
    """Set aside what can never be taken in as it is."""
    body = json.dumps({"Records": [notified.raw]}, ensure_ascii=False).encode()
    cloud.bus.park(STEP, body, reason=str(error), headers={"content-type": "application/json"})


def _repository_of(record: Record, cloud: Cloud) -> RepositoryRecord | None:
    """The repository that an object is for; None if it rests or is gone, and takes nothing in."""
    fqrn = f"{record.bucket}.{cloud.settings.repository_domain}"
    try:
        bucket_of(fqrn, cloud.settings.repository_domain)
    except EventError as err:
        raise RepositoryUnknown(f"bucket {record.bucket!r} feeds no repository: {err}") from err
    known = cloud.known.active(fqrn)
    if known is None:
        return None
    if fqrn not in cloud.declared_queues:
        # A broker that was set up anew has lost the queue; once per process is often enough to bring it back.
        cloud.bus.declare_changes(fqrn)
        cloud.declared_queues.add(fqrn)
    return known


def _look_by(repository: RepositoryRecord, cloud: Cloud) -> Look:
    rules = cloud.rules.get(repository)
    uploads = Uploads(Objects(cloud.repository_store(repository.repository), cloud.clock), cloud.executor)
    limits = limits_of(cloud.archive_limits, rules)
    ingest = Ingest(cloud.recipe, uploads.put, limits, executor=cloud.executor, rules=rules)
    return Look(repository.bucket, cloud.source, rules, ingest, uploads.finish, cloud.archive_turn)


def _look(look: Look, record: Record, repository: RepositoryRecord, cloud: Cloud) -> ChangeRecord | None:
    """The change a record stands for, or None where there is nothing to publish; raises RefusedAsItIs when refused."""
    try:
        change = look.at(record.key, size_told=record.size, told_at=_told_at(record))
    except RefusedAsItIs as err:
        if _tell(err, record, repository, cloud):
            raise
        return None
    except StoreForbids as err:
        _tell_of_unreadable(err, record, repository, cloud)
        raise
    if change is None:
        clear_problems(cloud.state, repository.repository, frozenset({record.key}))
    return change


def _told_at(record: Record) -> int:
    """When a user removed an object (epoch seconds); 0 if its absence was merely met, or found by a look at the bucket.

    What is no real removal may be old news, which a rollback holds back.
    """
    was_removed = record.event_name.startswith("ObjectRemoved:") and not record.is_look
    return int(record.event_time.timestamp()) if was_removed else 0


def _tell(refused: RefusedAsItIs, record: Record, repository: RepositoryRecord, cloud: Cloud) -> bool:
    """Make a refusal visible to the user; false if the object is gone and with it the problem."""
    info = cloud.source.head(record.bucket, record.key)
    if info is None:
        clear_problems(cloud.state, repository.repository, frozenset({record.key}))
        return False
    # A key that cannot be published is refused whatever the object is; else the version that was looked at counts.
    seen = refused.record
    tell(
        refused,
        step=STEP,
        repository=repository.repository,
        bucket=record.bucket,
        key=record.key,
        etag=info.etag if seen is None else seen.etag,
        modified=int(info.modified.timestamp()) if seen is None else seen.modified,
        cloud=cloud,
    )
    return True


def _tell_of_unreadable(fault: StoreForbids, record: Record, repository: RepositoryRecord, cloud: Cloud) -> None:
    """Tell the user once that an object may not be read; what was published of the key stays, and it is tried again."""
    info = as_listed(cloud.source, record.bucket, record.key)
    if info is None:
        return
    known = problem_of(cloud.state, repository.repository, record.key)
    if known is not None and (known.code, known.etag) == (UNREADABLE, info.etag):
        return
    refused = UploadRefused(
        f"it cannot be read: {fault}",
        code=UNREADABLE,
        hint="Let the service read it: a policy denies it, or it is encrypted with your own key. It is tried again.",
    )
    tell(
        refused,
        step=STEP,
        repository=repository.repository,
        bucket=record.bucket,
        key=record.key,
        etag=info.etag,
        modified=int(info.modified.timestamp()),
        cloud=cloud,
    )


def _follow(repository: RepositoryRecord, event: CloudEvent, cloud: Cloud) -> None:
    """The bucket has other rules now: every object may be affected, and changes that wait may be due."""
    fqrn = repository.repository
    try:
        change = cloud.rules.changed(repository)
    except UploadRefused as err:
        tell(err, step=STEP, repository=fqrn, bucket=repository.bucket, key=SETTINGS_KEY, etag="", cloud=cloud)
        raise
    clear_problems(cloud.state, fqrn, frozenset({SETTINGS_KEY}))
    if change is None:
        return
    cause = f"sync-settings/{change.version}"
    wishes = [
        ReconciliationRequested(repository=fqrn, cause=f"{cause}/{event['id']}", again=True),
        RepositoryChanged(repository=fqrn, cause=cause),
    ]
    now, trace = cloud.clock(), traceparent_of(event)
    cloud.bus.publish([wish.to_cloudevent(source=event_source(STEP), time=now, traceparent=trace) for wish in wishes])
    cloud.rules.follow(repository, change)


def _send(fqrn: str, changes: list[ChangeRecord], event: CloudEvent, cloud: Cloud) -> None:
    state = cloud.bus.send_changes(fqrn, [change.to_bytes() for change in changes])
    if state.consumers:
        # A publisher is at work. It looks at the queue once more after it has left it, so it will see these.
        return
    wake_up = RepositoryChanged(repository=fqrn, cause=changes[-1].etag or str(event["id"]))
    cloud.bus.publish(
        [wake_up.to_cloudevent(source=event_source(STEP), time=cloud.clock(), traceparent=traceparent_of(event))]
    )
