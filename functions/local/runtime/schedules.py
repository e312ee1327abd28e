"""Cron schedules as PingSource reads them: five fields, or six with the seconds first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator


def next_time(schedule: str, timezone: str, after: datetime) -> datetime:
    """The first moment later than `after` (aware) that a schedule means, in UTC."""
    return next(CronSim(schedule, after.astimezone(ZoneInfo(timezone)))).astimezone(UTC)


def _checked_schedule(text: str) -> str:
    """A schedule as it is; raises ValueError if it is none. Words such as ``@daily`` are left to the real one."""
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError as err:
        raise ValueError(f"{text!r} is not a cron schedule of five or six fields: {err}") from err
    return text


def _checked_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as err:
        raise ValueError(f"{name!r} is not a time zone such as Europe/Rome") from err
    return name


CronSchedule = Annotated[str, AfterValidator(_checked_schedule)]
TimeZone = Annotated[str, AfterValidator(_checked_timezone)]
