"""What waits for a person: parked and unrouted messages, listed, read, redriven and dropped."""

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
from gateway.cli.opened import confirm
from gateway.cli.options import DEFAULT_FOLDER, AsJson, StackFolder, repository_name
from gateway.cli.output import (
    ExitCode,
    ago,
    counted,
    printable,
    say,
    status_line,
    write_json,
    write_line,
    write_table,
)
from gateway.cli.queue_output import body_lines, members, row
from gateway.cli.service import service_settings

if TYPE_CHECKING:
    from functions.ports import MessageHold, QueueAdmin
    from functions.publishing.parked_messages import Selection, WaitingMessage
    from functions.publishing.redriving import WayBack

UNROUTED = "unrouted"
"""What the queue of unrouted messages is called among the steps."""

UNROUTED_QUEUE = "cvmfs.unrouted"

MOST = 50_000
"""Messages that are looked at together; they wait in memory."""

COLUMNS = ("id", "parked", "repository", "message", "reason")

StepName = Annotated[
    str, typer.Argument(metavar="STEP", help="A step, as `queue list` names it, or `unrouted`.", show_default=False)
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Only messages with these ids, as `queue show` has them."),
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(metavar="SPAN", parser=time_span, help="Only what was parked longer ago: 90m, 12h, 2d, 1w."),
]
OfRepository = Annotated[
    str | None, typer.Option("--repository", metavar="FQRN", parser=repository_name, help="Only of this repository.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Only with this text in the reason, in any case.")]

FED_BY_BUCKETS = frozenset({"handle-bucket-notification", "publish-transaction", "unrouted"})
"""Steps whose messages tell of buckets: what is lost with one of them can be found there."""


class NoSuchMessage(EventRefused):
    """There is no message with this id in the queue."""

    hint = "`cvmfs-cloud queue show STEP` has the ids; somebody else may hold it, or have redriven it."


@dataclass(frozen=True, slots=True)
class _Queues:
    """The queues of the service, and where a step's messages are."""

    admin: QueueAdmin
    settings: Mapping[str, str]
    steps: Mapping[str, str]
    """The queue of each step, by the step's name."""

    def parked(self, step: str) -> str:
        return UNROUTED_QUEUE if step == UNROUTED else f"fn.{step}.parked"

    def way_back(self, step: str, now: datetime) -> WayBack:
        from functions.publishing import redriving  # noqa: PLC0415

        if step == UNROUTED:
            return redriving.to_exchange
        return redriving.to_step(self.steps[step], exchange=self._setting("event_exchange"), now=now)

    @property
    def domain(self) -> str:
        return self._setting("repository_domain")

    def _setting(self, name: str) -> str:
        from functions.settings import Settings  # noqa: PLC0415

        return self.settings.get(name.upper()) or str(Settings.model_fields[name].default)


