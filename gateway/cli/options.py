"""Arguments and options that several commands share, and how they are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import say

_FQRN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""``sanitizer.h: RepositorySanitizer``, ``cvmfs_server_util.sh: is_valid_repo_name``."""

_STORAGE = re.compile(r"dir:.+|s3://[^/]+(/.*)?")


def repository_name(text: str) -> str:
    """A repository's fully qualified name."""
    if not _FQRN.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is no repository name: at most 60 letters, digits and . _ -")
    return text


def storage_address(text: str) -> str:
    """The address of a storage."""
    if not _STORAGE.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} is no storage: write dir:PATH, with the repository's own folder, or s3://BUCKET/PREFIX"
        )
    return text


def repository_path(text: str) -> str:
    """A path inside a repository, as everything below the command line spells it: the root is the empty string."""
    path = "/" + text.strip("/")
    if any(segment in {"", ".", ".."} for segment in path.split("/")[1:]) and path != "/":
        raise typer.BadParameter(f"{text!r} is no path in a repository: it has an empty, '.' or '..' component")
    return "" if path == "/" else path


def require_tag_name(name: str, option: str) -> None:
    """Refuse a name that no tag can have as wrong usage of an option."""
    from functions.cvmfs import history  # noqa: PLC0415
    from functions.cvmfs.errors import HistoryError  # noqa: PLC0415

    try:
        history.require_tag_name(name)
    except HistoryError as err:
        raise typer.BadParameter(str(err), param_hint=option) from err


def public_keys(files: list[Path]) -> list[bytes] | None:
    """The master keys in some files; None without any, which means: signatures are not checked against one."""
    return [_public_key(file) for file in files] or None


def _public_key(file: Path) -> bytes:
    from functions.cvmfs.errors import FormatError  # noqa: PLC0415
    from functions.cvmfs.signing import load_public_key  # noqa: PLC0415

    try:
        pem = file.read_bytes()
        load_public_key(pem)
    except OSError as err:
        raise typer.BadParameter(f"{file} cannot be read: {err.strerror}", param_hint="--key") from err
    except FormatError as err:
        raise typer.BadParameter(f"{file} is no public key: name a file FQRN.pub", param_hint="--key") from err
    return pem


def tell_unsigned(keys: list[bytes] | None) -> None:
    """Say what was not looked at when no master key was given."""
    if keys is None:
        say("Signatures were not checked against a master key: give --key FILE.pub for that.")


# What is meant, and how it is shown

Fqrn = Annotated[str, typer.Argument(metavar="FQRN", help="The repository's name.", parser=repository_name)]
Location = Annotated[
    str,
    typer.Argument(metavar="URL|PATH|s3://BUCKET/PREFIX", help="Where the repository is: its URL, folder, or storage."),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="dir:PATH|s3://BUCKET/PREFIX",
        help="The repository's own folder, or its own prefix in a bucket.",
        parser=storage_address,
        show_default=False,
    ),
]
Keys = Annotated[Path, typer.Option(metavar="DIR", help="The folder of the key files.", show_default=False)]
CheckedName = Annotated[
    str | None,
    typer.Argument(metavar="FQRN", help="The repository's name, if you want it checked.", parser=repository_name),
]
MasterKeys = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="FILE.pub", help="A master key that may have signed; can be given several times."),
]
Tag = Annotated[str | None, typer.Option(metavar="NAME", help="Look at this tag instead of the newest revision.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]

# Before something goes

Force = Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")]
WouldGo = Annotated[bool, typer.Option("--dry-run", "-d", help="Show what would go, and change nothing.")]

# The running service

DEFAULT_FOLDER = Path(".stack")
StackFolder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="The folder of the local stack.")]
RepositoryBase = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="BASE",
        envvar="REPOSITORY_URL",
        help="Where repositories are, as BASE/FQRN; without it, where the running local stack has them.",
        show_default=False,
    ),
]
Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="URL",
        envvar="CVMFS_CLOUD_GATEWAY",
        help="The service's gateway; without it that of the running local stack, or the broker at AMQP_URL.",
        show_default=False,
    ),
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it is done, or refused.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# Tags

NewTag = Annotated[str | None, typer.Option(metavar="NAME", help="A name for the new revision.")]
NewTagMessage = Annotated[str, typer.Option(metavar="TEXT", help="The description of the tag.")]
Autotag = Annotated[
    bool | None,
    typer.Option("--autotag/--no-autotag", help="Tag the revision by itself; default: as it was made with mkfs."),
]
TagMessage = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="The description of the tag.")]
RemovedTags = Annotated[
    list[str] | None, typer.Option("--remove", "-r", metavar="NAME", help="Remove a tag; several may be named.")
]
