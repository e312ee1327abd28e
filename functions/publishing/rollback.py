"""Going back: a new revision with the content of an older one.

Numbers only grow: clients and replicas never look at a revision that is not newer than the one they have. So the root
catalog of the target is stored again, as the successor of the live one (``swissknife_history.cc: CommandRollbackTag``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from functions.cvmfs.address import Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.compression import FAST, Codec
from functions.cvmfs.history import TRUNK, TRUNK_PREVIOUS, History, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.objects import pack
from functions.cvmfs.reflog import Reflog
from functions.publishing.commit import Publisher
from functions.publishing.revision import RevisionPlan, plan_manifest


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The manifest that is live, the tag whose content it has, and the tags of later revisions, which are gone."""

    manifest: Manifest
    target: Tag
    removed: tuple[Tag, ...]


def roll_back(publisher: Publisher, name: str | None = None) -> RolledBack:
    """Make the content of the tag `name`, or of ``trunk-previous``, the newest revision.

    Raises TagUnknown, TagRefused for a tag on a branch or on the current revision, and what `Publisher.commit` raises.
    """
    target: Tag | None = None
    removed: tuple[Tag, ...] = ()

    def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan:
        nonlocal target, removed
        history = publisher.tags_of(base)
        target = history.rollback_target(name)
        before = history.tags()
        image = publisher.catalog(target.root)
        planned = plan_rollback(
            base, image, history, reflog(), name=name, now_s=publisher.now_s(), codec=publisher.codec
        )
        kept = {tag.name for tag in history.tags()} | {TRUNK, TRUNK_PREVIOUS}
        removed = tuple(tag for tag in before if tag.name not in kept)
        return planned

    published = publisher.commit(plan)
    assert target is not None
    return RolledBack(published.manifest, target, removed)


def plan_rollback(
    base: Manifest,
    image: bytes,
    history: History,
    reflog: Reflog,
    *,
    name: str | None,
    now_s: int,
    codec: Codec = FAST,
) -> RevisionPlan:
    """Plan the revision after `base` that has the root catalog `image` of the tag `name`.

    Edits `history` and `reflog` in place. The nested catalogs are those of the target, unchanged. Raises TagError.
    """
    now_s = max(now_s, base.published_at)
    with Catalog.from_bytes(image) as catalog:
        catalog.revision = base.revision + 1
        catalog.previous_revision = base.root
        catalog.last_modified = now_s
        catalog.ttl = catalog.ttl or base.ttl
        ttl = catalog.ttl
        content = catalog.to_bytes()
    stored = pack(content, Kind.CATALOG, base.root.algorithm, codec=codec)
    root, size, revision = stored.address.digest, len(content), base.revision + 1
    history.rollback(name, root=root, size=size, revision=revision, timestamp=now_s)
    return plan_manifest(
        replace(base, root=root, root_size=size, ttl=ttl, revision=revision),
        history,
        reflog,
        now_s=now_s,
        objects=(stored,),
        contents={stored.address: content},
        codec=codec,
    )
