"""Change records applied to a repository tree: what the bucket holds becomes what the catalogs say.

Every entry that came from an object says so in its extended attributes, so the catalog is the only index there is:

* ``user.source.etag``: the object's etag; on a directory it marks one that exists by itself (marker object, archive);
* ``user.source.name``: the last part of its key, where that is not the entry's own name (archives, rclone links);
* ``user.source.modified``: the object's LastModified in seconds, where the entry's own mtime is another.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from events.change import ChangeRecord, EntryRecord, TreeRecord
from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Counters, NestedReference
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Chunk, Entry, base_name, parent_path
from functions.publishing.keys import AREA
from functions.publishing.marking import is_mount, mark
from functions.publishing.tree import CatalogTree

ETAG_ATTRIBUTE = "user.source.etag"
NAME_ATTRIBUTE = "user.source.name"
MODIFIED_ATTRIBUTE = "user.source.modified"

_MARKERS = frozenset({MARKER_NAME, AUTO_MARKER_NAME})


@dataclass(frozen=True, slots=True)
class Clash:
    """Two objects want to be a file and a directory at the same path: `key` is the one that lost."""

    key: str
    etag: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What applying records did: the paths that changed, and the clashes to tell the user about."""

    paths: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)


def apply_records(tree: CatalogTree, records: Iterable[ChangeRecord], marker: Entry) -> Outcome:
    """Edit `tree` so that it agrees with `records`; `marker` is the entry of an empty file for nested catalogs.

    The newer object wins where two clash. Nothing is written; an entry that is already right is left alone.
    """
    outcome = Outcome()
    # Removals first: a rename of a directory to a file of the same name is one batch.
    ordered = sorted(records, key=lambda record: (not record.removed, record.path, record.modified))
    removals = [record for record in ordered if record.removed]
    for record in removals:
        _remove(tree, record, outcome, marker)
    # Each directory once, however many of its files went: to look whether it is empty means to list it.
    for directory in sorted({parent_path(record.path) for record in removals}, key=_deepest_first):
        _prune(tree, directory)
    for record in ordered[len(removals) :]:
        _enter(tree, record, outcome, marker)
    return outcome


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
    if base_name(record.key.rstrip("/")) != base_name(record.path):
        xattrs[NAME_ATTRIBUTE] = base_name(record.key).encode()
    if entry.mtime != record.modified:
        xattrs[MODIFIED_ATTRIBUTE] = str(record.modified).encode()
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


def source_key(path: str, entry: Entry) -> str | None:
    """The key of the object an entry came from, or None for directories that only hold others."""
    if ETAG_ATTRIBUTE not in entry.xattrs:
        return None
    name = entry.xattrs.get(NAME_ATTRIBUTE, b"").decode()
    key = AREA + (f"{parent_path(path)}/{name}" if name else path).removeprefix("/")
    return key + "/" if entry.is_directory and not name else key


def source_modified(entry: Entry) -> int:
    """The LastModified of the object an entry came from, in seconds."""
    return int(entry.xattrs.get(MODIFIED_ATTRIBUTE, str(entry.mtime).encode()))


def _remove(tree: CatalogTree, record: ChangeRecord, outcome: Outcome, marker: Entry) -> None:
    entry = tree.lookup(record.path)
    if entry is None or source_key(record.path, entry) != record.key:
        return
    directory = parent_path(record.path)
    if _is_archive(entry):
        uploads = _uploads_below(tree, record.path)
        tree.remove(record.path)
        _put_back(tree, uploads)
    elif entry.is_directory and not _is_vacant(tree, record.path):
        tree.put(record.path, replace(entry, xattrs={}))
    elif base_name(record.path) == MARKER_NAME and is_mount(tree, directory):
        _unmark(tree, directory, marker)
    else:
        tree.remove(record.path)
    outcome.paths.append(record.path)


def _unmark(tree: CatalogTree, directory: str, marker: Entry) -> None:
    """End the nested catalog that an uploaded marker asked for; the tree of an archive has one all the same."""
    root = tree.lookup(directory)
    if root is not None and _is_archive(root):
        tree.put(f"{directory}/{MARKER_NAME}", marker)
    else:
        tree.merge(directory)


