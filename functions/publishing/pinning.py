"""What a rollback holds back, so that the next upload or a look at the bucket does not undo it.

The bucket still holds what was gone back from. A rollback therefore pins: what was uploaded or removed before that
moment and differs from the tree stays out, until it is uploaded anew or the rollback is released. The pin is in the
root catalog, among the properties that readers pass over: it comes and goes with the same swap of the manifest as the
content that it is about, and every revision made from that one inherits it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from events.change import ChangeRecord
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.errors import CatalogError
from functions.publishing.sources import source_modified
from functions.publishing.tree import CatalogTree

_HELD_BEFORE = "cvmfs_cloud_held_before"
_TARGET = "cvmfs_cloud_rolled_back_to"
_WISHES = "cvmfs_cloud_rollbacks"
_WISHES_KEPT = 8


@dataclass(frozen=True, slots=True)
class Pin:
    """What was last modified before `held_before` (epoch seconds) stays out; `target` is the revision gone back to."""

    held_before: int
    target: int


def read_pin(root: Catalog) -> Pin | None:
    """The pin of a root catalog, None without one; raises CatalogError."""
    held_before, target = root.get_property(_HELD_BEFORE), root.get_property(_TARGET)
    if held_before is None or target is None:
        return None
    try:
        return Pin(int(held_before), int(target))
    except ValueError as err:
        raise CatalogError(f"the pin of the root catalog is {held_before!r}, {target!r}: not numbers") from err


def write_pin(root: Catalog, pin: Pin | None) -> None:
    """Set the pin of a root catalog, or take it away."""
    root.set_property(_HELD_BEFORE, None if pin is None else str(pin.held_before))
    root.set_property(_TARGET, None if pin is None else str(pin.target))


def wishes_of(root: Catalog) -> tuple[str, ...]:
    """The ids of the wishes for rollbacks and releases that were carried out last, in order."""
    return tuple((root.get_property(_WISHES) or "").split())


def note_wishes(root: Catalog, before: Iterable[str], wish: str | None) -> None:
    """Note in a root catalog the wishes carried out `before`, and one more."""
    noted = (*before, *(() if wish is None else (wish,)))[-_WISHES_KEPT:]
    root.set_property(_WISHES, " ".join(noted) or None)


def is_held_back(pin: Pin | None, modified: int, published: int = 0) -> bool:
    """Whether an object stays out that was last modified at `modified` (epoch seconds).

    For an object that is gone, `modified` is when its removal was told of, or 0 if only its absence was seen, and
    `published` when what is published of it was modified: where that is after the rollback, the absence is too.
    """
    return pin is not None and max(modified, published) < pin.held_before


def let_through(tree: CatalogTree, records: Iterable[ChangeRecord]) -> list[ChangeRecord]:
    """The records that a rollback does not hold back from this tree."""
    pin = read_pin(tree.root)
    if pin is None:
        return list(records)
    return [
        record
        for record in records
        if not is_held_back(pin, record.modified, _published(tree, record.path) if record.removed else 0)
    ]


def _published(tree: CatalogTree, path: str) -> int:
    entry = tree.lookup(path)
    return 0 if entry is None else source_modified(entry)
