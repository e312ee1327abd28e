"""Publishing a local tree: contents are stored, then the planned edit becomes a revision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass

from functions.cvmfs.address import Address
from functions.cvmfs.entry import Entry
from functions.cvmfs.objects import StoredObject
from functions.errors import RepositoryUnknown, TreeEmpty, TreeMoved
from functions.publishing.commit import Published, Publisher
from functions.publishing.content import Recipe, StoredContent, store_content
from functions.publishing.head import read_head
from functions.publishing.local_tree import LocalTree, TreeItem, TreeSource
from functions.publishing.objects import Objects
from functions.publishing.revision import TagRequest
from functions.publishing.same_content import content_comparison
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_entries import file_entry
from functions.publishing.tree_sync import ChangeKind, SameContent, SyncPlan, apply_sync, plan_sync

LARGE_BYTES = 256 << 10
"""Files from this size on are stored side by side by all threads there are.

Smaller ones keep the interpreter busy, and a second thread only gets in the way of the first: 10,000 files of 3.2 kB
take a fifth more time with two threads than with one, in memory and on disk.
"""

SCANS = 3
"""How often a tree is scanned at most until it holds still for the length of a publish."""

Progress = Callable[[SyncPlan, int, int], None]
"""Told, from several threads, the plan and how many files and bytes of it have been stored so far."""


@dataclass(frozen=True, slots=True)
class TreePublish:
    """A local tree on its way to `place` in a repository; errors are those of the source and of the publisher.

    An empty tree removes what is there only if it `may_empty`: most often somebody forgot to mount something. All files
    are read if they are compared `by_content`.
    """

    publisher: Publisher
    source: TreeSource
    place: str
    recipe: Recipe
    may_empty: bool = False
    by_content: bool = False

    def plan(self) -> SyncPlan:
        """What a publish would do; reads no file and writes nothing."""
        head = read_head(self.publisher.store)
        if head is None:
            raise RepositoryUnknown(f"{self.publisher.fqrn} has no revision yet.")
        local = LocalTree.scan(self.source.items(), self.place)
        tree = self.publisher.open_tree(head.manifest)
        try:
            return plan_sync(local, tree, self.place, self._same_content())
        finally:
            tree.close()

    def publish(self, *, tag: TagRequest | None = None, progress: Progress) -> tuple[Published, SyncPlan]:
        """Make the repository below `place` equal to the tree; without a difference or a tag there is no revision.

        What others publish meanwhile stays, and conflicts with it are told in `Published.merged`.

        A tree that changes meanwhile is looked at again, SCANS times in all.
        """
        stored: dict[TreeItem, Entry] = {}
        for _ in range(SCANS - 1):
            with suppress(TreeMoved):
                return self._publish_once(stored, tag, progress)
        return self._publish_once(stored, tag, progress)

    def _publish_once(
        self, stored: dict[TreeItem, Entry], tag: TagRequest | None, progress: Progress
    ) -> tuple[Published, SyncPlan]:
        local = LocalTree.scan(self.source.items(), self.place)
        plan = SyncPlan()

        def edit(tree: CatalogTree, marker: Entry) -> None:
            nonlocal plan
            plan = plan_sync(local, tree, self.place, self._same_content())
            if local.is_empty and not self.may_empty and plan.count(ChangeKind.REMOVE):
                raise TreeEmpty(f"The tree is empty: everything at {self.place or '/'} would be removed.")
            # After a tree that moved only what is not stored yet.
            self._store(plan, [item for item in plan.files.values() if item not in stored], stored, progress)
            apply_sync(tree, plan, {path: stored[item] for path, item in plan.files.items()}, marker)

        # Run again on a newer revision, the edit would remove what another publisher put there meanwhile.
        return self.publisher.publish(edit, tag=tag, merging=True), plan

    def _same_content(self) -> SameContent | None:
        if not self.by_content:
            return None
        return content_comparison(self.source, self.recipe, Objects(self.publisher.store))

    def _store(
        self, plan: SyncPlan, items: Sequence[TreeItem], stored: dict[TreeItem, Entry], progress: Progress
    ) -> None:
        work = _Storing(self, lambda files, content_bytes: progress(plan, files, content_bytes))
        large = [item for item in items if item.size >= LARGE_BYTES]
        tasks = {self.publisher.executor.submit(work.store, item): item for item in large}
        try:
            for item in items:
                if item.size < LARGE_BYTES:
                    stored[item] = work.store(item)
            for task in as_completed(tasks):
                stored[tasks[task]] = task.result()
        finally:
            for task in tasks:
                task.cancel()


class _Storing:
    """The storing of many files by several threads: what they share."""

    def __init__(self, job: TreePublish, told: Callable[[int, int], None]) -> None:
        self._job = job
        self._objects = Objects(job.publisher.store, job.publisher.clock)
        self._known: set[Address] = set()
        self._linked: dict[tuple[int, int], StoredContent] = {}
        self._lock = threading.Lock()
        self._told = told
        self._files = 0
        self._bytes = 0

    def store(self, item: TreeItem) -> Entry:
        """Store the content of a file; a failure of any makes the whole publish fail."""
        recipe = self._job.recipe
        content = None if item.inode is None else self._linked.get(item.inode)
        if content is None:
            content = store_content(self._counted(item), recipe, self._put)
            if item.inode is not None:
                self._linked[item.inode] = content
        self._count(1, 0)
        return file_entry(item, content, recipe.compression)

    def _put(self, stored: StoredObject) -> None:
        # Equal files are stored once. Whoever skips relies on the other thread, and fails with it.
        if stored.address not in self._known:
            self._known.add(stored.address)
            self._objects.put(stored)

    def _counted(self, item: TreeItem) -> Iterator[bytes]:
        for block in self._job.source.blocks(item):
            yield block
            self._count(0, len(block))

    def _count(self, files: int, content_bytes: int) -> None:
        with self._lock:
            self._files += files
            self._bytes += content_bytes
            self._told(self._files, self._bytes)
