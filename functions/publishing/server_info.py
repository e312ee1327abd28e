"""What a server says of itself, for monitoring: which repositories it has, and who runs it.

Both files are beside the repositories, ``<server>/cvmfs/info/v1/repositories.json`` and ``meta.json``; no client and no
replica reads them. Source: ``cvmfs_server_json.sh``.
"""

from __future__ import annotations

import json

from functions.errors import VersionMoved
from functions.ports import BlobStore
from functions.publishing.json_files import Members, edit_json

REPOSITORIES_PATH = "info/v1/repositories.json"
META_PATH = "info/v1/meta.json"

_SCHEMA = 1
_FACTS = {
    "cvmfs_version": "cvmfs-cloud",
    "os_id": "none",
    "os_version_id": "none",
    "os_pretty_name": "object storage",
}
"""What ``cvmfs_server`` says of its machine. Nothing needs it, but monitoring refuses a file without these members."""
_META = {"administrator": "", "email": "", "organisation": "", "custom": {}}


def enlist(server: BlobStore, fqrn: str) -> Members:
    """Enter a repository that is below `server` at its own name, once; returns the file's members.

    What else the file holds (replicas, facts about the machine, other members of an entry) stays. Raises as
    `edit_json`.
    """

    def edit(members: Members) -> None:
        _begin(members)
        if not any(_is_named(entry, fqrn) for entry in members["repositories"]):
            members["repositories"] = [*members["repositories"], {"name": fqrn, "url": f"/cvmfs/{fqrn}"}]

    members = edit_json(server, REPOSITORIES_PATH, edit)
    _ensure_meta(server)
    return members


def delist(server: BlobStore, fqrn: str) -> Members:
    """Take a repository out; absent is fine."""

    def edit(members: Members) -> None:
        _begin(members)
        members["repositories"] = [entry for entry in members["repositories"] if not _is_named(entry, fqrn)]

    return edit_json(server, REPOSITORIES_PATH, edit)


def _begin(members: Members) -> None:
    members.setdefault("schema", _SCHEMA)
    for name, fact in _FACTS.items():
        members.setdefault(name, fact)
    for name in ("repositories", "replicas"):
        if not isinstance(members.get(name), list):
            members[name] = []


def _is_named(entry: object, fqrn: str) -> bool:
    return isinstance(entry, dict) and entry.get("name") == fqrn


def _ensure_meta(server: BlobStore) -> None:
    """An empty template for the operator to fill in; his own is never touched."""
    try:
        server.create(META_PATH, json.dumps(_META, indent=2).encode() + b"\n")
    except VersionMoved:
        return
