"""Publishing a local tree: contents are stored, then the planned edit becomes a revision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from functions.cvmfs.address import Address
from functions.cvmfs.entry import Entry
from functions.cvmfs.objects import StoredObject
from functions.errors import RepositoryUnknown, TreeEmpty, TreeMoved
from functions.publishing.commit import Published, Publisher
from functions.publishing.content import Recipe, StoredContent
from functions.publishing.head import read_head
from functions.publishing.local_tree import LocalTree, TreeItem, TreeSource
from functions.publishing.objects import Objects, Uploads
from functions.publishing.revision import TagRequest
from functions.publishing.same_content import content_comparison
from functions.publishing.small_files import SmallFiles, Ticket
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_entries import file_entry
from functions.publishing.tree_sync import ChangeKind, SameContent, SyncPlan, apply_sync, plan_sync

SCANS = 3
"""How often a tree is scanned at most until it holds still for the length of a publish."""

Progress = Callable[[SyncPlan, int, int], None]
"""Told the plan and how many files and bytes of it have been stored so far."""


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
            entries = self._store(plan, stored, progress)
            apply_sync(tree, plan, entries, marker)

        # Run again on a newer revision, the edit would remove what another publisher put there meanwhile.
        return self.publisher.publish(edit, tag=tag, merging=True), plan

    def _same_content(self) -> SameContent | None:
        if not self.by_content:
            return None
        return content_comparison(self.source, self.recipe, Objects(self.publisher.store))

    def _store(self, plan: SyncPlan, stored: dict[TreeItem, Entry], progress: Progress) -> dict[str, Entry]:
        """The entries of the files in a plan, once their contents are stored; a failure of any fails them all."""
        work = _Storing(self, lambda files, content_bytes: progress(plan, files, content_bytes))
        # After a tree that moved only what is not stored yet.
        entries = {path: stored[item] for path, item in plan.files.items() if item in stored} if stored else {}
        try:
            for path, item in plan.files.items():
                if path not in entries:
                    work.add(path, item)
            work.finish()
        except TreeMoved:
            stored.update((plan.files[path], entry) for path, entry in work.entries())
            raise
        entries.update(work.entries())
        return entries


class _Storing:
    """The storing of many files: contents are read here, packed and put by this thread or others."""

    def __init__(self, job: TreePublish, told: Callable[[int, int], None]) -> None:
        executor = job.publisher.executor
        self._source = job.source
        self._compression = job.recipe.compression
        self._uploads = Uploads(Objects(job.publisher.store, job.publisher.clock), executor)
        self._small = SmallFiles(job.recipe, self._put, executor)
        self._known: set[Address] = set()
        self._linked: dict[tuple[int, int], StoredContent | Ticket] = {}
        self._contents: list[tuple[str, TreeItem, StoredContent | Ticket]] = []
        self._told = told
        self._files = 0
        self._bytes = 0

    def add(self, path: str, item: TreeItem) -> None:
        """Read a file, unless it was read under another name."""
        content = None if item.inode is None else self._linked.get(item.inode)
        if content is None:
            blocks = self._source.blocks(item)
            if item.size <= self._small.limit:
                content = self._small.add(b"".join(blocks))
                self._bytes += item.size
            else:
                content = self._small.store(self._counted(blocks))
            if item.inode is not None:
                self._linked[item.inode] = content
        self._contents.append((path, item, content))
        self._files += 1
        self._told(self._files, self._bytes)

    def finish(self) -> None:
        """Wait until everything is in the store."""
        self._small.finish_all()
        self._uploads.finish()

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Paths and entries of all that was added."""
        for path, item, content in self._contents:
            stored = content.content() if isinstance(content, Ticket) else content
            yield path, file_entry(item, stored, self._compression)

    def _put(self, stored: StoredObject) -> None:
        # Equal files are stored once.
        if stored.address not in self._known:
            self._known.add(stored.address)
            self._uploads.put(stored)

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            yield block
            self._bytes += len(block)
            self._told(self._files, self._bytes)
