"""The history of a repository: named tags on root catalogs, in a database of its own.

Schema 1.0, revision 3; older revisions are read and written back as the newest. Source: ``history_sql.cc``,
``history_sqlite.cc``, and for the rules of publishing and rolling back ``swissknife_history.cc``.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from functions.cvmfs.address import DIGEST_SIZE, Digest
from functions.cvmfs.database import PROPERTIES_DDL, opened, read_properties, text, transaction, write_properties
from functions.cvmfs.errors import AddressError, HistoryError

TRUNK = "trunk"
"""The tag on the newest revision of the default branch."""

TRUNK_PREVIOUS = "trunk-previous"
"""The tag on the revision before it: what an undo goes back to."""

RESERVED_NAMES = frozenset({TRUNK, TRUNK_PREVIOUS})

_SCHEMA = {"schema": "1.0", "schema_revision": "3"}
_PREVIOUS_REVISION = "previous_revision"
_NO_DIGEST = "0" * (2 * DIGEST_SIZE)
_TAG_NAME = re.compile(r"[A-Za-z0-9_./:-]+")  # sanitizer.h: TagSanitizer

_TEXT = re.compile("[^\0\ud800-\udfff]*")

_TABLES = (
    PROPERTIES_DDL,
    """CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER,
        CONSTRAINT pk_branch PRIMARY KEY (branch), FOREIGN KEY (parent) REFERENCES branches (branch),
        CHECK (branch <> '' OR parent IS NULL), CHECK (branch = '' OR parent IS NOT NULL))""",
    """CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
        description TEXT, size INTEGER, branch TEXT,
        CONSTRAINT pk_tags PRIMARY KEY (name), FOREIGN KEY (branch) REFERENCES branches (branch))""",
    "CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash))",
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a root catalog, with the size of its database in bytes and its ``last_modified`` in epoch seconds."""

    name: str
    root: Digest
    size: int
    revision: int
    timestamp: int
    description: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of development; the default branch has an empty name and no parent."""

    name: str = ""
    parent: str | None = None
    initial_revision: int = 0


class History:
    """The tags of one repository, edited in place; an edit that breaks a rule raises HistoryError and changes nothing.

    `previous_revision` is the digest of the tag database before this one: whoever publishes sets it. A history without
    any tag must not be referred to by a manifest, the official checker takes offence at it.
    """

    def __init__(self, fqrn: str, tags: list[Tag], branches: list[Branch], properties: dict[str, str]) -> None:
        self.fqrn = fqrn
        self.previous_revision: Digest | None = _previous(properties)
        self._tags = {tag.name: tag for tag in tags}
        self._branches = {branch.name: branch for branch in branches}
        self._properties = properties

    @classmethod
    def new(cls, fqrn: str) -> History:
        """A history without tags."""
        return cls(fqrn, [], [Branch()], {})

    @classmethod
    def from_bytes(cls, image: bytes) -> History:
        """Read a tag database (inflated); raises HistoryError."""
        with opened(image, HistoryError) as connection:
            properties = read_properties(connection)
            if properties.get("schema") != _SCHEMA["schema"]:
                raise HistoryError(f"the tag database has schema {properties.get('schema')}, expected 1.0")
            if "fqrn" not in properties:
                raise HistoryError("the tag database does not say which repository it belongs to")
            return cls(properties["fqrn"], _read_tags(connection), _read_branches(connection), properties)

    def to_bytes(self) -> bytes:
        """The tag database, inflated."""
        previous = self.previous_revision
        with opened(None, HistoryError) as connection:
            for table in _TABLES:
                connection.execute(table)
            with transaction(connection):
                write_properties(
                    connection,
                    self._properties
                    | _SCHEMA
                    | {"fqrn": self.fqrn, _PREVIOUS_REVISION: _NO_DIGEST if previous is None else str(previous)},
                )
                connection.executemany(
                    "INSERT INTO branches VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?)",
                    [
                        (
                            text(branch.name),
                            None if branch.parent is None else text(branch.parent),
                            branch.initial_revision,
                        )
                        for branch in self._branches.values()
                    ],
                )
                connection.executemany(
                    "INSERT INTO tags VALUES (CAST(? AS TEXT), ?, ?, ?, 0, CAST(? AS TEXT), ?, CAST(? AS TEXT))",
                    [
                        (
                            text(tag.name),
                            str(tag.root),
                            tag.revision,
                            tag.timestamp,
                            text(tag.description),
                            tag.size,
                            text(tag.branch),
                        )
                        for tag in self._tags.values()
                    ],
                )
            return connection.serialize()

    def tags(self) -> list[Tag]:
        """All tags, newest first."""
        return sorted(self._tags.values(), key=lambda tag: (-tag.revision, -tag.timestamp, tag.name))

    def tag(self, name: str) -> Tag | None:
        """The tag of this name, or None."""
        return self._tags.get(name)

    def branches(self) -> list[Branch]:
        """All branches, the default one included."""
        return list(self._branches.values())

    def generic_name(self, now: datetime) -> str:
        """The name an automatic tag gets at `now` (aware): ``generic-2026-11-23T03:25:31Z``, or a numbered one."""
        moment = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        name, number = f"generic-{moment}", 0
        while name in self._tags:
            number += 1
            name = f"generic_{number}-{moment}"
        return name

    def publish(
        self,
        root: Digest,
        size: int,
        revision: int,
        timestamp: int,
        *,
        name: str | None = None,
        description: str = "",
    ) -> None:
        """Enter a new revision: ``trunk`` moves to it, the old one becomes ``trunk-previous``, `name` is put on it."""
        head = self._tags.get(TRUNK)
        if head is not None and revision <= head.revision:
            raise HistoryError(f"revision {revision} does not follow {head.revision}, which trunk is on")
        if name is not None:
            self.add(Tag(name, root, size, revision, timestamp, description))
        self._tags.pop(TRUNK_PREVIOUS, None)
        if head is not None:
            del self._tags[TRUNK]
            self._tags[TRUNK_PREVIOUS] = replace(head, name=TRUNK_PREVIOUS, description="default undo target")
        self._tags[TRUNK] = Tag(TRUNK, root, size, revision, timestamp, "current HEAD")

    def add(self, tag: Tag) -> None:
        """Enter a tag under a name that is legal, not reserved and not taken, on a branch that exists."""
        require_tag_name(tag.name)
        if tag.name in self._tags:
            raise HistoryError(f"there is a tag {tag.name!r} already")
        if not _TEXT.fullmatch(tag.description):
            raise HistoryError(f"the description of tag {tag.name!r} has characters that are no text")
        branch = self._branches.get(tag.branch)
        if branch is None:
            raise HistoryError(f"there is no branch {tag.branch!r}")
        if tag.revision < branch.initial_revision:
            raise HistoryError(f"revision {tag.revision} is older than branch {tag.branch!r}")
        self._tags[tag.name] = tag

    def remove(self, name: str) -> None:
        """Remove a tag, and branches that have none left; the children of such a branch go to its parent."""
        if name in RESERVED_NAMES:
            raise HistoryError(f"the tag {name!r} is kept by the publisher and cannot be removed")
        if name not in self._tags:
            raise HistoryError(f"there is no tag {name!r}")
        del self._tags[name]
        used = {tag.branch for tag in self._tags.values()}
        for unused in [self._branches[name] for name in self._branches if name and name not in used]:
            # Read again: its own parent may have been pruned a moment ago.
            parent = self._branches.pop(unused.name).parent
            for child in list(self._branches.values()):
                if child.parent == unused.name:
                    self._branches[child.name] = replace(child, parent=parent)

    def rollback_target(self, name: str | None = None) -> Tag:
        """The tag whose root catalog a rollback takes: `name`, or ``trunk-previous`` for an undo."""
        target = self._tags.get(TRUNK_PREVIOUS if name is None else name)
        head = self._tags.get(TRUNK)
        if target is None or head is None:
            raise HistoryError("there is nothing to undo" if name is None else f"there is no tag {name!r}")
        if target.branch:
            raise HistoryError(f"the tag {target.name!r} is on branch {target.branch!r}, not on the default branch")
        if target.revision >= head.revision:
            raise HistoryError(f"the tag {target.name!r} is on revision {target.revision}, which is the current one")
        return target

    def rollback(self, name: str | None, *, root: Digest, size: int, revision: int, timestamp: int) -> None:
        """Enter the revision that republishes the content of `rollback_target`, as a catalog of its own.

        Tags on the default branch that are newer than the target vanish; the target moves to the new root. There is no
        ``trunk-previous`` afterwards, so an undo cannot be repeated (``history_sqlite.cc: Rollback``).
        """
        target = self.rollback_target(name)
        if revision <= self._tags[TRUNK].revision:
            raise HistoryError(f"revision {revision} does not follow {self._tags[TRUNK].revision}, which trunk is on")
        for tag in list(self._tags.values()):
            if not tag.branch and (tag.revision > target.revision or tag.name in {target.name, TRUNK_PREVIOUS}):
                del self._tags[tag.name]
        if target.name not in RESERVED_NAMES:
            self._tags[target.name] = replace(target, root=root, size=size, revision=revision, timestamp=timestamp)
        self._tags[TRUNK] = Tag(TRUNK, root, size, revision, timestamp, "current HEAD")

    def check(self) -> list[str]:
        """What the official checker would say against this history (``swissknife_check.cc: InspectHistory``)."""
        findings = []
        for tag in self._tags.values():
            branch = self._branches.get(tag.branch)
            if branch is None:
                findings.append(f"tag {tag.name!r} is on branch {tag.branch!r}, which does not exist")
            elif tag.revision < branch.initial_revision:
                findings.append(f"tag {tag.name!r} is on revision {tag.revision}, older than its branch")
        unused = self._branches.keys() - {tag.branch for tag in self._tags.values()}
        findings += [f"branch {name!r} has no tag" for name in sorted(unused)]
        return findings


def require_tag_name(name: str) -> None:
    """Refuse names that users cannot give to tags; raises HistoryError."""
    if name in RESERVED_NAMES:
        raise HistoryError(f"the tag name {name!r} is reserved")
    if not _TAG_NAME.fullmatch(name):
        raise HistoryError(f"{name!r} is not a tag name; letters, digits and - _ . / : are allowed")


def _previous(properties: dict[str, str]) -> Digest | None:
    value = properties.get(_PREVIOUS_REVISION, "")
    if not value or value.startswith(_NO_DIGEST):
        return None
    return _digest(value)


def _digest(value: str) -> Digest:
    try:
        return Digest.parse(value)
    except AddressError as err:
        raise HistoryError(f"the tag database names a root catalog or predecessor badly: {err}") from err


def _read_tags(connection: sqlite3.Connection) -> list[Tag]:
    columns = {column[1] for column in connection.execute("PRAGMA table_info(tags)")}
    size = "size" if "size" in columns else "0"
    branch = "branch" if "branch" in columns else "''"
    query = (
        "SELECT CAST(name AS TEXT), CAST(hash AS TEXT), CAST(revision AS INTEGER), CAST(timestamp AS INTEGER), "  # noqa: S608
        f"CAST(coalesce(description, '') AS TEXT), CAST(coalesce({size}, 0) AS INTEGER), "
        f"CAST(coalesce({branch}, '') AS TEXT) FROM tags ORDER BY rowid"
    )
    tags = []
    for name, digest, revision, timestamp, description, bytes_, branch_name in connection.execute(query):
        if name is None or digest is None or revision is None or timestamp is None:
            raise HistoryError(f"the tag {name!r} has no name, root catalog, revision or time")
        tags.append(Tag(name, _digest(digest), bytes_, revision, timestamp, description, branch_name))
    return tags


def _read_branches(connection: sqlite3.Connection) -> list[Branch]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'branches'").fetchone():
        return [Branch()]
    rows = connection.execute(
        "SELECT CAST(coalesce(branch, '') AS TEXT), CAST(parent AS TEXT), "
        "CAST(coalesce(initial_revision, 0) AS INTEGER) FROM branches ORDER BY rowid"
    )
    return [Branch(*row) for row in rows]
