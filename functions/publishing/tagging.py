"""Editing tags: a new tag database and a re-signed manifest, but no new revision.

The manifest keeps its root catalog and its revision and gets a new time, as upstream (``swissknife_history.cc:
CommandEditTag``, ``signing_tool.cc``): clients that have the root catalog mounted do not look further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.errors import AddressError
from functions.cvmfs.history import TRUNK, History, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reflog import Reflog, RefType
from functions.errors import RepositoryDamaged, TagRefused, TagTaken, TagUnknown
from functions.publishing.commit import Publisher
from functions.publishing.revision import RevisionPlan, TagRequest, plan_manifest

Place = Digest | int | None
"""Where a tag goes: a root catalog, the number of a revision, or the newest one."""


@dataclass(frozen=True, slots=True)
class TagAdded:
    """The tag as it is now, and where it was before if it was moved."""

    tag: Tag
    moved_from: Tag | None


def add_tag(publisher: Publisher, request: TagRequest, at: Place = None) -> TagAdded:
    """Put a tag on a revision; one that exists is moved, if `at` says where to.

    Raises TagTaken, TagUnknown for a revision that is not there, TagRefused, and what `Publisher.commit` raises.
    """
    added: TagAdded | None = None

    def edit(base: Manifest, history: History, reflog: Reflog) -> bool:
        nonlocal added
        old = history.tag(request.name)
        if old is not None and at is None:
            raise _taken(old)
        root = find_root(publisher, base, history, at)
        tag = _enter(publisher, request, root, history)
        _keep_listed(publisher, root, base, reflog)
        added = TagAdded(tag, old)
        return True

    _edit_tags(publisher, edit)
    assert added is not None
    return added


def place_tag(publisher: Publisher, request: TagRequest, at: Place = None, *, moving: bool, asked_at: int) -> Tag:
    """Put a new tag on a revision, or with `moving` one that exists, and return it; asked for twice it is done once.

    So a tag that is there is right if it is on `at`; without an `at`, if it is on what was the newest revision at some
    moment since `asked_at` (epoch seconds). Raises as `add_tag` does, and TagUnknown if there is no tag to move.
    """
    placed: Tag | None = None

    def edit(base: Manifest, history: History, reflog: Reflog) -> bool:
        nonlocal placed
        old = history.tag(request.name)
        if old is None and moving:
            raise TagUnknown(f"There is no tag {request.name!r} to move.")
        root = find_root(publisher, base, history, at)
        if old is not None and (
            old.root == root or (at is None and not moving and _was_newest(publisher, base, old.root, asked_at))
        ):
            placed = old
            return False
        if old is not None and not moving:
            raise _taken(old)
        placed = _enter(publisher, request, root, history)
        _keep_listed(publisher, root, base, reflog)
        return True

    _edit_tags(publisher, edit)
    assert placed is not None
    return placed


def remove_tags(publisher: Publisher, names: Sequence[str]) -> list[Tag]:
    """Remove tags, all or none, and return what they were; raises TagUnknown, TagRefused."""
    removed: list[Tag] = []

    def edit(_base: Manifest, history: History, _reflog: Reflog) -> bool:
        removed.clear()
        for name in dict.fromkeys(names):
            tag = history.tag(name)
            history.remove(name)
            assert tag is not None
            removed.append(tag)
        return True

    _edit_tags(publisher, edit)
    return removed


def drop_tags(publisher: Publisher, names: Sequence[str]) -> None:
    """Remove those of the tags that are there; raises TagRefused."""

    def edit(_base: Manifest, history: History, _reflog: Reflog) -> bool:
        there = [name for name in dict.fromkeys(names) if history.tag(name) is not None]
        for name in there:
            history.remove(name)
        return bool(there)

    _edit_tags(publisher, edit)


def parse_root(text: str) -> Digest:
    """A root hash from outside; raises TagUnknown."""
    try:
        return Digest.parse(text)
    except AddressError as err:
        raise TagUnknown(f"There is no root catalog {text!r}: {err}.") from err


def find_root(publisher: Publisher, base: Manifest, history: History, at: Place) -> Digest:
    """The root catalog of a revision; raises TagUnknown.

    A number is looked for among the tags, then along the chain of predecessors, as far as it has not been collected.
    """
    if at is None:
        return base.root
    if isinstance(at, Digest):
        return at
    for tag in history.tags():
        if tag.revision == at and not tag.branch:
            return tag.root
    root: Digest | None = base.root
    while root is not None:
        try:
            with Catalog.from_bytes(publisher.catalog(root)) as catalog:
                revision, previous = catalog.revision, catalog.previous_revision
        except RepositoryDamaged as err:
            raise TagUnknown(f"Revision {at} cannot be reached any more, it may have been collected ({err}).") from err
        if revision == at:
            return root
        root = previous if revision > at else None
    raise TagUnknown(f"There is no revision {at}.")


def _keep_listed(publisher: Publisher, root: Digest, base: Manifest, reflog: Reflog) -> None:
    """Refresh the entry of an older root catalog in the reflog; raises TagUnknown if there is none."""
    if root != base.root:
        # A collection takes condemned roots out of the reflog before it deletes anything, so what is still listed
        # is whole; the fresh entry makes one that is under way plan again.
        if not reflog.contains(root):
            raise TagUnknown(f"The root catalog {root} is not in the reflog: its revision may have been collected.")
        reflog.add(root, RefType.CATALOG, max(publisher.now_s(), base.published_at))


def _enter(publisher: Publisher, request: TagRequest, root: Digest, history: History) -> Tag:
    """Enter a tag, or move it."""
    tag = _described(publisher, request, root)
    if history.tag(request.name) is None:
        history.add(tag)
        return tag
    return history.move(tag.name, tag.root, tag.size, tag.revision, tag.timestamp, description=request.description)


def _taken(tag: Tag) -> TagTaken:
    return TagTaken(f"There is a tag {tag.name!r} already, on revision {tag.revision}.")


def _was_newest(publisher: Publisher, base: Manifest, root: Digest, since: int) -> bool:
    """Whether `root` is the live root catalog, or was at some moment from `since` (epoch seconds) on."""
    newest: Digest | None = base.root
    while newest is not None and newest != root:
        try:
            with Catalog.from_bytes(publisher.catalog(newest)) as catalog:
                # Published before, it was the newest one at that time already.
                newest = catalog.previous_revision if catalog.last_modified >= since else None
        except RepositoryDamaged:
            return False
    return newest == root


def _described(publisher: Publisher, request: TagRequest, root: Digest) -> Tag:
    """The tag on a root catalog, with what the catalog says of itself."""
    try:
        image = publisher.catalog(root)
    except RepositoryDamaged as err:
        raise TagUnknown(f"The root catalog {root} cannot be read: {err}.") from err
    with Catalog.from_bytes(image) as catalog:
        if catalog.path:
            raise TagRefused(f"{root} is not a root catalog, but that of {catalog.path}.")
        return Tag(
            request.name, root, len(image), catalog.revision, catalog.last_modified, request.description, branch=""
        )


def _edit_tags(publisher: Publisher, edit: Callable[[Manifest, History, Reflog], bool]) -> None:
    """Apply `edit` to the live tag database, unless it says False; it runs again on a newer one if a swap is lost."""

    def plan(base: Manifest, reflog_of: Callable[[], Reflog]) -> RevisionPlan | None:
        history, reflog = publisher.tags_of(base), reflog_of()
        if not history.tags():
            # The first tag of a repository that had no tag database: later publishes count on `trunk`.
            trunk = _described(publisher, TagRequest(TRUNK), base.root)
            history.publish(trunk.root, trunk.size, trunk.revision, trunk.timestamp)
        if not edit(base, history, reflog):
            return None
        return plan_manifest(
            base, history, reflog, now_s=max(publisher.now_s(), base.published_at), codec=publisher.codec
        )

    publisher.commit(plan)
