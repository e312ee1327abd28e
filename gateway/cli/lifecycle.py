"""What owners and operators ask of a repository that a running service has."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli.opened import confirm
from gateway.cli.options import (
    DEFAULT_FOLDER,
    AsJson,
    Fqrn,
    Gateway,
    RemovedTags,
    StackFolder,
    TagMessage,
    Timeout,
    Wait,
    Yes,
    require_tag_name,
)
from gateway.cli.wishes import Service, ask, wished

PATIENCE_S = 60.0
DELETION_PATIENCE_S = 600.0


def suspend(
    fqrn: Fqrn,
    *,
    reason: Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Shown to its users.")] = "",
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Let a repository rest: it is served as it is, and nothing is published until it is resumed."""
    from events import SuspensionRequested  # noqa: PLC0415

    wish = wished(SuspensionRequested, repository=fqrn, reason=reason)
    service = Service.find(gateway, folder)
    ask(service, [wish], f"{fqrn} is suspended.", wait=wait, timeout=timeout, as_json=as_json)


def resume(
    fqrn: Fqrn,
    *,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Let a repository follow its bucket again, also in what changed there meanwhile."""
    from events import ResumptionRequested  # noqa: PLC0415

    service = Service.find(gateway, folder)
    wish = wished(ResumptionRequested, repository=fqrn)
    ask(service, [wish], f"{fqrn} follows its bucket again.", wait=wait, timeout=timeout, as_json=as_json)


def delete(
    fqrn: Fqrn,
    *,
    destroy_keys: Annotated[
        bool,
        typer.Option("--destroy-keys", help="Destroy its keys too; clients then need the key of whatever follows."),
    ] = False,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = DELETION_PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Delete a repository with all its revisions; the user's bucket stays as it is, and the name stays the owner's."""
    from events import DeletionRequested, Keys  # noqa: PLC0415

    service = Service.find(gateway, folder)
    fate = "DESTROY its keys" if destroy_keys else "keep its keys"
    confirm(f"DELETE {fqrn} with all its revisions, and {fate}?", force=yes)
    keys = Keys.DESTROY if destroy_keys else Keys.KEEP
    wish = wished(DeletionRequested, repository=fqrn, confirm=fqrn, keys=keys)
    ask(service, [wish], f"{fqrn} is deleted.", wait=wait, timeout=timeout, as_json=as_json)


def change(
    fqrn: Fqrn,
    assignments: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="A setting and its value in JSON; null for the service's own."),
    ],
    *,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Change settings of a repository; sizes are bytes, times are seconds.

    unpack_archives, files_limit, bytes_limit, file_bytes_limit, archive_members_limit, archive_bytes_limit,
    archive_ratio_limit, min_publish_interval_s, keep_revisions_s.
    """
    from events import SettingsRequested  # noqa: PLC0415

    service = Service.find(gateway, folder)
    wish = wished(SettingsRequested, repository=fqrn, changes=dict(map(_assignment, assignments)))
    ask(service, [wish], f"{fqrn} has the new settings.", wait=wait, timeout=timeout, as_json=as_json)


def tag(
    fqrn: Fqrn,
    *,
    add: Annotated[
        str | None, typer.Option("--add", "-a", metavar="NAME", help="Put a new tag on a revision.", show_default=False)
    ] = None,
    move: Annotated[
        str | None, typer.Option("--move", metavar="NAME", help="Put a tag on another revision.", show_default=False)
    ] = None,
    remove: RemovedTags = None,
    message: TagMessage = "",
    at: Annotated[
        str | None,
        typer.Option(
            "--hash", "-h", metavar="ROOT|REVISION", help="Where the tag goes.", show_default="the newest revision"
        ),
    ] = None,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Add, move or remove tags of a repository; there is no new revision. `status` lists them."""
    from events import TagAction, TagRequested  # noqa: PLC0415

    if sum((add is not None, move is not None, bool(remove))) != 1:
        raise typer.BadParameter("add, move or remove tags, one of them at a time", param_hint="--add")
    for option, names in (("--add", [add]), ("--move", [move]), ("--remove", remove or [])):
        for name in names:
            if name is not None:
                require_tag_name(name, option)
    service = Service.find(gateway, folder)
    if remove:
        confirm(f"Remove from {fqrn}: {', '.join(remove)}?", force=yes)
        wishes = [wished(TagRequested, repository=fqrn, action=TagAction.REMOVE, name=name) for name in remove]
        done = f"Removed {', '.join(remove)} from {fqrn}."
    else:
        name = str(add or move)
        wish = wished(
            TagRequested,
            repository=fqrn,
            action=TagAction.MOVE if move else TagAction.ADD,
            name=name,
            description=message,
            **_place(at),
        )
        wishes, done = [wish], f"{'Moved' if move else 'Added'} {name} in {fqrn}."
    ask(service, wishes, done, wait=wait, timeout=timeout, as_json=as_json)


def rollback(
    fqrn: Fqrn,
    *,
    tag: Annotated[
        str | None,
        typer.Option("--tag", "-t", metavar="NAME", help="Go back to this tag.", show_default="undo the last revision"),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Hold nothing back any more: follow the bucket again.")
    ] = False,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Publish the content of an older revision as the newest one.

    What was uploaded or deleted before stays out until it is uploaded anew, or the rollback is released.
    """
    from events import ReleaseRequested, RollbackRequested, Wish  # noqa: PLC0415

    if release and tag is not None:
        raise typer.BadParameter("a release goes to no tag", param_hint="--release")
    service = Service.find(gateway, folder)
    wish: Wish
    if release:
        wish, done = wished(ReleaseRequested, repository=fqrn), f"{fqrn} follows its bucket again."
    else:
        question = "UNDO the last published revision" if tag is None else f"ROLL BACK to {tag} AS THE LATEST REVISION"
        confirm(f"{question} of {fqrn}?", force=yes)
        wish, done = wished(RollbackRequested, repository=fqrn, tag=tag), f"{fqrn} is rolled back."
    ask(service, [wish], done, wait=wait, timeout=timeout, as_json=as_json)


def resign(
    fqrn: Fqrn,
    *,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Sign the whitelist of a repository again now; the service does so by itself in good time."""
    from events import RenewalRequested  # noqa: PLC0415

    service = Service.find(gateway, folder)
    wish = wished(RenewalRequested, repository=fqrn)
    ask(service, [wish], f"The whitelist of {fqrn} is signed again.", wait=wait, timeout=timeout, as_json=as_json)


def _place(text: str | None) -> dict[str, object]:
    if text is None:
        return {}
    if text.isascii() and text.isdigit() and len(text) < 20:
        return {"revision": int(text)}
    from functions.cvmfs.address import Digest  # noqa: PLC0415
    from functions.cvmfs.errors import FormatError  # noqa: PLC0415

    try:
        return {"root_hash": str(Digest.parse(text))}
    except FormatError as err:
        raise typer.BadParameter(f"{text!r} is no number of a revision and no root hash", param_hint="--hash") from err


def _assignment(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    if not name:
        raise typer.BadParameter("write NAME=VALUE: the name of a setting is missing", param_hint=text)
    try:
        return name, json.loads(value)
    except ValueError as err:
        message = f"write {name}=VALUE with a number, true, false or null"
        raise typer.BadParameter(message, param_hint=text) from err