def _is_vacant(tree: CatalogTree, directory: str) -> bool:
    """Whether a directory holds nothing, apart from markers that the publisher put there."""
    return all(name in _MARKERS and ETAG_ATTRIBUTE not in entry.xattrs for name, entry in tree.listing(directory))


def _deepest_first(path: str) -> tuple[int, str]:
    return -path.count("/"), path


def _prune(tree: CatalogTree, path: str) -> None:
    """Directories that hold nothing and are not objects of their own cease to exist."""
    while path:
        entry = tree.lookup(path)
        if entry is None or ETAG_ATTRIBUTE in entry.xattrs or not _is_vacant(tree, path):
            return
        tree.remove(path)
        path = parent_path(path)


def _enter(tree: CatalogTree, record: ChangeRecord, outcome: Outcome, marker: Entry) -> None:
    wanted = _wanted_entry(record)
    existing = tree.lookup(record.path)
    if existing is not None and _same(existing, wanted):
        return
    if existing is not None and wanted.is_directory and record.tree is None and _is_archive(existing):
        return  # the directory exists by its archive; a marker object adds nothing
    above = _archive_above(tree, parent_path(record.path))
    if above is not None and source_modified(above) > record.modified:
        reason = f"{record.path} is in the directory of an archive that is newer"
        outcome.clashes.append(Clash(record.key, record.etag, reason))
        return
    if not _make_room(tree, record, wanted, existing, outcome):
        return
    if record.tree is None:
        tree.put(record.path, wanted)
        if base_name(record.path) == MARKER_NAME:
            mark(tree, parent_path(record.path), marker)
    else:
        _mount(tree, record, record.tree, wanted, outcome)
    outcome.paths.append(record.path)


def _mount(tree: CatalogTree, record: ChangeRecord, unpacked: TreeRecord, root: Entry, outcome: Outcome) -> None:
    """Put the tree of an archive where `record` says; uploads newer than the archive stay, older ones are hidden."""
    newer: list[tuple[str, Entry]] = []
    if tree.lookup(record.path) is not None:
        uploads = _uploads_below(tree, record.path)
        newer = [(path, entry) for path, entry in uploads if source_modified(entry) >= record.modified]
        for path, entry in uploads:
            if source_modified(entry) < record.modified:
                _lose(path, entry, outcome, f"{record.path} was taken by the newer {record.key}")
        tree.remove(record.path)
    reference = NestedReference(record.path, Digest.parse(unpacked.catalog), unpacked.catalog_size)
    counters = Counters.of_mapping(unpacked.counters)
    tree.graft(record.path, replace(root, linkcount=unpacked.linkcount), reference, counters)
    _put_back(tree, newer)


def _is_archive(entry: Entry) -> bool:
    return entry.is_directory and NAME_ATTRIBUTE in entry.xattrs


def _archive_above(tree: CatalogTree, path: str) -> Entry | None:
    """The root of the archive's tree that a directory is part of, if it is; such a root starts a nested catalog."""
    while mount := tree.catalog_holding(path).path:
        root = tree.lookup(mount)
        if root is not None and _is_archive(root):
            return root
        path = parent_path(mount)
    return None


def _uploads_below(tree: CatalogTree, path: str) -> list[tuple[str, Entry]]:
    """The entries below a directory that came from objects of their own, parents first.

    The members of an archive did not. An archive with nothing added, the usual case, has attributes on its root only.
    """
    top = tree.lookup(path)
    if top is None or (top.is_nested_root and tree.catalog_holding(path).total_counters.xattr <= 1):
        return []
    return [
        (below, entry) for below, entry in tree.walk(path) if below != path and source_key(below, entry) is not None
    ]


