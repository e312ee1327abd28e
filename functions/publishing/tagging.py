"""Editing tags: a new tag database and a re-signed manifest, but no new revision.

The manifest keeps its root catalog and its revision and gets a new time, as upstream (``swissknife_history.cc:
CommandEditTag``, ``signing_tool.cc``): clients that have the root catalog mounted do not look further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog
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

    def edit(base: Manifest, history: History, reflog: Reflog) -> None:
        nonlocal added
        old = history.tag(request.name)
        if old is not None and at is None:
            raise TagTaken(f"There is a tag {request.name!r} already, on revision {old.revision}.")
        root = find_root(publisher, base, history, at)
        tag = _described(publisher, request, root)
        if root != base.root:
            # A collection takes condemned roots out of the reflog before it deletes anything, so what is still listed
            # is whole; the fresh entry makes one that is under way plan again.
            if not reflog.contains(root):
                raise TagUnknown(f"The root catalog {root} is not in the reflog: its revision may have been collected.")
            reflog.add(root, RefType.CATALOG, max(publisher.now_s(), base.published_at))
        if old is None:
            history.add(tag)
        else:
            tag = history.move(
                tag.name, tag.root, tag.size, tag.revision, tag.timestamp, description=request.description
            )
        added = TagAdded(tag, old)

    _edit_tags(publisher, edit)
    assert added is not None
    return added


def remove_tags(publisher: Publisher, names: Sequence[str]) -> list[Tag]:
    """Remove tags, all or none, and return what they were; raises TagUnknown, TagRefused."""
    removed: list[Tag] = []

    def edit(_base: Manifest, history: History, _reflog: Reflog) -> None:
        removed.clear()
        for name in dict.fromkeys(names):
            tag = history.tag(name)
            history.remove(name)
            assert tag is not None
            removed.append(tag)

    _edit_tags(publisher, edit)
    return removed


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


def _edit_tags(publisher: Publisher, edit: Callable[[Manifest, History, Reflog], None]) -> None:
    """Apply `edit` to the live tag database; it runs again on a newer one if a swap is lost."""

    def plan(base: Manifest, reflog_of: Callable[[], Reflog]) -> RevisionPlan:
        history, reflog = publisher.tags_of(base), reflog_of()
        if not history.tags():
            # The first tag of a repository that had no tag database: later publishes count on `trunk`.
            trunk = _described(publisher, TagRequest(TRUNK), base.root)
            history.publish(trunk.root, trunk.size, trunk.revision, trunk.timestamp)
        edit(base, history, reflog)
        return plan_manifest(
            base, history, reflog, now_s=max(publisher.now_s(), base.published_at), codec=publisher.codec
        )

    publisher.commit(plan)
