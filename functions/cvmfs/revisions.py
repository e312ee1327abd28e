"""Finding a revision by what people call it: a tag, a number, or the hash of its root catalog."""

from __future__ import annotations

from dataclasses import dataclass

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.errors import AddressError, CatalogError, ObjectMissing, RevisionMissing
from functions.cvmfs.history import TRUNK, TRUNK_PREVIOUS
from functions.cvmfs.history_database import Tag
from functions.cvmfs.reader import Repository


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that was found: what it is called, its root catalog, its number, and its time in epoch seconds."""

    name: str
    root: Digest
    number: int
    timestamp: int


def find_revision(repository: Repository, text: str) -> Revision:
    """The revision that `text` names: a tag, a number, or a root hash, which may follow an ``@``.

    Without tags, ``trunk`` is the newest revision and ``trunk-previous`` its predecessor. A number without a tag is
    looked for along the chain of predecessors. Raises RevisionMissing, and what reading the repository raises.
    """
    tags = repository.tags()
    if text == TRUNK:
        return _described(repository, text, repository.manifest.root)
    for tag in tags:
        if tag.name == text:
            return _described(repository, text, tag.root)
    if text == TRUNK_PREVIOUS:
        previous = _open_root(repository, repository.manifest.root, text).previous_revision
        if previous is None:
            raise RevisionMissing(f"revision {repository.manifest.revision} is the first one")
        return _described(repository, text, previous)
    if text.isascii() and text.isdigit():
        return _numbered(repository, tags, int(text))
    try:
        root = Digest.parse(text.removeprefix("@"))
    except AddressError:
        raise RevisionMissing(f"{text!r} is no tag of {repository.fqrn}, no number and no hash") from None
    return _described(repository, str(root), root)


def _numbered(repository: Repository, tags: list[Tag], number: int) -> Revision:
    """The revision of this number, from the nearest tag on."""
    later = [tag for tag in tags if not tag.branch and number <= tag.revision <= repository.manifest.revision]
    nearest = min(later, key=lambda tag: tag.revision, default=None)
    root: Digest | None = repository.manifest.root if nearest is None else nearest.root
    while root is not None:
        catalog = _open_root(repository, root, str(number))
        if catalog.revision == number:
            return Revision(str(number), root, number, catalog.last_modified)
        root = catalog.previous_revision if catalog.revision > number else None
    raise RevisionMissing(
        f"there is no revision {number} of {repository.fqrn}, the newest is {repository.manifest.revision}"
    )


def _described(repository: Repository, name: str, root: Digest) -> Revision:
    catalog = _open_root(repository, root, name)
    return Revision(name, root, catalog.revision, catalog.last_modified)


def _open_root(repository: Repository, root: Digest, wanted: str) -> Catalog:
    try:
        return repository.snapshot_of(root).view.open(NestedReference("", root, 0))
    except ObjectMissing as err:
        raise RevisionMissing(
            f"revision {wanted} cannot be reached: the root catalog {root} is not stored, it may have been collected"
        ) from err
    except CatalogError as err:
        raise RevisionMissing(f"revision {wanted}: {err}") from err
