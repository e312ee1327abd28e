"""The queues of a running service, and those of the parked messages that a command is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import EventRefused
from gateway.cli.collect import time_span
from gateway.cli.options import repository_name
from gateway.cli.output import counted, say
from gateway.cli.service import service_settings, setting_of

if TYPE_CHECKING:
    from functions.ports import MessageHold, QueueAdmin
    from functions.publishing.parked_messages import Selection, WaitingMessage
    from functions.publishing.redriving import WayBack

UNROUTED = "unrouted"
"""What the queue of unrouted messages is called among the steps."""

UNROUTED_QUEUE = "cvmfs.unrouted"

MOST = 50_000
"""Messages that are looked at together; they wait in memory."""

StepName = Annotated[
    str, typer.Argument(metavar="STEP", help="A step, as `queue list` names it, or `unrouted`.", show_default=False)
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Only messages with these ids, as `queue show` has them."),
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(metavar="SPAN", parser=time_span, help="Only what was parked longer ago: 90m, 12h, 2d, 1w."),
]
OfRepository = Annotated[
    str | None, typer.Option("--repository", metavar="FQRN", parser=repository_name, help="Only of this repository.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Only with this text in the reason, in any case.")]


class NoSuchMessage(EventRefused):
    """There is no message with this id in the queue."""

    hint = "`cvmfs-cloud queue show STEP` has the ids; somebody else may hold it, or have redriven it."


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of the service, and where a step's messages are."""

    admin: QueueAdmin
    settings: Mapping[str, str]
    steps: Mapping[str, str]
    """The queue of each step, by the step's name."""

    @classmethod
    def open(cls, folder: Path, step: str | None = None) -> Queues:
        """The queues of the running service; a step that nobody knows is wrong usage."""
        from pydantic import SecretStr  # noqa: PLC0415

        from functions import wiring  # noqa: PLC0415
        from functions.local.runtime.manifests import Manifests, installed_folder  # noqa: PLC0415

        settings = service_settings("AMQP_URL", folder)
        sources = Manifests.load(installed_folder()).sources
        steps = {name: sources[name].queue for name in sorted(sources)}
        if step is not None and step not in {*steps, UNROUTED}:
            raise typer.BadParameter(
                f"{step!r} is no step: there are {', '.join([*steps, UNROUTED])}", param_hint="STEP"
            )
        return cls(wiring.build_queues(SecretStr(settings["AMQP_URL"])), settings, steps)

    def parked_queue(self, step: str) -> str:
        """The queue on which the messages of a step are parked."""
        from functions.publishing.parked_messages import parked_queue  # noqa: PLC0415

        return UNROUTED_QUEUE if step == UNROUTED else parked_queue(step)

    def parked(self, step: str) -> dict[str, object]:
        """How many messages are parked, and the time of the oldest."""
        from functions.publishing.parked_messages import looked_at  # noqa: PLC0415

        parked = self.admin.ready(self.parked_queue(step))
        oldest = None
        if parked:
            with self.admin.hold(self.parked_queue(step), most=1) as hold:
                oldest = next((looked_at(held, self.domain).at for held in hold.held), None)
        return {"parked": parked, "oldest": oldest or ""}

    @contextmanager
    def chosen(self, step: str, selection: Selection) -> Iterator[tuple[MessageHold, Sequence[WaitingMessage]]]:
        """Hold what is parked, and tell those that are meant; raises NoSuchMessage if an id is not among them."""
        from functions.publishing.parked_messages import looked_at  # noqa: PLC0415

        queue = self.parked_queue(step)
        there = self.admin.ready(queue) or 0
        with self.admin.hold(queue, most=MOST) as hold:
            found = [looked_at(held, self.domain) for held in hold.held]
            unknown = selection.ids - {waiting.id for waiting in found}
            if unknown:
                raise NoSuchMessage(f"{step} has no message {', '.join(sorted(unknown))}.")
            if there > len(found):
                say(f"Looked at the oldest {len(found):,} of {counted(there, 'message')}; the others wait behind them.")
            yield hold, [waiting for waiting in found if selection.takes(waiting)]

    def way_back(self, step: str, now: datetime) -> WayBack:
        """How a message of a step is redriven."""
        from functions.publishing import redriving  # noqa: PLC0415

        if step == UNROUTED:
            return redriving.to_exchange
        return redriving.to_step(self.steps[step], exchange=setting_of(self.settings, "event_exchange"), now=now)

    @property
    def domain(self) -> str:
        """What follows the bucket in the name of a repository."""
        return setting_of(self.settings, "repository_domain")


def selection_of(ids: list[str] | None, older_than: timedelta | None, repository: str | None, reason: str) -> Selection:
    """What the options of a command choose."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.parked_messages import Selection  # noqa: PLC0415

    before = None if older_than is None else wiring.utc_now() - older_than
    return Selection(frozenset(ids or ()), before, repository, reason)
