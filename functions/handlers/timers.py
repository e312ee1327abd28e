"""What a timer stands for: the same request for every repository, each an event of its own.

A PingSource posts to the function directly, and a post that is lost costs nothing: the next one comes. The function
turns it into one event per repository, on the queue that it is fed from. So one repository that cannot be served now
is tried again by itself, and thousands of them spread over as many instances as there may be.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudevents.http import CloudEvent

from events import RepositoryChanged
from events.event import Event, traceparent_of
from events.types import PING
from functions.errors import BrokerUnavailable
from functions.handlers.cloud import Cloud, event_source
from functions.publishing.records import repository_names

BATCH = 500
"""Events that are confirmed together."""


def is_timer(event: CloudEvent) -> bool:
    """Whether a timer sent the event."""
    return bool(event["type"] == PING)


def ask_for_each(event: CloudEvent, cloud: Cloud, step: str, request: Callable[[str], Event]) -> int:
    """Publish `request(fqrn)` for every repository; returns how many, when all are confirmed.

    Raises BrokerUnavailable or StoreUnavailable; what was sent before is sent again then, which must be harmless.
    """
    now, trace = cloud.clock(), traceparent_of(event)
    waiting: list[CloudEvent] = []
    sent = 0
    for fqrn in repository_names(cloud.state):
        waiting.append(request(fqrn).to_cloudevent(source=event_source(step), time=now, traceparent=trace))
        if len(waiting) >= BATCH:
            cloud.bus.publish(waiting)
            sent, waiting = sent + len(waiting), []
    cloud.bus.publish(waiting)
    return sent + len(waiting)


def wake_up_all(event: CloudEvent, cloud: Cloud, step: str) -> int:
    """Send ``repository.changed`` for every repository in whose queue changes wait and nobody is at work.

    Changes wait for the time their owner chose, or because a wake-up got lost. A repository that has no queue yet, or
    none any more, is passed by. Raises BrokerUnavailable when the events are not confirmed.
    """
    now, trace = cloud.clock(), traceparent_of(event)
    waiting = []
    for fqrn in repository_names(cloud.state):
        try:
            state = cloud.bus.changes_state(fqrn)
        except BrokerUnavailable:
            continue
        if state.ready and not state.consumers:
            changed = RepositoryChanged(repository=fqrn, cause=f"timer/{int(now.timestamp())}")
            waiting.append(changed.to_cloudevent(source=event_source(step), time=now, traceparent=trace))
    cloud.bus.publish(waiting)
    return len(waiting)
