"""repository.changed -> what waits in the repository's change queue -> the next revision -> repository.published."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cloudevents.http import CloudEvent

from events import PATHS_LIMIT, ChangeRecord, EventError, RepositoryChanged, RepositoryPublished
from events.event import traceparent_of
from functions.cvmfs.entry import Entry
from functions.errors import UploadRefused
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.problems import tell
from functions.ports import ChangeConsumer, Delivery
from functions.publishing.application import Outcome, apply_records
from functions.publishing.commit import Published
from functions.publishing.dirtab import DIRTAB_PATH
from functions.publishing.records import clear_problems
from functions.publishing.selection import current_records, look_again
from functions.publishing.tree import CatalogTree

STEP = "publish-transaction"

FIRST_WAIT_S = 0.25
"""How long a publisher waits for its first message: long enough to become the active consumer after another left."""

BATCH = 10_000
"""Most changes in one revision: as many as RabbitMQ hands out ahead of their acknowledgement."""


def publish_transaction(event: CloudEvent, cloud: Cloud) -> None:
    """Publish what waits, in as few revisions as the pace allows; another publisher at work makes this a no-op."""
    changed = RepositoryChanged.from_cloudevent(event)
    fqrn = changed.repository
    leave_at = time.monotonic() + cloud.settings.publish_stay_s
    state = cloud.bus.changes_state(fqrn)
    if state.consumers:
        return
    while state.ready:
        with cloud.bus.consume_changes(fqrn) as queue:
            _Stay(fqrn, queue, cloud, traceparent_of(event)).work(leave_at)
        # Changes sent while this consumer was attached brought no wake-up of their own, so look once more. If somebody
        # is counted as attached, it may still be this one: then what is ready is not known, and a wake-up finds out.
        state = cloud.bus.changes_state(fqrn)
        if state.consumers or (state.ready and time.monotonic() >= leave_at):
            _hand_on(changed, event, cloud)
            return


def _hand_on(changed: RepositoryChanged, event: CloudEvent, cloud: Cloud) -> None:
    again = changed.to_cloudevent(source=event_source(STEP), time=cloud.clock(), traceparent=traceparent_of(event))
    cloud.bus.publish([again])


class _Stay:
    """One publisher's time as the active consumer of a change queue."""

    def __init__(self, fqrn: str, queue: ChangeConsumer, cloud: Cloud, trace: str | None) -> None:
        self._fqrn = fqrn
        self._queue = queue
        self._cloud = cloud
        self._trace = trace
        self._publisher = cloud.publisher(fqrn)

    def work(self, leave_at: float) -> None:
        """Publish batch after batch until nothing comes any more, or it is time to leave."""
        batch = list(self._queue.take(wait_s=FIRST_WAIT_S, most=BATCH))
        while batch:
            self._gather(batch)
            self._publish(batch)
            if time.monotonic() >= leave_at:
                return
            batch = list(self._queue.take(wait_s=self._cloud.settings.publish_linger_s, most=BATCH))

    def _gather(self, batch: list[Delivery]) -> None:
        """Add what else arrives until the next revision is due."""
        while len(batch) < BATCH:
            wait_s = self._cloud.pace.wait_s(self._fqrn, time.monotonic())
            more = self._queue.take(wait_s=wait_s, most=BATCH - len(batch))
            batch += more
            if not more and wait_s <= 0:
                return

    def _publish(self, batch: Sequence[Delivery]) -> None:
        records = self._current(batch)
        outcome = Outcome()

        def edit(tree: CatalogTree, marker: Entry) -> None:
            nonlocal outcome
            outcome = apply_records(tree, records, marker)

        published = self._publisher.publish(edit)
        if published.changed:
            self._cloud.pace.spend(self._fqrn, time.monotonic())
        lost = frozenset(clash.key for clash in outcome.clashes)
        clear_problems(self._cloud.state, self._fqrn, frozenset(record.key for record in records) - lost)
        for clash in outcome.clashes:
            tell(
                UploadRefused(clash.reason, code="path-clash", hint="Rename or remove one of the two objects."),
                step=STEP,
                repository=self._fqrn,
                bucket=records[0].bucket,
                key=clash.key,
                etag=clash.etag,
                cloud=self._cloud,
            )
        self._tell_of_dirtab(records, published)
        if published.changed or any(delivery.redelivered for delivery in batch):
            # A redelivered batch may be one whose revision was swapped in by a publisher that died before telling.
            self._announce(published, outcome)
        self._queue.ack(batch)

    def _tell_of_dirtab(self, records: Sequence[ChangeRecord], published: Published) -> None:
        """Tell the user what is wrong with a dirtab that was uploaded in this batch."""
        uploaded = [record for record in records if record.path == DIRTAB_PATH]
        for record in uploaded if published.dirtab.faults else ():
            tell(
                UploadRefused(
                    f"{DIRTAB_PATH} is published but not applied: {'; '.join(published.dirtab.faults)}",
                    code="dirtab",
                    hint="Correct the lines and upload it again; until then no new nested catalogs are made by it.",
                ),
                step=STEP,
                repository=self._fqrn,
                bucket=record.bucket,
                key=record.key,
                etag=record.etag,
                cloud=self._cloud,
            )

    def _current(self, batch: Sequence[Delivery]) -> list[ChangeRecord]:
        records = []
        for delivery in batch:
            try:
                records.append(ChangeRecord.from_bytes(delivery.body))
            except EventError as err:
                self._cloud.bus.park(STEP, delivery.body, reason=str(err), headers={})
        return current_records(records, look_again(self._cloud.source, self._cloud.executor, records))

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
