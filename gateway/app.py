"""The gateway as an ASGI application."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import FastAPI

from functions.ports import Clock, EventBus
from functions.settings import Settings
from gateway.problems import add_problem_handlers
from gateway.routes import router


def _utc_now() -> datetime:
    return datetime.now(UTC)


def build_app(bus: EventBus, settings: Settings, clock: Clock = _utc_now) -> FastAPI:
    """The application over a bus; README.md lists the endpoints."""
    app = FastAPI(title="cvmfs-cloud gateway", openapi_url=None)
    app.state.bus = bus
    app.state.settings = settings
    app.state.clock = clock
    app.include_router(router)
    add_problem_handlers(app)
    return app
