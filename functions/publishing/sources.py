"""Where an entry came from: the catalog is the only index there is, so every entry that came from an object says so.

* ``user.source.etag``: the object's etag; on a directory it marks one that exists by itself (marker object, archive);
* ``user.source.name``: the last part of its key, where that is not the entry's own name (archives, rclone links);
* ``user.source.key``: the whole key below ``cvmfs/``, where its directory is not the entry's own either;
* ``user.source.modified``: the object's LastModified in seconds, where the entry's own mtime is another;
* ``user.source.permissions``: the rules of the bucket that decided its permissions, where they are not the usual ones;
* ``user.source.marker``: on the top of an archive's tree, the LastModified of a marker object for the same directory;
* ``user.source.covers``: it stands where an archive has a member, which is to come back when it goes.

A directory that exists only because something is in it has ``user.made.by`` with the value ``uploads``.
"""

from __future__ import annotations

import stat

from events.change import ChangeRecord, EntryRecord
from functions.cvmfs.address import Digest
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import Chunk, Entry, base_name, parent_path
from functions.publishing.keys import AREA
from functions.publishing.marking import MADE_BY_ATTRIBUTE

ETAG_ATTRIBUTE = "user.source.etag"
NAME_ATTRIBUTE = "user.source.name"
KEY_ATTRIBUTE = "user.source.key"
MODIFIED_ATTRIBUTE = "user.source.modified"
PERMISSIONS_ATTRIBUTE = "user.source.permissions"
MARKER_ATTRIBUTE = "user.source.marker"
COVERS_ATTRIBUTE = "user.source.covers"

_BY_UPLOADS = b"uploads"

Rank = tuple[int, str]
"""An object's place among others: LastModified in seconds, then its key. The highest wins a path."""


def entry_record(entry: Entry) -> EntryRecord:
    """The part of an entry that travels in a change record."""
    return EntryRecord.model_validate(
        {
            "mode": entry.mode,
            "size": entry.size,
            "mtime": entry.mtime,
            "mtime_ns": entry.mtime_ns,
            "digest": None if entry.digest is None else str(entry.digest),
            "chunks": [{"offset": c.offset, "size": c.size, "digest": str(c.digest)} for c in entry.chunks],
            "symlink": entry.symlink,
            "compression": int(entry.compression),
        }
    )


def entry_of(record: ChangeRecord, entry: EntryRecord) -> Entry:
    """The catalog entry a record stands for, its source attributes included."""
    xattrs = {ETAG_ATTRIBUTE: record.etag.encode()}
    if parent_path("/" + record.key.rstrip("/").removeprefix(AREA)) != parent_path(record.path):
        xattrs[KEY_ATTRIBUTE] = record.key.removeprefix(AREA).encode()
    if KEY_ATTRIBUTE in xattrs or base_name(record.key.rstrip("/")) != base_name(record.path):
        xattrs[NAME_ATTRIBUTE] = base_name(record.key).encode()
    if entry.mtime != record.modified:
        xattrs[MODIFIED_ATTRIBUTE] = str(record.modified).encode()
    if record.permissions:
        xattrs[PERMISSIONS_ATTRIBUTE] = record.permissions.encode()
    return Entry(
        mode=entry.mode,
        size=entry.size,
        mtime=entry.mtime,
        mtime_ns=entry.mtime_ns,
        digest=None if entry.digest is None else Digest.parse(entry.digest),
        chunks=tuple(Chunk(c.offset, c.size, Digest.parse(c.digest)) for c in entry.chunks),
        compression=Compression(entry.compression),
        symlink=entry.symlink,
        linkcount=2 if stat.S_ISDIR(entry.mode) else 1,
        xattrs=xattrs,
    )


def is_sourced(entry: Entry) -> bool:
    """Whether an entry came from an object of its own."""
    return ETAG_ATTRIBUTE in entry.xattrs


def is_archive(entry: Entry) -> bool:
    """Whether an entry is the top of an archive's tree."""
    return entry.is_directory and NAME_ATTRIBUTE in entry.xattrs


def source_key(path: str, entry: Entry) -> str | None:
    """The key of the object an entry came from, or None for directories that only hold others."""
    if not is_sourced(entry):
        return None
    if KEY_ATTRIBUTE in entry.xattrs:
        return AREA + entry.xattrs[KEY_ATTRIBUTE].decode()
    name = entry.xattrs.get(NAME_ATTRIBUTE, b"").decode()
    key = AREA + (f"{parent_path(path)}/{name}" if name else path).removeprefix("/")
    return key + "/" if entry.is_directory and not name else key


def source_modified(entry: Entry) -> int:
    """The LastModified of the object an entry came from, in seconds."""
    return int(entry.xattrs.get(MODIFIED_ATTRIBUTE, str(entry.mtime).encode()))


def rank_of(path: str, entry: Entry) -> Rank:
    """The rank of the object an entry came from; one that came from none has its own time and no key."""
    return source_modified(entry), source_key(path, entry) or ""


def marker_rank(path: str, entry: Entry) -> Rank | None:
    """The rank of the marker object for the directory in which an archive was unpacked, if there is one."""
    modified = entry.xattrs.get(MARKER_ATTRIBUTE)
    return None if modified is None else (int(modified), marker_key(path))


def marker_key(path: str) -> str:
    """The key of the marker object of a directory."""
    return f"{AREA}{path.removeprefix('/')}/"


def rank_of_record(record: ChangeRecord) -> Rank:
    """The rank of the object that a record tells of."""
    return record.modified, record.key


def implied_directory(mtime: int) -> Entry:
    """A directory that exists because something is in it; as new as the newest object below it."""
    return Entry.directory(mtime=mtime, xattrs={MADE_BY_ATTRIBUTE: _BY_UPLOADS})


def is_implied(entry: Entry) -> bool:
    """Whether a directory exists only because something is in it."""
    return entry.is_directory and entry.xattrs.get(MADE_BY_ATTRIBUTE) == _BY_UPLOADS
