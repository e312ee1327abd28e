"""A reader believes only what is signed, or hashed by something signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog_cache import OPEN_BYTES, CatalogCache
from functions.cvmfs.errors import (
    CatalogError,
    CompressionError,
    EntryError,
    FormatError,
    HashMismatch,
    HistoryError,
    ObjectMissing,
    SignatureError,
    WhitelistExpired,
)
from functions.cvmfs.reader import Repository, Snapshot
from functions.cvmfs.signing import KeySigner, new_key
from functions.cvmfs.whitelist import Whitelist
from tests.golden import golden
from tests.small_repository import FQRN, NOW, SmallRepository


def opened(small: SmallRepository, **changes) -> Repository:
    arguments = {"public_keys": small.public_keys, "fqrn": FQRN, "now": NOW}
    return Repository.open(small.fetch, **(arguments | changes))


def snapshot(small: SmallRepository) -> Snapshot:
    return opened(small).snapshot()


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_every_file_reads_back_across_nested_catalogs(algorithm: HashAlgorithm) -> None:
    small = SmallRepository(algorithm).sealed()
    tree = snapshot(small)
    read = {path: tree.read(path) for path, entry in tree.walk() if entry.is_regular and not entry.is_external}
    markers = {"/pkg/.cvmfscatalog": b"", "/pkg/deep/.cvmfscatalog": b""}
    assert read == small.contents | markers


def test_the_walk_shows_parents_first_and_every_mount_point_once() -> None:
    paths = [path for path, _ in snapshot(SmallRepository().sealed()).walk()]
    assert paths[0] == ""
    assert len(paths) == len(set(paths))
    for position, path in enumerate(paths[1:], start=1):
        assert path.rpartition("/")[0] in paths[:position]


def test_a_walk_can_begin_anywhere() -> None:
    tree = snapshot(SmallRepository().sealed())
    assert [path for path, _ in tree.walk("/pkg/deep")] == ["/pkg/deep", "/pkg/deep/.cvmfscatalog", "/pkg/deep/y"]
    assert [path for path, _ in tree.walk("/README")] == ["/README"]
    assert list(tree.walk("/no/such/path")) == []


def test_listings_are_in_byte_order_and_symlinks_raw() -> None:
    tree = snapshot(SmallRepository().sealed())
    assert [name for name, _ in tree.listing("/pkg")] == [".cvmfscatalog", "deep", "lib"]
    assert dict(tree.listing(""))["link"].symlink == "$(ARCH)/bin/tool"
    assert tree.listing("/README") == []
    assert tree.listing("/nothing") == []


def test_a_large_file_comes_in_pieces() -> None:
    assert [len(block) for block in snapshot(SmallRepository().sealed()).blocks("/big.bin")] == [1000, 1000, 10]


def test_the_catalogs_are_yielded_parents_first_with_their_digests() -> None:
    small = SmallRepository().sealed()
    found = [(path, Address(digest, Kind.CATALOG).path) for path, digest, _ in snapshot(small).catalogs()]
    assert found == [(path, small.catalog_path(path)) for path in ("", "/pkg", "/pkg/deep")]


def test_tags_name_revisions_and_unknown_ones_are_refused() -> None:
    repository = opened(SmallRepository().sealed())
    assert {tag.name for tag in repository.tags()} == {"v1", "trunk"}
    assert repository.snapshot("v1").root == repository.manifest.root
    with pytest.raises(HistoryError, match="no tag 'v7'"):
        repository.snapshot("v7")


def test_a_repository_without_tag_database_has_no_tags() -> None:
    small = SmallRepository()
    small.manifest_changes["history"] = None
    repository = opened(small.sealed())
    assert repository.tags() == []
    with pytest.raises(HistoryError, match="no tag 'trunk'"):
        repository.snapshot("trunk")


def test_structure_can_be_read_without_keys() -> None:
    small = SmallRepository().sealed()
    del small.files[".cvmfswhitelist"]
    repository = opened(small, public_keys=None, fqrn=None)
    assert repository.whitelist is None
    assert repository.fqrn == FQRN
    assert repository.snapshot().read("/README") == b"read me\n"


def test_a_verified_repository_says_what_it_was_verified_with() -> None:
    small = SmallRepository().sealed()
    repository = opened(small, fqrn=None)
    assert repository.whitelist == small.whitelist
    assert repository.certificate == small.certificate


def flip(small: SmallRepository, path: str) -> None:
    body = small.files[path]
    small.files[path] = body[:-1] + bytes([body[-1] ^ 1])


def other_master_key(small: SmallRepository) -> None:
    small.signer = KeySigner(golden("sha1").signing_key, golden("rmd160").master_key)
    small.sealed()


def other_signing_key(small: SmallRepository) -> None:
    small.signer = KeySigner(golden("rmd160").signing_key, golden("sha1").master_key)
    small.sealed()


def certificate_not_listed(small: SmallRepository) -> None:
    small.whitelist = replace(small.whitelist, fingerprints=(HashAlgorithm.SHA1.digest(b"somebody else"),))
    small.sealed()


def whitelist_of_another(small: SmallRepository) -> None:
    small.whitelist = Whitelist.make("other.example.org", small.whitelist.fingerprints, now=NOW)
    small.sealed()


def no_certificate(small: SmallRepository) -> None:
    small.manifest_changes["certificate"] = None
    small.sealed()


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        pytest.param(lambda s: s.files.pop(".cvmfspublished"), ObjectMissing, "cvmfspublished", id="no manifest"),
        pytest.param(lambda s: s.files.pop(".cvmfswhitelist"), ObjectMissing, "cvmfswhitelist", id="no whitelist"),
        pytest.param(lambda s: flip(s, ".cvmfspublished"), SignatureError, "manifest", id="manifest signature broken"),
        pytest.param(
            lambda s: flip(s, ".cvmfswhitelist"), SignatureError, "whitelist", id="whitelist signature broken"
        ),
        pytest.param(other_master_key, SignatureError, "whitelist is not signed", id="whitelist signed by a stranger"),
        pytest.param(other_signing_key, SignatureError, "manifest is not signed", id="manifest signed by a stranger"),
        pytest.param(certificate_not_listed, SignatureError, "not on the whitelist", id="certificate not whitelisted"),
        pytest.param(whitelist_of_another, SignatureError, "other.example.org", id="whitelist of another repository"),
        pytest.param(no_certificate, SignatureError, "no certificate", id="no certificate named"),
    ],
)
def test_a_repository_that_cannot_be_trusted_does_not_open(damage, error: type[FormatError], match: str) -> None:
    small = SmallRepository().sealed()
    opened(small)
    damage(small)
    with pytest.raises(error, match=match):
        opened(small)


def test_a_repository_with_another_name_does_not_open() -> None:
    with pytest.raises(SignatureError, match=r"expected 'other\.example\.org'"):
        opened(SmallRepository().sealed(), fqrn="other.example.org")


def test_a_repository_does_not_open_with_an_expired_whitelist() -> None:
    small = SmallRepository().sealed()
    opened(small, now=NOW + timedelta(days=29))
    with pytest.raises(WhitelistExpired):
        opened(small, now=NOW + timedelta(days=30))


def test_a_repository_does_not_open_with_somebody_elses_key() -> None:
    with pytest.raises(SignatureError):
        opened(SmallRepository().sealed(), public_keys=[new_key().public_pem])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("/no/such/file", ObjectMissing, id="no such path"),
        pytest.param("/bin", EntryError, id="a directory"),
        pytest.param("/link", EntryError, id="a symlink"),
        pytest.param("/fifo", EntryError, id="a fifo"),
        pytest.param("/external", EntryError, id="an external file"),
    ],
)
def test_what_is_no_file_of_this_store_cannot_be_read(path: str, error: type[FormatError]) -> None:
    with pytest.raises(error):
        snapshot(SmallRepository().sealed()).read(path)


@pytest.mark.parametrize("path", ["/README", "/big.bin", "/raw", "/pkg/deep/y"])
def test_damaged_content_is_never_handed_out(path: str) -> None:
    small = SmallRepository().sealed()
    flip(small, small.object_path(path))
    with pytest.raises(HashMismatch):
        snapshot(small).read(path)
    del small.files[small.object_path(path)]
    with pytest.raises(ObjectMissing):
        snapshot(small).read(path)


@pytest.mark.parametrize(
    ("size", "error"),
    [pytest.param(7, CompressionError, id="too small"), pytest.param(9, EntryError, id="too large")],
)
def test_content_of_another_size_than_the_catalog_says_is_refused(size: int, error: type[FormatError]) -> None:
    small = SmallRepository()
    small.plant("", f"UPDATE catalog SET size = {size} WHERE name = 'README'")
    with pytest.raises(error):
        snapshot(small.sealed()).read("/README")


def test_a_nested_catalog_of_another_place_is_refused() -> None:
    small = SmallRepository()
    small.plant("/pkg", "UPDATE properties SET value = '/elsewhere' WHERE key = 'root_prefix'")
    tree = snapshot(small.sealed())
    assert tree.read("/README") == b"read me\n"
    with pytest.raises(CatalogError, match="/elsewhere"):
        tree.lookup("/pkg/lib/x")


def test_a_missing_nested_catalog_harms_only_what_is_in_it() -> None:
    small = SmallRepository().sealed()
    del small.files[small.catalog_path("/pkg/deep")]
    tree = snapshot(small)
    assert tree.read("/pkg/lib/x") == b"library\n"
    with pytest.raises(ObjectMissing):
        tree.read("/pkg/deep/y")


def test_catalogs_are_fetched_once_and_shared_between_snapshots() -> None:
    small = SmallRepository().sealed()
    fetched: list[str] = []

    def fetch(path: str) -> bytes | None:
        fetched.append(path)
        return small.fetch(path)

    cache = CatalogCache()
    for _ in range(2):
        repository = Repository.open(fetch, public_keys=small.public_keys, fqrn=FQRN, now=NOW, cache=cache)
        list(repository.snapshot().walk())
    catalogs = [path for path in fetched if path.endswith("C")]
    assert sorted(catalogs) == sorted(small.catalog_path(path) for path in small.databases)


def test_a_catalog_pushed_out_of_the_cache_stays_open_for_its_users() -> None:
    small = SmallRepository().sealed()
    repository = opened(small, cache=CatalogCache(most_bytes=1))
    tree = repository.snapshot()
    first = tree.walk()
    assert next(first)[0] == ""
    assert tree.read("/pkg/deep/y") == b"deep down\n"
    assert len(list(first)) == len(list(tree.walk())) - 1


class Counting:
    """Gives the same catalog under every digest, and keeps count."""

    def __init__(self) -> None:
        self.database = SmallRepository().sealed().databases[""]
        self.read: list[Digest] = []

    def __call__(self, digest: Digest) -> bytes:
        self.read.append(digest)
        return self.database


def test_a_catalog_that_somebody_uses_is_not_opened_a_second_time() -> None:
    load, cache = Counting(), CatalogCache(most_bytes=1)
    one, other = (Digest.parse(f"{number:040x}") for number in (1, 2))
    used = cache.open(one, load)
    cache.open(other, load)
    assert cache.open(one, load) is used
    assert load.read == [one, other]
    del used
    cache.open(one, load)
    assert load.read == [one, other, one]


def test_small_catalogs_count_with_what_an_open_database_takes() -> None:
    load = Counting()
    digests = [Digest.parse(f"{number:040x}") for number in range(4)]
    cache = CatalogCache(most_bytes=3 * (len(load.database) + OPEN_BYTES))
    for digest in [*digests, digests[1], digests[0]]:
        cache.open(digest, load)
    assert load.read == [*digests, digests[0]]
