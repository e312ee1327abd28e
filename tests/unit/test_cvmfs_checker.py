"""Every fault that is planted in a repository is found, and named where it is."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.checker import Counts, Report, Severity, check_repository
from functions.cvmfs.entry import path_hash
from functions.cvmfs.history import Branch, History, Tag
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import KeySigner
from functions.cvmfs.whitelist import Whitelist
from tests.golden import golden
from tests.old_catalogs import as_written_by_revision
from tests.small_repository import FQRN, NOW, PUBLISHED_AT, SmallRepository

Damage = Callable[[SmallRepository], object]

MISSING = HashAlgorithm.SHA1.digest(b"nobody stored this")


def checked(small: SmallRepository, **changes) -> Report:
    arguments = {
        "exists": small.exists,
        "public_keys": small.public_keys,
        "fqrn": FQRN,
        "now": NOW,
        "all_tags": True,
    }
    return check_repository(small.fetch, **(arguments | changes))


@pytest.mark.parametrize("data", [pytest.param(False, id="existence"), pytest.param(True, id="content")])
@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_nothing_is_found_in_a_healthy_repository(algorithm: HashAlgorithm, data: bool) -> None:
    small = SmallRepository(algorithm).sealed()
    report = checked(small, data=data)
    assert report.findings == ()
    assert report.ok
    assert (report.counts.catalogs, report.counts.entries, report.counts.objects) == (3, 24, 11)
    distinct = set(small.contents.values())
    assert report.counts.bytes == (sum(map(len, distinct)) if data else 0)


def planted(catalog: str, *statements: str) -> Damage:
    return lambda small: small.plant(catalog, *statements)


def unchanged(small: SmallRepository) -> None:
    """Nothing before sealing."""


def sign_with(small: SmallRepository, *, signing: str = "sha1", master: str = "sha1") -> None:
    small.signer = KeySigner(golden(signing).signing_key, golden(master).master_key)


def other_whitelist(small: SmallRepository) -> None:
    small.whitelist = Whitelist.make("other.example.org", small.whitelist.fingerprints, now=NOW)


def strange_fingerprint(small: SmallRepository) -> None:
    small.whitelist = replace(small.whitelist, fingerprints=(MISSING,))


def manifest(**changes: object) -> Damage:
    return lambda small: small.manifest_changes.update(changes)


def recompressed(small: SmallRepository, kind: Kind, name: str) -> None:
    """Store an object of the manifest as another zlib level makes it."""
    digest = getattr(small.manifest, name)
    body = zlib.compress(zlib.decompress(small.files[Address(digest, kind).path]), 1)
    small.manifest_changes[name] = small.algorithm.digest(body)
    small.files[Address(small.algorithm.digest(body), kind).path] = body
    small.sealed()


def metainfo(content: bytes) -> Damage:
    def damage(small: SmallRepository) -> None:
        small.manifest_changes["metainfo"] = small._store(content, Kind.METAINFO)

    return damage


def history_of(fqrn: str) -> Damage:
    def damage(small: SmallRepository) -> None:
        small.history = History.new(fqrn)

    return damage


def badly_named_branch(small: SmallRepository) -> None:
    small.history = History(FQRN, [], [Branch(), Branch("two words", "", 1)], {})


def history_elsewhere(small: SmallRepository) -> None:
    small.history.publish(MISSING, 1, 2, PUBLISHED_AT)


def tag(root: Digest | None, revision: int, size: int = 0) -> Damage:
    def damage(small: SmallRepository) -> None:
        if root is None:
            small.sealed()
            small.history = History.new(FQRN)
        small.extra_tags.append(Tag("old", root or small.manifest.root, size, revision, PUBLISHED_AT))

    return damage


def stored_history_without_tags(small: SmallRepository) -> None:
    small.manifest_changes["history"] = small._store(History.new(FQRN).to_bytes(), Kind.HISTORY)


def drop(path: Callable[[SmallRepository], str]) -> Damage:
    return lambda small: small.files.pop(path(small))


def flip(path: Callable[[SmallRepository], str], position: int = -1) -> Damage:
    def damage(small: SmallRepository) -> None:
        body = bytearray(small.files[path(small)])
        body[position] ^= 1
        small.files[path(small)] = bytes(body)

    return damage


def reflog(**changes: object) -> Damage:
    def damage(small: SmallRepository) -> None:
        small.files[".cvmfsreflog"] = Reflog.new(**changes).to_bytes()

    return damage


def reflog_without_schema(small: SmallRepository) -> None:
    small.files[REFLOG] = small.files[REFLOG].replace(b"TABLE refs (hash", b"TABLE refs (\x80ash")


def left_out(*kinds: RefType) -> Damage:
    return lambda small: small.reflog_left_out.update(kinds)


def counter(name: str, delta: int = 1) -> str:
    return f"UPDATE statistics SET value = value + {delta} WHERE counter = '{name}'"


def entry(name: str, change: str) -> str:
    return f"UPDATE catalog SET {change} WHERE name = '{name}'"


def stray_row(path: str, parent: str) -> str:
    first, second = path_hash(path)
    parent_1, parent_2 = path_hash(parent)
    return (
        f"INSERT INTO catalog SELECT {first}, {second}, {parent_1}, {parent_2}, hardlinks, hash, size, mode, mtime, "
        "mtimens, flags, 'stray', symlink, uid, gid, xattr FROM catalog WHERE name = 'README'"
    )


def copied_marker(directory: str) -> str:
    first, second = path_hash(f"{directory}/.cvmfscatalog")
    parent_1, parent_2 = path_hash(directory)
    return (
        f"INSERT INTO catalog SELECT {first}, {second}, {parent_1}, {parent_2}, 1, hash, size, mode, mtime, mtimens, "
        "flags, '.cvmfscatalog', '', uid, gid, NULL FROM catalog WHERE name = 'empty' OR name = '.cvmfscatalog' LIMIT 1"
    )


MANIFEST, WHITELIST, REFLOG = ".cvmfspublished", ".cvmfswhitelist", ".cvmfsreflog"
CHUNKS_OF_BIG = "(md5path_1, md5path_2) = ({}, {})".format(*path_hash("/big.bin"))

BEFORE_SEALING = [
    # The files in the root folder
    pytest.param(
        lambda s: sign_with(s, signing="rmd160"), MANIFEST, "not signed by the key", id="manifest: another key"
    ),
    pytest.param(manifest(fqrn="other.example.org"), MANIFEST, "other.example.org", id="manifest: another repository"),
    pytest.param(manifest(revision=4), MANIFEST, "field S is 4", id="manifest: S is not the root catalog's revision"),
    pytest.param(
        manifest(root_size=4096), MANIFEST, "field B is 4096", id="manifest: B is not the root catalog's size"
    ),
    pytest.param(manifest(published_at=PUBLISHED_AT - 1), MANIFEST, "field T", id="manifest: T before last_modified"),
    pytest.param(manifest(ttl=900), MANIFEST, "TTL 240", id="manifest: D is not the TTL that counts"),
    pytest.param(manifest(certificate=None), MANIFEST, "no certificate", id="manifest: no X"),
    pytest.param(manifest(alternative_path=True), MANIFEST, ".cvmfsalt-", id="manifest: A without such files"),
    pytest.param(manifest(root=MISSING), Address(MISSING, Kind.CATALOG).path, "exist", id="root catalog missing"),
    pytest.param(manifest(metainfo=MISSING), Address(MISSING, Kind.METAINFO).path, "exist", id="metainfo missing"),
    pytest.param(manifest(history=MISSING), Address(MISSING, Kind.HISTORY).path, "exist", id="tag database missing"),
    pytest.param(metainfo(b"[1]"), "M", "JSON object", id="metainfo: no JSON object"),
    pytest.param(metainfo(b"[" * 100_000), "M", "JSON object", id="metainfo: very nested JSON"),
    pytest.param(metainfo(b" " * (2 << 20)), "M", "more than", id="metainfo: above 1 MiB"),
    pytest.param(lambda s: sign_with(s, master="rmd160"), WHITELIST, "not signed", id="whitelist: another master key"),
    pytest.param(other_whitelist, WHITELIST, "other.example.org", id="whitelist: another repository"),
    pytest.param(strange_fingerprint, WHITELIST, "not listed", id="whitelist: certificate not listed"),
    pytest.param(history_of("other.example.org"), "H", "other.example.org", id="tags: another repository"),
    pytest.param(badly_named_branch, "H", "'two words' is not the name", id="tags: a branch of a bad name"),
    pytest.param(stored_history_without_tags, "H", "branch '' has no tag", id="tags: none, so a dangling branch"),
    pytest.param(stored_history_without_tags, "H", "no tag 'trunk'", id="tags: no trunk"),
    pytest.param(history_elsewhere, "H", "'trunk' is on revision 2", id="tags: trunk is not what is published"),
    pytest.param(tag(MISSING, 1), "H", "tag 'old'", id="tags: a root catalog that is gone"),
    pytest.param(tag(None, 2), "H", "its root catalog has revision 3", id="tags: a wrong revision"),
    pytest.param(tag(None, 3, 17), "H", "17 bytes", id="tags: a wrong size"),
    pytest.param(left_out(RefType.CATALOG), REFLOG, "current catalog", id="reflog: without the root catalog"),
    pytest.param(left_out(RefType.CERTIFICATE), REFLOG, "current certificate", id="reflog: without the certificate"),
    pytest.param(left_out(RefType.HISTORY), REFLOG, "current history", id="reflog: without the tag database"),
    pytest.param(left_out(RefType.METAINFO), REFLOG, "current metainfo", id="reflog: without the metainfo"),
    # Catalogs as databases
    pytest.param(
        planted("/pkg", "DELETE FROM statistics WHERE counter = 'self_dir'"), "C", "self_dir", id="no counter"
    ),
    pytest.param(planted("/pkg", "DROP TABLE chunks"), "C", "no table chunks", id="no table"),
    pytest.param(
        planted("", "CREATE TRIGGER t AFTER INSERT ON catalog BEGIN DELETE FROM chunks; END"),
        "C",
        "trigger",
        id="a trigger",
    ),
    pytest.param(
        planted("/pkg", "DELETE FROM properties WHERE key = 'revision'"), "/pkg", "revision", id="no revision"
    ),
    pytest.param(
        planted("/pkg", "UPDATE properties SET value = 'x' WHERE key = 'TTL' OR key = 'revision'"),
        "/pkg",
        "'x'",
        id="a revision that is no number",
    ),
    # Counters
    pytest.param(planted("", counter("self_dir", -1)), "/", "self_dir is 3, counted 4", id="counter self_dir"),
    pytest.param(planted("", counter("self_nested")), "/", "self_nested", id="counter self_nested"),
    pytest.param(planted("", counter("self_chunks")), "/", "self_chunks", id="counter self_chunks"),
    pytest.param(
        planted("/pkg", counter("self_xattr", -1)), "/pkg", "self_xattr", id="counter self_xattr of the root entry"
    ),
    pytest.param(planted("", counter("subtree_regular")), "/", "subtree_regular", id="counter of the subtree"),
    pytest.param(planted("/pkg", counter("subtree_dir", -1)), "/pkg", "subtree_dir", id="counter of a nested subtree"),
    # The tree inside a catalog
    pytest.param(planted("", entry("bin", "hardlinks = 3")), "/bin", "link count 3", id="link count of a directory"),
    pytest.param(
        planted("", entry("bin", "hardlinks = (1 << 32) | 2")), "/bin", "group", id="a directory in a link group"
    ),
    pytest.param(planted("", stray_row("/nowhere/stray", "/nowhere")), "/", "reachable", id="a row nobody can reach"),
    pytest.param(
        planted("", stray_row("/pkg/stray", "/pkg")), "/pkg", "below a mount point", id="a row left by a split"
    ),
    pytest.param(
        planted("", entry("README", "md5path_1 = md5path_1 + 1")), "/README", "path hash", id="a wrong path hash"
    ),
    pytest.param(
        planted("", entry("", "parent_1 = md5path_1, parent_2 = md5path_2")),
        "/",
        "wrong parent",
        id="the root its own child",
    ),
    pytest.param(planted("", "DELETE FROM catalog WHERE name = ''"), "/", "no root entry", id="no root entry"),
    pytest.param(
        planted("/pkg", entry("pkg", "name = 'gkp'")), "/pkg", "named 'gkp'", id="a root entry of another name"
    ),
    pytest.param(planted("", entry("", "mode = 33188, flags = 4")), "/", "not a directory", id="a root that is a file"),
    pytest.param(planted("", entry("README", "name = NULL")), "/", "name", id="a NULL name"),
    pytest.param(planted("", entry("README", "name = 'a/b'")), "/", "'a/b'", id="a name with a slash"),
    pytest.param(planted("", entry("README", "symlink = NULL")), "/README", "NULL", id="a NULL symlink"),
    pytest.param(planted("", entry("README", "mode = 'x'")), "/README", "not a number", id="a mode that is text"),
    pytest.param(planted("", entry("README", "mode = 420")), "/README", "no file type", id="a mode without type"),
    pytest.param(
        planted("", entry("README", "xattr = X''")), "/README", "without attributes", id="an empty xattr blob"
    ),
    pytest.param(planted("", entry("attr", "xattr = X'0203'")), "/attr", "xattr", id="a broken xattr blob"),
    pytest.param(
        planted("", entry("link", "flags = 8")), "/link", "flags are 0x8", id="flags that do not fit the mode"
    ),
    # Files
    pytest.param(
        planted("", entry("empty", "hash = NULL")), "/empty", "without a hash", id="an empty file without hash"
    ),
    pytest.param(planted("", entry("empty", "hash = X'00'")), "/empty", "20 bytes", id="a hash of one byte"),
    pytest.param(
        planted("", entry("README", "hardlinks = 2")), "/README", "no hard-link group", id="links without a group"
    ),
    pytest.param(planted("", entry("README", "hardlinks = 0")), "/README", "link count 0", id="no links"),
    pytest.param(planted("", entry("README", "size = -1")), "/README", "size -1", id="a negative size"),
    pytest.param(
        planted("", entry("a", "hardlinks = hardlinks + 1"), entry("b", "hardlinks = hardlinks + 1")),
        "/hard/a",
        "2 entries in hard-link group",
        id="a link group with a member missing",
    ),
    pytest.param(
        planted("", entry("b", "mtime = 1")), "/hard/b", "differs from /hard/a", id="different links of one file"
    ),
    pytest.param(
        planted("", entry("README", "hardlinks = (SELECT hardlinks FROM catalog WHERE name = 'a')")),
        "/README",
        "several directories",
        id="a link group across directories",
    ),
    pytest.param(
        planted("", f"DELETE FROM chunks WHERE {CHUNKS_OF_BIG}"), "/big.bin", "without chunks", id="no chunks"
    ),
    pytest.param(
        planted("", "UPDATE chunks SET offset = 1 WHERE offset = 0"), "/big.bin", "start at 0", id="a chunk gap"
    ),
    pytest.param(
        planted("", "UPDATE chunks SET size = 1001 WHERE size = 1000"), "/big.bin", "1001", id="chunks overlap"
    ),
    pytest.param(planted("", entry("big.bin", "size = 9")), "/big.bin", "the file 9", id="chunks of another sum"),
    pytest.param(
        planted("", entry("big.bin", "flags = 4")), "/", "belong to no chunked file", id="chunks of a plain file"
    ),
    pytest.param(
        planted("", entry("big.bin", "flags = flags | 256")), "P", "does not exist", id="another hash algorithm"
    ),
    # Everything else that is no file
    pytest.param(
        planted("", entry("bin", f"hash = X'{MISSING.raw.hex()}'")), "/bin", "a hash on", id="a directory with hash"
    ),
    pytest.param(
        planted("", entry("link", f"hash = X'{MISSING.raw.hex()}'")), "/link", "a hash on", id="a link with hash"
    ),
    pytest.param(planted("", entry("fifo", "size = 1")), "/fifo", "of size 1", id="a fifo of some size"),
    pytest.param(planted("", entry("fifo", "symlink = 'x'")), "/fifo", "link target", id="a fifo with a target"),
    pytest.param(planted("", entry("link", "flags = flags | 128")), "/link", "external", id="an external symlink"),
    pytest.param(
        planted("", entry("bin", "flags = flags | 65536")), "/bin", "direct I/O", id="direct I/O on a directory"
    ),
    pytest.param(
        planted("", entry("link", "flags = flags | 2")), "/link", "mount point", id="a symlink as mount point"
    ),
    # Nested catalogs
    pytest.param(
        planted("/pkg", "DELETE FROM properties WHERE key = 'root_prefix'"),
        "/pkg",
        "prefix mismatch",
        id="no root prefix",
    ),
    pytest.param(
        planted("", "INSERT INTO properties VALUES ('root_prefix', '/')"),
        "/",
        "root prefix mismatch",
        id="a root prefix in the root catalog",
    ),
    pytest.param(planted("/pkg", entry("pkg", "flags = 1")), "/pkg", "flagged so", id="a nested root not flagged"),
    pytest.param(planted("", entry("", "flags = 33")), "/", "flagged so", id="the root flagged as nested root"),
    pytest.param(planted("", entry("bin", "flags = 33")), "/bin", "inside the catalog", id="a nested root inside"),
    pytest.param(
        planted("/pkg", entry("pkg", "flags = 35")), "/pkg", "as a mount point", id="a root that is a mount point"
    ),
    pytest.param(
        planted("", entry("pkg", "flags = 1")), "/pkg", "no mount point", id="a reference without mount point"
    ),
    pytest.param(
        planted("", entry("bin", "flags = 3")), "/bin", "without a reference", id="a mount point without reference"
    ),
    pytest.param(
        planted("", entry("bin", "flags = 16385")), "/bin", "bind mount point", id="a bind mount without reference"
    ),
    pytest.param(planted("", entry("pkg", "flags = 16387")), "/pkg", "both kinds", id="both kinds of mount point"),
    pytest.param(
        planted("", "INSERT INTO bind_mountpoints SELECT * FROM nested_catalogs"),
        "/pkg",
        "both a nested",
        id="a reference in both tables",
    ),
    pytest.param(
        planted("", entry("pkg", "hardlinks = 3")), "/pkg", "differ in linkcount", id="mount point: link count"
    ),
    pytest.param(planted("", entry("pkg", "mtime = 1")), "/pkg", "differ in mtime", id="mount point: time"),
    pytest.param(planted("", entry("pkg", "mode = 16832")), "/pkg", "differ in mode", id="mount point: mode"),
    pytest.param(planted("", entry("pkg", "size = 97")), "/pkg", "differ in size", id="mount point: size"),
    pytest.param(planted("", entry("pkg", "xattr = NULL")), "/pkg", "differ in xattrs", id="mount point: attributes"),
    pytest.param(planted("", entry("pkg", "uid = 7")), "/pkg", "owners", id="mount point: owner"),
    pytest.param(
        planted("/pkg", "DELETE FROM catalog WHERE name = '.cvmfscatalog'"), "/pkg", "no .cvmfscatalog", id="no marker"
    ),
    pytest.param(planted("", copied_marker("/bin")), "/bin/.cvmfscatalog", "abandoned", id="an abandoned marker"),
    pytest.param(
        planted("", copied_marker("")), "/.cvmfscatalog", "root directory", id="a marker in the root directory"
    ),
    pytest.param(
        planted("/pkg", entry(".cvmfscatalog", "mode = 41471, flags = 12, hash = NULL, symlink = 'x'")),
        "/pkg/.cvmfscatalog",
        "not a regular file",
        id="a marker that is a symlink",
    ),
    pytest.param(planted("", "UPDATE nested_catalogs SET size = 1"), "/pkg", "the reference says 1", id="a wrong size"),
    pytest.param(
        planted("", "UPDATE nested_catalogs SET sha1 = sha1 || 'C'"),
        "/",
        "unknown algorithm tag",
        id="a reference with a type letter",
    ),
    pytest.param(
        planted("", "UPDATE nested_catalogs SET sha1 = '%s'" % ("0" * 40)),
        "/pkg",
        "names no stored catalog",
        id="a reference to nothing",
    ),
    pytest.param(
        planted("", f"UPDATE nested_catalogs SET sha1 = '{MISSING}'"),
        Address(MISSING, Kind.CATALOG).path,
        "catalog of /pkg",
        id="a reference to a catalog that is missing",
    ),
    pytest.param(
        planted("/pkg", "UPDATE nested_catalogs SET path = '/elsewhere'"),
        "/elsewhere",
        "not above",
        id="a reference out of the catalog",
    ),
]

AFTER_SEALING = [
    pytest.param(drop(lambda s: MANIFEST), MANIFEST, "does not exist", id="no manifest"),
    pytest.param(flip(lambda s: MANIFEST, 3), MANIFEST, "hash line", id="a manifest edited by hand"),
    pytest.param(flip(lambda s: MANIFEST), MANIFEST, "not signed", id="a broken manifest signature"),
    pytest.param(drop(lambda s: WHITELIST), WHITELIST, "does not exist", id="no whitelist"),
    pytest.param(flip(lambda s: WHITELIST), WHITELIST, "not signed", id="a broken whitelist signature"),
    pytest.param(drop(lambda s: REFLOG), REFLOG, "no reflog", id="no reflog"),
    pytest.param(reflog(fqrn=FQRN), REFLOG, "unexpected content hash", id="a reflog that is not the manifest's"),
    pytest.param(reflog(fqrn="other.example.org"), REFLOG, "other.example.org", id="the reflog of another repository"),
    pytest.param(reflog_without_schema, REFLOG, "SQLite", id="a reflog with a broken schema"),
    pytest.param(lambda s: s.files.update({REFLOG: b""}), REFLOG, "empty", id="an empty reflog"),
    pytest.param(
        lambda s: s.files.update({REFLOG: zlib.compress(s.files[REFLOG])}), REFLOG, "", id="a compressed reflog"
    ),
    pytest.param(
        lambda s: recompressed(s, Kind.CERTIFICATE, "certificate"), "X", "level 6", id="certificate: other level"
    ),
    pytest.param(lambda s: recompressed(s, Kind.METAINFO, "metainfo"), "M", "level 6", id="metainfo: other level"),
    pytest.param(
        flip(lambda s: Address(s.manifest.certificate, Kind.CERTIFICATE).path), "X", "hash", id="certificate rotten"
    ),
    pytest.param(flip(lambda s: Address(s.manifest.history, Kind.HISTORY).path), "H", "hash", id="tag database rotten"),
    pytest.param(flip(lambda s: s.catalog_path("/pkg/deep")), "C", "catalog of /pkg/deep", id="a catalog rotten"),
    pytest.param(
        drop(lambda s: s.catalog_path("/pkg/deep")), "C", "catalog of /pkg/deep", id="a nested catalog missing"
    ),
    pytest.param(drop(lambda s: s.object_path("/pkg/lib/x")), "data/", "/pkg/lib/x", id="a file's object missing"),
    pytest.param(drop(lambda s: s.object_path("/big.bin")), "P", "/big.bin", id="a chunk's object missing"),
]

IN_THE_DATA = [
    pytest.param(unchanged, flip(lambda s: s.object_path("/README")), "/README: object", id="an object rotten"),
    pytest.param(unchanged, flip(lambda s: s.object_path("/big.bin")), "/big.bin: object", id="a chunk rotten"),
    pytest.param(unchanged, drop(lambda s: s.object_path("/raw")), "/raw: data/", id="an object missing"),
    pytest.param(planted("", entry("README", "size = 7")), unchanged, "more than 7", id="a size too small"),
    pytest.param(planted("", entry("README", "size = 9")), unchanged, "expected 9", id="a size too large"),
    pytest.param(planted("", entry("raw", "flags = 4")), unchanged, "/raw: not a zlib", id="raw data flagged as zlib"),
    pytest.param(planted("", entry("README", "flags = 2052")), unchanged, "/README", id="zlib data flagged as raw"),
]


def assert_found(report: Report, where: str, what: str) -> None:
    """The place is a path in the tree or a file, or for an object only its type letter or folder."""
    for finding in report.findings:
        named = finding.where == where or (len(where) == 1 and where != "/" and finding.where.endswith(where))
        if (named or (where == "data/" and finding.where.startswith(where))) and what in finding.what:
            return
    raise AssertionError(f"{what!r} was not found at {where!r}, but {[str(finding) for finding in report.findings]}")


@pytest.mark.parametrize(("damage", "where", "what"), BEFORE_SEALING)
def test_a_fault_that_was_published_is_found(damage: Damage, where: str, what: str) -> None:
    small = SmallRepository()
    damage(small)
    assert_found(checked(small.sealed()), where, what)


@pytest.mark.parametrize(("damage", "where", "what"), AFTER_SEALING)
def test_damage_to_what_is_stored_is_found(damage: Damage, where: str, what: str) -> None:
    small = SmallRepository().sealed()
    damage(small)
    assert_found(checked(small), where, what)


@pytest.mark.parametrize(("before", "after", "what"), IN_THE_DATA)
def test_damage_inside_objects_is_found_by_looking_at_the_data_and_only_so(
    before: Damage, after: Damage, what: str
) -> None:
    small = SmallRepository()
    before(small)
    after(small.sealed())
    assert_found(checked(small, data=True), "data/", what)
    assert not [finding for finding in checked(small).findings if what in finding.what]


def test_a_whitelist_that_has_expired_is_found() -> None:
    report = checked(SmallRepository().sealed(), now=NOW + timedelta(days=31))
    assert_found(report, WHITELIST, "valid until")
    assert not report.ok


def test_without_keys_only_who_signed_is_left_out() -> None:
    small = SmallRepository()
    sign_with(small, master="rmd160")
    assert checked(small.sealed(), public_keys=None, fqrn=None).findings == ()
    sign_with(small, signing="rmd160")
    assert_found(checked(small.sealed(), public_keys=None), MANIFEST, "not signed by the key")


def test_tags_are_looked_into_only_on_request() -> None:
    small = SmallRepository().sealed()
    old = small.manifest.root
    small.history = History.new(FQRN)
    small.extra_tags = [Tag("old", old, 0, 3, PUBLISHED_AT)]
    small.plant("", "UPDATE properties SET value = '4' WHERE key = 'revision'")
    small.manifest_changes["revision"] = 4
    newest = small.sealed().history.tag("trunk")
    small.history = History.new(FQRN)
    small.history.publish(newest.root, newest.size, 4, PUBLISHED_AT)
    small.history.add(small.extra_tags[0])
    del small.planted[""]
    small.sealed()
    assert checked(small, all_tags=False).counts.catalogs == 3
    report = checked(small)
    assert report.findings == ()
    assert report.counts.catalogs == 4, "the nested catalogs are shared"
    del small.files[Address(old, Kind.CATALOG).path]
    for all_tags in (False, True):
        assert_found(checked(small, all_tags=all_tags), "H", "tag 'old'")


@pytest.mark.parametrize("revision", range(7))
def test_nothing_is_found_in_a_repository_of_old_catalogs(revision: int) -> None:
    small = SmallRepository()
    for path, database in small.databases.items():
        small.databases[path] = as_written_by_revision(database, revision)
    report = checked(small.sealed(), data=True)
    assert report.findings == ()
    small.plant("", counter("subtree_regular"))
    assert_found(checked(small.sealed()), "/", "subtree_regular")


def test_warnings_do_not_make_a_repository_bad() -> None:
    small = SmallRepository()
    small.manifest_changes["ttl"] = 100
    report = checked(small.sealed())
    assert [finding.severity for finding in report.findings] == [Severity.WARNING]
    assert report.ok


def test_external_files_are_not_looked_for_in_the_store() -> None:
    small = SmallRepository()
    small.plant("", entry("external", "flags = 4"))
    assert_found(checked(small.sealed()), "data/", "/external")
    assert checked(SmallRepository().sealed()).ok


def test_progress_is_reported_on_the_way() -> None:
    seen: list[Counts] = []
    report = checked(SmallRepository().sealed(), progress=seen.append)
    assert [counts.catalogs for counts in seen] == [1, 2, 3, 3]
    assert seen[-1] == report.counts


def test_an_executor_finds_the_same() -> None:
    small = SmallRepository().sealed()
    del small.files[small.object_path("/README")]
    with ThreadPoolExecutor(2) as executor:
        assert checked(small, data=True, executor=executor) == checked(small, data=True)


def test_errors_of_the_store_itself_are_passed_on() -> None:
    def fetch(path: str) -> bytes | None:
        raise ConnectionError(path)

    with pytest.raises(ConnectionError):
        check_repository(fetch, exists=lambda path: True, public_keys=None, fqrn=None, now=NOW)