def _put_back(tree: CatalogTree, uploads: Iterable[tuple[str, Entry]]) -> None:
    """Enter uploads again after the tree around them was replaced; what is in their way gives way."""
    for path, entry in uploads:
        if _is_archive(entry):
            continue  # its members went with the tree; a look at the whole bucket brings them back
        missing = []
        parent = parent_path(path)
        while parent and ((found := tree.lookup(parent)) is None or not found.is_directory):
            if found is not None:
                tree.remove(parent)
            missing.append(parent)
            parent = parent_path(parent)
        for directory in reversed(missing):
            tree.put(directory, Entry.directory(mtime=entry.mtime))
        before = tree.lookup(path)
        if before is not None and before.is_directory != entry.is_directory:
            tree.remove(path)
        tree.put(path, entry)


def _wanted_entry(record: ChangeRecord) -> Entry:
    described = record.entry if record.tree is None else record.tree.root
    assert described is not None, "a record that removes nothing enters something"
    return entry_of(record, described)


def _same(existing: Entry, wanted: Entry) -> bool:
    if existing.is_directory and wanted.is_directory:
        return existing.xattrs == wanted.xattrs and existing.mode == wanted.mode
    return existing == wanted


def _make_room(
    tree: CatalogTree, record: ChangeRecord, wanted: Entry, existing: Entry | None, outcome: Outcome
) -> bool:
    """Clear the way for an entry, or say why it stays out: the newer object wins."""
    if not _make_parents(tree, record, outcome):
        return False
    if existing is None:
        return True
    if existing.is_directory and wanted.is_directory:
        return True
    if not existing.is_directory and not wanted.is_directory:
        return _wins_over(record, existing, outcome)
    if existing.is_directory:
        if _newest_below(tree, record.path) > record.modified:
            outcome.clashes.append(
                Clash(record.key, record.etag, f"{record.path} is a directory with newer files, so it cannot be a file")
            )
            return False
        for path, entry in tree.walk(record.path):
            _lose(path, entry, outcome, f"{record.path} was taken by the newer {record.key}")
    elif source_modified(existing) > record.modified:
        outcome.clashes.append(
            Clash(record.key, record.etag, f"{record.path} is a newer file, so it cannot be a directory")
        )
        return False
    else:
        _lose(record.path, existing, outcome, f"{record.path} is a directory now, since {record.key} is newer")
    tree.remove(record.path)
    return True


def _wins_over(record: ChangeRecord, existing: Entry, outcome: Outcome) -> bool:
    """Whether a file may replace a file: always if it is the same object's, else only if it is not older."""
    key = source_key(record.path, existing)
    if key in {None, record.key}:
        return True
    older = source_modified(existing) > record.modified
    loser, etag = (record.key, record.etag) if older else (str(key), existing.xattrs[ETAG_ATTRIBUTE].decode())
    outcome.clashes.append(Clash(loser, etag, f"{record.path} was taken by the newer {key if older else record.key}"))
    return not older


def _make_parents(tree: CatalogTree, record: ChangeRecord, outcome: Outcome) -> bool:
    missing: list[str] = []
    path = parent_path(record.path)
    while path:
        entry = tree.lookup(path)
        if entry is not None and not entry.is_directory:
            if source_modified(entry) > record.modified:
                outcome.clashes.append(
                    Clash(record.key, record.etag, f"{path} is a newer file, so nothing can be below it")
                )
                return False
            _lose(path, entry, outcome, f"{path} is a directory now, since {record.path} is newer")
            tree.remove(path)
        elif entry is not None:
            break
        missing.append(path)
        path = parent_path(path)
    for directory in reversed(missing):
        tree.put(directory, Entry.directory(mtime=record.modified))
    return True


def _newest_below(tree: CatalogTree, path: str) -> int:
    return max(
        (source_modified(entry) for _, entry in tree.walk(path) if ETAG_ATTRIBUTE in entry.xattrs),
        default=0,
    )


def _lose(path: str, entry: Entry, outcome: Outcome, reason: str) -> None:
    """Tell about an object that disappears, if the entry came from one."""
    key = source_key(path, entry)
    if key is not None:
        outcome.clashes.append(Clash(key, entry.xattrs[ETAG_ATTRIBUTE].decode(), reason))
