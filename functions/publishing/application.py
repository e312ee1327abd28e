"""Change records applied to a repository tree: what the bucket holds becomes what the catalogs say.

The outcome follows from the objects and not from the order in which they were seen: who wins a path is in
``clashes.py``, what directories are like in ``implied.py``, how entries say where they came from in ``sources.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from events.change import ChangeRecord, TreeRecord
from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Counters, NestedReference
from functions.cvmfs.entry import MARKER_NAME, Entry, base_name, parent_path
from functions.publishing.clashes import Claim, archive_above, clash_of, file_above, uploads_below
from functions.publishing.implied import ImpliedDirectories
from functions.publishing.keys import AREA, other_paths
from functions.publishing.marking import is_mount, mark
from functions.publishing.quota import QUOTA_CODES, UNLIMITED, Extent, Quota, Room, extent_below, growth_of
from functions.publishing.sources import (
    COVERS_ATTRIBUTE,
    ETAG_ATTRIBUTE,
    MARKER_ATTRIBUTE,
    NAME_ATTRIBUTE,
    entry_of,
    entry_record,
    implied_directory,
    is_archive,
    is_implied,
    is_sourced,
    marker_key,
    marker_rank,
    rank_of,
    rank_of_record,
    source_key,
    source_modified,
)
from functions.publishing.tree import CatalogTree, SetAside

__all__ = [
    "ETAG_ATTRIBUTE",
    "NAME_ATTRIBUTE",
    "Clash",
    "Outcome",
    "apply_records",
    "entry_of",
    "entry_record",
    "source_key",
    "source_modified",
]


@dataclass(frozen=True, slots=True)
class Clash:
    """An object that stays out of the repository, or had to leave it: another one has its path, or there is no room."""

    key: str
    etag: str
    reason: str
    claim: Claim
    code: str = "path-clash"
    hint: str = "Rename or remove one of the two objects."

    @property
    def modified(self) -> int:
        """The object's LastModified in seconds."""
        return self.claim.rank[0]


@dataclass(slots=True)
class Outcome:
    """What applying records did: the paths that changed, and what to tell the user about.

    Where something went (`vacated`) others may get a place that they were refused; so they do everywhere if room was
    `freed`. `look_again` has parts of keys, below ``cvmfs/``: the objects whose keys begin so were in the shadow of
    what went, and nobody has been told.
    """

    paths: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    vacated: set[str] = field(default_factory=set)
    look_again: set[str] = field(default_factory=set)
    freed: bool = False


def apply_records(
    tree: CatalogTree, records: Iterable[ChangeRecord], marker: Entry, quota: Quota = UNLIMITED
) -> Outcome:
    """Edit `tree` so that it agrees with `records`; `marker` is the entry of an empty file for nested catalogs.

    Nothing is written; an entry that is already right is left alone. What does not fit in `quota` stays out, in the
    order of LastModified and path, after all removals.
    """
    batch = _Batch(tree, marker, Room(quota, Extent.of(tree.root.total_counters)))
    ordered = sorted(records, key=lambda record: (not record.removed, record.modified, record.path, record.key))
    for record in ordered:
        if record.removed:
            for path in (record.path, *other_paths(record.key, record.path)):
                batch.remove(path, record.key)
        else:
            batch.enter(record)
    batch.directories.settle()
    batch.settle_clashes()
    return batch.outcome


@dataclass(frozen=True, slots=True)
class _Kept:
    """An upload that outlives the tree around it; an archive's is set aside with all it holds."""

    path: str
    entry: Entry
    aside: SetAside | None


