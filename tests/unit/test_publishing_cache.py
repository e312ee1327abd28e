"""What a publisher keeps of a repository: the revision that the next one is made from, and none of its past."""

from __future__ import annotations

from functions.cvmfs.address import Address, HashAlgorithm, Kind
from functions.cvmfs.entry import Entry
from functions.publishing.head import ObjectCache
from functions.publishing.marking import mark
from functions.publishing.tree import CatalogTree
from tests.written import Written, folder

ONE, OTHER, THIRD = (Address(HashAlgorithm.SHA1.digest(name), Kind.CATALOG) for name in (b"one", b"other", b"third"))


def test_the_cache_lets_go_of_what_was_not_asked_for_longest() -> None:
    cache = ObjectCache(10)
    cache.keep(ONE, b"1234")
    cache.keep(OTHER, b"1234")
    assert cache.get(ONE) == b"1234"
    cache.keep(THIRD, b"1234")
    assert (cache.get(ONE), cache.get(OTHER), cache.get(THIRD)) == (b"1234", None, b"1234")


def test_what_was_dropped_leaves_its_room_to_others() -> None:
    cache = ObjectCache(10)
    cache.keep(ONE, b"123456")
    cache.drop([ONE, OTHER, ONE])
    assert cache.get(ONE) is None
    for address in (OTHER, THIRD):
        cache.keep(address, b"12345")
    assert cache.get(OTHER) == cache.get(THIRD) == b"12345"


def addresses_of(written: Written) -> set[Address]:
    """The catalogs and the tag database of the live revision."""
    manifest = written.publisher.head().manifest
    tree = written.publisher.open_tree(manifest)
    nested = {Address(reference.digest, Kind.CATALOG) for reference in tree.root.nested().values()}
    tree.close()
    assert manifest.history is not None
    return {Address(manifest.root, Kind.CATALOG), Address(manifest.history, Kind.HISTORY)} | nested


def test_a_published_revision_takes_the_place_of_the_one_before() -> None:
    written = Written()
    cache = written.publisher.cache

    def nest(tree: CatalogTree, marker: Entry) -> None:
        for name in ("/changing", "/resting"):
            tree.put(name, folder())
            tree.put(f"{name}/.cvmfscatalog", marker)
            mark(tree, name, marker)

    written.publish(nest)
    before = addresses_of(written)
    assert all(cache.get(address) for address in before)

    written.publish(lambda tree, _: tree.put(*written.file("/changing/file", b"new")))
    after = addresses_of(written)
    assert all(cache.get(address) for address in after)
    assert len(before & after) == 1, "the nested catalog that nothing was changed in"
    assert not any(cache.get(address) for address in before - after)
