"""``GET /metrics``: what an operator wants to be woken for, as Prometheus reads it.

Queues are not among it: RabbitMQ's own Prometheus plugin knows them better.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from functions.ports import Clock
from functions.publishing.overview import Overview, Repositories, days_left

KEEP = timedelta(seconds=60)
"""How long an answer is given again: it costs four requests to the store per repository, whoever asks how often."""

PAGE = 500

router = APIRouter()


class Metrics:
    """The newest answer, and how a new one is made."""

    def __init__(self, repositories: Repositories, clock: Clock) -> None:
        self._repositories = repositories
        self._clock = clock
        self._lock = threading.Lock()
        self._made_at: datetime | None = None
        self._body = b""

    def body(self) -> bytes:
        """The metrics as they were at most KEEP ago; raises StoreUnavailable."""
        with self._lock:
            now = self._clock()
            if self._made_at is None or now - self._made_at >= KEEP:
                self._body, self._made_at = measured(_all(self._repositories), now), now
            return self._body


def measured(overviews: Iterator[Overview], now: datetime) -> bytes:
    """Metrics in the text format; a repository that has no revision yet has no days and no revision."""
    registry = CollectorRegistry()
    names = ("repository",)

    def gauge(name: str, what: str) -> Gauge:
        return Gauge(f"cvmfs_cloud_{name}", what, names, registry=registry)

    days = gauge("whitelist_days_left", "Days until clients refuse the repository.")
    revisions = gauge("revision", "The number of the live revision.")
    published = gauge("published_timestamp_seconds", "When it was published.")
    problems = gauge("problems", "Uploads and requests that are refused, as their owner is told.")
    damaged = gauge("damaged", "1 if the manifest, the whitelist or the record cannot be read.")
    for overview in overviews:
        problems.labels(overview.name).set(overview.problems)
        damaged.labels(overview.name).set(bool(overview.faults))
        if overview.whitelist is not None:
            days.labels(overview.name).set(days_left(overview.whitelist, now))
        if overview.manifest is not None:
            revisions.labels(overview.name).set(overview.manifest.revision)
            published.labels(overview.name).set(overview.manifest.published_at)
    return generate_latest(registry)


def _all(repositories: Repositories) -> Iterator[Overview]:
    after: str | None = ""
    while after is not None:
        page = repositories.page(limit=PAGE, after=after)
        yield from page.overviews
        after = page.after


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


@router.get("/metrics")
def show_metrics(metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Whitelist days, revisions and problems of all repositories, at most a minute old."""
    return Response(metrics.body(), media_type=CONTENT_TYPE_LATEST)
