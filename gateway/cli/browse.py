"""Reading repositories, in a folder or behind HTTP."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import Permanent, TagUnknown
from gateway.cli.options import AsJson, Location, MasterKeys, Tag, public_keys, repository_path, tell_unsigned
from gateway.cli.output import printable, write_json, write_line
from gateway.cli.tag import shown_time

if TYPE_CHECKING:
    from functions.cvmfs.entry import Entry
    from functions.cvmfs.reader import Repository, Snapshot

THREADS = 8

PathInside = Annotated[
    str, typer.Argument(metavar="PATH_IN_REPO", parser=repository_path, help="A path in the repository.")
]


class PathUnknown(Permanent):
    """The repository has no such path."""

    hint = "List what there is with `cvmfs-cloud repo ls`."


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


def open_repository(location: str, key: list[Path] | None) -> Repository:
    """A repository to read; says so if no master key was given to check signatures against."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.reader import Repository  # noqa: PLC0415

    keys = public_keys(key or [])
    fetch, _ = wiring.open_fetch(location)
    repository = Repository.open(fetch, public_keys=keys, fqrn=None, now=wiring.utc_now())
    tell_unsigned(keys)
    return repository


def _snapshot(location: str, key: list[Path] | None, tag: str | None) -> Snapshot:
    repository = open_repository(location, key)
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
        "time": shown_time(entry.mtime),
        "target": entry.symlink or None,
        "digest": None if entry.digest is None else str(entry.digest),
        "chunks": len(entry.chunks),
    }


def _long_line(name: str, entry: Entry) -> str:
    target = f" -> {printable(entry.symlink) if sys.stdout.isatty() else entry.symlink}" if entry.is_symlink else ""
    return f"{stat.filemode(entry.mode)} {entry.size:>12} {shown_time(entry.mtime)} {name}{target}"
