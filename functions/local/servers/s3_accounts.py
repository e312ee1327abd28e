"""Users of RadosGW, made with ``radosgw-admin``."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess

from pydantic import SecretStr

from functions.local.servers.errors import LocalServerError

SERVICE_CAPS = "buckets=*;users=*;metadata=*;usage=read"

Admin = Callable[[Sequence[str]], CompletedProcess[str]]
"""Runs ``radosgw-admin`` with these arguments."""


@dataclass(frozen=True, slots=True)
class Account:
    """A RadosGW user and its S3 keys."""

    uid: str
    access_key: str
    secret_key: SecretStr


def ensure_account(admin: Admin, uid: str, *, display_name: str, service: bool) -> Account:
    """The user, made with fresh keys if there is none yet.

    A service user is made with ``--admin``: it may read everybody's objects, set policies and notifications on their
    buckets and, unlike a ``--system`` user, make buckets itself; its capabilities open the admin API for linking.
    """
    privileges = ("--admin", "--caps", SERVICE_CAPS, "--max-buckets", "0") if service else ()
    made = admin(("user", "create", "--uid", uid, "--display-name", display_name, *privileges))
    if made.returncode == errno.EEXIST:
        made = admin(("user", "info", "--uid", uid))
    if made.returncode != 0:
        raise LocalServerError(
            f"radosgw-admin could not make the user {uid}: {made.stderr.strip()}",
            next_step="Look at the logs of ceph-osd and radosgw.",
        )
    key = json.loads(made.stdout)["keys"][0]
    return Account(uid, key["access_key"], SecretStr(key["secret_key"]))
