"""Directories that exist because something is in them: made when needed, as new as what they hold, gone when empty.

S3 has no directories, so what a worker node sees of one must follow from the objects below it and from nothing else.
Its time is the newest LastModified of them: programs that keep a directory's listing in memory look at that time to see
whether something was added.
"""

from __future__ import annotations

import heapq
from dataclasses import replace

from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, parent_path
from functions.publishing.sources import implied_directory, is_implied, is_sourced, source_modified
from functions.publishing.tree import CatalogTree

_MARKERS = frozenset({MARKER_NAME, AUTO_MARKER_NAME})


class ImpliedDirectories:
    """What a batch of edits means for such directories: noted while it is applied, settled once at its end."""

    def __init__(self, tree: CatalogTree) -> None:
        self._tree = tree
        self._gains: dict[str, int] = {}
        self._losses: set[str] = set()

    def make(self, path: str, modified: int) -> None:
        """Make a directory and all that are missing above it; what is in their way has been removed."""
        missing = []
        while path and self._tree.lookup(path) is None:
            missing.append(path)
            path = parent_path(path)
        if missing:
            self.gained(path, modified)
        for directory in reversed(missing):
            self._tree.put(directory, implied_directory(modified))

    def gained(self, directory: str, modified: int) -> None:
        """Something of this LastModified was entered in a directory."""
        self._gains[directory] = max(modified, self._gains.get(directory, modified))

    def lost(self, directory: str) -> None:
        """Something went from a directory, or is older now."""
        self._losses.add(directory)

    def changed(self, directory: str, before: Entry | None, modified: int) -> None:
        """An entry of a directory was replaced by one of this LastModified, or is new where `before` is None."""
        if before is not None and source_modified(before) > modified:
            self.lost(directory)
        self.gained(directory, modified)

    def settle(self) -> None:
        """Bring the times up to date and remove what is empty, children before their parents."""
        waiting = [(-path.count("/"), path) for path in self._gains.keys() | self._losses]
        heapq.heapify(waiting)
        settled: set[str] = set()
        while waiting:
            _, path = heapq.heappop(waiting)
            if path not in settled:
                settled.add(path)
                if self._settle(path):
                    above = parent_path(path)
                    heapq.heappush(waiting, (-above.count("/"), above))
        self._gains.clear()
        self._losses.clear()

    def _settle(self, path: str) -> bool:
        """Settle one directory; whether the one above has to be looked at."""
        entry = self._tree.lookup(path) if path else None
        if entry is None or not is_implied(entry):
            return False
        newest = max(entry.mtime, self._gains.get(path, entry.mtime))
        if path in self._losses:
            children = [(name, self._as_edited(f"{path}/{name}", child)) for name, child in self._tree.listing(path)]
            if all(name in _MARKERS and not is_sourced(child) for name, child in children):
                self._tree.remove(path)
                self.lost(parent_path(path))
                return True
            told = [source_modified(child) for _, child in children if is_sourced(child) or is_implied(child)]
            newest = max(told, default=entry.mtime)
        if newest == entry.mtime:
            return False
        self._tree.put(path, replace(entry, mtime=newest))
        if newest > entry.mtime:
            self.gained(parent_path(path), newest)
        else:
            self.lost(parent_path(path))
        return True

    def _as_edited(self, path: str, entry: Entry) -> Entry:
        """The root of a nested catalog instead of its mount point, which follows when catalogs are written."""
        return self._tree.lookup(path) or entry if entry.is_nested_mountpoint else entry
