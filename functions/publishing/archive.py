"""Archives to trees: unpacked while they are read, every member checked, links never followed, nothing on disk.

Members become entries of an ``ArchiveTree``. What could leave it or is no file, directory or link is refused, and with
it the whole archive: half of an archive is worse than none. How the formats are read is in ``archive_formats.py``.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from functions.cvmfs.entry import DIRECTORY_SIZE, Entry, encode_text, parent_path
from functions.errors import UploadRefused
from functions.publishing.archive_rules import (
    DEPTH_LIMIT,
    PATH_LIMIT,
    ArchiveLimits,
    ArchiveRules,
    fault_of_name,
    is_text,
)
from functions.publishing.archive_tree import ArchiveTree, FileOnItsWay, Item, Misplaced
from functions.publishing.attributes import Attributes, directory_mode, file_mode
from functions.publishing.keys import NAME_LIMIT
from functions.publishing.small_files import SmallFiles

BLOCK_BYTES = 1 << 20
"""Bytes of a large file that are read at a time."""

LINK_TARGET_LIMIT = 4095
"""Bytes in the target of a symbolic link (Linux PATH_MAX, less the NUL)."""

_PERMISSIONS = 0o777
_NOTHING = frozenset({"", "."})
_DIRECTORIES_REMEMBERED = 10_000
_DIRECTORY_BYTES = 64 << 20
"""Characters in the paths of all directories, which are kept in memory: a million usual ones."""


@dataclass(frozen=True, slots=True)
class Member:
    """What an archive says of a member: its name, permission bits or None, mtime in seconds and its nanoseconds."""

    name: str
    permissions: int | None
    mtime: int
    mtime_ns: int | None = None


@dataclass(slots=True)
class Unpacking:
    """An archive on its way into `tree`. All methods raise UploadRefused.

    `name` is the archive's file name, `stored_size` its size in bytes or None if it is not known before its end.
    """

    name: str
    stored_size: int | None
    tree: ArchiveTree
    files: SmallFiles
    limits: ArchiveLimits = ArchiveLimits()
    rules: ArchiveRules = ArchiveRules()
    told: Callable[[int, int], None] = lambda _members, _content_bytes: None
    """Told how many members and bytes of content have come so far."""

    members: int = 0
    content_bytes: int = 0
    _arrived: int = 0
    _unpacked: int = 0
    _directories: dict[str, str] = field(default_factory=dict)

    def expect(self, content_bytes: int) -> None:
        """Count one more member of a claimed size, before anything of it is read."""
        if content_bytes < 0:
            raise self.refused("cannot be read: a member has a negative size", "archive-broken")
        self.members += 1
        self.content_bytes += content_bytes
        self.told(self.members, self.content_bytes)
        if self.members + self.tree.made > self.limits.members:
            raise self.refused(f"holds more than {self.limits.members} members", "archive-too-many-members")
        if self.tree.directory_bytes > _DIRECTORY_BYTES:
            raise self.refused("holds too many directories with too long paths", "archive-too-many-members")
        if self.content_bytes > self.limits.content_bytes:
            raise self.refused(f"unpacks to more than {self.limits.content_bytes} bytes", "archive-too-large")
        if content_bytes > self.limits.file_bytes:
            fault = f"holds a file of {content_bytes} bytes, a file may have {self.limits.file_bytes}"
            raise self.refused(fault, "file-too-large")
        if self.stored_size is not None and self.content_bytes > self._allowed(self.stored_size):
            raise self._bomb()

    def arrived(self, stored_bytes: int) -> None:
        """Count bytes of the archive as it is stored."""
        self._arrived += stored_bytes

    def unpacked(self, content_bytes: int) -> None:
        """Count bytes that came out of them, whatever they are."""
        self._unpacked += content_bytes
        if self._unpacked > self._allowed(self._arrived if self.stored_size is None else self.stored_size):
            raise self._bomb()

    def add_directory(self, member: Member) -> None:
        """Enter a directory, or what an earlier member implied of it."""
        permissions = 0o755 if member.permissions is None else member.permissions
        if self.rules.readable_by_all:
            mode = directory_mode(Attributes(permissions=permissions))
        else:
            mode = stat.S_IFDIR | permissions & _PERMISSIONS
        entry = Entry(
            mode=mode,
            size=DIRECTORY_SIZE,
            mtime=member.mtime,
            mtime_ns=member.mtime_ns,
            linkcount=2,
        )
        self._put(member.name, self._path(member.name), entry)

    def add_file(self, member: Member, size: int, read: Callable[[int], bytes]) -> None:
        """Store a file's content, which `read` gives up to a number of bytes at a time, and enter it."""
        path = self._named(member.name)
        if size <= self.files.limit:
            content = read(size) if size else b""
            if len(content) != size:
                raise self._cut_short(member)
            ticket = self.files.add(content)
            mode = self._file_mode(member, ticket.head)
            recipe = self.files.recipe
            item: Item = FileOnItsWay(ticket, mode, member.mtime, member.mtime_ns, recipe.compression)
        else:
            stored = self.files.store(self._blocks(member, size, read))
            item = Entry(
                mode=self._file_mode(member, stored.head),
                size=stored.size,
                mtime=member.mtime,
                mtime_ns=member.mtime_ns,
                digest=stored.digest,
                chunks=stored.chunks,
                compression=self.files.recipe.compression,
            )
        self._put(member.name, path, item)

    def add_link(self, member: Member, target: str) -> None:
        """Enter a symbolic link; one that climbs out of the archive is refused where the rules say so."""
        path = self._named(member.name)
        if not target or "\0" in target:
            raise self.unsafe(member.name, "is a link to nothing")
        size = len(encode_text(target))
        if size > LINK_TARGET_LIMIT:
            raise self.unsafe(member.name, f"is a link whose target has {size} bytes, at most {LINK_TARGET_LIMIT} fit")
        if self.rules.shown_names and not is_text(target):
            raise self.unsafe(member.name, "is a link whose target is not UTF-8")
        if self.rules.links_inside and not target.startswith("/"):
            inside = posixpath.normpath(posixpath.join(parent_path(path).removeprefix("/") or ".", target))
            if inside == ".." or inside.startswith("../"):
                raise self.unsafe(member.name, f"is a link that leads out of the archive, to {target!r}")
        entry = Entry(
            mode=stat.S_IFLNK | _PERMISSIONS, size=size, mtime=member.mtime, mtime_ns=member.mtime_ns, symlink=target
        )
        self._put(member.name, path, entry)

    def add_hard_link(self, member: Member, target: str) -> None:
        """Enter a second name for a file that came before."""
        path = self._named(member.name)
        try:
            self.tree.put_hard_link(path, self._path(target))
        except Misplaced as err:
            raise self.unsafe(member.name, str(err)) from err

    def finish(self) -> list[str]:
        """Enter what is still on its way; returns the directories in which markers ask for nested catalogs."""
        if self.tree.is_empty:
            raise self.refused("holds no files", "archive-empty")
        return self.tree.finish()

    def unsafe(self, member: str, fault: str) -> UploadRefused:
        """The refusal of an archive for one of its members."""
        return self.refused(f"cannot be unpacked: member {member[:NAME_LIMIT]!r} {fault}", "archive-unsafe-member")

    def refused(self, fault: str, code: str) -> UploadRefused:
        """The refusal of an archive."""
        hint = "Correct the archive, then try again."
        return UploadRefused(f"archive {self.name!r} {fault}", code=code, hint=hint)

    def _put(self, member: str, path: str, item: Item) -> None:
        try:
            self.tree.put(path, item)
        except Misplaced as err:
            raise self.unsafe(member, str(err)) from err

    def _blocks(self, member: Member, size: int, read: Callable[[int], bytes]) -> Iterator[bytes]:
        missing = size
        while missing:
            block = read(min(missing, BLOCK_BYTES))
            if not block:
                raise self._cut_short(member)
            missing -= len(block)
            if self.stored_size is None and self.content_bytes - missing > self._allowed(self._arrived):
                raise self._bomb()
            yield block

    def _file_mode(self, member: Member, head: bytes) -> int:
        if self.rules.readable_by_all or member.permissions is None:
            return file_mode(Attributes(permissions=member.permissions), head)
        return stat.S_IFREG | member.permissions & _PERMISSIONS

    def _allowed(self, stored_size: int) -> int:
        return max(self.limits.ratio_from_bytes, self.limits.ratio * stored_size)

    def _bomb(self) -> UploadRefused:
        return self.refused(f"unpacks to more than {self.limits.ratio} times its size", "archive-bomb")

    def _cut_short(self, member: Member) -> UploadRefused:
        return self.refused(f"cannot be read: it ends inside {member.name[:NAME_LIMIT]!r}", "archive-broken")

    def _named(self, member: str) -> str:
        path = self._path(member)
        if not path:
            raise self.unsafe(member, "has no name")
        return path

    def _path(self, member: str) -> str:
        """The path of a member relative to the archive's top, with a leading slash; empty for the top itself."""
        if member.startswith("/"):
            raise self.unsafe(member, "has an absolute name")
        above, _, name = member.rpartition("/")
        directory = self._directories.get(above)
        if directory is None:
            directory = self._checked(member, above.split("/"))
            if len(self._directories) >= _DIRECTORIES_REMEMBERED:
                self._directories.clear()
            self._directories[above] = directory
        path = directory + self._checked(member, (name,))
        if 4 * len(path) + 4 * len(self.tree.place) > PATH_LIMIT or path.count("/") > DEPTH_LIMIT:
            self._check_extent(member, path)
        return path

    def _checked(self, member: str, segments: Iterable[str]) -> str:
        path = ""
        for segment in segments:
            if segment not in _NOTHING:
                if fault := fault_of_name(segment, is_shown=self.rules.shown_names):
                    raise self.unsafe(member, f"has {fault}")
                path += "/" + segment
        return path

    def _check_extent(self, member: str, path: str) -> None:
        size = len(encode_text(self.tree.place + path))
        if size > PATH_LIMIT:
            raise self.unsafe(member, f"has a path of {size} bytes in the repository, at most {PATH_LIMIT} fit")
        if path.count("/") > DEPTH_LIMIT:
            raise self.unsafe(member, f"is more than {DEPTH_LIMIT} directories deep")
