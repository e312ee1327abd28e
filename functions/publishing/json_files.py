"""Small JSON files that several writers edit: read, changed, and swapped, so that nobody's change is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from functions.errors import RepositoryDamaged, VersionMoved
from functions.ports import BlobStore
from functions.publishing.commit import write_if
from functions.publishing.head import STATUS_PATH

Members = dict[str, Any]

ATTEMPTS = 64
"""How often a lost swap is tried again; each one lost is another writer's that succeeded."""


def edit_json(store: BlobStore, path: str, edit: Callable[[Members], None]) -> Members:
    """Apply `edit` to the members of a JSON object, which begins empty, and return them; equal ones are not written.

    `edit` runs again on what somebody else has written meanwhile. Raises RepositoryDamaged if the file is no JSON
    object, which nothing then overwrites; VersionMoved when others were first too often.
    """
    for _ in range(ATTEMPTS):
        blob = store.get(path)
        members = {} if blob is None else _members(path, blob.body)
        edit(members)
        body = json.dumps(members, indent=2).encode() + b"\n"
        if blob is not None and blob.body == body:
            return members
        try:
            write_if(store, path, body, None if blob is None else blob.version)
        except VersionMoved:
            continue
        return members
    raise VersionMoved(f"{path} was replaced {ATTEMPTS} times by others")


def note_status(store: BlobStore, member: str, now: datetime) -> None:
    """Note in a repository's ``.cvmfs_status.json`` that something was done at `now`: ``last_gc``, ``last_check``.

    The time reads as ``date --utc`` prints it. Source: ``cvmfs_server_json.sh: update_repo_status``.
    """
    shown = f"{now.astimezone(UTC):%a %b %e %H:%M:%S UTC %Y}"
    edit_json(store, STATUS_PATH, lambda members: members.update({member: shown}))


def _members(path: str, body: bytes) -> Members:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise RepositoryDamaged(f"{path} is not JSON: {err}") from err
    if not isinstance(members, dict):
        raise RepositoryDamaged(f"{path} is not a JSON object")
    return members