class _Batch:
    """The edits of one revision."""

    def __init__(self, tree: CatalogTree, marker: Entry, room: Room) -> None:
        self.outcome = Outcome()
        self.directories = ImpliedDirectories(tree)
        self._tree = tree
        self._marker = marker
        self._room = room
        self._told: set[str] = set()

    # What goes

    def remove(self, path: str, key: str) -> None:
        """Remove what came from the object of this key, if that is what stands there."""
        entry = self._tree.lookup(path)
        if entry is not None and MARKER_ATTRIBUTE in entry.xattrs and key == marker_key(path):
            self._tree.put(path, _without(entry, MARKER_ATTRIBUTE))
            self.outcome.vacated.add(path)
        if entry is None or source_key(path, entry) != key:
            self._ask_for_uncovered(path)
            return
        self._uncover(path, entry)
        directory = parent_path(path)
        if is_archive(entry):
            self._free(path)
            uploads = self._set_aside(uploads_below(self._tree, path))
            self._tree.remove(path)
            self._put_back(uploads)
            self.outcome.look_again.add(path.removeprefix("/"))
        elif entry.is_directory:
            self._tree.put(path, implied_directory(entry.mtime))
            self.directories.lost(path)
        elif base_name(path) == MARKER_NAME and is_mount(self._tree, directory):
            self._unmark(directory)
        else:
            self._free(path)
            self._tree.remove(path)
        self.directories.lost(directory)
        self.outcome.vacated.add(path)
        self.outcome.paths.append(path)
        self.outcome.freed = True

    def _unmark(self, directory: str) -> None:
        """End the nested catalog that an uploaded marker asked for; the tree of an archive has one all the same."""
        root = self._tree.lookup(directory)
        if root is not None and is_archive(root):
            self._tree.put_marker(directory, replace(self._marker, mtime=source_modified(root)))
        else:
            self._tree.merge(directory)

    def _uncover(self, path: str, entry: Entry) -> None:
        """Ask for the archive that has a member here: it is unpacked again, and its root is not as it should be."""
        above = archive_above(self._tree, parent_path(path))
        if above is not None and COVERS_ATTRIBUTE in entry.xattrs:
            mount, root = above
            self._tree.put(mount, replace(root, xattrs={**root.xattrs, ETAG_ATTRIBUTE: b""}))
            self.outcome.look_again.add(str(source_key(mount, root)).removeprefix(AREA))

    def _ask_for_uncovered(self, path: str) -> None:
        """Ask once more for an archive that waits for a member: whoever removed the upload here may have died."""
        above = archive_above(self._tree, parent_path(path))
        if above is not None and not above[1].xattrs[ETAG_ATTRIBUTE]:
            self.outcome.look_again.add(str(source_key(*above)).removeprefix(AREA))

    def _free(self, path: str) -> None:
        if self._room.is_limited:
            self._room.take(Extent() - extent_below(self._tree, path))

    # What comes

    def enter(self, record: ChangeRecord) -> None:
        """Enter what a record describes, unless something newer is in its way or there is no room."""
        wanted = _wanted_entry(record)
        if record.key in self._told:
            # What lost was an older version of this object.
            self.outcome.clashes = [clash for clash in self.outcome.clashes if clash.key != record.key]
        for path in other_paths(record.key, record.path):
            self.remove(path, record.key)
        existing = self._tree.lookup(record.path)
        if existing is not None and _same(existing, wanted):
            return
        refused = self._refusal(record, wanted)
        if refused is not None:
            self._tell(refused)
            self.remove(record.path, record.key)  # an older version of the same object
            return
        if existing is not None and wanted.is_directory and record.tree is None and is_archive(existing):
            self._note_marker(record.path, existing, record.modified)
            return
        covers = self._make_room(record, wanted)
        if record.tree is None:
            self._put(record.path, _covering(wanted, covers=covers))
        else:
            self._mount(record, record.tree, _covering(wanted, covers=covers))
        self.directories.changed(parent_path(record.path), existing, record.modified)
        if existing is not None and is_sourced(existing) and rank_of(record.path, existing) > rank_of_record(record):
            self.outcome.vacated.add(record.path)  # an older version is back: what it lost to is not what there was
        self.outcome.paths.append(record.path)

    def _refusal(self, record: ChangeRecord, wanted: Entry) -> Clash | None:
        claim = Claim.of(record, wanted)
        reason = clash_of(self._tree, claim)
        if reason is not None:
            return Clash(record.key, record.etag, reason, claim)
        if not self._room.is_limited:
            return None
        growth = growth_of(self._tree, record, wanted)
        no_room = self._room.refusal(growth)
        if no_room is None:
            self._room.take(growth)
            return None
        code, reason = no_room
        hint = "Remove something, or ask for more; it is published by itself when there is room."
        return Clash(record.key, record.etag, f"{record.path} does not fit: {reason}", claim, code, hint)

    def _make_room(self, record: ChangeRecord, wanted: Entry) -> bool:
        """Clear the way for an entry and make the directories it is in; whether a member of an archive gave way."""
        covers = False
        directory = parent_path(record.path)
        is_inside = archive_above(self._tree, directory) is not None
        in_the_way = file_above(self._tree, record.path)
        if in_the_way is not None:
            path, entry = in_the_way
            covers = _is_covering(entry)
            self._uncover(path, entry)
            self._lose(path, entry, f"{path} is a directory now, since {record.path} is newer")
            self._tree.remove(path)
            self.directories.lost(parent_path(path))
        self.directories.make(directory, record.modified)
        existing = self._tree.lookup(record.path)
        if existing is not None:
            covers = covers or _is_covering(existing)
            if not (existing.is_directory and wanted.is_directory):
                covers = self._clear(record, existing, wanted) or covers
            elif is_archive(existing) and source_key(record.path, existing) != record.key:
                self._lose(record.path, existing, f"{record.path} was taken by the newer {record.key}")
        of_an_archive = base_name(record.path) == MARKER_NAME and self._is_archive_at(directory)
        return covers and is_inside and not of_an_archive

    def _clear(self, record: ChangeRecord, existing: Entry, wanted: Entry) -> bool:
        """Take away a file, or a directory with all it holds; whether something in it stood for members of an archive.

        An entry of the same object is left to be replaced.
        """
        if existing.is_directory:
            held = list(self._tree.walk(record.path))
            for path, entry in held:
                self._lose(path, entry, f"{record.path} was taken by the newer {record.key}")
            self._tree.remove(record.path)
            return any(_is_covering(entry) for _, entry in held)
        if wanted.is_directory or source_key(record.path, existing) != record.key:
            told = "is a directory now, since {} is newer" if wanted.is_directory else "was taken by the newer {}"
            self._lose(record.path, existing, f"{record.path} {told.format(record.key)}")
        if wanted.is_directory:
            self._uncover(record.path, existing)  # a directory covers less than a file in its place
            self._tree.remove(record.path)
        return False

    def _note_marker(self, path: str, root: Entry, modified: int) -> None:
        """A marker object adds nothing to the directory of an archive, but keeps older files from its path."""
        if root.xattrs.get(MARKER_ATTRIBUTE) != str(modified).encode():
            self._tree.put(path, replace(root, xattrs={**root.xattrs, MARKER_ATTRIBUTE: str(modified).encode()}))
            self.outcome.vacated.add(path)

    def _put(self, path: str, entry: Entry) -> None:
        self._tree.put(path, entry)
        if base_name(path) == MARKER_NAME:
            mark(self._tree, parent_path(path), self._marker)

    def _mount(self, record: ChangeRecord, unpacked: TreeRecord, root: Entry) -> None:
        """Put the tree of an archive in its place; uploads newer than the archive stay, older ones are hidden."""
        kept: list[_Kept] = []
        before = self._tree.lookup(record.path)
        if before is not None:
            marker = before.xattrs.get(MARKER_ATTRIBUTE)
            if is_sourced(before) and not is_archive(before):
                marker = str(source_modified(before)).encode()
            if marker is not None:
                root = replace(root, xattrs={**root.xattrs, MARKER_ATTRIBUTE: marker})
            rank = rank_of_record(record)
            reason = f"{record.path} was taken by the newer {record.key}"
            newer: list[tuple[str, Entry]] = []
            for path, entry in uploads_below(self._tree, record.path):
                hidden = marker_rank(path, entry)
                if hidden is not None and hidden < rank:
                    claim = Claim(path, hidden, is_directory=True)
                    self._tell(Clash(marker_key(path), "", reason, claim))
                if rank_of(path, entry) > rank:
                    newer.append(
                        (path, entry if hidden is None or hidden > rank else _without(entry, MARKER_ATTRIBUTE))
                    )
                else:
                    self._lose(path, entry, reason)
            kept = self._set_aside(newer)
            self._tree.remove(record.path)
        reference = NestedReference(record.path, Digest.parse(unpacked.catalog), unpacked.catalog_size)
        counters = Counters.of_mapping(unpacked.counters)
        self._tree.graft(record.path, replace(root, linkcount=unpacked.linkcount), reference, counters)
        if _told(root) != root.xattrs:
            self._tree.put(record.path, root)  # what follows from other objects is not in the catalog that was stored
        self._put_back(kept)

    def _set_aside(self, uploads: Iterable[tuple[str, Entry]]) -> list[_Kept]:
        """Take uploads out of a tree that is about to go; those into the directory of an archive come with it."""
        kept: list[_Kept] = []
        for path, entry in uploads:
            if kept and kept[-1].aside is not None and path.startswith(kept[-1].path + "/"):
                continue
            kept.append(_Kept(path, entry, self._tree.set_aside(path) if is_archive(entry) else None))
        return kept

    def _put_back(self, uploads: Iterable[_Kept]) -> None:
        """Enter uploads again after the tree around them was replaced; what is in their way gives way."""
        for kept in uploads:
            path, entry = kept.path, kept.entry
            directory = parent_path(path)
            covers = False
            in_the_way = file_above(self._tree, path)
            if in_the_way is not None:
                covers = _is_covering(in_the_way[1])
                self._tree.remove(in_the_way[0])
            self.directories.make(directory, source_modified(entry))
            before = self._tree.lookup(path)
            if before is not None:
                covers = covers or _is_covering(before)
                if kept.aside is not None or before.is_directory != entry.is_directory:
                    self._tree.remove(path)
            of_an_archive = base_name(path) == MARKER_NAME and self._is_archive_at(directory)
            is_inside = archive_above(self._tree, directory) is not None
            wanted = _covering(entry, covers=covers and is_inside and not of_an_archive)
            if kept.aside is not None:
                self._tree.mount_again(kept.aside)
            if kept.aside is None or wanted != self._tree.lookup(path):
                self._put(path, wanted)
            self.directories.gained(directory, source_modified(entry))
            if self._room.is_limited and before is None:
                self._room.take(extent_below(self._tree, path))

    def settle_clashes(self) -> None:
        """Have those looked at again whose winner lost in turn."""
        for clash in self.outcome.clashes:
            if clash.code not in QUOTA_CODES and clash_of(self._tree, clash.claim) is None:
                self.outcome.look_again.add(clash.key.removeprefix(AREA))

    def _is_archive_at(self, directory: str) -> bool:
        root = self._tree.lookup(directory)
        return root is not None and is_archive(root)

    def _tell(self, clash: Clash) -> None:
        self.outcome.clashes.append(clash)
        self._told.add(clash.key)

    def _lose(self, path: str, entry: Entry, reason: str) -> None:
        """Tell about an object that disappears, if the entry came from one."""
        key = source_key(path, entry)
        if key is not None:
            etag = entry.xattrs[ETAG_ATTRIBUTE].decode()
            self._tell(Clash(key, etag, reason, Claim.of_entry(path, entry)))
            self.outcome.vacated.add(path)
        if is_archive(entry):
            self.outcome.look_again.add(path.removeprefix("/"))


