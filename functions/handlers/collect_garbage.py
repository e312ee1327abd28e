"""A timer, or collection.requested -> what no kept revision needs is deleted -> garbage.collected."""

from __future__ import annotations

from datetime import timedelta

import structlog
from cloudevents.http import CloudEvent

from events import CollectionRequested, Event, GarbageCollected
from functions.errors import CollectionRefused, CollectionWaits
from functions.handlers.cloud import Cloud
from functions.handlers.timers import ask_for_each, is_timer
from functions.handlers.wishes import carry_out, publish
from functions.publishing.collection import Collected, Collector
from functions.publishing.records import RepositoryRecord, Standing, load_record
from functions.publishing.retention import Retention

STEP = "collect-garbage"

log = structlog.get_logger("cvmfs-cloud")


def collect_garbage(event: CloudEvent, cloud: Cloud) -> None:
    """Collect in one repository for as long as there is time, or ask for each; what is left is asked for again."""
    if is_timer(event):
        name = f"timer-{cloud.clock():%Y-%m-%d}"
        ask_for_each(
            event, cloud, STEP, lambda fqrn: CollectionRequested(repository=fqrn, request=name, if_possible=True)
        )
        return
    wish = CollectionRequested.from_cloudevent(event)
    if not wish.if_possible:
        carry_out(event, wish, cloud, STEP, lambda record: _collect(wish, record, event, cloud))
        return
    try:
        facts = _collect(wish, load_record(cloud.state, wish.repository), event, cloud)
    except CollectionRefused as err:
        log.info("collection-skipped", repository=wish.repository, reason=str(err))
        return
    publish(event, cloud, STEP, facts or [])


def _collect(
    wish: CollectionRequested, record: RepositoryRecord, event: CloudEvent, cloud: Cloud
) -> list[Event] | None:
    """Collect; None if it goes on, by an event that was sent. Raises CollectionRefused."""
    if wish.id in record.handled:
        return []
    _require_quiet(record, cloud)
    now, fqrn = cloud.clock(), wish.repository
    kept_s = record.settings.keep_revisions_s
    since = now - timedelta(seconds=cloud.settings.keep_revisions_s if kept_s is None else kept_s)
    collector = Collector(cloud.publisher(fqrn), Retention(since=int(since.timestamp())))
    collected = collector.collect(deadline=now + timedelta(seconds=cloud.settings.collect_stay_s))
    fact = _fact(collected, int(now.timestamp()))
    log.info("garbage-collected", **fact.model_dump(exclude={"collected_at"}), young=collected.swept.young_objects)
    if fact.complete:
        return [fact]
    if not fact.objects:
        raise CollectionRefused(
            f"{fqrn} is too large: marking what stays took all of the {cloud.settings.collect_stay_s:g} s there are."
        )
    publish(event, cloud, STEP, [fact, wish])
    return None


def _require_quiet(record: RepositoryRecord, cloud: Cloud) -> None:
    """Pass by where nothing may go now; raises CollectionRefused, CollectionWaits among them."""
    if record.standing is not Standing.ACTIVE:
        raise CollectionWaits(f"{record.repository} is {record.standing.value}.")
    cloud.bus.declare_changes(record.repository)  # a broker that was set up anew has lost it
    waiting = cloud.bus.changes_state(record.repository).ready
    if waiting:
        # Their contents are stored and referred to by nothing but these messages, which may wait for ever.
        raise CollectionWaits(f"{waiting} changes of {record.repository} wait to be published.")


def _fact(collected: Collected, now_s: int) -> GarbageCollected:
    swept = collected.swept
    return GarbageCollected(
        repository=collected.manifest.fqrn,
        collected_at=now_s,
        objects=swept.count,
        bytes=swept.bytes,
        kept_roots=collected.kept_roots,
        condemned_roots=len(collected.condemned_roots),
        complete=swept.complete,
    )