def list_queues(folder: StackFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Count what waits for each step, and what is parked, since when."""
    from functions import wiring  # noqa: PLC0415

    queues = _open(folder)
    now = wiring.utc_now()
    steps = [
        {
            "step": step,
            "ready": queues.admin.ready(queue),
            "retry": queues.admin.ready(f"fn.{step}.retry"),
            **_waiting(queues, step),
        }
        for step, queue in queues.steps.items()
    ]
    unrouted = _waiting(queues, UNROUTED)
    if as_json:
        write_json({"steps": [_in_json(step) for step in steps], "unrouted": _in_json(unrouted)})
        return
    rows = [(step["step"], step["ready"], step["retry"], step["parked"], step["oldest"]) for step in steps]
    rows.append((UNROUTED, "", "", unrouted["parked"], unrouted["oldest"]))
    columns = ("step", "ready", "retry", "parked", "oldest parked")
    write_table(columns, [["missing" if cell is None else _shown(cell, now) for cell in cells] for cells in rows])


def show(
    step: StepName,
    ids: Ids = None,
    *,
    older_than: OlderThan = None,
    repository: OfRepository = None,
    reason: Reason = "",
    body: Annotated[bool, typer.Option("--body", help="Show what the messages carry, too.")] = False,
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show parked messages, oldest first; all of them stay where they are."""
    from functions import wiring  # noqa: PLC0415

    queues, selection = _open(folder, step), _selection(ids, older_than, repository, reason)
    with _chosen(queues, step, selection) as (_, chosen):
        pass  # given back before anything is shown: a pager may hold up what follows for long
    if as_json:
        write_json([members(waiting) for waiting in chosen])
        return
    now = wiring.utc_now()
    if not chosen:
        write_line(_nothing(step))
    elif body:
        for waiting in chosen:
            write_line(printable("  ".join(row(waiting, now))))
            for line in body_lines(waiting):
                write_line(f"    {printable(line)}")
    else:
        write_table(COLUMNS, [row(waiting, now) for waiting in chosen])


def redrive(
    step: StepName,
    ids: Ids = None,
    *,
    older_than: OlderThan = None,
    repository: OfRepository = None,
    reason: Reason = "",
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Send parked messages to their step again, all of it or those that are chosen; unrouted ones to their exchange."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing import redriving  # noqa: PLC0415

    queues, selection = _open(folder, step), _selection(ids, older_than, repository, reason)
    way_back = queues.way_back(step, wiring.utc_now())
    with _chosen(queues, step, selection) as (hold, chosen), status_line("redriving") as display:
        total = counted(len(chosen), "message")
        stayed = redriving.redrive(hold, chosen, way_back, told=lambda done: display(f"redriven {done:,} of {total}"))
    gone = [waiting for waiting in chosen if waiting.id not in stayed]
    if as_json:
        write_json({"redriven": [members(waiting) for waiting in gone], "stayed": stayed})
    else:
        write_line(f"Redriven {counted(len(gone), 'message')} of {step}." if chosen else _nothing(step))
        for waiting_id, fault in stayed.items():
            write_line(printable(f"{waiting_id} stays: {fault}"))
    if stayed:
        raise typer.Exit(ExitCode.TRY_AGAIN)


def drop(
    step: StepName,
    ids: Ids = None,
    *,
    older_than: OlderThan = None,
    repository: OfRepository = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Remove parked messages for good; each is written out before it goes, with --json whole.

    Repositories that miss something by it are held against their buckets.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing import redriving  # noqa: PLC0415

    queues, selection = _open(folder, step), _selection(ids, older_than, repository, reason)
    dropped: list[WaitingMessage] = []

    def log(waiting: WaitingMessage) -> None:
        dropped.append(waiting)
        say(printable("dropping " + "  ".join(row(waiting, now))))

    repositories: Sequence[str] = ()
    asked_for: Sequence[str] = ()
    with _chosen(queues, step, selection) as (hold, chosen):
        now = wiring.utc_now()
        if chosen:
            _show_briefly(chosen, now)
            confirm(f"Drop {counted(len(chosen), 'message')} of {step} for good?", force=yes)
            repositories = redriving.concerned(chosen)
            if step in FED_BY_BUCKETS:
                # Before anything goes: asked for too early is as good, and too late may be never.
                asked_for = repositories
                _ask_for(asked_for, step, folder)
            with status_line("dropping") as display:
                redriving.drop(hold, chosen, log=log, told=lambda done: display(f"dropped {done:,}"))
    if as_json:
        write_json(
            {
                "dropped": [members(waiting) for waiting in dropped],
                "repositories": list(repositories),
                "reconciling": list(asked_for),
            }
        )
    else:
        write_line(f"Dropped {counted(len(dropped), 'message')} of {step}." if dropped else _nothing(step))
    for name in asked_for:
        say(f"{name} is held against its bucket to find what it has missed: see `cvmfs-cloud status {name}`.")


def _ask_for(repositories: Sequence[str], step: str, folder: Path) -> None:
    """Ask for a look at the whole bucket of each repository."""
    from functions import wiring  # noqa: PLC0415
    from gateway.cli import sync  # noqa: PLC0415

    cause = f"dropped from {step} {wiring.utc_now().isoformat(timespec='milliseconds')}"
    for name in repositories:
        # Not `again`: what was parked as refused would be refused and parked once more.
        sync.request(name, folder, cause=cause)


def _open(folder: Path, step: str | None = None) -> _Queues:
    """The queues of the running service; a step that nobody knows is wrong usage."""
    from pydantic import SecretStr  # noqa: PLC0415

    from functions import wiring  # noqa: PLC0415
    from functions.local.runtime.manifests import Manifests, installed_folder  # noqa: PLC0415

    settings = service_settings("AMQP_URL", folder)
    sources = Manifests.load(installed_folder()).sources
    steps = {name: sources[name].queue for name in sorted(sources)}
    if step is not None and step not in {*steps, UNROUTED}:
        raise typer.BadParameter(f"{step!r} is no step: there are {', '.join([*steps, UNROUTED])}", param_hint="STEP")
    return _Queues(wiring.build_queues(SecretStr(settings["AMQP_URL"])), settings, steps)


def _selection(ids: list[str] | None, older_than: timedelta | None, repository: str | None, reason: str) -> Selection:
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.parked_messages import Selection  # noqa: PLC0415

    before = None if older_than is None else wiring.utc_now() - older_than
    return Selection(frozenset(ids or ()), before, repository, reason)


@contextmanager
def _chosen(queues: _Queues, step: str, selection: Selection) -> Iterator[tuple[MessageHold, Sequence[WaitingMessage]]]:
    """Hold what is parked, and tell those that are meant; raises NoSuchMessage if an id is not among them."""
    from functions.publishing.parked_messages import looked_at  # noqa: PLC0415

    queue = queues.parked(step)
    there = queues.admin.ready(queue) or 0
    with queues.admin.hold(queue, most=MOST) as hold:
        found = [looked_at(held, queues.domain) for held in hold.held]
        unknown = selection.ids - {waiting.id for waiting in found}
        if unknown:
            raise NoSuchMessage(f"{step} has no message {', '.join(sorted(unknown))}.")
        if there > len(found):
            say(f"Looked at the oldest {len(found):,} of {counted(there, 'message')}; the others wait behind them.")
        yield hold, [waiting for waiting in found if selection.takes(waiting)]


def _waiting(queues: _Queues, step: str) -> dict[str, object]:
    """How many messages are parked, and the time of the oldest."""
    from functions.publishing.parked_messages import looked_at  # noqa: PLC0415

    parked = queues.admin.ready(queues.parked(step))
    oldest = None
    if parked:
        with queues.admin.hold(queues.parked(step), most=1) as hold:
            oldest = next((looked_at(held, queues.domain).at for held in hold.held), None)
    return {"parked": parked, "oldest": oldest or ""}


def _in_json(counts: Mapping[str, object]) -> dict[str, object]:
    oldest = counts["oldest"]
    return {name: value for name, value in counts.items() if name != "oldest"} | {
        "oldest_parked_at": oldest.isoformat() if isinstance(oldest, datetime) else None
    }


def _shown(cell: object, now: datetime) -> object:
    return ago(now - cell) if isinstance(cell, datetime) else cell


def _show_briefly(chosen: Sequence[WaitingMessage], now: datetime) -> None:
    for waiting in chosen[:10]:
        say(printable("  ".join(row(waiting, now))))
    if len(chosen) > 10:
        say(f"and {len(chosen) - 10:,} more; `cvmfs-cloud queue show` has them all.")


def _nothing(step: str) -> str:
    return f"Nothing of {step} is parked that fits."
