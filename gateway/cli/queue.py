"""What waits for a person: parked and unrouted messages, listed, read, redriven and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.opened import confirm, would_ask
from gateway.cli.options import DEFAULT_FOLDER, AsJson, StackFolder, Yes
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
from gateway.cli.parked import UNROUTED, Ids, OfRepository, OlderThan, Queues, Reason, StepName, selection_of
from gateway.cli.queue_output import COLUMNS, body_lines, brief_lines, members, nothing_of, row

if TYPE_CHECKING:
    from functions.publishing.parked_messages import WaitingMessage

FED_BY_BUCKETS = frozenset({"handle-bucket-notification", "publish-transaction", UNROUTED})
"""Steps whose messages tell of buckets: what is lost with one of them can be found there."""


def list_queues(folder: StackFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Count what waits for each step, and what is parked, since when."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.parked_messages import retry_queue  # noqa: PLC0415

    queues = Queues.open(folder)
    now = wiring.utc_now()
    steps = [
        {
            "step": step,
            "ready": queues.admin.ready(queue),
            "retry": queues.admin.ready(retry_queue(step)),
            **queues.parked(step),
        }
        for step, queue in queues.steps.items()
    ]
    unrouted = queues.parked(UNROUTED)
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

    queues, selection = Queues.open(folder, step), selection_of(ids, older_than, repository, reason)
    with queues.chosen(step, selection) as (_, chosen):
        pass  # given back before anything is shown: a pager may hold up what follows for long
    if as_json:
        write_json([members(waiting) for waiting in chosen])
        return
    now = wiring.utc_now()
    if not chosen:
        write_line(nothing_of(step))
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
    """Send parked messages to their step again, all or those that are chosen; unrouted ones to their exchange."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing import redriving  # noqa: PLC0415

    queues, selection = Queues.open(folder, step), selection_of(ids, older_than, repository, reason)
    way_back = queues.way_back(step, wiring.utc_now())
    with queues.chosen(step, selection) as (hold, chosen), status_line("redriving") as display:
        total = counted(len(chosen), "message")
        stayed = redriving.redrive(hold, chosen, way_back, told=lambda done: display(f"redriven {done:,} of {total}"))
    gone = [waiting for waiting in chosen if waiting.id not in stayed]
    if as_json:
        write_json({"redriven": [members(waiting) for waiting in gone], "stayed": stayed})
    else:
        write_line(f"Redriven {counted(len(gone), 'message')} of {step}." if chosen else nothing_of(step))
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
    yes: Yes = False,
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Remove parked messages for good; each is written out before it goes, with --json whole.

    Repositories that miss something by it are held against their buckets.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing import redriving  # noqa: PLC0415

    queues, selection = Queues.open(folder, step), selection_of(ids, older_than, repository, reason)
    dropped: list[WaitingMessage] = []

    def log(waiting: WaitingMessage) -> None:
        dropped.append(waiting)
        say(printable("dropping " + "  ".join(row(waiting, now))))

    repositories: Sequence[str] = ()
    asked_for: Sequence[str] = ()
    with queues.chosen(step, selection) as (hold, chosen):
        now = wiring.utc_now()
        if chosen:
            if would_ask(force=yes):
                for line in brief_lines(chosen, now):
                    say(printable(line))
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
        write_line(f"Dropped {counted(len(dropped), 'message')} of {step}." if dropped else nothing_of(step))
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


def _in_json(counts: Mapping[str, object]) -> dict[str, object]:
    oldest = counts["oldest"]
    return {name: value for name, value in counts.items() if name != "oldest"} | {
        "oldest_parked_at": oldest.isoformat() if isinstance(oldest, datetime) else None
    }


def _shown(cell: object, now: datetime) -> object:
    return ago(now - cell) if isinstance(cell, datetime) else cell
