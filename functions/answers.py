"""How a handler's ending becomes an HTTP answer: the one table, safe behind every Knative dispatcher.

======================================================  ======================================================
ending                                                  answer
======================================================  ======================================================
returns                                                 204
raises Retryable, or anything nobody expected           503 with Retry-After: RabbitMQ keeps the event
raises Permanent, EventError or FormatError             parked with the reason (a confirmed publish), then 204
raises Retryable, and the event is older than allowed   parked with the reason, then 204
======================================================  ======================================================

Never 500 (the RabbitMQ source does not retry it), never 4xx (a RabbitMQ broker takes it for success).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent

from events import EventError, parse_notification
from events.event import time_of
from functions.cvmfs.errors import FormatError
from functions.errors import CloudError, Permanent, RepositoryDamaged, Retryable
from functions.ports import Clock, EventBus

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status, and how it came to it: a code and a text for the log."""

    status: int
    code: str = "done"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A function as the outside sees it: its step's name, which its queues carry, and its handler."""

    name: str
    handle: Callable[[CloudEvent, Any], None]


def answer(step: Step, event: CloudEvent, cloud: Any, *, bus: EventBus, clock: Clock, retry_for_s: int) -> Answer:
    """Run the handler and translate its ending; never raises."""
    try:
        step.handle(event, cloud)
    except (Permanent, EventError, FormatError) as err:
        return _parked(step, event, bus, code=_code(err), reason=_reason(err))
    except Exception as err:  # noqa: BLE001 - anything unexpected is tried again, never lost
        reason = str(err) if isinstance(err, CloudError) else _place_of(err)
        age_s = (clock() - occurred_at(event, clock())).total_seconds()
        if age_s > retry_for_s:
            return _parked(step, event, bus, code="too-old", reason=f"given up after {int(age_s)} s: {reason}")
        return Answer(503, err.code if isinstance(err, Retryable) else "unexpected", reason)
    return Answer(204)


def occurred_at(event: CloudEvent, default: datetime) -> datetime:
    """When the fact happened: the notification's own time where there is one, since the source stamps it anew."""
    moments = [moment for moment in _notification_times(event) if moment is not None]
    if moments:
        return min(moments)
    return time_of(event, default)


def _notification_times(event: CloudEvent) -> list[datetime | None]:
    try:
        records = parse_notification(event.get_data())
    except EventError:
        return []
    return [None if isinstance(record, EventError) else record.event_time for record in records]


def _parked(step: Step, event: CloudEvent, bus: EventBus, *, code: str, reason: str) -> Answer:
    headers, body = to_structured(event)
    try:
        bus.park(step.name, bytes(body), reason=reason, headers=headers)
    except Retryable as err:
        return Answer(503, err.code, str(err))
    return Answer(204, code, reason)


def _place_of(err: Exception) -> str:
    """What kind of error it was and where; not its text, which may quote anything, a password among it."""
    frames = traceback.extract_tb(err.__traceback__)
    return f"{type(err).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _code(err: Permanent | EventError | FormatError) -> str:
    if isinstance(err, FormatError):
        return RepositoryDamaged.code
    return err.code if isinstance(err, Permanent) else "event-refused"


def _reason(err: Permanent | EventError | FormatError) -> str:
    return err.explained() if isinstance(err, Permanent) else str(err)
