"""Reading and checking repositories, in a folder or behind HTTP."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import Permanent
from gateway.cli.options import AsJson, Location, MasterKeys, Tag, public_keys, repository_path, tell_unsigned
from gateway.cli.output import ExitCode, counted, printable, shown_size, write_json, write_line, write_table

if TYPE_CHECKING:
    from functions.cvmfs.checker import Counts, Report
    from functions.cvmfs.entry import Entry
    from functions.cvmfs.reader import Repository, Snapshot

THREADS = 8

PathInside = Annotated[
    str, typer.Argument(metavar="PATH_IN_REPO", parser=repository_path, help="A path in the repository.")
]


class PathUnknown(Permanent):
    """The repository has no such path."""

    hint = "List what there is with `cvmfs-cloud repo ls`."


class TagUnknown(Permanent):
    """The repository has no such tag."""

    hint = "List its tags with `cvmfs-cloud repo tags`."


def check(
    location: Location,
    *,
    key: MasterKeys = None,
    fqrn: Annotated[str | None, typer.Option("--fqrn", metavar="FQRN", help="The name it must have.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Read, hash and inflate every object too.")] = False,
    all_tags: Annotated[bool, typer.Option("--all-tags", help="Check the trees of all tags too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything a client, a replica and the official tools rely on."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.checker import check_repository  # noqa: PLC0415

    keys = public_keys(key or [])
    fetch, exists = wiring.open_fetch(location)
    with ThreadPoolExecutor(THREADS) as executor, _shown_counts() as shown:
        report = check_repository(
            fetch,
            exists=exists,
            public_keys=keys,
            fqrn=fqrn,
            now=wiring.utc_now(),
            data=data,
            all_tags=all_tags,
            progress=shown,
            executor=executor,
        )
    if as_json:
        write_json(
            {
                "ok": report.ok,
                "signatures_checked": keys is not None,
                "findings": [
                    {"severity": str(finding.severity), "where": finding.where, "what": finding.what}
                    for finding in report.findings
                ],
                "catalogs": report.counts.catalogs,
                "entries": report.counts.entries,
                "objects": report.counts.objects,
                "bytes": report.counts.bytes,
            }
        )
    else:
        _show_report(report, data=data)
        tell_unsigned(keys)
    if not report.ok:
        raise typer.Exit(ExitCode.REFUSED)


def list_entries(
    location: Location,
    path: PathInside = "",
    *,
    long: Annotated[bool, typer.Option("-l", help="Show modes, sizes, times and the targets of links.")] = False,
    recursive: Annotated[bool, typer.Option("-R", help="Show everything below, with whole paths.")] = False,
    tag: Tag = None,
    key: MasterKeys = None,
    as_json: AsJson = False,
) -> None:
    """List a directory of a repository."""
    snapshot = _snapshot(location, key, tag)
    listed = _listed(snapshot, path, recursive=recursive)
    if as_json:
        write_json([_as_members(name, entry) for name, entry in listed])
        return
    for name, entry in listed:
        shown = printable(name) if sys.stdout.isatty() else name
        write_line(_long_line(shown, entry) if long else shown)


def cat(location: Location, path: PathInside, *, tag: Tag = None, key: MasterKeys = None) -> None:
    """Write the content of a file of a repository to standard output; every object is verified by its hash."""
    snapshot = _snapshot(location, key, tag)
    entry = snapshot.lookup(path)
    if entry is None:
        raise PathUnknown(f"There is no {path or '/'}.")
    if not entry.is_regular:
        raise PathUnknown(f"{path or '/'} is no regular file.")
    for block in snapshot.blocks(path):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()


def tags(location: Location, *, key: MasterKeys = None, as_json: AsJson = False) -> None:
    """List the tags of a repository, newest first."""
    found = _open(location, key).tags()
    if as_json:
        write_json(
            [
                {
                    "name": tag.name,
                    "revision": tag.revision,
                    "root_hash": str(tag.root),
                    "time": _time(tag.timestamp),
                    "description": tag.description,
                }
                for tag in found
            ]
        )
        return
    rows = [(tag.name, tag.revision, _time(tag.timestamp), tag.root, tag.description) for tag in found]
    write_table(("name", "revision", "time", "root hash", "description"), rows)


def _open(location: str, key: list[Path] | None) -> Repository:
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.reader import Repository  # noqa: PLC0415

    keys = public_keys(key or [])
    fetch, _ = wiring.open_fetch(location)
    repository = Repository.open(fetch, public_keys=keys, fqrn=None, now=wiring.utc_now())
    tell_unsigned(keys)
    return repository


def _snapshot(location: str, key: list[Path] | None, tag: str | None) -> Snapshot:
    repository = _open(location, key)
    if tag is not None and tag not in {known.name for known in repository.tags()}:
        raise TagUnknown(f"{repository.fqrn} has no tag {tag!r}.")
    return repository.snapshot(tag)


def _listed(snapshot: Snapshot, path: str, *, recursive: bool) -> Iterator[tuple[str, Entry]]:
    entry = snapshot.lookup(path)
    if entry is None:
        raise PathUnknown(f"There is no {path or '/'}.")
    if not entry.is_directory:
        return iter([(path, entry)])
    if recursive:
        return (found for found in snapshot.walk(path) if found[0] != path)
    return iter(snapshot.listing(path))


def _as_members(name: str, entry: Entry) -> dict[str, object]:
    return {
        "path": name,
        "mode": f"{entry.mode:o}",
        "size": entry.size,
        "time": _time(entry.mtime),
        "target": entry.symlink or None,
        "digest": None if entry.digest is None else str(entry.digest),
        "chunks": len(entry.chunks),
    }


def _long_line(name: str, entry: Entry) -> str:
    target = f" -> {printable(entry.symlink) if sys.stdout.isatty() else entry.symlink}" if entry.is_symlink else ""
    return f"{stat.filemode(entry.mode)} {entry.size:>12} {_time(entry.mtime)} {name}{target}"


def _time(seconds: int) -> str:
    """A time in UTC; the plain number where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


@contextmanager
def _shown_counts() -> Iterator[Callable[[Counts], None] | None]:
    """Shows on a terminal how far a check has come."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status("checking") as display:
        yield lambda counts: display.update(f"checking: {_in_words(counts)}")


def _in_words(counts: Counts) -> str:
    return (
        f"{counted(counts.catalogs, 'catalog')}, {counted(counts.entries, 'entry', 'entries')}, "
        f"{counted(counts.objects, 'object')}"
    )


def _show_report(report: Report, *, data: bool) -> None:
    for finding in report.findings:
        write_line(printable(str(finding)))
    read = f", {shown_size(report.counts.bytes)} of content hashed" if data else ""
    outcome = "nothing is broken" if report.ok else "the repository is broken"
    write_line(f"{_in_words(report.counts)}{read}: {counted(len(report.findings), 'finding')}, {outcome}.")
