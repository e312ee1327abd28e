"""The headers of a parked message: why, when, and by which step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from functions.publishing.parked_messages import AT_HEADER, REASON_HEADER, STEP_HEADER

VALUE_LIMIT = 2000
"""Characters of a header value."""

NAME_LIMIT = 255
"""Bytes of a header name that AMQP can carry."""

HEADERS_LIMIT = 100 << 10
"""Bytes of all headers, which must fit into one AMQP frame of 128 KiB: RabbitMQ hangs up on a larger one."""


def parked_headers(step: str, reason: str, *, now: datetime, headers: Mapping[str, str]) -> dict[str, str]:
    """What parking adds, and `headers` as far as they fit; values are cut to 2,000 characters and made encodable."""
    own = {STEP_HEADER: step, REASON_HEADER: reason, AT_HEADER: now.isoformat(timespec="seconds")}
    told: dict[str, str] = {}
    size = 0
    for name, value in (own | dict(headers) | own).items():
        cut = _encodable(value)[:VALUE_LIMIT]
        size += len(name.encode()) + len(cut.encode())
        if size > HEADERS_LIMIT:
            break
        if len(name.encode()) <= NAME_LIMIT:
            told[name] = cut
    return told


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
