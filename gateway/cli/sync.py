"""Having a repository held against its bucket, and looking at what is different without changing anything."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions.errors import Permanent, Retryable
from gateway.cli.options import DEFAULT_FOLDER, AsJson, StackFolder, Timeout, Wait, repository_name
from gateway.cli.output import counted, printable, say, write_json, write_line
from gateway.cli.service import SOURCE, service_settings, setting_of
from gateway.cli.wishes import require_known, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events import ReconciliationRequested
    from functions.ports import EventBus
    from functions.publishing.comparison import Difference
    from functions.publishing.reconciliations import Reconciliation
    from functions.publishing.reconciling import Reconciling, Scope

POLL_S = 0.5
_SIGNS = {"new": "+", "refused": "+", "gone": "-"}

Name = Annotated[
    str | None,
    typer.Argument(metavar="FQRN", help="The repository's name.", parser=repository_name, show_default=False),
]


class NotReconciled(Retryable):
    """The reconciliation that was waited for has not ended, or what it found is not published yet."""

    code = "not-reconciled"
    hint = "Look at `cvmfs-cloud status`, or wait again: it goes on by itself."


class ReconciliationRefused(Permanent):
    """The bucket was not believed."""

    code = "reconciliation-refused"
    hint = "See `cvmfs-cloud status`; --allow-empty confirms that the bucket is as it should be."


def sync(
    fqrn: Name = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences and change nothing.")] = False,
    prefix: Annotated[str, typer.Option(metavar="P", help="Only keys that begin with cvmfs/P.")] = "",
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Also believe a bucket that is empty, gone, or was made anew.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    every: Annotated[bool, typer.Option("--all", help="Ask for every repository, as the timer does.")] = False,
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Make a repository equal to its bucket, whatever was lost on the way."""
    if (fqrn is None) is not every:
        raise typer.BadParameter("name one repository, or all of them with --all")
    if every and (dry_run or wait or prefix or allow_empty):
        raise typer.BadParameter("--all goes with no other option: it is what the timer does")
    if every:
        asked = _ask_for_all(folder)
        _tell(asked, f"Asked for {counted(len(asked), 'repository', 'repositories')}.", as_json=as_json)
        return
    assert fqrn is not None
    if dry_run:
        _show(_reconciling(fqrn, folder, allow_empty=allow_empty), _scope(prefix), as_json=as_json)
        return
    require_known(settings_of(service_settings("AMQP_URL", folder)), fqrn)
    asked_for = _ask(fqrn, folder, prefix=prefix, allow_empty=allow_empty)
    if not wait:
        _tell([asked_for], f"Asked for {fqrn}; `cvmfs-cloud status` shows how it went.", as_json=as_json)
        return
    give_up_at = time.monotonic() + timeout
    done = _wait_until_done(fqrn, asked_for.cause, folder, give_up_at)
    while left := _count(_reconciling(fqrn, folder, allow_empty=allow_empty), _scope(prefix)):
        if time.monotonic() >= give_up_at:
            raise NotReconciled(f"{fqrn}: {counted(left, 'difference is', 'differences are')} not published in time.")
        time.sleep(POLL_S)
    if as_json:
        write_json(done.model_dump(mode="json"))
    else:
        write_line(f"{fqrn} is equal to its bucket: {summary(done)}.")


def summary(done: Reconciliation) -> str:
    """What a reconciliation found, for a person."""
    counts = done.counts
    told = f"{counted(counts.objects, 'object')}, {counted(counts.differences, 'difference')}"
    return f"{told}, {counts.refused} refused" if counts.refused else told


def _scope(prefix: str) -> Scope:
    from functions.publishing.reconciling import Scope  # noqa: PLC0415

    return Scope(prefix)


# Asking


def _ask(fqrn: str, folder: Path, *, prefix: str, allow_empty: bool) -> ReconciliationRequested:
    """Ask for a reconciliation; it is found again by its cause."""
    from functions import wiring  # noqa: PLC0415

    cause = f"cvmfs-cloud sync {wiring.utc_now().isoformat(timespec='milliseconds')}"
    return request(fqrn, folder, cause=cause, prefix=prefix, allow_empty=allow_empty, again=True)


