"""The catalogue as code: every event type and its class."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cloudevents.http import CloudEvent

from events.errors import UnknownTypeError
from events.event import Event
from events.lifecycle import (
    GarbageCollected,
    RepositoryDeleted,
    RepositoryResumed,
    RepositoryRolledBack,
    RepositorySuspended,
    RequestRefused,
    RollbackReleased,
    SettingsChanged,
    TagChanged,
    WhitelistResigned,
)
from events.reconciliation import BucketReconciled, ReconciliationRequested
from events.repositories import (
    RepositoryChanged,
    RepositoryCreated,
    RepositoryKeysStored,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
)
from events.requests import (
    CollectionRequested,
    DeletionRequested,
    ReleaseRequested,
    RenewalRequested,
    ResumptionRequested,
    RollbackRequested,
    SettingsRequested,
    SuspensionRequested,
    TagRequested,
)
from events.types import TYPE_PREFIX
from events.uploads import UploadRefused

EVENT_CLASSES: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        event_class.TYPE: event_class
        for event_class in (
            RepositoryRequested,
            RepositoryKeysStored,
            RepositoryCreated,
            RepositoryRefused,
            RepositoryChanged,
            RepositoryPublished,
            UploadRefused,
            ReconciliationRequested,
            BucketReconciled,
            TagRequested,
            TagChanged,
            RollbackRequested,
            RepositoryRolledBack,
            ReleaseRequested,
            RollbackReleased,
            SuspensionRequested,
            RepositorySuspended,
            ResumptionRequested,
            RepositoryResumed,
            SettingsRequested,
            SettingsChanged,
            DeletionRequested,
            RepositoryDeleted,
            RequestRefused,
            RenewalRequested,
            WhitelistResigned,
            CollectionRequested,
            GarbageCollected,
        )
    }
)


def event_class(type_name: object) -> type[Event]:
    """The class of an event type; raises UnknownTypeError."""
    found = EVENT_CLASSES.get(type_name) if isinstance(type_name, str) else None
    if found is None:
        known = ", ".join(name.removeprefix(TYPE_PREFIX) for name in EVENT_CLASSES)
        raise UnknownTypeError([f"type: {type_name!r} is not {TYPE_PREFIX} and one of {known}"])
    return found


def read_event(event: CloudEvent) -> Event:
    """A received CloudEvent as an event of its class; raises EventError, UnknownTypeError among them."""
    return event_class(event.get("type")).from_cloudevent(event)
