"""The history of a repository: named tags on root catalogs, and the rules of entering, moving and removing them.

Source: ``history_sqlite.cc``, and for the rules of publishing and rolling back ``swissknife_history.cc``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from functions.cvmfs.address import Digest
from functions.cvmfs.errors import HistoryError, TagError, TagExists, TagMissing
from functions.cvmfs.history_database import (
    Branch,
    HistoryContent,
    Tag,
    previous_revision_of,
    read_history,
    write_history,
)

__all__ = ["RESERVED_NAMES", "TRUNK", "TRUNK_PREVIOUS", "Branch", "History", "Tag", "require_tag_name"]

TRUNK = "trunk"
"""The tag on the newest revision of the default branch."""

TRUNK_PREVIOUS = "trunk-previous"
"""The tag on the revision before it: what an undo goes back to."""

RESERVED_NAMES = frozenset({TRUNK, TRUNK_PREVIOUS})

_TAG_NAME = re.compile(r"[A-Za-z0-9_./:-]+")  # sanitizer.h: TagSanitizer
_GENERIC_NAME = re.compile(r"generic(_\d+)?-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")

_TEXT = re.compile("[^\0\ud800-\udfff]*")


class History:
    """The tags of one repository, edited in place; an edit that breaks a rule raises TagError and changes nothing.

    `previous_revision` is the digest of the tag database before this one: whoever publishes sets it. A history without
    any tag must not be referred to by a manifest, the official checker takes offence at it.
    """

    def __init__(self, fqrn: str, tags: list[Tag], branches: list[Branch], properties: dict[str, str]) -> None:
        self.fqrn = fqrn
        self.previous_revision: Digest | None = previous_revision_of(properties)
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
        content = read_history(image)
        return cls(content.fqrn, content.tags, content.branches, content.properties)

    def to_bytes(self) -> bytes:
        """The tag database, inflated."""
        return write_history(
            HistoryContent(self.fqrn, list(self._tags.values()), self.branches(), self._properties),
            self.previous_revision,
        )

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

    def expire_generic(self, before: int) -> list[Tag]:
        """Remove automatic tags on revisions older than `before` (epoch seconds) and return them.

        The gateway of the official tools writes such names with milliseconds; both kinds go.
        Source: ``cvmfs_server_publish.sh: filter_auto_tags``.
        """
        expired = [tag for tag in self.tags() if _GENERIC_NAME.fullmatch(tag.name) and tag.timestamp < before]
        for tag in expired:
            self.remove(tag.name)
        return expired

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
            raise TagExists(f"there is a tag {tag.name!r} already")
        self._require_sound(tag)
        self._tags[tag.name] = tag

    def move(self, name: str, root: Digest, size: int, revision: int, timestamp: int, *, description: str = "") -> Tag:
        """Put a tag on another root catalog; it keeps its branch and, without a new one, its description.

        Source: ``swissknife_history.cc: MoveTag``.
        """
        require_tag_name(name)
        old = self._tags.get(name)
        if old is None:
            raise TagMissing(f"there is no tag {name!r}")
        if old.root == root:
            raise TagError(f"the tag {name!r} is on {root} already")
        moved = Tag(name, root, size, revision, timestamp, description or old.description, old.branch)
        self._require_sound(moved)
        self._tags[name] = moved
        return moved

    def _require_sound(self, tag: Tag) -> None:
        if not _TEXT.fullmatch(tag.description):
            raise TagError(f"the description of tag {tag.name!r} has characters that are no text")
        branch = self._branches.get(tag.branch)
        if branch is None:
            raise TagError(f"there is no branch {tag.branch!r}")
        if tag.revision < branch.initial_revision:
            raise TagError(f"revision {tag.revision} is older than branch {tag.branch!r}")

    def remove(self, name: str) -> None:
        """Remove a tag, and branches that have none left; the children of such a branch go to its parent."""
        if name in RESERVED_NAMES:
            raise TagError(f"the tag {name!r} is kept by the publisher and cannot be removed")
        if name not in self._tags:
            raise TagMissing(f"there is no tag {name!r}")
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
            raise TagMissing("there is nothing to undo" if name is None else f"there is no tag {name!r}")
        if target.branch:
            raise TagError(f"the tag {target.name!r} is on branch {target.branch!r}, not on the default branch")
        if target.revision >= head.revision:
            raise TagError(f"the tag {target.name!r} is on revision {target.revision}, which is the current one")
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
    """Refuse names that users cannot give to tags; raises TagError."""
    if name in RESERVED_NAMES:
        raise TagError(f"the tag name {name!r} is reserved")
    if not _TAG_NAME.fullmatch(name):
        raise TagError(f"{name!r} is not a tag name; letters, digits and - _ . / : are allowed")
