"""What workers see of a repository now, through its public URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from functions.errors import RepositoryUnknown
from gateway.cli.bucket_state import bucket_state
from gateway.cli.options import (
    DEFAULT_FOLDER,
    AsJson,
    Fqrn,
    MasterKeys,
    RepositoryBase,
    StackFolder,
    public_keys,
    tell_unsigned,
)
from gateway.cli.output import write_json, write_line
from gateway.cli.problems import read_problems
from gateway.cli.service import publisher_settings, repository_address
from gateway.cli.status_output import Shown


class NotPublished(RepositoryUnknown):
    """There is no repository of this name at this URL."""

    hint = "Request it first, or name another --url."


def status(
    fqrn: Fqrn,
    *,
    url: RepositoryBase = None,
    folder: StackFolder = DEFAULT_FOLDER,
    key: MasterKeys = None,
    as_json: AsJson = False,
) -> None:
    """Show the published revision of a repository and, where the local stack runs it, what is wrong with uploads."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.reader import MANIFEST_PATH, WHITELIST_PATH, Repository, fetch_file  # noqa: PLC0415
    from functions.cvmfs.whitelist import SignedWhitelist  # noqa: PLC0415
    from functions.publishing import overview  # noqa: PLC0415

    keys = public_keys(key or [])
    address = repository_address(url, folder, fqrn)
    fetch, exists = wiring.open_fetch(address)
    if not exists(MANIFEST_PATH):
        raise NotPublished(f"There is no repository at {address}.")
    now = wiring.utc_now()
    repository = Repository.open(fetch, public_keys=keys, fqrn=fqrn, now=now)
    whitelist = repository.whitelist or SignedWhitelist.from_bytes(fetch_file(fetch, WHITELIST_PATH)).unverified
    shown = Shown(
        address=address,
        published=overview.published_of(repository, whitelist),
        published_at=overview.published_at(repository.manifest),
        days_left=overview.days_left(whitelist, now),
        tags=repository.tags(),
        **_kept(fqrn, folder, address),
        now=now,
    )
    bucket = bucket_state(fqrn, folder, address)
    if as_json:
        write_json(shown.members() | bucket.members() | {"signatures_checked": keys is not None})
        return
    for line in (*shown.lines(), *bucket.lines()):
        write_line(line)
    tell_unsigned(keys)


def _kept(fqrn: str, folder: Path, address: str) -> dict[str, Any]:
    """What the local stack keeps of a repository that it publishes at `address`, as members of Shown."""
    settings = publisher_settings(address, folder, fqrn)
    if settings is None:
        return {}
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.records import Standing, load_record  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    kept: dict[str, Any] = {"problems": read_problems(settings, fqrn, known=False)}
    try:
        record = load_record(wiring.build_state(Settings.from_mapping(settings)), fqrn)
    except RepositoryUnknown:
        return kept
    reason = f": {record.suspended_for}" if record.suspended_for else ""
    resting = None if record.standing is Standing.ACTIVE else f"{record.standing.value}{reason}"
    return kept | {"standing": record.standing.value, "resting": resting}
