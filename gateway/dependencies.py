"""What endpoints are given: the parts that ``build_app`` put together, and the request's headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from functions.ports import Clock, EventBus
from functions.publishing.overview import Repositories
from functions.settings import Settings


def _bus(request: Request) -> EventBus:
    bus: EventBus = request.app.state.bus
    return bus


def _repositories(request: Request) -> Repositories:
    repositories: Repositories = request.app.state.repositories
    return repositories


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _clock(request: Request) -> Clock:
    clock: Clock = request.app.state.clock
    return clock


def _now(request: Request) -> datetime:
    return _clock(request)()


def _headers(request: Request) -> Mapping[str, str]:
    return request.headers


BusOf = Annotated[EventBus, Depends(_bus)]
RepositoriesOf = Annotated[Repositories, Depends(_repositories)]
SettingsOf = Annotated[Settings, Depends(_settings)]
ClockOf = Annotated[Clock, Depends(_clock)]
Now = Annotated[datetime, Depends(_now)]
HeadersOf = Annotated[Mapping[str, str], Depends(_headers)]