def request(fqrn: str, folder: Path, **wish: Any) -> ReconciliationRequested:
    """Send ``reconciliation.requested`` with these fields, and return it."""
    from events import ReconciliationRequested  # noqa: PLC0415
    from functions import wiring  # noqa: PLC0415

    wanted = ReconciliationRequested(repository=fqrn, **wish)
    _bus(folder).publish([wanted.to_cloudevent(source=SOURCE, time=wiring.utc_now())])
    return wanted


def _tell(requests: Sequence[ReconciliationRequested], message: str, *, as_json: bool) -> None:
    """Say what was asked for, or its events in the form that `ask` of other wishes has."""
    if as_json:
        write_json([{"id": wanted.id, "type": wanted.TYPE, "status": "accepted"} for wanted in requests])
    else:
        write_line(message)


def _ask_for_all(folder: Path) -> Sequence[ReconciliationRequested]:
    from events import ReconciliationRequested  # noqa: PLC0415
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.records import repository_names  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    now = wiring.utc_now()
    names = list(repository_names(wiring.build_state(Settings.from_mapping(service_settings("S3_ENDPOINT", folder)))))
    cause = f"cvmfs-cloud sync --all {now.isoformat(timespec='milliseconds')}"
    requests = [ReconciliationRequested(repository=name, cause=cause) for name in names]
    _bus(folder).publish([request.to_cloudevent(source=SOURCE, time=now) for request in requests])
    return requests


def _bus(folder: Path) -> EventBus:
    from functions import wiring  # noqa: PLC0415

    settings = service_settings("AMQP_URL", folder)
    return wiring.open_bus(settings["AMQP_URL"], exchange=setting_of(settings, "event_exchange"))


# Waiting


def _wait_until_done(fqrn: str, cause: str, folder: Path, give_up_at: float) -> Reconciliation:
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.reconciliations import Progress, last_reconciliation  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    state = wiring.build_state(Settings.from_mapping(service_settings("S3_ENDPOINT", folder)))
    while True:
        last = last_reconciliation(state, fqrn)
        if last is not None and last.cause == cause and last.progress is not Progress.UNDER_WAY:
            break
        if time.monotonic() >= give_up_at:
            raise NotReconciled(f"the reconciliation of {fqrn} has not ended in time.")
        time.sleep(POLL_S)
    if last.progress is Progress.REFUSED:
        raise ReconciliationRefused(last.reason)
    return last


# Looking


def _reconciling(fqrn: str, folder: Path, *, allow_empty: bool) -> Reconciling:
    """Bucket and repository, read only; raises BucketNotBelieved."""
    from functions import wiring  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    return wiring.open_reconciling(
        Settings.from_mapping(service_settings("S3_ENDPOINT", folder)), fqrn, allow_empty=allow_empty
    )


def _count(reconciling: Reconciling, scope: Scope) -> int:
    return sum(1 for verdict in reconciling.verdicts(scope) if verdict.difference is not None)


def _show(reconciling: Reconciling, scope: Scope, *, as_json: bool) -> None:
    found: list[dict[str, str]] = []
    for verdict in reconciling.verdicts(scope):
        if verdict.difference is None:
            continue
        if as_json:
            found.append(_member(verdict.difference))
        else:
            write_line(_line(verdict.difference))
    tally = reconciling.tally
    if as_json:
        write_json({"repository": reconciling.record.repository, **asdict(tally), "differences": found})
        return
    more = f"; {tally.refused} refused, as the problems say" if tally.refused else ""
    more += f"; {tally.kept} stay, since the bucket was made anew" if tally.kept else ""
    differ = f"{tally.new} new, {tally.changed} changed, {tally.gone} gone"
    say(f"{counted(tally.objects, 'object')} and {counted(tally.entries, 'entry', 'entries')}: {differ}{more}.")


def _line(difference: Difference) -> str:
    sign = _SIGNS.get(difference.reason.value, "~")
    path = f" ({difference.path})" if difference.path else ""
    return f"{sign} {printable(difference.key)}{printable(path)}: {difference.reason.value}"


def _member(difference: Difference) -> dict[str, str]:
    sign = _SIGNS.get(difference.reason.value, "~")
    return {"sign": sign, "key": difference.key, "path": difference.path, "reason": difference.reason.value}
