"""A repository opened for a command that changes it: its storage, its keys, and the publisher over both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from functions.errors import KeyFilesRefused, RepositoryRefused, RepositoryUnknown
from gateway.cli.output import ExitCode, say

if TYPE_CHECKING:
    from functions.cvmfs.manifest import Manifest
    from functions.ports import BlobStore
    from functions.publishing.commit import Publisher

CACHE_BYTES = 64 << 20
THREADS = max(4, os.cpu_count() or 1)


class FolderTaken(RepositoryRefused):
    """The storage holds another repository, or one already."""

    hint = "Name another folder or prefix with --storage."


class NothingThere(RepositoryUnknown):
    """The storage holds no repository."""

    hint = "Make one with `cvmfs-cloud repo mkfs`."


def open_live(storage: str, fqrn: str | None) -> tuple[BlobStore, Manifest]:
    """A storage and the manifest that is live in it; raises NothingThere, and FolderTaken if it is not that of `fqrn`.

    The manifest's signature is not looked at.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.head import read_head  # noqa: PLC0415

    store = wiring.open_storage(storage)
    head = read_head(store)
    if head is None:
        raise NothingThere(f"There is no repository in {shown_storage(storage)}.")
    if fqrn not in {None, head.manifest.fqrn}:
        raise FolderTaken(f"{shown_storage(storage)} holds {head.manifest.fqrn}, not {fqrn}.")
    return store, head.manifest


def require_signing_key(store: BlobStore, manifest: Manifest, keys: Path) -> None:
    """Refuse keys of another repository before anything is written; raises KeyFilesRefused."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.resigning import current_certificate  # noqa: PLC0415

    if current_certificate(store, manifest).public_key != wiring.open_keys(keys).signer(manifest.fqrn).public_key:
        raise KeyFilesRefused(f"{keys / f'{manifest.fqrn}.key'} is not the key that {manifest.fqrn} is signed with.")


@contextmanager
def open_publisher(storage: str, keys: Path, fqrn: str | None = None, *, check_key: bool = True) -> Iterator[Publisher]:
    """The publisher of the repository in a storage, with the keys in a folder; see open_live, require_signing_key."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.commit import Publisher  # noqa: PLC0415
    from functions.publishing.head import ObjectCache  # noqa: PLC0415

    store, manifest = open_live(storage, fqrn)
    if check_key:
        require_signing_key(store, manifest, keys)
    signer = wiring.open_keys(keys).signer(manifest.fqrn)
    with ThreadPoolExecutor(THREADS) as executor:
        yield Publisher(manifest.fqrn, store, signer, ObjectCache(CACHE_BYTES), executor, wiring.utc_now)


def shown_storage(storage: str) -> str:
    """A storage as it is shown to a person: a folder by its path."""
    return storage.removeprefix("dir:")


def confirm(question: str, *, force: bool) -> None:
    """Ask the person at the terminal; a program, or ``--force``, is not asked. Ends with 1 unless the answer is y."""
    if not would_ask(force=force):
        return
    if not typer.confirm(question, err=True):
        say("Nothing was changed.")
        raise typer.Exit(ExitCode.REFUSED)


def would_ask(*, force: bool) -> bool:
    """Whether `confirm` asks anybody."""
    return not force and _is_asked()


def _is_asked() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty()
