"""Checking repositories, in a folder, a bucket, or behind HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import AsJson, Location, MasterKeys, public_keys, repository_path, tell_unsigned
from gateway.cli.output import ExitCode, counted, printable, shown_size, write_json, write_line

if TYPE_CHECKING:
    from functions.cvmfs.checker import Counts, Report
    from functions.cvmfs.findings import Finding
    from functions.cvmfs.scrub import Scrubbed

THREADS = 8


def check(
    location: Location,
    *,
    key: MasterKeys = None,
    fqrn: Annotated[str | None, typer.Option("--fqrn", metavar="FQRN", help="The name it must have.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Read, hash and inflate every object too.")] = False,
    no_objects: Annotated[
        bool, typer.Option("--no-objects", help="Do not even ask whether the objects of files are there.")
    ] = False,
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", metavar="NAME", help="Check the tree of this tag, not the newest one.")
    ] = None,
    subtree: Annotated[
        str,
        typer.Option(
            "--subtree",
            "-s",
            metavar="/PATH",
            parser=repository_path,
            show_default=False,
            help="Begin at the nested catalog that is mounted here.",
        ),
    ] = "",
    all_tags: Annotated[bool, typer.Option("--all-tags", help="Check the trees of all tags too.")] = False,
    scrub: Annotated[
        bool, typer.Option("--scrub", "-i", help="Hash everything that is stored too, referred to or not.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything a client, a replica and the official tools rely on."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.checker import Scope, check_repository  # noqa: PLC0415

    if no_objects and data:
        raise typer.BadParameter("--data reads every object: leave one of the two out", param_hint="--no-objects")
    keys = public_keys(key or [])
    fetch, exists = wiring.open_fetch(location)
    with ThreadPoolExecutor(THREADS) as executor, _display() as told:
        report = check_repository(
            fetch,
            exists=exists,
            public_keys=keys,
            fqrn=fqrn,
            now=wiring.utc_now(),
            scope=Scope(tag, subtree, objects=not no_objects, data=data, all_tags=all_tags),
            progress=lambda counts: told(f"checking: {_in_words(counts)}"),
            executor=executor,
        )
        scrubbed = _scrub(location, executor, told) if scrub else None
    if as_json:
        _write_report(report, scrubbed, signatures_checked=keys is not None)
    else:
        _show_report(report, scrubbed, data=data)
        tell_unsigned(keys)
    if not _is_sound(report, scrubbed):
        raise typer.Exit(ExitCode.REFUSED)


def _scrub(location: str, executor: ThreadPoolExecutor, told: Callable[[str], None]) -> Scrubbed:
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.scrub import OBJECTS, scrub  # noqa: PLC0415

    if location.startswith(("http://", "https://")):
        raise typer.BadParameter("a web server does not list what is stored: give the storage", param_hint="--scrub")
    store = wiring.open_storage(wiring.storage_of(location))

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    paths = (info.path for info in store.list(OBJECTS))
    return scrub(
        paths, fetch, executor=executor, progress=lambda objects: told(f"scrubbing: {counted(objects, 'object')}")
    )


def _is_sound(report: Report, scrubbed: Scrubbed | None) -> bool:
    return report.ok and (scrubbed is None or scrubbed.ok)


@contextmanager
def _display() -> Iterator[Callable[[str], None]]:
    """Shows on a terminal how far a check has come."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status("checking") as display:
        yield display.update


def _in_words(counts: Counts) -> str:
    return (
        f"{counted(counts.catalogs, 'catalog')}, {counted(counts.entries, 'entry', 'entries')}, "
        f"{counted(counts.objects, 'object')}"
    )


def _findings(report: Report, scrubbed: Scrubbed | None) -> list[Finding]:
    return [*report.findings, *(() if scrubbed is None else scrubbed.findings)]


def _write_report(report: Report, scrubbed: Scrubbed | None, *, signatures_checked: bool) -> None:
    members: dict[str, object] = {
        "ok": _is_sound(report, scrubbed),
        "signatures_checked": signatures_checked,
        "findings": [
            {"severity": str(finding.severity), "where": finding.where, "what": finding.what}
            for finding in _findings(report, scrubbed)
        ],
        "catalogs": report.counts.catalogs,
        "entries": report.counts.entries,
        "objects": report.counts.objects,
        "bytes": report.counts.bytes,
    }
    if scrubbed is not None:
        members |= {"scrubbed_objects": scrubbed.objects, "scrubbed_bytes": scrubbed.bytes}
    write_json(members)


def _show_report(report: Report, scrubbed: Scrubbed | None, *, data: bool) -> None:
    findings = _findings(report, scrubbed)
    for finding in findings:
        write_line(printable(str(finding)))
    read = f", {shown_size(report.counts.bytes)} of content hashed" if data else ""
    if scrubbed is not None:
        read += f", {counted(scrubbed.objects, 'stored object')} of {shown_size(scrubbed.bytes)} scrubbed"
    outcome = "nothing is broken" if _is_sound(report, scrubbed) else "the repository is broken"
    write_line(f"{_in_words(report.counts)}{read}: {counted(len(findings), 'finding')}, {outcome}.")
