"""Waiting until workers see something of a repository, through its public URL."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import Retryable
from gateway.cli.options import (
    DEFAULT_FOLDER,
    Fqrn,
    MasterKeys,
    RepositoryBase,
    StackFolder,
    Timeout,
    public_keys,
    repository_path,
    tell_unsigned,
)
from gateway.cli.output import write_line
from gateway.cli.service import repository_address

if TYPE_CHECKING:
    from functions.cvmfs.address import Digest
    from functions.cvmfs.reader import Fetch, Repository

POLL_S = 0.25
"""Seconds between two looks at the manifest."""


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise typer.BadParameter(f"{text!r} is no SHA-256 hash: write its 64 hexadecimal digits")
    return text.lower()


class NotVisible(Retryable):
    """What was waited for has not become visible in time."""

    code = "not-visible"
    hint = "See `cvmfs-cloud status` for problems, or wait again."


def wait(
    fqrn: Fqrn,
    path: Annotated[str, typer.Argument(metavar="PATH", parser=repository_path, help="A path in the repository.")],
    *,
    url: RepositoryBase = None,
    folder: StackFolder = DEFAULT_FOLDER,
    timeout: Timeout = 60.0,
    absent: Annotated[bool, typer.Option("--absent", help="Wait until the path is gone.")] = False,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", parser=_sha256, help="Wait until the file has this content.", show_default=False),
    ] = None,
    key: MasterKeys = None,
) -> None:
    """Wait until workers can see a path; every revision is looked at once."""
    from functions import wiring  # noqa: PLC0415

    if absent and sha256:
        raise typer.BadParameter("what is gone has no content: leave out one of --absent and --sha256")
    keys = public_keys(key or [])
    address = repository_address(url, folder, fqrn)
    watch = _Watch(wiring.open_fetch(address)[0], fqrn, path, keys, absent=absent, sha256=sha256)
    give_up_at = time.monotonic() + timeout
    while (revision := watch.look(wiring.utc_now())) is None:
        left_s = give_up_at - time.monotonic()
        if left_s <= 0:
            raise NotVisible(f"{path or '/'}: {watch.outcome} after {timeout:g} s at {address}.")
        time.sleep(min(POLL_S, left_s))
    write_line(f"{fqrn} revision {revision}: {path or '/'} {watch.outcome}.")
    tell_unsigned(keys)


@dataclass(slots=True)
class _Watch:
    """Looks for something in one revision after the other."""

    fetch: Fetch
    fqrn: str
    path: str
    keys: list[bytes] | None
    absent: bool
    sha256: str | None
    outcome: str = "not looked at yet"
    seen: Digest | None = None

    def look(self, now: datetime) -> int | None:
        """The revision that has what is waited for; None if the published one has not."""
        from functions.cvmfs.reader import MANIFEST_PATH, Repository  # noqa: PLC0415

        try:
            if self.fetch(MANIFEST_PATH) is None:
                self.outcome = "there is no repository"
                return None
            repository = Repository.open(self.fetch, public_keys=self.keys, fqrn=self.fqrn, now=now)
            if repository.manifest.root == self.seen:
                return None
            reached = self._reached(repository)
        except Retryable as err:
            self.outcome = f"unknown ({err})"
            return None
        self.seen = repository.manifest.root
        return repository.manifest.revision if reached else None

    def _reached(self, repository: Repository) -> bool:
        snapshot = repository.snapshot()
        entry = snapshot.lookup(self.path)
        self.outcome = "is not there" if entry is None else "is there"
        if entry is None or self.absent:
            return self.absent and entry is None
        if self.sha256 is None:
            return True
        if not entry.is_regular:
            self.outcome = "is there, but is no regular file"
            return False
        content = hashlib.sha256()
        for block in snapshot.blocks(self.path):
            content.update(block)
        if content.hexdigest() == self.sha256:
            return True
        self.outcome = "is there, with other content"
        return False
