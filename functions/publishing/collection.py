"""Collecting garbage beside live publishers, without a lock: mark, take out of the reflog, sweep.

1. Mark: everything reachable from the live root catalog, the tagged ones and those that the retention keeps.
2. Swap the reflog without the condemned root catalogs, then the manifest with its new checksum (same revision, same
   time). Whoever swapped either meanwhile makes this plan again, and what is new is marked too. From here on nobody can
   tag a condemned root catalog, because it is not listed any more.
3. Sweep what is not marked and older than the grace time.

Why nothing that is needed goes: a publisher refers to what its base revision or a tag reaches, which is marked, since
its swap succeeds only on the live manifest; and to what it stored itself, or found stored and made young, which is
younger than the grace time. Killed anywhere before the second swap, a collection has deleted nothing; after it, the
next one finds what is left. Source of the rules: ``retention.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reflog import Reference, Reflog, RefType
from functions.errors import CollectionRefused
from functions.publishing.commit import Publisher
from functions.publishing.head import read_reflog
from functions.publishing.json_files import note_status
from functions.publishing.reachability import Reach, keys_of
from functions.publishing.retention import (
    DEFAULT_AGE,
    GRACE,
    REPLICAS_LOOK_BACK,
    Retention,
    Sentence,
    judge,
    young_roots,
)
from functions.publishing.revision import RevisionPlan, checksum
from functions.publishing.sweep import Garbage, Sweep, Swept, condemned_garbage, listed_garbage

LAST_COLLECTION = "last_gc"
"""The member of ``.cvmfs_status.json`` that official tools schedule by."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection has come: catalogs marked, objects deleted and their stored bytes."""

    catalogs: int = 0
    deleted: int = 0
    deleted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did, or would do if it was dry.

    `kept_roots` and `condemned_roots` are root catalogs, `reachable` counts the distinct objects that stay, catalogs
    and auxiliary objects included.
    """

    manifest: Manifest
    kept_roots: int
    condemned_roots: tuple[Digest, ...]
    catalogs: int
    reachable: int
    swept: Swept


def _nobody(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Collector:
    """Collects the garbage of the publisher's repository.

    `retention` None keeps what is younger than DEFAULT_AGE. `grace` is how long an object that nothing refers to is
    left alone; below LEAST_GRACE nobody may publish meanwhile. A root catalog that is younger than that, and than
    REPLICAS_LOOK_BACK, stays with all that it refers to, whatever the retention. Without `leftovers` only what
    condemned root catalogs of the reflog reach is deleted, as upstream: there is no listing, what publishers that died
    have left stays, and a root catalog is condemned only when it was entered longer ago than `grace`.
    """

    publisher: Publisher
    retention: Retention | None = None
    grace: timedelta = GRACE
    leftovers: bool = True
    told: Callable[[Address], None] = _nobody
    progress: Callable[[Progress], None] = _nobody

    def collect(self, *, dry_run: bool = False, deadline: datetime | None = None) -> Collected:
        """Collect; or, dry, find out what a collection would do now and write nothing.

        At `deadline` no further deletion is begun, and the next collection goes on. Raises CollectionRefused if the
        repository is not garbage collectable, RepositoryDamaged if a catalog that must stay is missing, and what
        `Publisher.commit` raises; nothing has been deleted then.
        """
        now = self.publisher.clock()
        work = _Collection(self, now, self.retention or Retention(since=int((now - DEFAULT_AGE).timestamp())))
        manifest = work.find_out() if dry_run else work.decide()
        swept = work.sweep(dry_run=dry_run, deadline=deadline)
        if swept.complete and not dry_run:
            note_status(self.publisher.store, LAST_COLLECTION, self.publisher.clock())
        return Collected(
            manifest, len(work.kept), work.condemned_roots(), work.reach.catalogs, len(work.reach.keys), swept
        )


@dataclass(slots=True)
class _Collection:
    """One collection, under way since `now`."""

    collector: Collector
    now: datetime
    retention: Retention
    reach: Reach = field(init=False)
    needed: set[Digest] = field(default_factory=set)
    """The live root catalog and the tagged ones."""
    kept: set[Digest] = field(default_factory=set)
    """All root catalogs that stay."""
    sentence: Sentence = Sentence()
    condemned: dict[Digest, Reference] = field(default_factory=dict)
    """Everything that a sentence took out of the reflog, also one whose swap of the manifest was lost then."""

    def __post_init__(self) -> None:
        publisher = self.collector.publisher
        self.reach = Reach(
            publisher.store, publisher.executor, lambda catalogs: self.collector.progress(Progress(catalogs))
        )

    def find_out(self) -> Manifest:
        """Decide what stays as of now, and write nothing."""
        publisher = self.collector.publisher
        reflog, _ = read_reflog(publisher.store, publisher.fqrn)
        manifest = publisher.head().manifest
        self._judge(manifest, reflog)
        return manifest

    def decide(self) -> Manifest:
        """Decide what stays, and make reflog and manifest say so; what is condemned may be deleted then."""
        # Most of the marking is done before, so that the plan is quickly made and seldom overtaken.
        self.find_out()
        return self.collector.publisher.commit(self._plan).manifest

    def sweep(self, *, dry_run: bool, deadline: datetime | None) -> Swept:
        """Delete what was not kept."""
        collector, publisher = self.collector, self.collector.publisher

        def progress(swept: Swept) -> None:
            collector.progress(Progress(self.reach.catalogs, swept.count, swept.bytes))

        return Sweep(
            store=publisher.store,
            executor=publisher.executor,
            before=self.now - collector.grace,
            dry_run=dry_run,
            is_over=lambda: deadline is not None and publisher.clock() >= deadline,
            told=collector.told,
            progress=progress,
        ).run(self._garbage())

    def _garbage(self) -> Iterator[Garbage]:
        store = self.collector.publisher.store
        if self.collector.leftovers:
            return listed_garbage(store, self.reach.keys)
        return condemned_garbage(store, list(self.condemned.values()), self.reach.keys)

    def condemned_roots(self) -> tuple[Digest, ...]:
        """The root catalogs that are given up."""
        return tuple(
            entry.digest
            for entry in self.condemned.values()
            if entry.type is RefType.CATALOG and entry.digest not in self.kept
        )

    def _plan(self, base: Manifest, reflog_of: Callable[[], Reflog]) -> RevisionPlan | None:
        reflog = reflog_of()
        self._judge(base, reflog)
        for entry in self.sentence.gone:
            reflog.remove(entry.digest)
        self._enter_what_stays(base, reflog)
        content = reflog.to_bytes()
        manifest = replace(base, reflog=checksum(content, base.root.algorithm))
        return None if manifest == base else RevisionPlan(manifest, (), {}, content)

    def _judge(self, base: Manifest, reflog: Reflog) -> None:
        if not base.garbage_collectable:
            raise CollectionRefused(f"{base.fqrn} is not garbage collectable.")
        entries = reflog.entries()
        tagged = [tag.root for tag in self.collector.publisher.tags_of(base).tags()]
        self.reach.follow([base.root, *tagged], whole=True)
        chain, oldest = self._chain(base.root, entries)
        self.needed = {base.root, *tagged}
        self.kept = {*self.needed, *chain}
        if self.collector.leftovers:
            young = self._left_by_the_sweep(entries)
        else:
            # Nobody would find what is too young now, once the reflog does not lead there any more.
            since = int((self.now - self.collector.grace).timestamp())
            young = young_roots(entries, since)
            oldest = since if oldest is None else min(oldest, since)
        self.reach.follow(young, whole=False)
        self.kept.update(young)
        self.sentence = judge(entries, base, self.kept, oldest=oldest)
        self.condemned |= {entry.digest: entry for entry in self.sentence.gone}
        auxiliary = [base.history, base.certificate, base.metainfo]
        self.reach.keys.add(keys_of(digest for digest in auxiliary if digest is not None))
        self.reach.keys.add(keys_of(reference.digest for reference in self.sentence.kept_auxiliary))

    def _left_by_the_sweep(self, entries: Iterable[Reference]) -> list[Digest]:
        """Root catalogs too young to be deleted: they are there for replicas, which fail if one has lost an object."""
        publisher = self.collector.publisher
        since = self.now - min(self.collector.grace, REPLICAS_LOOK_BACK)
        roots = [root for root in young_roots(entries, int(since.timestamp())) if root not in self.kept]
        found = publisher.executor.map(lambda root: publisher.store.info(Address(root, Kind.CATALOG).path), roots)
        stored = zip(roots, found, strict=True)
        return [root for root, info in stored if info is not None and info.modified > since]

    def _chain(self, root: Digest, entries: Iterable[Reference]) -> tuple[list[Digest], int | None]:
        """The predecessors that stay, nearest first, and when the oldest of them was entered (epoch seconds)."""
        entered = {entry.digest: entry.timestamp for entry in entries if entry.type is RefType.CATALOG}
        chain: list[Digest] = []
        oldest: int | None = None
        while (found := self.reach.roots.get(root)) is not None:
            age = entered.get(root, found.last_modified)
            if chain:
                oldest = age if oldest is None else min(age, oldest)
            if found.previous is None or found.previous in chain or not self.retention.goes_on(len(chain), age):
                break
            root = found.previous
            self.reach.follow([root], whole=False)
            if root in self.reach.roots:  # else it was collected before
                chain.append(root)
        return chain, oldest

    def _enter_what_stays(self, base: Manifest, reflog: Reflog) -> None:
        """Enter what belongs in the reflog and is not there: it may have been lost, or taken out at a bad moment.

        A predecessor that is not listed may have been condemned before, and swept in part; only where there is no
        reflog at all it is entered.
        """
        listed = {entry.digest for entry in reflog.entries()}
        for root in (self.needed if listed else self.kept) - listed:
            found = self.reach.roots.get(root)
            reflog.add(root, RefType.CATALOG, base.published_at if found is None else found.last_modified)
        for digest, kind in (
            (base.history, RefType.HISTORY),
            (base.certificate, RefType.CERTIFICATE),
            (base.metainfo, RefType.METAINFO),
        ):
            if digest is not None and digest not in listed:
                reflog.add(digest, kind, base.published_at)
