"""What travels between an event source and a function: an AMQP message, an HTTP request, an HTTP answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message as RabbitMQ delivers it; `timestamp` is the AMQP property, seconds since the epoch."""

    body: bytes
    content_type: str | None = None
    headers: Mapping[str, object] = field(default_factory=dict)
    message_id: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to a Service; header values are text of Latin-1 characters, as HTTP/1.1 carries them."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
