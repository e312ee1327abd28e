"""A whole repository tree as one editable thing: catalogs are opened when an edit reaches them.

The tree is the only place that knows several catalogs at once: where a path lives, how a mount point and the root of
its nested catalog stay equal, and in which order changed catalogs are written (children before parents).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog import Catalog, Counters, NestedReference
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.compression import FAST, Codec
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, parent_path
from functions.cvmfs.errors import ObjectMissing
from functions.cvmfs.objects import StoredObject, pack
from functions.cvmfs.tree_view import TreeView, walk

Load = Callable[[Digest], bytes]
"""Gives the uncompressed bytes of a catalog."""


@dataclass(slots=True)
class _Node:
    """One open catalog: what it was when opened (digest and counters), and whether it has been edited since."""

    catalog: Catalog
    digest: Digest | None
    counters: Counters
    changed: bool = False
    children: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A nested catalog and all below it, taken out of a tree with their edits; to be mounted again where it was."""

    path: str
    node: _Node
    reference: NestedReference

    @property
    def counters(self) -> Counters:
        """Those of its own and of all below it, without edits further down."""
        return self.node.catalog.total_counters


@dataclass(frozen=True, slots=True)
class CommittedTree:
    """A tree as written: objects to store, their contents, and what the manifest says of the root catalog.

    `replaced` are the catalogs that the written ones are the next versions of.
    """

    root: Digest
    root_size: int
    objects: tuple[StoredObject, ...]
    contents: dict[Address, bytes]
    replaced: frozenset[Address]


