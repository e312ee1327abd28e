"""Parked messages sent on their way again, or dropped: neither ever loses one that was not meant.

A message goes back as the event source took it the first time, so that the function gets the same event again: what the
source had wrapped is unwrapped, a CloudEvent keeps its id and time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from cloudevents.conversion import to_structured

from events import RepositoryChanged, repository_of_queue
from events.event import STRUCTURED
from events.names import valid_fqrn
from functions.ports import Message, MessageHold
from functions.publishing.parked_messages import (
    BINARY,
    WaitingMessage,
    came_from,
    carried_by,
    content_type_of,
    moment_of,
)

BATCH = 200
"""Messages that are on their way at once: as many can be in both places when the process dies."""

SOURCE = "/cvmfs-cloud/queue"
"""The CloudEvents `source` of wake-ups that a redriven change needs."""

Told = Callable[[int], None]
"""Hears how many messages are done."""

WayBack = Callable[[WaitingMessage], Sequence[Message]]
"""What has to be published for a message that is redriven."""


def to_step(queue: str, *, exchange: str, now: datetime) -> WayBack:
    """The way back to the queue of a step.

    A change record goes back to the change queue that it came from, followed by a wake-up (on `exchange`, at `now`):
    changes that wait wake nobody by themselves.
    """

    def way_back(waiting: WaitingMessage) -> Sequence[Message]:
        origin = came_from(waiting.message)
        if origin is None:
            return [_as_first_sent(waiting.message, queue)]
        record = Message(waiting.message.body, routing_key=origin)
        repository = repository_of_queue(origin)
        if repository is None:
            return [record]
        return [record, _wake_up(repository, waiting.id, exchange, now)]

    return way_back


def to_exchange(waiting: WaitingMessage) -> Sequence[Message]:
    """The way of an unrouted message: once more to the exchange that nothing took it from."""
    return [waiting.message]


def redrive(hold: MessageHold, chosen: Sequence[WaitingMessage], way_back: WayBack, *, told: Told) -> dict[str, str]:
    """Publish each message, and remove it when that is confirmed; what could not go stays, with its reason, by id."""
    stayed = {}
    done = 0
    for batch in _batches(chosen):
        faults = hold.pass_on([(waiting.held, way_back(waiting)) for waiting in batch])
        stayed.update({waiting.id: fault for waiting, fault in zip(batch, faults, strict=True) if fault})
        done += len(batch)
        told(done)
    return stayed


def drop(
    hold: MessageHold, chosen: Sequence[WaitingMessage], *, log: Callable[[WaitingMessage], None], told: Told
) -> None:
    """Remove messages, each of which is logged before it goes."""
    done = 0
    for batch in _batches(chosen):
        for waiting in batch:
            log(waiting)
        hold.remove([waiting.held for waiting in batch])
        done += len(batch)
        told(done)


def concerned(chosen: Sequence[WaitingMessage]) -> tuple[str, ...]:
    """The repositories that messages are about; what these miss of them only a reconciliation finds."""
    names = {name for waiting in chosen for name in waiting.repositories}
    return tuple(sorted(name for name in names if valid_fqrn(name)))


def _as_first_sent(message: Message, queue: str) -> Message:
    carried = carried_by(message)
    if carried.is_wrapped:
        return Message(
            carried.data,
            routing_key=queue,
            content_type=carried.attributes.get("datacontenttype"),
            message_id=carried.attributes.get("id"),
            sent_at=moment_of(carried.attributes.get("time", "")),
        )
    content_type = content_type_of(message) or None
    if carried.attributes and (content_type or "").startswith(STRUCTURED):
        return Message(message.body, routing_key=queue, content_type=STRUCTURED, message_id=carried.attributes["id"])
    kept = {name: value for name, value in message.headers.items() if name.lower().startswith(BINARY)}
    if carried.attributes and content_type is not None:
        kept["content-type"] = content_type  # where the source looks for it in binary mode
    return Message(message.body, routing_key=queue, content_type=content_type, headers=kept)


def _wake_up(repository: str, cause: str, exchange: str, now: datetime) -> Message:
    event = RepositoryChanged(repository=repository, cause=cause).to_cloudevent(source=SOURCE, time=now)
    _, body = to_structured(event)
    return Message(
        bytes(body), routing_key=event["type"], exchange=exchange, content_type=STRUCTURED, message_id=event["id"]
    )


def _batches(chosen: Sequence[WaitingMessage]) -> Iterator[Sequence[WaitingMessage]]:
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]
