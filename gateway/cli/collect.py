"""Collecting garbage: what no revision that is kept refers to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.opened import confirm, open_publisher
from gateway.cli.options import AsJson, CheckedName, Force, Keys, Storage, WouldGo
from gateway.cli.output import counted, say, shown_size, status_line, write_json, write_line

if TYPE_CHECKING:
    from functions.cvmfs.address import Address
    from functions.publishing.collection import Collected, Progress
    from functions.publishing.retention import Retention

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d{1,6})([smhdw])")


def time_span(text: str) -> timedelta:
    """A span of time: ``90m``, ``12h``, ``3d``, ``2w``, or ``0``."""
    found = _SPAN.fullmatch(text + "s" if text == "0" else text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time: write 90m, 12h, 3d, 2w, or 0")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def moment(text: str) -> datetime:
    """A moment or how long ago it is: ``2026-11-24``, ``2026-11-24T12:00``, seconds since the epoch, or ``3d``."""
    try:
        if text.isdigit() and text != "0":
            return datetime.fromtimestamp(int(text), UTC)
        given = datetime.fromisoformat(text)
        return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC) - time_span(text)


def collect(
    *,
    storage: Storage,
    keys: Keys,
    fqrn: CheckedName = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            "-r",
            metavar="N",
            min=0,
            help="Keep this many revisions before the newest one; tagged ones always stay.",
            show_default=False,
        ),
    ] = None,
    keep_time: Annotated[
        datetime | None,
        typer.Option(
            "--keep-time",
            "-t",
            "-z",
            metavar="TIME",
            parser=moment,
            help="Keep revisions since then: 3d, 2026-11-24, or seconds since 1970 (UTC).",
            show_default="3d",
        ),
    ] = None,
    grace: Annotated[
        timedelta | None,
        typer.Option(
            metavar="SPAN",
            parser=time_span,
            help="Leave younger objects alone. Below 1d nobody may publish meanwhile.",
            show_default="8d",
        ),
    ] = None,
    leftovers: Annotated[
        bool,
        typer.Option(
            "--leftovers/--no-leftovers",
            help="List the storage, to find also what publishers that died have left; else only follow old revisions.",
        ),
    ] = True,
    dry_run: WouldGo = False,
    listed: Annotated[bool, typer.Option("--list", "-l", help="Show every object that goes.")] = False,
    log: Annotated[
        Path | None,
        typer.Option("--log", "-L", metavar="FILE", dir_okay=False, help="Append the names of what goes to a file."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Delete the revisions that are not kept, and everything that nothing refers to any more.

    Others may publish meanwhile. A run that is interrupted leaves a whole repository, and the next one goes on.
    """
    from functions.publishing.collection import Collector  # noqa: PLC0415
    from functions.publishing.retention import GRACE, LEAST_GRACE  # noqa: PLC0415

    if keep is not None and keep_time is not None:
        raise typer.BadParameter("keep a number of revisions or those since a time, not both", param_hint="--keep")
    grace = GRACE if grace is None else grace
    gone: list[str] = []
    show = _shown(gone, listed=listed, as_json=as_json)
    with open_publisher(storage, keys, fqrn) as publisher:
        if not dry_run:
            if grace < LEAST_GRACE:
                say(f"Objects younger than {_in_days(LEAST_GRACE)} may go: nobody may publish until this is done.")
            confirm(f"Delete what {publisher.fqrn} does not need any more?", force=force)
        with _deletion_log(log, publisher.clock) as noted, status_line("looking at what is kept") as display:

            def told(address: Address) -> None:
                noted(str(address))
                show(str(address))

            collector = Collector(
                publisher,
                _retention(keep, keep_time),
                grace=grace,
                leftovers=leftovers,
                told=told,
                progress=lambda progress: display(_progress_in_words(progress)),
            )
            collected = collector.collect(dry_run=dry_run)
    if as_json:
        write_json(members(collected, dry_run=dry_run) | ({"objects": gone} if listed else {}))
    else:
        say_outcome(collected, grace, dry_run=dry_run)


def _retention(keep: int | None, since: datetime | None) -> Retention | None:
    from functions.publishing.retention import Retention  # noqa: PLC0415

    if keep is not None:
        return Retention(revisions=keep)
    return None if since is None else Retention(since=int(since.timestamp()))


def _shown(gone: list[str], *, listed: bool, as_json: bool) -> Callable[[str], None]:
    """What is done with the name of an object that goes."""
    if not listed:
        return lambda _name: None
    return gone.append if as_json else write_line


@contextmanager
def _deletion_log(file: Path | None, clock: Callable[[], datetime]) -> Iterator[Callable[[str], None]]:
    """Appends lines to a file, between the two that ``swissknife_gc.cc: Main`` writes; no last one if it breaks off."""
    try:
        opened = nullcontext() if file is None else file.open("a", encoding="ascii")
    except OSError as err:
        raise typer.BadParameter(f"{file} cannot be written: {err.strerror}", param_hint="--log") from err
    with opened as lines:
        if lines is None:
            yield lambda _name: None
            return
        lines.write(f"# Garbage Collection started at {_stamp(clock())}\n")
        yield lambda name: lines.writelines((name, "\n"))
        lines.write(f"# Garbage Collection finished at {_stamp(clock())}\n\n")


def _stamp(now: datetime) -> str:
    """A time as upstream's log has it (``string.cc: StringifyTime``), here in UTC."""
    return f"{now.day} {now.astimezone(UTC):%b %Y %H:%M:%S}"


def _progress_in_words(progress: Progress) -> str:
    if progress.deleted:
        return f"deleting: {counted(progress.deleted, 'object')}, {shown_size(progress.deleted_bytes)}"
    return f"looking at what is kept: {counted(progress.catalogs, 'catalog')}"


def members(collected: Collected, *, dry_run: bool) -> dict[str, object]:
    """The outcome of a collection for programs."""
    swept = collected.swept
    return {
        "repository": collected.manifest.fqrn,
        "revision": collected.manifest.revision,
        "dry_run": dry_run,
        "complete": swept.complete,
        "kept_roots": collected.kept_roots,
        "condemned_roots": [str(root) for root in collected.condemned_roots],
        "kept_objects": collected.reachable,
        "deleted_objects": swept.count,
        "deleted_bytes": swept.bytes,
        "deleted": {kind.name.lower(): number for kind, number in swept.objects.items()},
        "young_objects": swept.young_objects,
        "young_bytes": swept.young_bytes,
    }


def say_outcome(collected: Collected, grace: timedelta, *, dry_run: bool) -> None:
    """The outcome of a collection for a person."""
    swept = collected.swept
    roots = len(collected.condemned_roots)
    verb = "Would delete" if dry_run else "Deleted"
    write_line(f"{verb} {counted(swept.count, 'object')}, {shown_size(swept.bytes)}, of {collected.manifest.fqrn}.")
    say(
        f"{counted(roots, 'revision')} {'would be' if dry_run else 'were'} given up; "
        f"{counted(collected.kept_roots, 'root catalog')} with {counted(collected.reachable, 'object')} "
        f"{'would stay' if dry_run else 'stay'}."
    )
    if swept.young_objects:
        say(
            f"Nothing refers to {counted(swept.young_objects, 'more object')}, {shown_size(swept.young_bytes)}. "
            f"Younger than {_in_days(grace)}, they may belong to a publish under way, and stay for now."
        )


def _in_days(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:g} d" if hours >= 24 else f"{hours:g} h"
