"""What all functions that carry out wishes have in common: each once, noted in the record, and a refusal answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from cloudevents.http import CloudEvent

from events import TYPE_PREFIX, Event, RequestRefused, Wish
from events.event import traceparent_of
from functions.errors import Permanent, RepositoryGone
from functions.handlers.cloud import Cloud, event_source
from functions.publishing.records import Problem, RepositoryRecord, change_record, clear_problems, load_record

log = structlog.get_logger("cvmfs-cloud")


def carry_out(
    event: CloudEvent, wish: Wish, cloud: Cloud, step: str, do: Callable[[RepositoryRecord], list[Event] | None]
) -> None:
    """Do what is wished, tell it by the events that `do` returns, and note it in the record.

    None from `do` says that it is not done yet, and goes on by another event. `do` is called again for a wish that was
    noted, and must end in the same state then, as after any interruption. A Permanent error from it is told to the
    user, as ``request.refused`` and among the problems of the repository, and goes on.
    """
    record: RepositoryRecord | None = None
    try:
        record = load_record(cloud.state, wish.repository)
        facts = do(record)
    except Permanent as err:
        publish(event, cloud, step, [_refusal(wish, err)])
        if record is not None:
            problem = Problem.of_repository(err, record, about=wanted(wish), wish=wish.request, now=cloud.clock())
            cloud.state.put(problem.path, problem.to_bytes())
        raise
    if facts is None:
        return
    publish(event, cloud, step, facts)
    note(wish, cloud)
    cloud.known.forget(wish.repository)
    clear_problems(cloud.state, wish.repository, frozenset({wanted(wish)}))
    log.info("wish-carried-out", step=step, id=wish.id, wanted=wanted(wish), requested_by=wish.requested_by or None)


def note(wish: Wish, cloud: Cloud) -> None:
    """Note that a wish was carried out, which whoever waits for it looks for."""
    change_record(
        cloud.state,
        wish.repository,
        lambda record: record if wish.id in record.handled else record.noting(wish.id),
    )


def publish(event: CloudEvent, cloud: Cloud, step: str, facts: list[Event]) -> None:
    """Tell facts on behalf of an event."""
    now, trace = cloud.clock(), traceparent_of(event)
    cloud.bus.publish([fact.to_cloudevent(source=event_source(step), time=now, traceparent=trace) for fact in facts])


def wanted(wish: Wish) -> str:
    """The type of a wish as people read it."""
    return wish.TYPE.removeprefix(TYPE_PREFIX)


def require_existing(record: RepositoryRecord) -> None:
    """Refuse what is wished of a repository that is deleted, or on its way out; raises RepositoryGone."""
    if not record.exists:
        raise RepositoryGone(f"{record.repository} is {record.standing.value}.")


def require_same(record: RepositoryRecord, asked_at: datetime) -> None:
    """Refuse what was wished, at a time (aware), of the one that had the name before; raises RepositoryGone."""
    if record.deleted_at is not None and asked_at < record.deleted_at:
        raise RepositoryGone(f"{record.repository} was deleted after this was asked for, and made again since.")


def _refusal(wish: Wish, err: Permanent) -> RequestRefused:
    return RequestRefused(
        repository=wish.repository,
        request=wish.id,
        wanted=wanted(wish),
        code=err.code,
        reason=str(err),
        hint=err.hint,
    )
