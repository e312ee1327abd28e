"""How a waiting message is shown: a row for a person, everything for a program."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.cli.output import ago

if TYPE_CHECKING:
    from functions.publishing.parked_messages import WaitingMessage


COLUMNS = ("id", "parked", "repository", "message", "reason")
"""The heads of what `row` tells."""


def row(waiting: WaitingMessage, now: datetime) -> tuple[str, str, str, str, str]:
    """Id, age, repositories, what it is, reason."""
    age = "" if waiting.at is None else ago(now - waiting.at)
    return waiting.id, age, ", ".join(waiting.repositories), waiting.what, waiting.reason


def members(waiting: WaitingMessage) -> dict[str, object]:
    """A message whole, for programs: enough to send it again by hand."""
    message = waiting.message
    return {
        "id": waiting.id,
        "at": None if waiting.at is None else waiting.at.isoformat(),
        "repositories": list(waiting.repositories),
        "message": waiting.what,
        "reason": waiting.reason,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "content_type": message.content_type,
        "message_id": message.message_id,
        "headers": {
            name: value if isinstance(value, str | int | float | bool | None) else str(value)
            for name, value in message.headers.items()
        },
        **_body(message.body),
    }


def body_lines(waiting: WaitingMessage) -> Iterator[str]:
    """The body for a person: JSON over several lines, other text as it is, other bytes in base64."""
    body = waiting.message.body
    try:
        yield from json.dumps(json.loads(body), indent=2, ensure_ascii=False).split("\n")
    except (ValueError, RecursionError):
        ((name, text),) = _body(body).items()
        yield from text.splitlines() if name == "body" else [f"base64: {text}"]


def brief_lines(chosen: Sequence[WaitingMessage], now: datetime) -> Iterator[str]:
    """The first ten messages, a line each, and how many there are besides."""
    for waiting in chosen[:10]:
        yield "  ".join(row(waiting, now))
    if len(chosen) > 10:
        yield f"and {len(chosen) - 10:,} more; `cvmfs-cloud queue show` has them all."


def nothing_of(step: str) -> str:
    """What is said where no message is meant."""
    return f"Nothing of {step} is parked that fits."


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
