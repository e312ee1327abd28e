"""The catalogs below one root catalog, for reading: which catalog holds a path, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.entry import Entry, parent_path
from functions.cvmfs.errors import CatalogError


class Tree(Protocol):
    """All catalogs of a repository as one tree, stored or being edited."""

    def catalog_holding(self, path: str) -> Catalog:
        """The catalog that has what is in the directory at `path`; at a mount point, the nested one."""

    def lookup(self, path: str) -> Entry | None:
        """The entry at `path`; at a mount point, the root entry of the nested catalog."""

    def listing(self, path: str) -> list[tuple[str, Entry]]:
        """Names and entries in the directory at `path`, in byte order; nothing if it is none."""


def walk(tree: Tree, path: str) -> Iterator[tuple[str, Entry]]:
    """`path` and everything below it, parents first; opens every catalog on the way."""
    pending = [path]
    while pending:
        path = pending.pop()
        entry = tree.lookup(path)
        if entry is None:
            continue
        yield path, entry
        if entry.is_directory:
            pending += [f"{path}/{name}" for name, _ in reversed(tree.listing(path))]


@dataclass(frozen=True, slots=True)
class TreeView:
    """One tree; catalogs are opened when a path leads to them and shared through `cache`, so they are read only.

    `load` gives the inflated bytes of a catalog; what it raises comes out of every method, besides CatalogError.
    Source: ``catalog_mgr_impl.h: MountSubtree``.
    """

    root: Digest
    load: Callable[[Digest], bytes] = field(repr=False)
    cache: CatalogCache = field(default_factory=CatalogCache, repr=False)

    def open(self, reference: NestedReference) -> Catalog:
        """The catalog that a reference names; raises CatalogError if it is for another place."""
        catalog = self.cache.open(reference.digest, self.load)
        if catalog.path != reference.path:
            raise CatalogError(f"catalog {reference.digest} is for {catalog.path!r}, not for {reference.path!r}")
        return catalog

    def open_root(self) -> Catalog:
        """The root catalog."""
        return self.open(NestedReference("", self.root, 0))

    def catalog_holding(self, path: str) -> Catalog:
        """The catalog that has what is in the directory at `path`; at a mount point, the nested one."""
        catalog = self.open_root()
        while (reference := catalog.nested_covering(path)) is not None:
            catalog = self.open(reference)
        return catalog

    def mounted_at(self, path: str) -> NestedReference | None:
        """The reference to the nested catalog that starts at `path`, if one does."""
        if not path:
            return None
        reference = self.catalog_holding(parent_path(path)).nested_covering(path)
        return reference if reference is not None and reference.path == path else None

    def lookup(self, path: str) -> Entry | None:
        """The entry at `path`; at a mount point, the root entry of the nested catalog."""
        return self.catalog_holding(path).lookup(path)

    def listing(self, path: str) -> list[tuple[str, Entry]]:
        """Names and entries in the directory at `path`, in byte order; nothing if it is none."""
        return self.catalog_holding(path).listing(path)
