"""The gateway as an ASGI application."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import FastAPI

from functions.ports import Clock, EventBus
from functions.publishing.overview import Repositories
from functions.settings import Settings
from gateway import metrics, routes
from gateway import repositories as reading
from gateway.problems import add_problem_handlers

ROUTERS = (routes.router, reading.router, metrics.router)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def build_app(bus: EventBus, repositories: Repositories, settings: Settings, clock: Clock = _utc_now) -> FastAPI:
    """The application over a bus and the repositories; README.md lists the endpoints."""
    app = FastAPI(title="cvmfs-cloud gateway", openapi_url=None)
    app.state.bus = bus
    app.state.repositories = repositories
    app.state.settings = settings
    app.state.clock = clock
    app.state.metrics = metrics.Metrics(repositories, clock)
    for router in ROUTERS:
        app.include_router(router)
    add_problem_handlers(app)
    return app
