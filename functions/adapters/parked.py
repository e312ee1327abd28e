"""The headers of a parked message: why, when, and by which step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from functions.publishing.parked_messages import AT_HEADER, REASON_HEADER, STEP_HEADER

VALUE_LIMIT = 2000
"""Characters of a header value; all headers of a message must fit into one AMQP frame of 128 KiB."""


def parked_headers(step: str, reason: str, *, now: datetime, headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with what parking adds; values are cut to 2,000 characters and made encodable."""
    told = {
        **headers,
        STEP_HEADER: step,
        REASON_HEADER: reason,
        AT_HEADER: now.isoformat(timespec="seconds"),
    }
    return {name: _encodable(value)[:VALUE_LIMIT] for name, value in told.items()}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
