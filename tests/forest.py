"""Trees as plain dictionaries, the same trees as stored catalogs, and what merging them should come to.

A `Wood` is the plain form: paths to entries, with a token for each hard-link group, and the directories that are marked
as beginnings of nested catalogs. A `Forest` stores such trees, each as an edit of another, with catalogs so small that
they nest, and reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.difference import MARKERS
from functions.cvmfs.entry import AUTO_MARKER_NAME, Entry, EntryFlag, base_name, parent_path
from functions.cvmfs.objects import unpack
from functions.cvmfs.reader import Snapshot
from functions.cvmfs.rows import STRUCTURE_FLAGS
from functions.cvmfs.tree_check import Counts, TreeCheck
from functions.cvmfs.tree_view import TreeView
from functions.publishing.commit import marker_entry
from functions.publishing.conflicts import MergeReport
from functions.publishing.merge import merge
from functions.publishing.nesting import CatalogWeights, balance
from functions.publishing.tree import CatalogTree

SMALL = CatalogWeights(most=6, balanced=4, least=2)
MARKER = marker_entry(HashAlgorithm.SHA1, mtime=1)
ROOT = Entry.directory(mtime=1)

Shown = tuple[Entry, frozenset[str]]
"""An entry without what is a catalog's own, and the names that share its hard-link group."""

Token = tuple[Entry, tuple[str, int]]
"""An entry while a merge is worked out: with whose hard-link group it is in, and which."""


@dataclass(frozen=True)
class Wood:
    """A tree on paper; an entry's `hardlink_group` is a token, equal for all members of a group in a directory."""

    entries: dict[str, Entry] = field(default_factory=lambda: {"": ROOT})
    marked: frozenset[str] = frozenset()

    def shown(self) -> dict[str, Shown]:
        groups: dict[tuple[str, int], set[str]] = {}
        for path, entry in self.entries.items():
            if entry.hardlink_group:
                groups.setdefault((parent_path(path), entry.hardlink_group), set()).add(base_name(path))
        return {
            path: (plain(entry), links(groups.get((parent_path(path), entry.hardlink_group), set())))
            for path, entry in self.entries.items()
        }


def plain(entry: Entry) -> Entry:
    flags = entry.extra_flags & ~STRUCTURE_FLAGS
    return replace(entry, hardlink_group=0, linkcount=1, extra_flags=EntryFlag(flags))


def links(names: set[str]) -> frozenset[str]:
    return frozenset(names) if len(names) > 1 else frozenset()


def is_below(path: str, top: str) -> bool:
    return path.startswith(top + "/")


class Forest:
    """Stored trees that share their catalogs."""

    def __init__(self, weights: CatalogWeights = SMALL) -> None:
        self.weights = weights
        self.files: dict[str, bytes] = {}
        self.loaded: list[Digest] = []
        tree = CatalogTree.new("", ROOT)
        self.empty = self._commit(tree)

    def load(self, digest: Digest) -> bytes:
        self.loaded.append(digest)
        address = Address(digest, Kind.CATALOG)
        return unpack(address, self.files[address.path])

    def view(self, root: Digest) -> TreeView:
        return TreeView(root, self.load)

    def grown(self, base: Digest, wood: Wood) -> Digest:
        """Store `wood` as an edit of a stored tree."""
        tree = CatalogTree.open(base, self.load)
        shown, wanted = self.shown(base), wood.shown()
        for path in shown:
            kind_changes = path in wanted and wanted[path][0].is_directory != shown[path][0].is_directory
            if (path not in wanted or kind_changes) and tree.lookup(path) is not None:
                tree.remove(path)
        tree.put_all(self._entered(tree, wood, {path for path in wanted if wanted[path] != shown.get(path)}).items())
        self._mark(tree, wood)
        balance(tree, self.weights, MARKER)
        return self._commit(tree)

    def merged(self, onto: Digest, base: Digest, changed: Digest, lease: str = "") -> tuple[Digest, MergeReport]:
        tree = CatalogTree.open(onto, self.load)
        report = merge(tree, base=self.view(base), changed=self.view(changed), lease=lease, marker=MARKER)
        balance(tree, self.weights, MARKER)
        return self._commit(tree), report

    def shown(self, root: Digest) -> dict[str, Shown]:
        """What a reader sees, without markers."""
        seen = Snapshot(root, self.files.get, CatalogCache()).walk()
        return Wood({path: entry for path, entry in seen if base_name(path) not in MARKERS}).shown()

    def mounts(self, root: Digest) -> dict[str, Digest]:
        """Where nested catalogs begin."""
        snapshot = Snapshot(root, self.files.get, CatalogCache())
        return {path: digest for path, digest, _ in snapshot.catalogs() if path}

    def marked(self, root: Digest) -> set[str]:
        """Where nested catalogs begin that no balancer made."""
        view = self.view(root)
        return {path for path in self.mounts(root) if view.lookup(f"{path}/{AUTO_MARKER_NAME}") is None}

    def findings(self, root: Digest) -> list[str]:
        check = TreeCheck(self.files.get, lambda _path: True, data=False, executor=None, progress=_unseen)
        check.check(root)
        return [str(finding) for finding in check.findings]

    def _entered(self, tree: CatalogTree, wood: Wood, paths: set[str]) -> dict[str, Entry]:
        entered: dict[str, Entry] = {}
        groups: dict[tuple[str, int], int] = {}
        for path in sorted(paths, key=lambda path: path.count("/")):
            entry, names = wood.shown()[path]
            directory = parent_path(path)
            if names:
                key = (directory, wood.entries[path].hardlink_group)
                if key not in groups:
                    groups[key] = tree.catalog_holding(directory).new_hardlink_group()
                entry = replace(entry, hardlink_group=groups[key], linkcount=len(names))
            entered[path] = entry
        return entered

    def _mark(self, tree: CatalogTree, wood: Wood) -> None:
        for path in sorted(wood.marked):
            if tree.lookup(f"{path}/{AUTO_MARKER_NAME}") is not None:
                tree.remove(f"{path}/{AUTO_MARKER_NAME}")
            tree.split(path, auto=False, marker=MARKER)
        for path, entry in list(tree.walk("")):
            is_marked = entry.is_nested_root and tree.lookup(f"{path}/{AUTO_MARKER_NAME}") is None
            if is_marked and path not in wood.marked:
                tree.merge(path)

    def _commit(self, tree: CatalogTree) -> Digest:
        committed = tree.commit(now_s=10, ttl_s=240, algorithm=HashAlgorithm.SHA1)
        tree.close()
        for stored in committed.objects:
            self.files[stored.address.path] = stored.body
        return committed.root


