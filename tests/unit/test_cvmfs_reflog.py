"""The reflog: every entry point, insert or replace, hashed as raw bytes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.errors import ReflogError
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.reflog import Reference, Reflog, RefType
from tests.golden import GOLDEN, golden

FQRN = "test.example.org"


def digest(number: int, algorithm: HashAlgorithm = HashAlgorithm.SHA1) -> Digest:
    return algorithm.digest(str(number).encode())


def rewritten(reflog: Reflog, statement: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(reflog.to_bytes())
        connection.execute(statement)
        connection.commit()
        return connection.serialize()


def filled() -> Reflog:
    reflog = Reflog.new(FQRN)
    reflog.add(digest(1), RefType.CATALOG, 100)
    return reflog


@pytest.mark.parametrize("name", GOLDEN)
def test_an_official_reflog_has_the_checksum_of_server_and_manifest_and_lists_what_the_manifest_names(name):
    repository = golden(name)
    image = repository.read(".cvmfsreflog")
    reflog = Reflog.from_bytes(image, fqrn=repository.fqrn)
    manifest = SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified
    checksum = reflog.checksum(manifest.root.algorithm)
    assert str(checksum) == repository.reflog_checksum
    assert checksum == manifest.reflog
    assert reflog.to_bytes() == image
    types = {entry.digest: entry.type for entry in reflog.entries()}
    assert types[manifest.root] is RefType.CATALOG
    assert types[manifest.certificate] is RefType.CERTIFICATE
    assert types[manifest.history] is RefType.HISTORY
    assert types[manifest.metainfo] is RefType.METAINFO


@pytest.mark.parametrize("name", GOLDEN)
def test_every_reference_of_an_official_reflog_is_stored_under_its_kind(name):
    repository = golden(name)
    entries = Reflog.from_bytes(repository.read(".cvmfsreflog"), fqrn=repository.fqrn).entries()
    assert len(entries) == 11
    assert [entry.timestamp for entry in entries] == sorted(entry.timestamp for entry in entries)
    for entry in entries:
        assert repository.exists(Address(entry.digest, entry.type.kind).path)


def test_an_official_reflog_can_be_continued():
    repository = golden("rmd160")
    reflog = Reflog.from_bytes(repository.read(".cvmfsreflog"), fqrn=repository.fqrn)
    before = reflog.entries()
    new = Reference(digest(1, HashAlgorithm.RMD160), RefType.CATALOG, 2_000_000_000)
    reflog.add(new.digest, new.type, new.timestamp)
    again = Reflog.from_bytes(reflog.to_bytes(), fqrn=repository.fqrn)
    assert again.entries() == [*before, new]
    assert again.contains(new.digest)


def test_a_new_reflog_has_the_tables_of_an_official_one():
    def schema(image: bytes) -> list:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(image)
            return [
                connection.execute(f"PRAGMA {what}({table})").fetchall()
                for table in ("properties", "refs")
                for what in ("table_info", "index_list")
            ] + connection.execute("SELECT key, value FROM properties WHERE key <> 'fqrn'").fetchall()

    ours, theirs = Reflog.new(FQRN).to_bytes(), golden("sha1").read(".cvmfsreflog")
    assert schema(ours) == schema(theirs)
    assert ours[16:20] == theirs[16:20]
    assert len(ours) == len(theirs)


def test_adding_again_refreshes_the_time_and_never_doubles():
    reflog = filled()
    reflog.add(digest(2), RefType.HISTORY, 101)
    reflog.add(digest(1), RefType.CATALOG, 200)
    assert reflog.entries() == [
        Reference(digest(2), RefType.HISTORY, 101),
        Reference(digest(1), RefType.CATALOG, 200),
    ]


def test_edits_apply_in_order():
    reflog = filled()
    reflog.remove(digest(1))
    assert not reflog.contains(digest(1))
    reflog.add(digest(1), RefType.CERTIFICATE, 300)
    reflog.remove(digest(2))
    assert reflog.entries() == [Reference(digest(1), RefType.CERTIFICATE, 300)]


def test_looking_does_not_change_the_bytes():
    reflog = filled()
    image = reflog.to_bytes()
    assert reflog.contains(digest(1))
    assert not reflog.contains(digest(1, HashAlgorithm.RMD160))
    assert reflog.entries()
    assert reflog.to_bytes() == image


def test_removing_gives_the_space_back():
    reflog = Reflog.new(FQRN)
    empty = len(reflog.to_bytes())
    for number in range(2000):
        reflog.add(digest(number), RefType.CATALOG, number)
    full = len(reflog.to_bytes())
    for number in range(1, 2000):
        reflog.remove(digest(number))
    assert reflog.entries() == [Reference(digest(0), RefType.CATALOG, 0)]
    assert empty == len(reflog.to_bytes()) < full


def test_a_reflog_is_a_whole_database_on_disk(tmp_path):
    file = tmp_path / "reflog"
    file.write_bytes(filled().to_bytes())
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT hash, type, timestamp FROM refs").fetchall() == [(str(digest(1)), 0, 100)]
        assert connection.execute("PRAGMA page_count").fetchone()[0] * 4096 == file.stat().st_size


def test_the_reflog_of_another_repository_is_refused():
    with pytest.raises(ReflogError, match=r"belongs to test\.example\.org, expected other"):
        Reflog.from_bytes(filled().to_bytes(), fqrn="other.example.org")


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no database" * 1000, id="no database"),
        pytest.param(filled().to_bytes()[:3000], id="cut off"),
        pytest.param(rewritten(filled(), "DROP TABLE refs"), id="no table of references"),
        pytest.param(rewritten(filled(), "DELETE FROM properties"), id="no properties"),
        pytest.param(rewritten(filled(), "UPDATE properties SET value = '2.0' WHERE key = 'schema'"), id="schema"),
    ],
)
def test_what_is_not_a_reflog_is_refused(image):
    with pytest.raises(ReflogError):
        Reflog.from_bytes(image, fqrn=FQRN)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("hash = 'abc'", id="no hash"),
        pytest.param("hash = NULL", id="NULL"),
        pytest.param("type = 4", id="unknown type"),
        pytest.param("timestamp = 'noon'", id="time as text"),
    ],
)
def test_a_bad_row_is_named_when_references_are_read(change):
    reflog = Reflog.from_bytes(rewritten(filled(), f"UPDATE refs SET {change}"), fqrn=FQRN)
    with pytest.raises(ReflogError, match="has a row"):
        reflog.entries()


def test_the_kinds_of_references_are_those_of_their_objects():
    assert {member.kind for member in RefType} == {Kind.CATALOG, Kind.CERTIFICATE, Kind.HISTORY, Kind.METAINFO}
    assert [(member.name, member.value, member.kind.value) for member in RefType] == [
        ("CATALOG", 0, "C"),
        ("CERTIFICATE", 1, "X"),
        ("HISTORY", 2, "H"),
        ("METAINFO", 3, "M"),
    ]


def test_a_time_that_sqlite_cannot_hold_is_a_reflog_error():
    reflog = filled()
    reflog.add(digest(2), RefType.CATALOG, 2**63)
    with pytest.raises(ReflogError, match="SQLite"):
        reflog.to_bytes()
