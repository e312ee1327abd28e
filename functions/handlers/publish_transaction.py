"""repository.changed -> what waits in the repository's change queue -> the next revision -> repository.published."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from cloudevents.http import CloudEvent

from events import (
    PATHS_LIMIT,
    ChangeRecord,
    EventError,
    ReconciliationRequested,
    RepositoryChanged,
    RepositoryPublished,
    Withheld,
    change_queue,
)
from events.event import traceparent_of
from functions.cvmfs.entry import Entry
from functions.errors import UploadRefused
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.problems import tell
from functions.ports import ChangeConsumer, Delivery
from functions.publishing.application import Outcome, apply_records
from functions.publishing.commit import Published
from functions.publishing.dirtab import DIRTAB_PATH
from functions.publishing.parked_messages import QUEUE_HEADER
from functions.publishing.pinning import let_through
from functions.publishing.records import RepositoryRecord, clear_problems, open_problems
from functions.publishing.rules import Rules
from functions.publishing.selection import Selection, current_records, look_again
from functions.publishing.shadows import ROOT, may_have_shadows, second_look
from functions.publishing.sources import source_key
from functions.publishing.tree import CatalogTree

STEP = "publish-transaction"

FIRST_WAIT_S = 0.25
"""How long a publisher waits for its first message: long enough to become the active consumer after another left."""

BATCH = 10_000
"""Most changes in one revision: as many as RabbitMQ hands out ahead of their acknowledgement."""


def publish_transaction(event: CloudEvent, cloud: Cloud) -> None:
    """Publish what waits, in as few revisions as the pace allows; another publisher at work makes this a no-op.

    Changes of a repository that is suspended, or whose owner wants revisions at certain times only, stay in the queue:
    it is resumed with a look at its whole bucket, and a timer wakes publishers for what waits.
    """
    changed = RepositoryChanged.from_cloudevent(event)
    fqrn = changed.repository
    leave_at = time.monotonic() + cloud.settings.publish_stay_s
    if cloud.known.active(fqrn) is None:
        return
    state = cloud.bus.changes_state(fqrn)
    if state.consumers:
        return
    while state.ready:
        record = cloud.known.active(fqrn)
        if record is None or not _is_due(cloud.rules.fresh(record), fqrn, cloud):
            return
        with cloud.bus.consume_changes(fqrn) as queue:
            _Stay(record, queue, cloud, traceparent_of(event)).work(leave_at)
        # Changes sent while this consumer was attached brought no wake-up of their own, so look once more. If somebody
        # is counted as attached, it may still be this one: then what is ready is not known, and a wake-up finds out.
        state = cloud.bus.changes_state(fqrn)
        if state.consumers or (state.ready and time.monotonic() >= leave_at):
            _hand_on(changed, event, cloud)
            return


def _is_due(rules: Rules, fqrn: str, cloud: Cloud) -> bool:
    if not rules.is_timed:
        return True
    last = datetime.fromtimestamp(cloud.publisher(fqrn).head().manifest.published_at, UTC)
    return rules.is_due(last, cloud.clock())


def _hand_on(changed: RepositoryChanged, event: CloudEvent, cloud: Cloud) -> None:
    again = changed.to_cloudevent(source=event_source(STEP), time=cloud.clock(), traceparent=traceparent_of(event))
    cloud.bus.publish([again])


class _Stay:
    """One publisher's time as the active consumer of a change queue."""

    def __init__(self, record: RepositoryRecord, queue: ChangeConsumer, cloud: Cloud, trace: str | None) -> None:
        self._record = record
        self._fqrn = fqrn = record.repository
        self._queue = queue
        self._cloud = cloud
        self._trace = trace
        self._publisher = cloud.publisher(fqrn)
        interval_s = cloud.rules.get(record).interval_s
        self._interval_s = max(interval_s, cloud.settings.min_publish_interval_s) if interval_s else None

    def work(self, leave_at: float) -> None:
        """Publish batch after batch until nothing comes any more, or it is time to leave."""
        batch = list(self._queue.take(wait_s=FIRST_WAIT_S, most=BATCH))
        while batch and self._cloud.known.active(self._fqrn) is not None:
            self._gather(batch)
            rules = self._publish(batch)
            if time.monotonic() >= leave_at or rules.is_timed:
                return
            batch = list(self._queue.take(wait_s=self._cloud.settings.publish_linger_s, most=BATCH))

    def _gather(self, batch: list[Delivery]) -> None:
        """Add what else arrives until the next revision is due."""
        while len(batch) < BATCH:
            wait_s = self._cloud.pace.wait_s(self._fqrn, time.monotonic(), self._interval_s)
            more = self._queue.take(wait_s=wait_s, most=BATCH - len(batch))
            batch += more
            if not more and wait_s <= 0:
                return

    def _publish(self, batch: Sequence[Delivery]) -> Rules:
        """Make the next revision of a batch; returns the rules that were followed."""
        rules = self._cloud.rules.fresh(self._record)
        selected = self._current(batch, rules)
        records = selected.records
        outcome = Outcome()
        through: list[ChangeRecord] = []

        def edit(tree: CatalogTree, marker: Entry) -> None:
            nonlocal outcome, through
            through = let_through(tree, records)
            outcome = apply_records(tree, through, marker, rules.quota)

        began = time.monotonic()
        published = self._publisher.publish(edit)
        if published.changed:
            now = time.monotonic()
            self._cloud.pace.spend(self._fqrn, now, self._interval_s, took_s=now - began)
        refused = {record.key for record in records if record.withheld is Withheld.REFUSED}
        lost = {clash.key for clash in outcome.clashes}
        clear_problems(self._cloud.state, self._fqrn, frozenset(record.key for record in through) - lost - refused)
        for clash in outcome.clashes:
            refusal = UploadRefused(clash.reason, code=clash.code, hint=clash.hint)
            self._tell(refusal, clash.key, clash.etag, clash.modified)
        self._tell_of_dirtab(through)
        is_second_time = any(delivery.redelivered for delivery in batch)
        if is_second_time:
            # Perhaps a publisher has swapped this revision in and died before it told anybody what went out of the way.
            outcome.vacated.add(ROOT)
            outcome.freed = True
            outcome.look_again.update(record.path.removeprefix("/") for record in through if record.removed)
        if published.changed or is_second_time:
            self._announce(published, outcome)
        self._look_again(outcome, rules, selected.stale, published)
        self._queue.ack(batch)
        return rules

    def _look_again(self, outcome: Outcome, rules: Rules, stale: frozenset[str], published: Published) -> None:
        """Ask for a look at what was kept out by something that is gone now, or was seen under other rules."""
        problems = open_problems(self._cloud.state, self._fqrn) if may_have_shadows(outcome) else ()
        prefixes = second_look(outcome, problems, rules, stale)
        if not prefixes:
            return
        # Their problems stay until they are seen to come in: who dies here is followed by one who finds them still.
        now, revision = self._cloud.clock(), published.manifest.revision
        self._cloud.bus.publish(
            [
                ReconciliationRequested(
                    repository=self._fqrn,
                    cause=f"revision-{revision}/{int(now.timestamp())}/{prefix}",
                    prefix=prefix,
                    again=not prefix,
                ).to_cloudevent(source=event_source(STEP), time=now, traceparent=self._trace)
                for prefix in prefixes
            ]
        )

    def _tell(self, refused: UploadRefused, key: str, etag: str, modified: int) -> None:
        bucket, fqrn = self._record.bucket, self._fqrn
        tell(
            refused, step=STEP, repository=fqrn, bucket=bucket, key=key, etag=etag, modified=modified, cloud=self._cloud
        )

    def _tell_of_dirtab(self, records: Sequence[ChangeRecord]) -> None:
        """Tell the user what is wrong with the dirtab if it was looked at in this batch, whether it is new or not."""
        looked_at = {record.key: record for record in records if record.path == DIRTAB_PATH}
        if not looked_at:
            return
        published, faults = self._publisher.dirtab()
        record = looked_at.get(source_key(DIRTAB_PATH, published) or "") if published is not None else None
        if record is not None and faults:
            refused = UploadRefused(
                f"{DIRTAB_PATH} is published but not applied: {'; '.join(faults)}",
                code="dirtab",
                hint="Correct the lines and upload it again; until then no new nested catalogs are made by it.",
            )
            self._tell(refused, record.key, record.etag, record.modified)

    def _current(self, batch: Sequence[Delivery], rules: Rules) -> Selection:
        records = []
        for delivery in batch:
            try:
                records.append(ChangeRecord.from_bytes(delivery.body))
            except EventError as err:
                headers = {QUEUE_HEADER: change_queue(self._fqrn)}
                self._cloud.bus.park(STEP, delivery.body, reason=str(err), headers=headers)
        return current_records(records, look_again(self._cloud.source, self._cloud.executor, records), rules)

    def _announce(self, published: Published, outcome: Outcome) -> None:
        manifest = published.manifest
        fact = RepositoryPublished(
            repository=self._fqrn,
            revision=manifest.revision,
            root_hash=str(manifest.root),
            published_at=manifest.published_at,
            changes=len(outcome.paths),
            paths=tuple(outcome.paths[:PATHS_LIMIT]),
            url=self._cloud.url_of(self._fqrn),
        )
        self._cloud.bus.publish(
            [fact.to_cloudevent(source=event_source(STEP), time=self._cloud.clock(), traceparent=self._trace)]
        )
