"""deletion.requested -> nothing is taken in any more -> content and, if wished, keys gone -> repository.deleted."""

from __future__ import annotations

import time
from datetime import datetime

import structlog
from cloudevents.http import CloudEvent

from events import DeletionRequested, Event, Keys, RepositoryDeleted
from events.event import time_of
from functions.handlers.cloud import Cloud
from functions.handlers.wishes import carry_out, publish
from functions.publishing.deletion import last_revision, sweep
from functions.publishing.reconciliations import forget
from functions.publishing.records import RepositoryRecord, Standing, change_record, drop_notes, load_record
from functions.publishing.server_info import delist

STEP = "delete-repository"

log = structlog.get_logger("cvmfs-cloud")


class _NameGivenAway(Exception):
    """The deletion was finished by another delivery of it, and the name belongs to another repository since."""


def delete_repository(event: CloudEvent, cloud: Cloud) -> None:
    """Delete as much as there is time for; the rest is asked for again. Bucket and record stay."""
    wish = DeletionRequested.from_cloudevent(event)

    def delete(record: RepositoryRecord) -> list[Event] | None:
        try:
            return _delete(wish, record, event, cloud)
        except _NameGivenAway:
            return []

    carry_out(event, wish, cloud, STEP, delete)


def _delete(wish: DeletionRequested, record: RepositoryRecord, event: CloudEvent, cloud: Cloud) -> list[Event] | None:
    if wish.id in record.handled:
        return [_fact(wish, record)] if record.standing is Standing.DELETED else []
    asked_at = _require_same(record, time_of(event, cloud.clock()))
    fqrn = wish.repository
    log.warning("repository-deleting", repository=fqrn, id=wish.id, keys=wish.keys, requested_by=wish.requested_by)
    record = _leave(record, asked_at, cloud)
    cloud.known.forget(fqrn)
    # While the record says so, nobody makes the queue or the notification again.
    cloud.buckets.remove_notifications(record.bucket)
    cloud.bus.drop_changes(fqrn)
    delist(cloud.server, fqrn)
    leave_at = time.monotonic() + cloud.settings.collect_stay_s

    def is_over() -> bool:
        _require_same(load_record(cloud.state, fqrn), asked_at)
        return time.monotonic() >= leave_at

    swept = sweep(cloud.repository_store(fqrn), cloud.executor, is_over=is_over)
    _require_same(load_record(cloud.state, fqrn), asked_at)
    so_far = wish.model_copy(update={"deleted": wish.deleted + swept.files})
    if not swept.complete:
        publish(event, cloud, STEP, [so_far])
        return None
    if wish.keys is Keys.DESTROY:
        cloud.keys.destroy_keys(fqrn, subject=record.subject, group=record.group)
    drop_notes(cloud.state, fqrn)
    forget(cloud.state, fqrn)

    def note(record: RepositoryRecord) -> RepositoryRecord:
        _require_same(record, asked_at)
        return record.noting(wish.id, standing=Standing.DELETED, suspended_for="", settings=type(record.settings)())

    record = change_record(cloud.state, fqrn, note)
    log.warning("repository-deleted", repository=fqrn, id=wish.id, objects=so_far.deleted, keys=wish.keys)
    return [_fact(so_far, record)]


def _leave(record: RepositoryRecord, asked_at: datetime, cloud: Cloud) -> RepositoryRecord:
    """From here on nothing is taken in; the number of the last revision is kept, for one that gets the name again."""
    last = last_revision(cloud.repository_store(record.repository))

    def change(record: RepositoryRecord) -> RepositoryRecord:
        _require_same(record, asked_at)
        highest = max(last, record.last_revision)
        if record.exists:
            record = record.model_copy(update={"standing": Standing.DELETING, "deleted_at": asked_at})
        return record.model_copy(update={"last_revision": highest})

    return change_record(cloud.state, record.repository, change)


def _require_same(record: RepositoryRecord, asked_at: datetime) -> datetime:
    """The time at which the deletion was asked for; raises _NameGivenAway if it is about the one before."""
    if record.created_at > asked_at:
        raise _NameGivenAway
    return asked_at


def _fact(wish: DeletionRequested, record: RepositoryRecord) -> RepositoryDeleted:
    return RepositoryDeleted(
        repository=wish.repository,
        request=wish.request,
        last_revision=record.last_revision,
        objects=wish.deleted,
        keys=wish.keys,
    )
