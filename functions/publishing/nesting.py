"""Where nested catalogs start and end: large catalogs are split, small ones that were made by a split are merged.

A client loads a whole catalog to see one of its entries, and a publisher rewrites the whole catalog to change one. Both
want catalogs small; but each costs a request of its own. Official balancing works the same way with other numbers
(``catalog_balancer_impl.h``); its marker ``.cvmfsautocatalog`` is honoured and written.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from functions.cvmfs.catalog import Catalog
from functions.cvmfs.entry import AUTO_MARKER_NAME, Entry, parent_path
from functions.publishing.tree import CatalogTree


@dataclass(frozen=True, slots=True)
class CatalogWeights:
    """Sizes in entries: split above `most`, down to about `balanced`, never into pieces below `least`."""

    most: int = 10_000
    balanced: int = 5_000
    least: int = 1_000


def balance(tree: CatalogTree, weights: CatalogWeights, marker: Entry) -> None:
    """Merge and split the catalogs that the edits so far have touched; `marker` is the entry of an empty file."""
    for catalog in tree.changed_catalogs():
        if not catalog.root.is_nested_root or catalog.entry_count >= weights.least:
            continue
        # Half way, so that the next few files do not split it again.
        parent = tree.catalog_holding(parent_path(catalog.path))
        if parent.entry_count + catalog.entry_count <= weights.balanced and _made_by_a_balancer(catalog):
            tree.merge(catalog.path)
    for catalog in tree.changed_catalogs():
        if catalog.entry_count > weights.most:
            for directory in choose_splits(_directory_weights(catalog), catalog.path, catalog.entry_count, weights):
                tree.split(directory, auto=True, marker=marker)


def choose_splits(weight_below: dict[str, int], top: str, entries: int, weights: CatalogWeights) -> list[str]:
    """Directories to turn into nested catalogs, deepest first, so that about `balanced` entries stay with each.

    `weight_below` has the number of entries at and below each directory of the catalog, `top` excluded.
    """
    remaining = dict(weight_below)
    remaining[top] = entries
    children: dict[str, list[str]] = defaultdict(list)
    for path in weight_below:
        children[parent_path(path)].append(path)
    chosen: list[str] = []
    for path in sorted(remaining, key=lambda path: (-path.count("/"), path)):
        below = sorted(children[path], key=lambda child: remaining[child])
        while remaining[path] > weights.balanced and below and remaining[below[-1]] >= weights.least:
            heaviest = below.pop()
            chosen.append(heaviest)
            _take_away(remaining, heaviest, remaining[heaviest] - 1, top)
    return chosen


def _take_away(remaining: dict[str, int], path: str, weight: int, top: str) -> None:
    remaining[path] = 1
    while path != top:
        path = parent_path(path)
        remaining[path] -= weight


def _made_by_a_balancer(catalog: Catalog) -> bool:
    return catalog.lookup(f"{catalog.path}/{AUTO_MARKER_NAME}") is not None


def _directory_weights(catalog: Catalog) -> dict[str, int]:
    """Entries at and below each directory of one catalog, mount points left out since they are catalogs already."""
    totals = {path: 1 + entries for path, entries in catalog.directories().items() if path != catalog.path}
    for path in sorted(totals, key=lambda path: -path.count("/")):
        parent = parent_path(path)
        if parent in totals:
            totals[parent] += totals[path] - 1
    return totals
