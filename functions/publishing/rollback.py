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
from functions.cvmfs.objects import StoredObject, pack
from functions.cvmfs.reflog import Reflog
from functions.publishing.commit import Publisher
from functions.publishing.pinning import Pin, note_wishes, read_pin, wishes_of, write_pin
from functions.publishing.revision import RevisionPlan, plan_manifest


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The manifest that is live, the tag whose content it has, and the tags of later revisions, which are gone."""

    manifest: Manifest
    target: Tag
    removed: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Pinned:
    """The manifest that is live after a rollback that pins or a release, and the pin; None where nothing is held back.

    Without `changed` the wish had been carried out before, or there was nothing to release. `removed` are the tags of
    later revisions, which are gone.
    """

    manifest: Manifest
    pin: Pin | None
    changed: bool
    removed: tuple[Tag, ...] = ()


def roll_back(publisher: Publisher, name: str | None = None) -> RolledBack:
    """Make the content of the tag `name`, or of ``trunk-previous``, the newest revision.

    Raises TagUnknown, TagRefused for a tag on a branch or on the current revision, and what `Publisher.commit` raises.
    """
    target: Tag | None = None
    removed: tuple[Tag, ...] = ()

    def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan:
        nonlocal target, removed
        planned, target, removed = _planned(publisher, base, reflog, name)
        return planned

    published = publisher.commit(plan)
    assert target is not None
    return RolledBack(published.manifest, target, removed)


def roll_back_and_pin(publisher: Publisher, name: str | None, *, wish: str) -> Pinned:
    """Roll back as `roll_back` does, and hold back what was uploaded before; once for each `wish`, an event's id."""
    pin: Pin | None = None
    removed: tuple[Tag, ...] = ()

    def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan | None:
        nonlocal pin, removed
        with Catalog.from_bytes(publisher.catalog(base.root)) as live:
            wishes = wishes_of(live)
            if wish in wishes:
                pin, removed = read_pin(live), ()
                return None
        pin = Pin(publisher.now_s(), publisher.tags_of(base).rollback_target(name).revision)
        planned, _, removed = _planned(publisher, base, reflog, name, _Mark(pin, wishes, wish))
        return planned

    published = publisher.commit(plan)
    return Pinned(published.manifest, pin, published.changed, removed)


def release(publisher: Publisher, *, wish: str) -> Pinned:
    """Publish the live content as a revision that holds nothing back; nothing is written if none is held back.

    Raises what `Publisher.commit` raises.
    """

    def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan | None:
        image = publisher.catalog(base.root)
        with Catalog.from_bytes(image) as live:
            wishes = wishes_of(live)
            if read_pin(live) is None or wish in wishes:
                return None
        now_s = max(publisher.now_s(), base.published_at)
        stored, content, _ = _republished(base, image, now_s, publisher.codec, _Mark(None, wishes, wish))
        history = publisher.tags_of(base)
        following = replace(base, root=stored.address.digest, root_size=len(content), revision=base.revision + 1)
        history.publish(following.root, following.root_size, following.revision, now_s)
        return plan_manifest(
            following,
            history,
            reflog(),
            now_s=now_s,
            objects=(stored,),
            contents={stored.address: content},
            codec=publisher.codec,
        )

    published = publisher.commit(plan)
    return Pinned(published.manifest, None, published.changed)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a root catalog is to say of rollbacks: its pin, and the wishes carried out, the last of them now."""

    pin: Pin | None = None
    before: tuple[str, ...] = ()
    wish: str | None = None


def _planned(
    publisher: Publisher,
    base: Manifest,
    reflog: Callable[[], Reflog],
    name: str | None,
    mark: _Mark | None = None,
) -> tuple[RevisionPlan, Tag, tuple[Tag, ...]]:
    """The plan of a rollback, its target, and the tags that it removes."""
    history = publisher.tags_of(base)
    target = history.rollback_target(name)
    before = history.tags()
    image = publisher.catalog(target.root)
    planned = plan_rollback(
        base, image, history, reflog(), name=name, now_s=publisher.now_s(), codec=publisher.codec, mark=mark
    )
    kept = {tag.name for tag in history.tags()} | {TRUNK, TRUNK_PREVIOUS}
    return planned, target, tuple(tag for tag in before if tag.name not in kept)


def plan_rollback(
    base: Manifest,
    image: bytes,
    history: History,
    reflog: Reflog,
    *,
    name: str | None,
    now_s: int,
    codec: Codec = FAST,
    mark: _Mark | None = None,
) -> RevisionPlan:
    """Plan the revision after `base` that has the root catalog `image` of the tag `name`.

    Edits `history` and `reflog` in place. The nested catalogs are those of the target, unchanged. Raises TagError.
    """
    now_s = max(now_s, base.published_at)
    stored, content, ttl = _republished(base, image, now_s, codec, mark or _Mark())
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


def _republished(
    base: Manifest, image: bytes, now_s: int, codec: Codec, mark: _Mark
) -> tuple[StoredObject, bytes, int]:
    """A root catalog as that of the revision after `base`: stored, as it is, and its TTL in seconds."""
    with Catalog.from_bytes(image) as catalog:
        catalog.revision = base.revision + 1
        catalog.previous_revision = base.root
        catalog.last_modified = now_s
        ttl = catalog.ttl = catalog.ttl or base.ttl
        write_pin(catalog, mark.pin)
        note_wishes(catalog, mark.before, mark.wish)
        content = catalog.to_bytes()
    return pack(content, Kind.CATALOG, base.root.algorithm, codec=codec), content, ttl
