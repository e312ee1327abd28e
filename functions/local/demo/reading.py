"""The worker node's side: everything that was uploaded read back and compared, and what a node needs for it."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from functions.adapters.http import HttpReader
from functions.cvmfs.checker import check_repository
from functions.cvmfs.entry import MARKER_NAME
from functions.cvmfs.reader import Repository, Snapshot
from functions.local.demo.cast import Cast
from functions.local.demo.comparing import differences
from functions.local.demo.errors import DemoFailed
from functions.local.demo.material import Expected
from functions.local.demo.telling import Teller


def read_back(
    worker: HttpReader, expected: Mapping[str, Expected], public_key: str, cast: Cast, teller: Teller
) -> None:
    """Read every file and check the repository with all its data; raises DemoFailed at any difference or finding."""
    teller.heading("Reading back over plain HTTP: whitelist, signature, every hash, every path")
    now = datetime.now(UTC)
    repository = Repository.open(worker.fetch, public_keys=[public_key], fqrn=cast.fqrn, now=now)
    began = time.monotonic()
    with teller.meanwhile("reading every file"):
        found = _content(repository.snapshot())
    faults = differences(expected, found)
    teller.say(
        f"  {len(found)} paths compared in {time.monotonic() - began:.1f} s: "
        + (f"[red]{len(faults)} differ[/]" if faults else "[green]all equal[/] (path, mode, link, content)")
    )
    if faults:
        raise DemoFailed("; ".join(faults[:5]))
    report = check_repository(
        worker.fetch, exists=worker.exists, public_keys=[public_key], fqrn=cast.fqrn, now=datetime.now(UTC), data=True
    )
    teller.say(f"  repository check with all data: {len(report.findings)} findings")
    if report.findings:
        raise DemoFailed(str(report.findings[0]))


def show_client_configuration(public_key: str, cast: Cast, teller: Teller) -> None:
    """Show the two files of a worker node."""
    teller.heading("What a worker node with the standard CVMFS client needs")
    teller.say(
        f"  # /etc/cvmfs/config.d/{cast.fqrn}.conf\n"
        f"  CVMFS_SERVER_URL={cast.stack.repository_url}/@fqrn@\n"
        f"  CVMFS_PUBLIC_KEY=/etc/cvmfs/keys/{cast.fqrn}.pub\n"
        "  CVMFS_HTTP_PROXY=DIRECT\n"
        f"  # /etc/cvmfs/keys/{cast.fqrn}.pub\n" + "\n".join(f"  {line}" for line in public_key.strip().splitlines()),
        highlight=False,
    )


def _content(snapshot: Snapshot) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for path, entry in snapshot.walk():
        if path.rpartition("/")[2] == MARKER_NAME:
            continue
        digest = hashlib.sha256(snapshot.read(path)).hexdigest() if entry.is_regular else ""
        mode = stat.S_IFLNK | 0o777 if entry.is_symlink else entry.mode
        found[path] = Expected(mode, digest, entry.symlink)
    return found
