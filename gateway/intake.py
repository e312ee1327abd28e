"""What outsiders may tell the service, and how it is made ready for the bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cloudevents.http import CloudEvent

from events import (
    CollectionRequested,
    DeletionRequested,
    Event,
    EventError,
    LegacyRequest,
    ReconciliationRequested,
    ReleaseRequested,
    RenewalRequested,
    RepositoryRequested,
    ResumptionRequested,
    RollbackRequested,
    SettingsRequested,
    SuspensionRequested,
    TagRequested,
    traceparent_of,
)
from gateway.decoding import ReceivedEvent
from gateway.errors import TypeNotAcceptedError

ACCEPTED: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        wanted.TYPE: wanted
        for wanted in (
            RepositoryRequested,
            TagRequested,
            RollbackRequested,
            ReleaseRequested,
            SuspensionRequested,
            ResumptionRequested,
            SettingsRequested,
            DeletionRequested,
            RenewalRequested,
            CollectionRequested,
            ReconciliationRequested,
        )
    }
)
"""The event types that outsiders may send; all others are facts that only the functions know."""

SOURCE: Final = "/cvmfs-cloud/gateway"
"""The CloudEvents `source` of events that the gateway makes itself."""


def admit(received: Sequence[ReceivedEvent], now: datetime) -> list[CloudEvent]:
    """The events to publish, all or none of them.

    Id and time are set here: the id by the rule of the event's class, so that the same request twice is recognised,
    and the time because the functions count from it how long they keep trying. Source and trace context stay.
    Raises EventError with the faults of all events that are malformed, else TypeNotAcceptedError.
    """
    admitted: list[CloudEvent] = []
    malformed: list[str] = []
    not_accepted: list[str] = []
    for event in received:
        try:
            admitted.append(_admit(event, now))
        except EventError as err:
            malformed += [f"{event.place}{fault}" for fault in err.faults]
        except TypeNotAcceptedError as err:
            not_accepted += [f"{event.place}{fault}" for fault in err.faults]
    if malformed:
        raise EventError([*malformed, *not_accepted])
    if not_accepted:
        raise TypeNotAcceptedError(not_accepted)
    return admitted


def from_legacy(body: bytes, domain: str, now: datetime) -> CloudEvent:
    """The event that a comma-separated request stands for; raises EventError."""
    return LegacyRequest.parse(body).to_requested(domain).to_cloudevent(source=SOURCE, time=now)


def _admit(event: ReceivedEvent, now: datetime) -> CloudEvent:
    if event.fault:
        raise EventError([event.fault])
    type_name = event.attributes.get("type")
    if not isinstance(type_name, str) or not type_name:
        raise EventError(["type: is missing or empty"])
    if type_name not in ACCEPTED:
        raise TypeNotAcceptedError([f"type: is {type_name!r}, accepted is {', '.join(ACCEPTED)}"])
    read = ACCEPTED[type_name].from_parts(event.attributes, event.data)
    return read.to_cloudevent(
        source=str(event.attributes["source"]), time=now, traceparent=traceparent_of(event.attributes)
    )
