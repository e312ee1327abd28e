"""A tree of the local file system, as a publisher reads it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from functions.cvmfs.entry import encode_text
from functions.errors import TreeMoved, TreeRefused
from functions.publishing.tree_sync import TreeItem

BLOCK_BYTES = 1 << 20
"""Bytes read at a time."""


class FileTree:
    """The TreeSource below one folder, or of one file; links are taken as they are, only the top one is followed."""

    def __init__(self, top: Path | str) -> None:
        self._top = os.path.realpath(top)

    def items(self) -> Iterator[TreeItem]:
        """The top and everything below it, directories before what they hold, names in byte order."""
        try:
            top = _described("", self._top, os.lstat(self._top))
        except FileNotFoundError as err:
            raise TreeRefused(f"There is no {self._top}.") from err
        except OSError as err:
            raise _refused(self._top, err) from err
        yield top
        pending = [""] if stat.S_ISDIR(top.mode) else []
        while pending:
            directory = pending.pop()
            for item in self._below(directory):
                yield item
                if stat.S_ISDIR(item.mode):
                    pending.append(item.path)

    def blocks(self, item: TreeItem) -> Iterator[bytes]:
        """The content of a file in blocks; raises TreeMoved if it is no longer what `item` says."""
        location = self._top + item.path
        try:
            # Not followed: what was a file when the tree was scanned may be a link to somewhere else by now.
            file = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                while block := os.read(file, min(item.size + 1, BLOCK_BYTES)):
                    yield block
                if os.fstat(file).st_mtime_ns != item.mtime_ns:
                    raise TreeMoved(f"{location} changed while it was read.")
            finally:
                os.close(file)
        except FileNotFoundError as err:
            raise _disappeared(location) from err
        except OSError as err:
            raise _refused(location, err) from err

    def _below(self, directory: str) -> list[TreeItem]:
        location = self._top + directory
        items = []
        try:
            with os.scandir(location) as entries:
                for entry in sorted(entries, key=lambda entry: encode_text(entry.name)):
                    location = entry.path
                    items.append(_described(f"{directory}/{entry.name}", location, entry.stat(follow_symlinks=False)))
        except FileNotFoundError as err:
            raise _disappeared(location) from err
        except OSError as err:
            raise _refused(location, err) from err
        return items


def _described(path: str, location: str, seen: os.stat_result) -> TreeItem:
    # A target is text, which Path would tidy up.
    target = os.readlink(location) if stat.S_ISLNK(seen.st_mode) else ""  # noqa: PTH115
    return TreeItem(path, seen.st_mode, seen.st_size, seen.st_mtime_ns, target)


def _disappeared(location: str) -> TreeMoved:
    return TreeMoved(f"{location} disappeared while the tree was read.")


def _refused(location: str, err: OSError) -> TreeRefused:
    return TreeRefused(f"{location} cannot be read: {err.strerror}.")
