"""reconciliation.requested, or a timer -> the bucket held against the catalogs -> what differs is looked at again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from cloudevents.http import CloudEvent

from events import BucketReconciled, Event, ReconciliationRequested, RepositoryChanged
from events.event import traceparent_of
from functions.errors import RepositoryNotReady, StoreForbids, UploadRefused
from functions.handlers import intake, reconciliation_timers
from functions.handlers.attaching import Bucket, attach, follow, look_at
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.problems import tell
from functions.handlers.timers import is_timer
from functions.publishing.comparison import Difference, Reason
from functions.publishing.keys import AREA, SETTINGS_KEY, in_area
from functions.publishing.looks import notifications, removals
from functions.publishing.reconciliations import Counts, Progress, Reconciliation, last_reconciliation
from functions.publishing.reconciling import BucketNotBelieved, Reconciling, Scope, open_view
from functions.publishing.records import (
    Problem,
    RepositoryRecord,
    Standing,
    load_record,
    open_problems,
    problem_of,
    problem_path,
)

STEP = "reconcile-bucket"

BATCH = 500
"""Differences that are sent and confirmed together."""

SAID_OF_PUBLISHED = frozenset({"dirtab", "sync-settings"})
"""Codes of problems with what an object says; it is where it belongs all the same."""

CHECK_EVERY = 1000
"""Keys between two looks at the time."""


def reconcile_bucket(event: CloudEvent, cloud: Cloud) -> None:
    """Send every key for which bucket and repository differ to be looked at again; reads no object."""
    if is_timer(event):
        reconciliation_timers.ask(event, cloud, STEP)
        return
    request = ReconciliationRequested.from_cloudevent(event)
    record = load_record(cloud.state, request.repository)
    if record.standing is Standing.ACTIVE and not reconciliation_timers.is_stale(request, event, cloud):
        _Part(request, record, event, cloud).work()


class _Part:
    """One part of a reconciliation: from where the last one ended, for as long as a part may take.

    An errand is a look at a few keys that another function asked for: it leaves no trace but what it sends.
    """

    def __init__(
        self, request: ReconciliationRequested, record: RepositoryRecord, event: CloudEvent, cloud: Cloud
    ) -> None:
        self._request = request
        self._record = record
        self._fqrn = record.repository
        self._cloud = cloud
        self._trace = traceparent_of(event)
        self._is_errand = bool(request.prefix) and not request.again
        self._leave_at = time.monotonic() + cloud.settings.reconcile_leg_s
        self._before = self._begun()

    def work(self) -> None:
        """Attach the bucket, compare, send, and tell; a bucket that cannot be believed changes nothing."""
        try:
            bucket = (look_at if self._is_errand else attach)(self._record, self._cloud)
            if reconciliation_timers.is_untimely(self._request, self._cloud, STEP):
                return
            self._reconcile(bucket)
        except RepositoryNotReady:
            return  # whoever makes the first revision asks again
        except BucketNotBelieved as refused:
            self._refuse(refused.as_problem())
        except StoreForbids as err:
            hint = "Give the service access to the bucket again; it is tried again by itself."
            self._refuse(UploadRefused(f"the bucket cannot be read: {err}", code="bucket-unreadable", hint=hint))

    def _begun(self) -> Reconciliation:
        """What the parts before this one have left."""
        request = self._request
        last = last_reconciliation(self._cloud.state, self._fqrn) if request.start_after else None
        if last is not None and (last.cause, last.position) == (request.cause, request.start_after):
            return last
        return Reconciliation(
            repository=self._fqrn,
            cause=request.cause,
            prefix=request.prefix,
            position=request.start_after,
            whole=not request.prefix and not request.start_after,
            started_at=self._cloud.clock(),
        )

    def _reconcile(self, bucket: Bucket) -> None:
        cloud = self._cloud
        cloud.bus.declare_changes(self._fqrn)
        reconciling = Reconciling(
            record=self._record,
            source=cloud.source,
            state=cloud.state,
            view=open_view(self._fqrn, cloud.repository_store(self._fqrn), cloud.cache, few=self._is_errand),
            expected=cloud.rules.fresh(self._record),
            now=cloud.clock(),
            keep_gone=bucket.made_anew and not self._request.allow_empty,
            settled=reconciliation_timers.settled(self._request, cloud),
        )
        if not self._request.allow_empty:
            reconciling.check_bucket(exists=bucket.exists, empty_limit=cloud.settings.empty_bucket_limit)
        self._keep(self._before)
        if self._before.whole and not self._request.start_after:
            self._look_at_settings()
        position = self._compare(reconciling)
        if reconciling.in_order and not self._is_errand:
            self._clear_in_order(reconciling)
        so_far = self._before.counts + Counts(**asdict(reconciling.tally))
        here = self._before.model_copy(update={"counts": so_far, "position": position})
        if position:
            self._keep(here)
            self._publish(self._request.model_copy(update={"start_after": position}))
        else:
            self._finish(here, bucket, reconciling)

    def _look_at_settings(self) -> None:
        """Have a change of the bucket's rules followed that nobody has heard of."""
        try:
            unheard = self._cloud.rules.changed(self._record) is not None
        except UploadRefused:
            unheard = problem_of(self._cloud.state, self._fqrn, SETTINGS_KEY) is None
        if unheard:
            info = self._cloud.source.head(self._record.bucket, SETTINGS_KEY)
            self._send([Difference(SETTINGS_KEY, Reason.REWRITTEN, info=info)])

    def _compare(self, reconciling: Reconciling) -> str:
        """Send the differences; returns the last key that was looked at if the time is up, else an empty one."""
        request, errand = self._request, self._is_errand
        # Whoever sends an errand has a reason to believe that what was refused there may come in now.
        again = request.again or errand
        scope = Scope(request.prefix, request.start_after, again=again, thorough=not errand)
        waiting: list[Difference] = []
        for number, verdict in enumerate(reconciling.verdicts(scope), start=1):
            if verdict.difference is not None:
                waiting.append(verdict.difference)
            full = len(waiting) >= BATCH
            is_over = (full or number % CHECK_EVERY == 0) and time.monotonic() >= self._leave_at
            if full or is_over:
                self._send(waiting)
                waiting = []
            if is_over:
                return verdict.key
        self._send(waiting)
        return ""

    def _send(self, differences: Sequence[Difference]) -> None:
        """Ask for another look at these keys, by as many instances as there may be, as if they were uploaded now."""
        bucket, cloud = self._record.bucket, self._cloud
        cloud.bus.send_work(intake.STEP, notifications(bucket, differences, cloud.clock()))
        elsewhere = [difference for difference in differences if difference.is_elsewhere]
        found = list(cloud.executor.map(lambda difference: cloud.source.head(bucket, difference.key), elsewhere))
        records = removals(bucket, elsewhere, found)
        if records:
            cloud.bus.send_changes(self._fqrn, [record.to_bytes() for record in records])
            self._publish(RepositoryChanged(repository=self._fqrn, cause=f"reconciliation of {records[-1].key}"))

    def _finish(self, done: Reconciliation, bucket: Bucket, reconciling: Reconciling) -> None:
        counts = done.counts
        if counts.kept:
            self._tell(_made_anew(self._record, counts.kept))
        elif done.whole:
            if bucket.made_anew:
                follow(self._record, bucket.identity, self._cloud)
            self._cloud.state.delete(problem_path(self._fqrn, AREA))
        if self._is_errand:
            return
        if not done.prefix:
            self._clear_gone(reconciling)
        ended = done.model_copy(update={"progress": Progress.DONE, "finished_at": self._cloud.clock()})
        self._keep(ended)
        if counts.differences or counts.refused or not reconciliation_timers.caused(self._request):
            fact = BucketReconciled(
                repository=self._fqrn,
                cause=done.cause,
                prefix=done.prefix,
                objects=counts.objects,
                entries=counts.entries,
                differences=counts.differences,
                refused=counts.refused,
                seconds=max(0.0, (self._cloud.clock() - done.started_at).total_seconds()),
            )
            self._publish(fact)

    def _clear_in_order(self, reconciling: Reconciling) -> None:
        """Remove problems of objects that this part has found as they should be: an event that would have may be lost.

        What is in order is not kept for the last part, so every part removes its own.
        """
        for problem in self._problems_of_objects():
            if problem.path in reconciling.in_order and problem.code not in SAID_OF_PUBLISHED:
                self._cloud.state.delete(problem.path)

    def _problems_of_objects(self) -> list[Problem]:
        return [problem for problem in open_problems(self._cloud.state, self._fqrn) if _is_of_an_object(problem)]

    def _clear_gone(self, reconciling: Reconciling) -> None:
        """Remove problems of objects that are gone."""
        met = reconciling.told_of | reconciling.in_order
        unmet = [problem for problem in self._problems_of_objects() if problem.path not in met]
        bucket, source = self._record.bucket, self._cloud.source
        heads = self._cloud.executor.map(lambda problem: source.head(bucket, problem.key), unmet)
        for problem, info in zip(unmet, heads, strict=True):
            if info is None:
                self._cloud.state.delete(problem.path)

    def _refuse(self, refused: UploadRefused) -> None:
        self._tell(refused)
        update = {"progress": Progress.REFUSED, "reason": str(refused), "finished_at": self._cloud.clock()}
        self._keep(self._before.model_copy(update=update))

    def _tell(self, refused: UploadRefused) -> None:
        """Show a problem of the whole bucket; one that is shown already is left as it is."""
        known = problem_of(self._cloud.state, self._fqrn, AREA)
        if known is None or (known.code, known.reason) != (refused.reason_code, str(refused)):
            bucket = self._record.bucket
            tell(refused, step=STEP, repository=self._fqrn, bucket=bucket, key=AREA, etag="", cloud=self._cloud)

    def _keep(self, here: Reconciliation) -> None:
        if not self._is_errand:
            self._cloud.state.put(here.path, here.to_bytes())

    def _publish(self, event: Event) -> None:
        now = self._cloud.clock()
        self._cloud.bus.publish([event.to_cloudevent(source=event_source(STEP), time=now, traceparent=self._trace)])


def _is_of_an_object(problem: Problem) -> bool:
    """Whether a problem is about an object, and not about the bucket, the whitelist or a request."""
    return in_area(problem.key) and problem.key != AREA


def _made_anew(record: RepositoryRecord, kept: int) -> UploadRefused:
    return UploadRefused(
        f"bucket {record.bucket} was made anew, and {kept} files and directories came from the one before: they stay",
        code="bucket-made-anew",
        hint="Upload again what should be there. To remove the rest: `cvmfs-cloud sync --allow-empty`.",
    )
