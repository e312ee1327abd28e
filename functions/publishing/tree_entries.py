"""Local files to catalog entries."""

from __future__ import annotations

import stat
from dataclasses import replace

from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import Entry
from functions.publishing.content import StoredContent
from functions.publishing.local_tree import TreeItem

NANOSECONDS = 10**9


def file_entry(item: TreeItem, content: StoredContent, compression: Compression) -> Entry:
    """The entry of a file whose content is in the store."""
    seconds, nanoseconds = divmod(item.mtime_ns, NANOSECONDS)
    uid, gid = item.owner or (0, 0)
    return Entry(
        mode=item.mode,
        size=content.size,
        mtime=seconds,
        mtime_ns=nanoseconds,
        digest=content.digest,
        chunks=content.chunks,
        compression=compression,
        uid=uid,
        gid=gid,
        xattrs=dict(item.xattrs or ()),
    )


def entry_of_item(item: TreeItem, old: Entry | None) -> Entry:
    """The entry of a directory, link or special file, or of a file whose content stays as it is."""
    if stat.S_ISLNK(item.mode):
        bare = Entry.link(item.target, mtime=0)
    elif old is not None and not old.is_special:
        bare = replace(old, mode=item.mode)
    elif stat.S_ISDIR(item.mode):
        bare = replace(Entry.directory(mtime=0), mode=item.mode)
    else:
        bare = Entry(mode=item.mode, size=item.size, mtime=0)
    if old is not None:
        bare = replace(bare, uid=old.uid, gid=old.gid, xattrs=old.xattrs)
    return _with_metadata(bare, item)


def _with_metadata(entry: Entry, item: TreeItem) -> Entry:
    """An entry with an item's time, and its owner and attributes where it has them; in no hard-link group."""
    seconds, nanoseconds = divmod(item.mtime_ns, NANOSECONDS)
    uid, gid = (entry.uid, entry.gid) if item.owner is None else item.owner
    xattrs = entry.xattrs if item.xattrs is None else dict(item.xattrs)
    linkcount = entry.linkcount if entry.is_directory else 1
    return replace(
        entry,
        mtime=seconds,
        mtime_ns=nanoseconds,
        uid=uid,
        gid=gid,
        xattrs=xattrs,
        linkcount=linkcount,
        hardlink_group=0,
    )


def same_time(old: Entry, item: TreeItem) -> bool:
    """Whether the recorded time is the file's; to the second where no more was recorded."""
    seconds, nanoseconds = divmod(item.mtime_ns, NANOSECONDS)
    return old.mtime == seconds and old.mtime_ns in {None, nanoseconds}
