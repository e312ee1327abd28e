"""Reconciliations that no person asks for: of all repositories now and then, and of one whose bucket has appeared."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from cloudevents.http import CloudEvent

from events import ReconciliationRequested, RepositoryChanged
from events.event import traceparent_of
from functions.handlers import intake
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.timers import ask_for_each, wake_up_all
from functions.publishing.reconciliations import stop_waiting, waiting_repositories
from functions.publishing.records import load_record, record_path

CAUSE = "timer"
"""How the causes of such requests begin."""

FOR_WAITING = {"repositories": "waiting"}
"""The data of the timer that looks for late buckets only."""

PILE = 1000
"""Notifications waiting to be handled from which on a timer adds nothing: it would send again what waits already."""

ON_ITS_WAY = timedelta(minutes=2)
"""Age up to which an object is left to its notification, where others are on their way."""

STALE_AFTER = timedelta(minutes=50)
"""Age of a timer's request that could not be granted: the next one is about to come."""


def ask(event: CloudEvent, cloud: Cloud, step: str) -> None:
    """Ask for what a timer stands for."""
    if _data_of(event) == FOR_WAITING:
        for fqrn in waiting_repositories(cloud.state):
            _look_for_bucket(fqrn, event, cloud, step)
        # The same timer, so that one small function is kept awake by it and not two.
        wake_up_all(event, cloud, step)
    elif not _piled_up(cloud):
        cause = f"{CAUSE} {_minute(cloud)}"
        ask_for_each(event, cloud, step, lambda fqrn: ReconciliationRequested(repository=fqrn, cause=cause))


def caused(request: ReconciliationRequested) -> bool:
    """Whether a timer made the request."""
    return request.cause.startswith(CAUSE)


def is_stale(request: ReconciliationRequested, event: CloudEvent, cloud: Cloud) -> bool:
    """Whether a timer's request has waited so long that another one follows."""
    time = event.get("time")
    return caused(request) and bool(time) and cloud.clock() - datetime.fromisoformat(str(time)) > STALE_AFTER


def is_untimely(request: ReconciliationRequested, cloud: Cloud, step: str) -> bool:
    """Whether a timer made the request, and what it would find is on its way already.

    Changes that wait for a publisher whose wake-up got lost get another one.
    """
    if not caused(request) or request.start_after:
        return False
    if _piled_up(cloud):
        return True
    cloud.bus.declare_changes(request.repository)
    state = cloud.bus.changes_state(request.repository)
    if state.ready and not state.consumers:
        wake_up = RepositoryChanged(repository=request.repository, cause=request.cause)
        cloud.bus.publish([wake_up.to_cloudevent(source=event_source(step), time=cloud.clock())])
    return state.ready > 0


def settled(request: ReconciliationRequested, cloud: Cloud) -> datetime | None:
    """Until when objects were written that a timer's request looks at; None for all of them.

    While notifications wait or a publisher is at work, what is younger is on its way, or found an hour later. A person
    who asks wants all that is there.
    """
    if not caused(request):
        return None
    is_busy = cloud.bus.work_waiting(intake.STEP) > 0 or cloud.bus.changes_state(request.repository).consumers > 0
    return cloud.clock() - ON_ITS_WAY if is_busy else None


def _piled_up(cloud: Cloud) -> bool:
    return cloud.bus.work_waiting(intake.STEP) >= PILE


def _minute(cloud: Cloud) -> str:
    return f"{cloud.clock():%Y-%m-%dT%H:%M}"


def _data_of(event: CloudEvent) -> object:
    data = event.get_data()
    try:
        return json.loads(data) if isinstance(data, bytes | str) else data
    except ValueError:
        return None


def _look_for_bucket(fqrn: str, event: CloudEvent, cloud: Cloud, step: str) -> None:
    if not cloud.state.has(record_path(fqrn)):
        stop_waiting(cloud.state, fqrn)
    elif cloud.buckets.exists(load_record(cloud.state, fqrn).bucket):
        request = ReconciliationRequested(repository=fqrn, cause=f"bucket appeared {_minute(cloud)}")
        trace = traceparent_of(event)
        cloud.bus.publish([request.to_cloudevent(source=event_source(step), time=cloud.clock(), traceparent=trace)])
