"""A tree of the local file system, as a publisher reads it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from functions.cvmfs.entry import encode_text
from functions.errors import TreeMoved, TreeRefused
from functions.publishing.local_tree import TreeItem

BLOCK_BYTES = 1 << 20
"""Bytes read at a time."""

PATH_BYTES = 3_800
"""What a system call takes as a path (Linux PATH_MAX, 4096), less one more name."""

UTF8_BYTES = 4
"""What a character takes at most."""

ATTRIBUTE_BYTES = 255
"""What all clients read of one entry: bytes of an attribute's name, of its value, and how many attributes."""

_ATTRIBUTES = ("user.", "security.capability")
"""Others tell of the machine that publishes, such as its SELinux labels."""


@dataclass(frozen=True, slots=True)
class TreeAspects:
    """What is taken from a local tree besides content, modes and times.

    `owner` (uid, gid) stands for that of every file; without it each keeps its own. With `xattrs` extended attributes
    are read, those of users and file capabilities.
    """

    owner: tuple[int, int] | None = None
    xattrs: bool = False


class FileTree:
    """The TreeSource below one folder, or of one file; links are taken as they are, only the top one is followed."""

    def __init__(self, top: Path | str, aspects: TreeAspects | None = None) -> None:
        self._top = os.path.realpath(top)
        self._aspects = aspects or TreeAspects()

    def items(self) -> Iterator[TreeItem]:
        """The top and everything below it, directories before what they hold, names in byte order."""
        try:
            top = self._described("", self._top, os.lstat(self._top))
        except FileNotFoundError as err:
            raise TreeRefused(f"There is no {self._top}.") from err
        except OSError as err:
            raise _told(self._top, err) from err
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
            file = _opened(location)
            try:
                size = 0
                while block := os.read(file, min(item.size + 1, BLOCK_BYTES)):
                    size += len(block)
                    yield block
                    if size == item.size:
                        break
                seen = os.fstat(file)
                if (size, seen.st_size, seen.st_mtime_ns) != (item.size, item.size, item.mtime_ns):
                    raise TreeMoved(f"{location} changed while it was read.")
            finally:
                os.close(file)
        except OSError as err:
            raise _told(location, err) from err

    def _below(self, directory: str) -> list[TreeItem]:
        location = self._top + directory
        items = []
        try:
            with _reachable(location) as short, os.scandir(short) as entries:
                for entry in sorted(entries, key=lambda entry: encode_text(entry.name)):
                    path = f"{directory}/{entry.name}"
                    location = self._top + path
                    items.append(self._described(path, entry.path, entry.stat(follow_symlinks=False)))
        except OSError as err:
            raise _told(location, err) from err
        return items

    def _described(self, path: str, location: str, seen: os.stat_result) -> TreeItem:
        kind = stat.S_IFMT(seen.st_mode)
        # A target is text, which Path would tidy up.
        target = os.readlink(location) if kind == stat.S_IFLNK else ""  # noqa: PTH115
        xattrs, remark = None, ""
        if self._aspects.xattrs:
            xattrs, remark = _attributes(location) if kind in {stat.S_IFREG, stat.S_IFDIR} else ((), "")
        size = seen.st_rdev if kind in {stat.S_IFCHR, stat.S_IFBLK} else seen.st_size
        return TreeItem(
            path,
            seen.st_mode,
            0 if kind in {stat.S_IFIFO, stat.S_IFSOCK} else size,
            seen.st_mtime_ns,
            target,
            self._aspects.owner or (seen.st_uid, seen.st_gid),
            xattrs,
            (seen.st_dev, seen.st_ino) if seen.st_nlink > 1 and kind != stat.S_IFDIR else None,
            remark,
        )


def _attributes(location: str) -> tuple[tuple[tuple[str, bytes], ...], str]:
    """The extended attributes that go into a repository, sorted, and which of them do not fit."""
    try:
        names = [name for name in os.listxattr(location, follow_symlinks=False) if name.startswith(_ATTRIBUTES)]
        found = {name: os.getxattr(location, name, follow_symlinks=False) for name in names}
    except OSError as err:
        if err.errno in {errno.ENOTSUP, errno.ENODATA}:
            return (), ""
        raise
    fitting = {
        name: value
        for name, value in found.items()
        if len(encode_text(name)) <= ATTRIBUTE_BYTES and len(value) <= ATTRIBUTE_BYTES
    }
    kept = sorted(fitting.items())[:ATTRIBUTE_BYTES]
    left_out = sorted(found.keys() - dict(kept).keys())
    remark = f"extended attributes that not all clients read are left out: {', '.join(left_out)}" if left_out else ""
    return tuple(kept), remark


def _opened(location: str) -> int:
    # Not followed: what was a file when the tree was scanned may be a link to somewhere else by now.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if len(location) <= PATH_BYTES // UTF8_BYTES:
        return os.open(location, flags)
    with _reachable(location) as short:
        return os.open(short, flags)


@contextmanager
def _reachable(location: str) -> Iterator[str]:
    """A path of a length that system calls take, for any path; good inside the context."""
    if len(encode_text(location)) <= PATH_BYTES:
        yield location
        return
    folder = os.open("/", os.O_PATH)
    rest = encode_text(location)
    try:
        while len(rest) > PATH_BYTES:
            part, rest = _cut(rest)
            deeper = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        yield f"/proc/self/fd/{folder}/{os.fsdecode(rest)}"
    finally:
        os.close(folder)


def _cut(path: bytes) -> tuple[bytes, bytes]:
    """The first components of a path, as many as a system call takes, and the others."""
    end = path.rindex(b"/", 1, PATH_BYTES)
    return path[:end].lstrip(b"/"), path[end + 1 :]


def _told(location: str, err: OSError) -> TreeMoved | TreeRefused:
    """An error of the file system as one of this service, with the path that it is about."""
    if isinstance(err, FileNotFoundError):
        return TreeMoved(f"{location} disappeared while the tree was read.")
    return TreeRefused(f"{location} cannot be read: {err.strerror}.")
