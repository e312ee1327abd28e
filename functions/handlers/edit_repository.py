"""What owners and operators ask of a repository -> its tags, content, standing or settings changed -> the fact."""

from __future__ import annotations

from collections.abc import Callable

from cloudevents.http import CloudEvent

from events import (
    Event,
    ReconciliationRequested,
    ReleaseRequested,
    RepositoryChanged,
    RepositoryResumed,
    RepositoryRolledBack,
    RepositorySuspended,
    ResumptionRequested,
    RollbackReleased,
    RollbackRequested,
    SettingsChanged,
    SettingsRequested,
    SuspensionRequested,
    TagAction,
    TagChanged,
    TagRequested,
    Wish,
    read_event,
)
from events.event import time_of
from functions.errors import EventRefused
from functions.handlers.cloud import Cloud
from functions.handlers.wishes import carry_out, require_existing, require_same
from functions.publishing.records import RepositoryRecord, Standing, change_record, changed_settings
from functions.publishing.revision import TagRequest
from functions.publishing.rollback import release, roll_back_and_pin
from functions.publishing.tagging import drop_tags, parse_root, place_tag

STEP = "edit-repository"


def edit_repository(event: CloudEvent, cloud: Cloud) -> None:
    """Carry out one wish, once."""
    wish = read_event(event)
    if not isinstance(wish, Wish):
        raise EventRefused(f"{event['type']} is nothing that this function can do")

    carry_out(event, wish, cloud, STEP, lambda record: _do(wish, record, event, cloud))


def _do(wish: Wish, record: RepositoryRecord, event: CloudEvent, cloud: Cloud) -> list[Event]:
    if wish.id not in record.handled:
        require_existing(record)
        require_same(record, time_of(event, cloud.clock()))
    match wish:
        # What a record says changes in one swap with the note that it did, so here the fact may still have to be told.
        case SuspensionRequested():
            return _suspend(wish, cloud)
        case ResumptionRequested():
            return _resume(wish, cloud)
        case SettingsRequested():
            return _set(wish, cloud)
        case _ if wish.id in record.handled:
            return []
        case TagRequested():
            return _tag(wish, event, cloud)
        case RollbackRequested():
            return _roll_back(wish, cloud)
        case ReleaseRequested():
            return _release(wish, cloud)
        case _:
            raise EventRefused(f"{wish.TYPE} is nothing that this function can do")


def _tag(wish: TagRequested, event: CloudEvent, cloud: Cloud) -> list[Event]:
    publisher = cloud.publisher(wish.repository)
    name, action = wish.name, wish.action
    if action is TagAction.REMOVE:
        drop_tags(publisher, [name])
        return [TagChanged(repository=wish.repository, request=wish.request, action=action, name=name)]
    tag = place_tag(
        publisher,
        TagRequest(name, wish.description),
        wish.revision if wish.root_hash is None else parse_root(wish.root_hash),
        moving=action is TagAction.MOVE,
        asked_at=int(time_of(event, cloud.clock()).timestamp()),
    )
    return [
        TagChanged(
            repository=wish.repository,
            request=wish.request,
            action=action,
            name=name,
            revision=tag.revision,
            root_hash=str(tag.root),
        )
    ]


def _roll_back(wish: RollbackRequested, cloud: Cloud) -> list[Event]:
    done = roll_back_and_pin(cloud.publisher(wish.repository), wish.tag, wish=wish.id)
    if done.pin is None:
        return []  # carried out before, and released since
    return [
        RepositoryRolledBack(
            repository=wish.repository,
            request=wish.request,
            revision=done.manifest.revision,
            root_hash=str(done.manifest.root),
            target=done.pin.target,
            tag=wish.tag,
            held_before=done.pin.held_before,
            removed_tags=tuple(tag.name for tag in done.removed),
        )
    ]


def _release(wish: ReleaseRequested, cloud: Cloud) -> list[Event]:
    done = release(cloud.publisher(wish.repository), wish=wish.id)
    return [
        RollbackReleased(
            repository=wish.repository,
            request=wish.request,
            revision=done.manifest.revision,
            root_hash=str(done.manifest.root),
        ),
        ReconciliationRequested(repository=wish.repository, cause=wish.id),
    ]


def _suspend(wish: SuspensionRequested, cloud: Cloud) -> list[Event]:
    _change(wish, cloud, lambda _: {"standing": Standing.SUSPENDED, "suspended_for": wish.reason})
    return [RepositorySuspended(repository=wish.repository, request=wish.request, reason=wish.reason)]


def _resume(wish: ResumptionRequested, cloud: Cloud) -> list[Event]:
    _change(wish, cloud, lambda _: {"standing": Standing.ACTIVE, "suspended_for": ""})
    return [
        RepositoryResumed(repository=wish.repository, request=wish.request),
        # What waited in the change queue has brought its wake-ups in vain; what was left out is found in the bucket.
        RepositoryChanged(repository=wish.repository, cause=wish.id),
        ReconciliationRequested(repository=wish.repository, cause=wish.id),
    ]


def _set(wish: SettingsRequested, cloud: Cloud) -> list[Event]:
    _change(wish, cloud, lambda record: {"settings": changed_settings(record.settings, wish.changes)})
    return [
        SettingsChanged(repository=wish.repository, request=wish.request, changes=wish.changes),
        # What was refused may fit now, and what is published may be wanted in another form.
        ReconciliationRequested(repository=wish.repository, cause=wish.id, again=True),
    ]


def _change(wish: Wish, cloud: Cloud, changes: Callable[[RepositoryRecord], dict[str, object]]) -> None:
    """Change the record and note the wish, once."""

    def change(record: RepositoryRecord) -> RepositoryRecord:
        if wish.id in record.handled:
            return record
        require_existing(record)
        return record.noting(wish.id, **changes(record))

    change_record(cloud.state, wish.repository, change)