def _unseen(_counts: Counts) -> None:
    pass


# What a merge should come to


def is_incidental(old: Shown | None, new: Shown | None) -> bool:
    """Whether a directory stays one and changes in nothing but its time and size."""
    if old is None or new is None or not old[0].is_directory or not new[0].is_directory:
        return False
    return _timeless(old[0]) == _timeless(new[0])


def _timeless(entry: Entry) -> Entry:
    return replace(entry, mtime=0, mtime_ns=None, size=0)


def expected_merge(base: Wood, ours: Wood, theirs: Wood, lease: str = "") -> dict[str, Shown]:
    """What the documented rule says, on dictionaries."""
    old, new, other = base.shown(), ours.shown(), theirs.shown()
    result = {path: (entry, ("theirs", theirs.entries[path].hardlink_group)) for path, (entry, _) in other.items()}
    changed = [
        path
        for path in sorted(old.keys() | new.keys(), key=lambda path: (path.count("/"), path))
        if (path == lease or is_below(path, lease)) and old.get(path) != new.get(path)
    ]
    for path in reversed(changed):
        if path not in new and path in result and not any(is_below(at, path) for at in result):
            del result[path]
    for path in changed:
        if path not in new:
            continue
        mine, there = new[path], result.get(path)
        if mine[0].is_directory and there is not None and there[0].is_directory:
            result[path] = (_merged_directory(old.get(path), mine[0], there[0]), there[1])
        elif not is_incidental(old.get(path), mine) and other.get(path) != mine:
            _enter(result, ours, path)
    return _resolved(result)


def _enter(result: dict[str, Token], ours: Wood, path: str) -> None:
    """Put the entry of `ours` where something else may be, and directories above it where they are missing."""
    if path:
        parent = parent_path(path)
        if parent not in result or not result[parent][0].is_directory:
            _enter(result, ours, parent)
    entry = ours.entries[path]
    if path in result and not (result[path][0].is_directory and entry.is_directory):
        for gone in [at for at in result if at == path or is_below(at, path)]:
            del result[gone]
    result[path] = (plain(entry), ("ours", entry.hardlink_group))


def _merged_directory(old: Shown | None, mine: Entry, there: Entry) -> Entry:
    known = old[0] if old is not None and old[0].is_directory else None
    merged = there
    for name in ("mode", "uid", "gid", "xattrs", "extra_flags"):
        if known is None or getattr(mine, name) != getattr(known, name):
            merged = replace(merged, **{name: getattr(mine, name)})
    times = [(entry.mtime, entry.mtime_ns or 0, entry.size, entry) for entry in (there, mine)]
    if known is not None:
        before = (known.mtime, known.mtime_ns or 0, known.size)
        times = [time for time in times if time[:3] != before] or times
    latest = max(times, key=lambda time: time[:3])[3]
    return replace(merged, mtime=latest.mtime, mtime_ns=latest.mtime_ns, size=latest.size)


def _resolved(result: dict[str, Token]) -> dict[str, Shown]:
    groups: dict[tuple[str, tuple[str, int]], set[str]] = {}
    for path, (_, token) in result.items():
        if token[1]:
            groups.setdefault((parent_path(path), token), set()).add(base_name(path))
    return {
        path: (entry, links(groups.get((parent_path(path), token), set()))) for path, (entry, token) in result.items()
    }
