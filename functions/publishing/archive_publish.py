"""Publishing an archive into a directory of a repository, as ``cvmfs_server ingest`` does.

The archive is unpacked once, into the store and a catalog of its own; a publish lays that over what the repository has.
So a lost swap costs no second look at the archive. Members replace entries of the same name, all other entries stay:
who wants the directory to be equal to the archive deletes it in the same publish.
Source: ``swissknife_ingest.cc``, ``sync_union_tarball.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, base_name, parent_path
from functions.errors import TreeRefused
from functions.ports import ObjectReader
from functions.publishing.archive import Unpacking
from functions.publishing.archive_formats import unpack
from functions.publishing.archive_rules import ArchiveLimits, ArchiveRules
from functions.publishing.archive_tree import ArchiveTree, is_reserved
from functions.publishing.commit import Published, Publisher
from functions.publishing.content import Recipe, store_content
from functions.publishing.objects import Objects, Uploads
from functions.publishing.overlay import Laid, Overlay
from functions.publishing.revision import TagRequest
from functions.publishing.small_files import SmallFiles
from functions.publishing.tree import CatalogTree

AS_THEY_ARE = ArchiveRules(readable_by_all=False, links_inside=False, shown_names=False)
"""Whoever publishes from a command line gets the permissions, links and names that the archive has."""

_OWN_DIRECTORY = "/.cvmfs"
"""What ``cvmfs_server`` generates there nobody else may touch (``catalog_virtual.cc``)."""

Progress = Callable[[int, int], None]
"""Told how many members and bytes of content have come so far."""


class ArchiveSource(ObjectReader, Protocol):
    """An archive to be read; `stored_size` is its size in bytes, or None for a pipe, which cannot be read anywhere."""

    stored_size: int | None


@dataclass(frozen=True, slots=True)
class Ingested:
    """The outcome: what is live, what was done to it, and how much the archive held."""

    published: Published
    laid: Laid
    members: int = 0
    content_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ArchivePublish:
    """An archive, if there is one, on its way to `place`; `delete` are paths that are removed before.

    `nested` makes `place` a nested catalog.
    """

    publisher: Publisher
    place: str
    recipe: Recipe
    archive: ArchiveSource | None
    delete: Sequence[str] = ()
    nested: bool = False
    limits: ArchiveLimits = ArchiveLimits()

    def publish(self, *, tag: TagRequest | None = None, progress: Progress) -> Ingested:
        """Store what the archive holds and make it part of the next revision.

        Raises UploadRefused for the archive, TreeRefused for where it goes, and what the publisher raises.
        """
        if self.nested and not self.place:
            raise TreeRefused("The root of a repository cannot become a nested catalog.")
        if is_reserved(self.place):
            raise TreeRefused(f"{self.place} has a name that CVMFS keeps for itself.")
        if self.archive is None:
            return self._publish(None, [], tag)
        modified = int(self.archive.info.modified.timestamp())
        uploads = Uploads(Objects(self.publisher.store, self.publisher.clock), self.publisher.executor)
        unpacked = ArchiveTree(self.place, modified=modified)
        try:
            unpacking = Unpacking(
                name=self.archive.info.key,
                stored_size=self.archive.stored_size,
                tree=unpacked,
                files=SmallFiles(self.recipe, uploads.put, self.publisher.executor),
                limits=self.limits,
                rules=AS_THEY_ARE,
                told=progress,
            )
            unpack(self.archive, unpacking)
            marked = unpacking.finish()
            store_content((), self.recipe, uploads.put)  # the empty file, to which markers refer
            uploads.finish()
            ingested = self._publish(unpacked, marked, tag)
            return replace(ingested, members=unpacking.members, content_bytes=unpacking.content_bytes)
        finally:
            unpacked.close()

    def _publish(self, unpacked: ArchiveTree | None, marked: Sequence[str], tag: TagRequest | None) -> Ingested:
        laid = Laid()

        def edit(tree: CatalogTree, marker: Entry) -> None:
            nonlocal laid
            laid = Laid()
            for path in self.delete:
                _delete(tree, path, laid)
            if unpacked is not None:
                Overlay(tree, unpacked, laid).apply()
            if self.nested:
                if (entry := tree.lookup(self.place)) is None or not entry.is_directory:
                    raise TreeRefused(f"There is no directory {self.place} that could become a nested catalog.")
                _nest(tree, self.place, marker)
            for directory in marked:
                _nest(tree, directory, marker)

        published = self.publisher.publish(edit, tag=tag)
        return Ingested(published, laid)


def _nest(tree: CatalogTree, directory: str, marker: Entry) -> None:
    """Start a nested catalog, or keep the balancer from ending the one that is there."""
    if not _is_nested(tree, directory):
        tree.split(directory, auto=False, marker=marker)
    elif tree.lookup(f"{directory}/{AUTO_MARKER_NAME}") is not None:
        tree.remove(f"{directory}/{AUTO_MARKER_NAME}")


def _is_nested(tree: CatalogTree, directory: str) -> bool:
    entry = tree.lookup(directory)
    return entry is not None and entry.is_nested_root


def _delete(tree: CatalogTree, path: str, laid: Laid) -> None:
    if not path or path == _OWN_DIRECTORY or path.startswith(_OWN_DIRECTORY + "/"):
        raise TreeRefused(f"{path or '/'} cannot be deleted.")
    if tree.lookup(path) is None:
        laid.missing.append(path)
        return
    if base_name(path) == MARKER_NAME and _is_nested(tree, parent_path(path)):
        tree.merge(parent_path(path))
    else:
        tree.remove(path)
    laid.deleted.append(path)
