"""The official repositories written again by our engine: what official tools made of the same content, byte for byte
where it is determined, row for row where only the order of rows is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.checker import check_repository
from functions.cvmfs.compression import STOCK
from functions.cvmfs.database import opened, read_properties
from functions.cvmfs.errors import FormatError
from functions.cvmfs.history import History
from functions.cvmfs.objects import pack
from functions.cvmfs.reader import Fetch, Repository, fetch_object
from functions.cvmfs.reflog import Reflog, RefType
from tests.golden import GOLDEN, TAGS, golden
from tests.rewriting import Rewritten, catalogs_of, rewritten

REVISIONS = (1, 2, 3, 4)

TABLES = {
    "catalog": "SELECT * FROM catalog ORDER BY md5path_1, md5path_2",
    "chunks": 'SELECT * FROM chunks ORDER BY md5path_1, md5path_2, "offset"',
    "statistics": "SELECT * FROM statistics ORDER BY counter",
    "bind_mountpoints": "SELECT * FROM bind_mountpoints ORDER BY path",
    "nested_catalogs": "SELECT path, size FROM nested_catalogs ORDER BY path",
    "properties": "SELECT * FROM properties WHERE key <> 'previous_revision' ORDER BY key",
}
"""All that a catalog holds but two hashes of other catalogs, which depend on the order of their rows."""


def ours(again: Rewritten) -> Repository:
    return Repository.open(
        again.fetch, public_keys=[again.official.public_key], fqrn=again.official.fqrn, now=again.now
    )


def official_root(again: Rewritten, revision: int) -> Digest:
    return next(tag.root for tag in again.official_tags() if tag.revision == revision)


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.PARTIAL, Kind.CERTIFICATE, Kind.METAINFO])
@pytest.mark.parametrize("name", GOLDEN)
def test_every_object_of_content_is_the_official_one_byte_for_byte(name: str, kind: Kind) -> None:
    again = rewritten(name)
    official = {
        path: again.official.read(path)
        for path in again.official.paths()
        if path.startswith("data/") and Address.from_path(path).kind is kind
    }
    assert official
    assert again.objects(kind.value) == official


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("name", GOLDEN)
def test_every_catalog_has_the_official_rows_counters_and_properties(name: str, revision: int) -> None:
    again = rewritten(name)
    official = catalogs_of(again.reader, official_root(again, revision))
    written = catalogs_of(ours(again), again.published[revision].root)
    assert written.keys() == official.keys(), "nested catalogs follow from the markers"
    for mount, (_, catalog) in official.items():
        for table, query in TABLES.items():
            assert written[mount][1].query(query) == catalog.query(query), f"{table} of {mount or '/'}"


@pytest.mark.parametrize("name", GOLDEN)
def test_catalogs_name_the_predecessors_that_an_official_publisher_names(name: str) -> None:
    again = rewritten(name)
    for revision in REVISIONS[1:]:
        for mount, (_, catalog) in catalogs_of(ours(again), again.published[revision].root).items():
            expected = None if mount else again.published[revision - 1].root
            assert catalog.previous_revision == expected, "nested ones break replication after a garbage collection"


@pytest.mark.parametrize("name", GOLDEN)
def test_official_catalogs_and_tags_are_stored_again_under_their_official_names(name: str) -> None:
    repository = golden(name)
    for path in repository.paths():
        if path.endswith(("C", "H")):
            address = Address.from_path(path)
            content = fetch_object(repository.fetch, address)
            if address.kind is Kind.CATALOG:
                with Catalog.from_bytes(content) as catalog:
                    content = catalog.to_bytes()
            stored = pack(content, address.kind, address.digest.algorithm, codec=STOCK)
            assert (stored.address, stored.body) == (address, repository.read(path))


def tag_rows(fetch: Fetch, digest: Digest | None) -> dict[str, object]:
    assert digest is not None
    with opened(fetch_object(fetch, Address(digest, Kind.HISTORY)), FormatError) as database:
        return {
            "tags": database.execute("SELECT * FROM tags ORDER BY rowid").fetchall(),
            "branches": database.execute("SELECT * FROM branches").fetchall(),
            "recycle_bin": database.execute("SELECT * FROM recycle_bin").fetchall(),
            "properties": read_properties(database),
        }


@pytest.mark.parametrize("name", GOLDEN)
def test_the_tags_of_every_revision_are_the_official_ones(name: str) -> None:
    again = rewritten(name)
    to_ours = {str(official_root(again, revision)): str(again.published[revision].root) for revision in REVISIONS}
    official, number = again.reader.manifest.history, len(REVISIONS)
    while official is not None:
        expected = tag_rows(again.official.fetch, official)
        written = tag_rows(again.fetch, again.published[number].history)
        expected["tags"] = [(row[0], to_ours[row[1]], *row[2:]) for row in expected["tags"]]
        previous = "0" * 40 if number == 1 else str(again.published[number - 1].history)
        expected["properties"] |= {"previous_revision": previous}
        assert written == expected, f"revision {number}"
        official = History.from_bytes(
            fetch_object(again.official.fetch, Address(official, Kind.HISTORY))
        ).previous_revision
        number -= 1
    assert number == 0, "the chain of predecessors was followed to the first"


@pytest.mark.parametrize("name", GOLDEN)
def test_the_reflog_lists_what_the_official_one_lists(name: str) -> None:
    again = rewritten(name)
    fqrn = again.official.fqrn
    official = Reflog.from_bytes(again.official.read(".cvmfsreflog"), fqrn=fqrn).entries()
    written = Reflog.from_bytes(again.fetch(".cvmfsreflog") or b"", fqrn=fqrn).entries()
    same = {RefType.CERTIFICATE, RefType.METAINFO}
    for kind in RefType:
        expected = [entry for entry in official if entry.type is kind]
        found = [entry for entry in written if entry.type is kind]
        assert len(found) == len(expected), kind
        if kind in same:
            assert found == expected
    published = [manifest.root for manifest in again.published.values()]
    assert [entry.digest for entry in written if entry.type is RefType.CATALOG][1:] == published


@pytest.mark.parametrize("name", GOLDEN)
def test_the_manifest_differs_in_nothing_but_the_hashes_of_what_was_written(name: str) -> None:
    again = rewritten(name)
    official, written = again.reader.manifest, ours(again).manifest
    own = {"root": written.root, "history": written.history, "reflog": written.reflog}
    assert replace(official, **own) == written
    pairs = list(zip(official.body().splitlines(), written.body().splitlines(), strict=True))
    assert [there for there, here in pairs if here != there] == [
        f"{letter}{digest}".encode()
        for letter, digest in (("C", official.root), ("H", official.history), ("Y", official.reflog))
    ]
    assert again.fetch(".cvmfswhitelist") == again.official.read(".cvmfswhitelist")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_reader_and_the_checker_see_no_difference(name: str) -> None:
    again = rewritten(name)
    repository = ours(again)
    for tag in TAGS:
        there, here = again.reader.snapshot(tag), repository.snapshot(tag)
        assert list(here.walk()) == list(there.walk())
    report = check_repository(
        again.fetch,
        exists=again.store.has,
        public_keys=[again.official.public_key],
        fqrn=again.official.fqrn,
        now=again.now,
        data=True,
        all_tags=True,
    )
    assert report.findings == ()
