"""What `status` says of a repository's bucket: how the newest reconciliation went, or that there is no bucket yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import counted, printable
from gateway.cli.service import publisher_settings
from gateway.cli.sync import request, summary

if TYPE_CHECKING:
    from functions.publishing.reconciliations import Reconciliation


@dataclass(frozen=True, slots=True)
class BucketState:
    """Nothing where nobody can be asked; `waiting` for a bucket that was not there yet."""

    last: Reconciliation | None = None
    waiting: bool = False

    def members(self) -> dict[str, Any]:
        """For programs."""
        last = None if self.last is None else self.last.model_dump(mode="json", exclude={"repository"})
        return {"bucket": {"waiting": self.waiting, "reconciliation": last}}

    def lines(self) -> list[str]:
        """For a person."""
        if self.waiting:
            return ["bucket      is not there yet; once it is, what it holds is published within a minute"]
        return [] if self.last is None else [printable(f"bucket      {_told(self.last)}")]


def bucket_state(fqrn: str, folder: Path, address: str) -> BucketState:
    """What the local stack knows, if it publishes at `address`; a repository that waits for its bucket is looked at."""
    settings = publisher_settings(address, folder, fqrn)
    if settings is None:
        return BucketState()
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.reconciliations import is_waiting, last_reconciliation  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    state = wiring.build_state(Settings.from_mapping(settings))
    waiting = is_waiting(state, fqrn)
    if waiting:
        request(fqrn, folder, cause="status")
    return BucketState(last_reconciliation(state, fqrn), waiting)


def _told(last: Reconciliation) -> str:
    if last.finished_at is None:
        return f"is being compared since {_time(last.started_at)}: {counted(last.counts.objects, 'object')} so far"
    if last.reason:
        return f"not followed at {_time(last.finished_at)}: {last.reason}"
    return f"compared at {_time(last.finished_at)}: {summary(last)}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
