"""Tags: named revisions, listed, looked at, added, moved and removed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import TagUnknown
from gateway.cli.opened import confirm, open_publisher
from gateway.cli.options import (
    AsJson,
    Location,
    MasterKeys,
    RemovedTags,
    TagMessage,
    public_keys,
    require_tag_name,
    storage_address,
    tell_unsigned,
)
from gateway.cli.output import counted, shown_size, write_json, write_line, write_table

if TYPE_CHECKING:
    from functions.cvmfs.history import Tag as HistoryTag
    from functions.publishing.tagging import Place


def tag(
    location: Location,
    *,
    add: Annotated[
        str | None, typer.Option("--add", "-a", metavar="NAME", help="Tag the newest revision.", show_default=False)
    ] = None,
    message: TagMessage = "",
    at: Annotated[
        str | None,
        typer.Option(
            "--hash",
            "-h",
            metavar="ROOT|REVISION",
            help="Tag this root catalog, or the revision of this number; a tag that exists is moved there.",
            show_default=False,
        ),
    ] = None,
    remove: RemovedTags = None,
    inspect: Annotated[
        str | None, typer.Option("--inspect", "-i", metavar="NAME", help="Show one tag.", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", "-l", help="List all tags, newest first: the default.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Remove without asking.")] = False,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the key files, to add and to remove.", show_default=False),
    ] = None,
    key: MasterKeys = None,
    as_json: AsJson = False,
) -> None:
    """List the tags of a repository, or look at, add, move or remove some; there is no new revision."""
    if sum((add is not None, bool(remove), inspect is not None, listed)) > 1:
        raise typer.BadParameter("add, remove, inspect or list tags, one of them at a time")
    if add is None and (message or at is not None):
        raise typer.BadParameter("they go with --add", param_hint="--message, --hash")
    if add is not None:
        _add(_edited(location), _needed(keys), add, message, at, as_json=as_json)
    elif remove:
        _remove(_edited(location), _needed(keys), remove, force=force, as_json=as_json)
    else:
        _show(location, public_keys(key or []), inspect, as_json=as_json)


def _add(storage: str, keys: Path, name: str, message: str, at: str | None, *, as_json: bool) -> None:
    from functions.publishing.revision import TagRequest  # noqa: PLC0415
    from functions.publishing.tagging import add_tag  # noqa: PLC0415

    require_tag_name(name, "--add")
    place = None if at is None else _place(at)
    with open_publisher(storage, keys) as publisher:
        added = add_tag(publisher, TagRequest(name, message), place)
    if as_json:
        write_json({"tag": as_members(added.tag), "moved_from": added.moved_from and as_members(added.moved_from)})
    elif added.moved_from is None:
        write_line(f"Tagged revision {added.tag.revision} as {name}.")
    else:
        write_line(f"Moved {name} from revision {added.moved_from.revision} to {added.tag.revision}.")


def _remove(storage: str, keys: Path, names: list[str], *, force: bool, as_json: bool) -> None:
    from functions.publishing.tagging import remove_tags  # noqa: PLC0415

    confirm(f"Remove {counted(len(names), 'tag')}: {', '.join(names)}?", force=force)
    with open_publisher(storage, keys) as publisher:
        removed = remove_tags(publisher, names)
    if as_json:
        write_json({"removed": [as_members(tag) for tag in removed]})
        return
    for gone in removed:
        write_line(f"Removed {gone.name}, which was on revision {gone.revision} ({gone.root}).")


def _show(location: str, keys: list[bytes] | None, name: str | None, *, as_json: bool) -> None:
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.reader import Repository  # noqa: PLC0415

    fetch, _ = wiring.open_fetch(location)
    repository = Repository.open(fetch, public_keys=keys, fqrn=None, now=wiring.utc_now())
    tell_unsigned(keys)
    found = [tag for tag in repository.tags() if name in {None, tag.name}]
    if name is None:
        _list(found, as_json=as_json)
    elif not found:
        raise TagUnknown(f"{repository.fqrn} has no tag {name!r}.")
    elif as_json:
        write_json(as_members(found[0]))
    else:
        for field, value in _inspected(found[0]):
            write_line(f"{field + ':':<14}{value}")


def _list(tags: list[HistoryTag], *, as_json: bool) -> None:
    if as_json:
        write_json([as_members(tag) for tag in tags])
        return
    rows = [(tag.name, tag.revision, shown_time(tag.timestamp), tag.branch, tag.root, tag.description) for tag in tags]
    write_table(("name", "revision", "time", "branch", "root hash", "description"), rows)


def _inspected(tag: HistoryTag) -> list[tuple[str, object]]:
    return [
        ("Name", tag.name),
        ("Revision", tag.revision),
        ("Timestamp", f"{shown_time(tag.timestamp)} UTC"),
        ("Branch", tag.branch or "(default)"),
        ("Root Hash", tag.root),
        ("Catalog Size", shown_size(tag.size)),
        ("Description", tag.description),
    ]


def as_members(tag: HistoryTag) -> dict[str, object]:
    """A tag for programs."""
    return {
        "name": tag.name,
        "revision": tag.revision,
        "root_hash": str(tag.root),
        "size": tag.size,
        "time": shown_time(tag.timestamp),
        "timestamp": tag.timestamp,
        "branch": tag.branch,
        "description": tag.description,
    }


def shown_time(seconds: int) -> str:
    """A time in UTC; the plain number where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _place(text: str) -> Place:
    """A root hash, with or without the letter of catalogs, or the number of a revision."""
    from functions.cvmfs.address import Address, Kind  # noqa: PLC0415
    from functions.cvmfs.errors import AddressError  # noqa: PLC0415

    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    try:
        address = Address.parse(text)
    except AddressError as err:
        raise typer.BadParameter(f"{text!r} is neither a root hash nor a revision", param_hint="--hash") from err
    if address.kind not in {Kind.CATALOG, Kind.FILE}:
        raise typer.BadParameter(f"{text!r} is not the hash of a catalog", param_hint="--hash")
    return address.digest


def _edited(location: str) -> str:
    """The storage at a location that is to be changed."""
    from functions import wiring  # noqa: PLC0415

    return storage_address(location if "://" in location else wiring.storage_of(location))


def _needed(keys: Path | None) -> Path:
    if keys is None:
        raise typer.BadParameter("tags are signed: name the folder of the key files", param_hint="--keys")
    return keys