def _wanted_entry(record: ChangeRecord) -> Entry:
    described = record.entry if record.tree is None else record.tree.root
    assert described is not None, "a record that removes nothing enters something"
    return entry_of(record, described)


def _same(existing: Entry, wanted: Entry) -> bool:
    if existing.is_directory and wanted.is_directory:
        return _told(existing) == _told(wanted) and (existing.mode, existing.mtime, existing.mtime_ns) == (
            wanted.mode,
            wanted.mtime,
            wanted.mtime_ns,
        )
    return replace(existing, xattrs=_told(existing)) == wanted


def _told(entry: Entry) -> dict[str, bytes]:
    """The attributes that follow from the object alone."""
    return {name: value for name, value in entry.xattrs.items() if name not in {COVERS_ATTRIBUTE, MARKER_ATTRIBUTE}}


def _without(entry: Entry, attribute: str) -> Entry:
    return replace(entry, xattrs={name: value for name, value in entry.xattrs.items() if name != attribute})


def _is_covering(entry: Entry) -> bool:
    """Whether an entry is the member of an archive, or stands for one; matters in the tree of an archive only."""
    return COVERS_ATTRIBUTE in entry.xattrs or not (is_sourced(entry) or is_implied(entry))


def _covering(entry: Entry, *, covers: bool) -> Entry:
    bare = _without(entry, COVERS_ATTRIBUTE)
    return replace(bare, xattrs={**bare.xattrs, COVERS_ATTRIBUTE: b"1"}) if covers else bare
