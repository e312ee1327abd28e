"""Messages that wait for a person: on which queues, what they carry, whom they concern, which of them are meant.

A message is here because a function put it on its step's parked queue (``EventBus.park``), or because no binding of an
exchange took it. It carries one of four things: a CloudEvent in structured mode, one in binary mode, a message that is
no event (a bucket notification, an older request, a change record), or such a message wrapped by the event source.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from events import TYPE_PREFIX, EventError, Record, parse_notification, repository_of_queue, valid_fqrn
from events.event import STRUCTURED
from events.types import RAW_MESSAGE
from functions.ports import HeldMessage, Message

STEP_HEADER = "x-parked-step"
REASON_HEADER = "x-parked-reason"
AT_HEADER = "x-parked-at"
QUEUE_HEADER = "x-parked-queue"
"""The queue that a parked message came from, where that is not its step's own."""

BINARY = "ce-"

OLDER_REQUEST_LIMIT = 4096
"""Bytes in which an older request names its repository, as the third of its fields."""


def step_queue(step: str) -> str:
    """The queue that feeds a step."""
    return f"fn.{step}"


def retry_queue(step: str) -> str:
    """The queue on which messages wait before a step is tried again."""
    return f"{step_queue(step)}.retry"


def parked_queue(step: str) -> str:
    """The queue on which a step's parked messages wait for a person."""
    return f"{step_queue(step)}.parked"


@dataclass(frozen=True, slots=True)
class Carried:
    """What a message carries: the attributes of its CloudEvent, none if it is no event, and the data."""

    attributes: Mapping[str, str]
    data: bytes

    @property
    def is_wrapped(self) -> bool:
        """Whether the event was made by the event source around a message that is none."""
        return self.attributes.get("type") == RAW_MESSAGE


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message as a person sees it.

    `id` is made from the content, so it stays the same however often the queue is looked at; messages that are equal in
    everything share one. `at` is when it was parked, or else when it was sent; None if nothing tells.
    """

    held: HeldMessage
    id: str
    at: datetime | None
    reason: str
    what: str
    repositories: tuple[str, ...]

    @property
    def message(self) -> Message:
        """The message itself."""
        return self.held.message


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are meant: those that fit everything that is given; `reason` is a part of it in any case."""

    ids: frozenset[str] = field(default=frozenset())
    before: datetime | None = None
    repository: str | None = None
    reason: str = ""

    def takes(self, waiting: WaitingMessage) -> bool:
        """Whether a message is meant; one of unknown age is never older than anything."""
        return (
            (not self.ids or waiting.id in self.ids)
            and (self.before is None or (waiting.at is not None and waiting.at < self.before))
            and (self.repository is None or self.repository in waiting.repositories)
            and self.reason.casefold() in waiting.reason.casefold()
        )


def carried_by(message: Message) -> Carried:
    """Take a message apart; what cannot be is no event."""
    if content_type_of(message).startswith(STRUCTURED):
        event = _json(message.body)
        if isinstance(event, Mapping) and "specversion" in event:
            return Carried(
                {name: str(value) for name, value in event.items() if name not in {"data", "data_base64"}}, _data(event)
            )
    attributes = {
        name.lower().removeprefix(BINARY): str(value)
        for name, value in message.headers.items()
        if name.lower().startswith(BINARY)
    }
    return Carried(attributes if "specversion" in attributes else {}, message.body)


def content_type_of(message: Message) -> str:
    """The media type: of the message, or among the headers, where parking puts it."""
    return (message.content_type or str(message.headers.get("content-type", ""))).lower()


def came_from(message: Message) -> str | None:
    """The queue that a parked message came from, where that is not its step's own."""
    queue = message.headers.get(QUEUE_HEADER)
    return queue if isinstance(queue, str) else None


def looked_at(held: HeldMessage, domain: str) -> WaitingMessage:
    """A held message as a person sees it; repositories of buckets are in `domain`."""
    message = held.message
    carried = carried_by(message)
    data = _json(carried.data)
    parked_at, reason = (str(message.headers.get(name, "")) for name in (AT_HEADER, REASON_HEADER))
    told = (message.body, parked_at.encode(), reason.encode("utf-8", "replace"), message.routing_key.encode())
    return WaitingMessage(
        held=held,
        id=hashlib.sha256(b"\0".join(told)).hexdigest()[:10],
        at=moment_of(parked_at) or _sent_at(message, carried, data),
        reason=reason,
        what=_what(carried, data),
        repositories=_repositories(message, carried, data, domain),
    )


def binary_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of the headers of a request, what its message needs to be delivered again: event attributes and media type."""
    kept = {name.lower(): value for name, value in headers}
    return {name: value for name, value in kept.items() if name.startswith(BINARY) or name == "content-type"}


def moment_of(text: str) -> datetime | None:
    """A moment in ISO 8601, in UTC unless it says otherwise; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _data(event: Mapping[str, object]) -> bytes:
    if "data_base64" in event:
        try:
            return base64.b64decode(str(event["data_base64"]), validate=True)
        except (binascii.Error, ValueError):
            return b""
    return json.dumps(event["data"]).encode() if "data" in event else b""


def _sent_at(message: Message, carried: Carried, data: object) -> datetime | None:
    """When the fact happened, as far as the message says; the event source's own time says nothing of that."""
    times = [record.event_time for record in _records(data)]
    if times:
        return min(times)
    return message.sent_at or (None if carried.is_wrapped else moment_of(carried.attributes.get("time", "")))


def _records(data: object) -> list[Record]:
    if not isinstance(data, Mapping) or "Records" not in data:
        return []
    try:
        return [record for record in parse_notification(data) if not isinstance(record, EventError)]
    except EventError:
        return []


def _what(carried: Carried, data: object) -> str:
    if carried.attributes and not carried.is_wrapped:
        return carried.attributes.get("type", "").removeprefix(TYPE_PREFIX) or "event without a type"
    records = _records(data)
    if records:
        more = f" and {len(records) - 1} more" if len(records) > 1 else ""
        return f"{records[0].event_name} {records[0].bucket}/{records[0].key}{more}"
    return f"{len(carried.data)} bytes"


def _repositories(message: Message, carried: Carried, data: object, domain: str) -> tuple[str, ...]:
    queue = came_from(message)
    repository = repository_of_queue(queue) if queue is not None else None
    if repository is not None:
        return (repository,)
    named: list[object] = []
    if isinstance(data, Mapping):
        named += [data.get("repository"), None if carried.is_wrapped else carried.attributes.get("subject")]
        buckets: list[object] = [record.bucket for record in _records(data)] or [data.get("bucket")]
        named += [f"{bucket}.{domain}" for bucket in buckets if isinstance(bucket, str)]
    else:
        named += carried.data[:OLDER_REQUEST_LIMIT].decode("utf-8", "replace").split(",")[2:3]
    names = [name.strip() for name in named if isinstance(name, str)]
    return tuple(dict.fromkeys(name for name in names if valid_fqrn(name)))