class CatalogTree:
    """The catalogs of one revision, edited towards the next."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._root: _Node
        self.made_markers = False
        """Whether marker files were made, whose (empty) content must then be in the store, be it there or not."""
        self.new_directories: set[str] = set()
        """Directories that were put, and those whose nested catalog was dissolved; some may be gone again."""
        self.new_mounts: set[str] = set()
        """Where stored catalogs were mounted: what they hold was not put entry by entry."""

    @classmethod
    def open(cls, root: Digest, load: Load) -> Self:
        """The tree of a stored root catalog; raises what `load` raises, and CatalogError."""
        tree = cls(load)
        tree._root = tree._opened(root)
        return tree

    @classmethod
    def new(cls, path: str, root: Entry) -> Self:
        """A tree of one new catalog that will be mounted at `path`, holding nothing but its root entry."""
        tree = cls(_nothing_stored)
        catalog = Catalog.new(path, root, counters_of=tree._counters_of)
        tree._root = _Node(catalog, None, Counters(), changed=True)
        return tree

    def close(self) -> None:
        """Release every open catalog."""
        _close(self._root)

    # Reading

    @property
    def root(self) -> Catalog:
        """The root catalog."""
        return self._root.catalog

    @property
    def changed(self) -> bool:
        """Whether any edit changed anything."""
        return any(node.changed for node in self._open_nodes())

    def stored(self, cache: CatalogCache) -> TreeView:
        """The stored tree that this one was opened from, without the edits since; not for a new tree."""
        assert self._root.digest is not None
        return TreeView(self._root.digest, self._load, cache)

    def lookup(self, path: str) -> Entry | None:
        """The entry at `path`; for a nested catalog's mount point, the nested root entry."""
        return self._node_of(path).catalog.lookup(path)

    def listing(self, path: str) -> list[tuple[str, Entry]]:
        """The names and entries in a directory."""
        return self._node_of(path).catalog.listing(path)

    def walk(self, path: str) -> Iterator[tuple[str, Entry]]:
        """`path` and everything below it, parents first; opens every catalog on the way."""
        return walk(self, path)

    def changed_catalogs(self) -> list[Catalog]:
        """The open catalogs that have been edited, deepest first."""
        changed = [node.catalog for node in self._open_nodes() if node.changed]
        return sorted(changed, key=lambda catalog: catalog.path.count("/"), reverse=True)

    def catalog_holding(self, path: str) -> Catalog:
        """The catalog that holds the entries directly below `path`."""
        return self._node_of(path).catalog

    # Editing

    def put(self, path: str, entry: Entry) -> None:
        """Enter or replace one entry; a directory keeps its content and link count."""
        node = self._node_of(path)
        if node.catalog.path == path and not entry.is_directory:
            self.remove(path)
            node = self._node_of(path)
        if node.catalog.path == path:
            node.catalog.set_root(entry)
        else:
            node.catalog.put(path, entry)
        if entry.is_directory:
            self.new_directories.add(path)
        node.changed = True

    def put_all(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """As put, for many entries at once, parents among them in any order; no directory may become a file."""
        batches: dict[str, tuple[_Node, list[tuple[str, Entry]]]] = {}
        for path, entry in entries:
            node = self._node_of(path)
            batches.setdefault(node.catalog.path, (node, []))[1].append((path, entry))
            if entry.is_directory:
                self.new_directories.add(path)
        for node, batch in batches.values():
            node.catalog.put_all(batch)
            node.changed = True

    def remove(self, path: str) -> None:
        """Remove `path` and everything below it."""
        node = self._node_of(path)
        if node.catalog.path == path:
            node = self._node_of(parent_path(path))
            _close(node.children.pop(path))
        for mount in [mount for mount in node.children if mount.startswith(path + "/")]:
            _close(node.children.pop(mount))
        node.catalog.remove_tree(path)
        node.changed = True

    def graft(self, path: str, root: Entry, reference: NestedReference, counters: Counters) -> None:
        """Mount a stored catalog at `path`, where nothing is or another one is mounted.

        `root` is its root entry, `counters` those of its whole tree.
        """
        node = self._node_of(parent_path(path))
        if path in node.children:
            _close(node.children.pop(path))
        node.catalog.set_nested(path, reference.digest, reference.size, counters, root)
        self.new_mounts.add(path)
        node.changed = True

    def set_aside(self, path: str) -> SetAside:
        """Take out the nested catalog that starts at `path`; what is there afterwards is to be removed."""
        parent = self._node_of(parent_path(path))
        reference = parent.catalog.nested_covering(path)
        assert reference is not None, "only a nested catalog can be set aside"
        self._node_of(path)
        return SetAside(path, parent.children.pop(path), reference)

    def mount_again(self, aside: SetAside) -> None:
        """Mount what was set aside, in a directory that is there; nothing is at its path."""
        node = self._node_of(parent_path(aside.path))
        reference, child = aside.reference, aside.node
        node.catalog.set_nested(aside.path, reference.digest, reference.size, child.counters, child.catalog.root)
        node.children[aside.path] = child
        self.new_mounts.add(aside.path)
        node.changed = True

    def split(self, path: str, *, auto: bool, marker: Entry) -> None:
        """Move the directory at `path` and all below it into a nested catalog of its own; adds the markers it needs."""
        node = self._node_of(path)
        if node.catalog.path == path:
            return
        for name in (MARKER_NAME, AUTO_MARKER_NAME) if auto else (MARKER_NAME,):
            if node.catalog.lookup(f"{path}/{name}") is None:
                self.made_markers = True
                node.catalog.put(f"{path}/{name}", marker)
        child = _Node(node.catalog.split(path), None, Counters(), changed=True)
        for mount in [mount for mount in node.children if mount.startswith(path + "/")]:
            child.children[mount] = node.children.pop(mount)
        node.children[path] = child
        node.changed = True

    def put_marker(self, path: str, marker: Entry) -> None:
        """Replace the marker of the nested catalog that starts at `path` by one of ours."""
        self.made_markers = True
        self.put(f"{path}/{MARKER_NAME}", marker)

    def merge(self, path: str) -> None:
        """Dissolve the nested catalog at `path` into its parent; its markers go."""
        child = self._node_of(path)
        parent = self._node_of(parent_path(path))
        parent.catalog.merge(child.catalog)
        del parent.children[path]
        parent.children |= child.children
        child.catalog.close()
        self.new_directories.add(path)
        parent.changed = True

    # Writing

    def commit(self, *, now_s: int, ttl_s: int | None, algorithm: HashAlgorithm, codec: Codec = FAST) -> CommittedTree:
        """Write every changed catalog and all above it: revision + 1, `now_s` as last_modified.

        The top catalog is a repository's root, with `ttl_s` seconds and its predecessor noted, unless `ttl_s` is None:
        then it is a nested catalog still to be grafted. Source: ``catalog_mgr_rw.cc: FinalizeCatalog``.
        """
        written: list[tuple[StoredObject, bytes]] = []
        replaced: set[Address] = set()
        if ttl_s is not None:
            self._root.catalog.ttl = ttl_s
            self._root.catalog.previous_revision = self._root.digest
        self._root.changed = True
        references: dict[str, NestedReference] = {}
        for node in reversed(list(self._open_nodes())):
            for path, child in node.children.items():
                if path in references:
                    reference = references[path]
                    node.catalog.set_nested(path, reference.digest, reference.size, child.counters, child.catalog.root)
                    node.changed = True
            if node.changed:
                if node.digest is not None:
                    replaced.add(Address(node.digest, Kind.CATALOG))
                references[node.catalog.path] = self._write(node, now_s, algorithm, codec, written)
        root = references[self._root.catalog.path]
        contents = {stored.address: content for stored, content in written}
        objects = tuple(stored for stored, _ in written)
        return CommittedTree(root.digest, root.size, objects, contents, frozenset(replaced))

    def _write(
        self,
        node: _Node,
        now_s: int,
        algorithm: HashAlgorithm,
        codec: Codec,
        written: list[tuple[StoredObject, bytes]],
    ) -> NestedReference:
        catalog = node.catalog
        if node is not self._root:
            # A nested predecessor is reached through the older root; naming it here would only break replication
            # after a garbage collection.
            catalog.previous_revision = None
        catalog.revision += 1
        catalog.last_modified = now_s
        content = catalog.to_bytes()
        stored = pack(content, Kind.CATALOG, algorithm, codec=codec)
        written.append((stored, content))
        node.digest, node.counters, node.changed = stored.address.digest, catalog.total_counters, False
        return NestedReference(catalog.path, stored.address.digest, len(content))

    # Finding

    def _node_of(self, path: str) -> _Node:
        node = self._root
        while (reference := node.catalog.nested_covering(path)) is not None:
            if reference.path not in node.children:
                node.children[reference.path] = self._opened(reference.digest)
            node = node.children[reference.path]
        return node

    def _opened(self, digest: Digest) -> _Node:
        catalog = Catalog.from_bytes(self._load(digest), counters_of=self._counters_of)
        return _Node(catalog, digest, catalog.total_counters)

    def _counters_of(self, reference: NestedReference) -> Counters:
        """What a reference contributed when its catalog was stored, for a parent that replaces or drops it."""
        for node in self._open_nodes():
            if node.digest == reference.digest:
                return node.counters
        with Catalog.from_bytes(self._load(reference.digest)) as catalog:
            return catalog.total_counters

    def _open_nodes(self) -> Iterator[_Node]:
        return _at_and_below(self._root)


def _at_and_below(top: _Node) -> Iterator[_Node]:
    """A node and those below it, parents before their children."""
    pending = [top]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children.values()


def _nothing_stored(digest: Digest) -> bytes:
    raise ObjectMissing(f"a new tree refers to the catalog {digest}")


def _close(top: _Node) -> None:
    for node in _at_and_below(top):
        node.catalog.close()
