"""Archives to trees: unpacked while they are read, every member checked, links never followed, nothing on disk.

Members become catalog entries under the archive's target directory. What could leave that directory or is no file,
directory or link is refused, and with it the whole archive: half of an archive is worse than none. How the formats are
read is in ``archive_formats.py``.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from functions.cvmfs.entry import Entry, parent_path
from functions.cvmfs.objects import StoredObject
from functions.errors import UploadRefused
from functions.publishing.attributes import Attributes, directory_mode, readable_by_all
from functions.publishing.content import Recipe, store_content
from functions.publishing.keys import NAME_LIMIT, check_name


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold: members, bytes unpacked, and how many times its own size that may be."""

    members: int = 1_000_000
    content_bytes: int = 200 * 2**30
    ratio: int = 200
    ratio_from_bytes: int = 256 * 2**20
    """Below this much content the ratio is not looked at: a small file of zeros compresses a thousand times."""


@dataclass(slots=True)
class Unpacking:
    """An archive on its way to a tree: `entries` by path relative to its top, which is the empty string.

    `name` is the archive's file name, `stored_size` its size in bytes, `modified` the mtime of directories it implies.
    All methods raise UploadRefused.
    """

    name: str
    stored_size: int
    modified: int
    recipe: Recipe
    put: Callable[[StoredObject], None]
    limits: ArchiveLimits = ArchiveLimits()
    entries: dict[str, Entry] = field(default_factory=dict)
    _members: int = 0
    _content_bytes: int = 0

    def expect(self, content_bytes: int) -> None:
        """Count one more member of a claimed size, before anything of it is read."""
        self._members += 1
        self._content_bytes += content_bytes
        if self._members > self.limits.members:
            raise self.refused(f"holds more than {self.limits.members} members", "archive-too-many-members")
        if self._content_bytes > self.limits.content_bytes:
            raise self.refused(f"unpacks to more than {self.limits.content_bytes} bytes", "archive-too-large")
        allowed = max(self.limits.ratio_from_bytes, self.limits.ratio * self.stored_size)
        if self._content_bytes > allowed:
            raise self.refused(f"unpacks to more than {self.limits.ratio} times its size", "archive-bomb")

    def add_directory(self, member: str, *, permissions: int, mtime: int) -> None:
        """Enter a directory, or what an earlier member implied of it."""
        entry = Entry.directory(mtime=max(0, mtime))
        self._place(self._path(member), replace(entry, mode=directory_mode(Attributes(permissions=permissions))))

    def add_file(self, member: str, blocks: Iterable[bytes], *, permissions: int, mtime: int) -> None:
        """Store a file's content and enter it."""
        path = self._named(member)
        stored = store_content(blocks, self.recipe, self.put)
        entry = Entry(
            mode=stat.S_IFREG | readable_by_all(permissions),
            size=stored.size,
            mtime=max(0, mtime),
            digest=stored.digest,
            chunks=stored.chunks,
            compression=self.recipe.compression,
        )
        self._place(path, entry)

    def add_link(self, member: str, target: str, *, mtime: int) -> None:
        """Enter a symbolic link; one that climbs out of the archive is refused."""
        path = self._named(member)
        if not target or "\0" in target:
            raise self.unsafe(member, "is a link to nothing")
        inside = posixpath.normpath(posixpath.join(parent_path(path).removeprefix("/") or ".", target))
        if not target.startswith("/") and (inside == ".." or inside.startswith("../")):
            raise self.unsafe(member, f"is a link that leads out of the archive, to {target!r}")
        self._place(path, Entry.link(target, mtime=max(0, mtime)))

    def add_hard_link(self, member: str, target: str) -> None:
        """Enter a second name for a file that came before, as an entry of its own."""
        path = self._named(member)
        entry = self.entries.get(self._path(target))
        if entry is None or entry.is_directory:
            raise self.unsafe(member, "is a hard link to nothing before it")
        self._place(path, entry)

    def finished(self, stem: str) -> dict[str, Entry]:
        """The entries, with a single top folder named `stem`, as the archive is, folded away."""
        if not self.entries:
            raise self.refused("holds no files", "archive-empty")
        tops = {path.split("/", 2)[1] for path in self.entries if path}
        top = f"/{stem}"
        if tops != {stem} or not self.entries[top].is_directory:
            return self.entries
        return {path.removeprefix(top): entry for path, entry in self.entries.items() if path}

    def unsafe(self, member: str, fault: str) -> UploadRefused:
        """The refusal of an archive for one of its members."""
        return self.refused(f"cannot be unpacked: member {member[:NAME_LIMIT]!r} {fault}", "archive-unsafe-member")

    def refused(self, fault: str, code: str) -> UploadRefused:
        """The refusal of an archive."""
        hint = "Correct the archive and upload it again."
        return UploadRefused(f"archive {self.name!r} {fault}", code=code, hint=hint)

    def _named(self, member: str) -> str:
        path = self._path(member)
        if not path:
            raise self.unsafe(member, "has no name")
        return path

    def _path(self, member: str) -> str:
        """The path of a member relative to the archive's top, with a leading slash; empty for the top itself."""
        if member.startswith("/"):
            raise self.unsafe(member, "has an absolute name")
        segments = [segment for segment in member.split("/") if segment not in {"", "."}]
        for segment in segments:
            fault = "'..' in its name" if segment == ".." else check_name(segment)
            if fault:
                raise self.unsafe(member, f"has {fault}")
        return "".join(f"/{segment}" for segment in segments)

    def _place(self, path: str, entry: Entry) -> None:
        missing = []
        parent = parent_path(path)
        while parent and parent not in self.entries:
            missing.append(parent)
            parent = parent_path(parent)
        if parent and not self.entries[parent].is_directory:
            raise self.unsafe(path, f"is below {parent!r}, which is no directory")
        for directory in missing:
            self.entries[directory] = Entry.directory(mtime=self.modified)
        before = self.entries.get(path)
        if before is not None and before.is_directory != entry.is_directory:
            raise self.unsafe(path, "comes twice, as a directory and as something else")
        self.entries[path] = entry
