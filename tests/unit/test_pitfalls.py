"""The 54 ways in which writers of this format are known to fail, each tried on repositories that our engine wrote.

What was written is judged by `tests.raw`, which shares no code with the library. The last test counts: every pitfall
has a test named after its number, or a reason in `NOT_YET`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import stat
import zlib
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from functions.adapters.key_files import KeyFiles
from functions.adapters.memory import MemoryBlobStore
from functions.adapters.s3 import S3BlobStore
from functions.adapters.s3_connection import S3Connection
from functions.cvmfs.entry import Entry
from functions.cvmfs.history import History
from functions.cvmfs.whitelist import SignedWhitelist
from functions.errors import StoreUnavailable
from functions.ports import Clock
from functions.publishing.collection import Collector
from functions.publishing.retention import Retention
from functions.publishing.tree import CatalogTree
from tests.cli_repository import CliRepository, run
from tests.raw import COUNTERS, RawCatalog, RawRepository, decrypted, der_of, hash_string, md5_pair, split_signed
from tests.stumbling_s3 import StumblingS3
from tests.written import FQRN, KINDS, LIMITS, NOW, Written, change, fill, first_piece, folder, noise, written

NOT_YET = {
    53: "the repository gateway is not built yet",
}
"""Pitfalls without a test here, and why."""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1].name.lower()}")
def made(request: pytest.FixtureRequest) -> Written:
    return written(*request.param)


@pytest.fixture(scope="module")
def raw(made: Written) -> RawRepository:
    return made.raw()


def tag_of(raw: RawRepository) -> str:
    """The algorithm tag that this repository's hash strings end in."""
    return raw.manifest["C"][40:]


# Objects


def test_pitfall_01_certificate_and_metainfo_are_stock_zlib_level_6(raw: RawRepository) -> None:
    for letter in "XM":
        stored = raw.stored(raw.manifest[letter], letter)
        assert zlib.compress(zlib.decompress(stored), 6) == stored


def test_pitfall_02_an_empty_file_has_a_hash_and_an_object(raw: RawRepository) -> None:
    empty = {row.path: row for _, row in raw.rows() if row.is_regular and not row.column["size"]}
    assert {b"/empty", b"/sw/.cvmfscatalog"} <= empty.keys()
    for row in empty.values():
        expected = bytes.fromhex("789c030000000001") if row.is_deflated else b""
        assert raw.stored(row.column["hash"].hex() + row.tag) == expected
    assert row.is_deflated is (tag_of(raw) != "-shake128")


def test_pitfall_03_hashes_are_of_stored_bytes_and_sizes_of_content(made: Written, raw: RawRepository) -> None:
    seen = {}
    for catalog, row in raw.rows():
        if not row.is_regular:
            continue
        content = b""
        pieces = catalog.chunks(row.path) or [(0, row.column["size"], row.column["hash"])]
        for offset, size, digest in pieces:
            stored = raw.stored(digest.hex() + row.tag, "P" if row.flags & 64 else "")
            assert hash_string(stored, row.tag) == digest.hex() + row.tag
            piece = zlib.decompress(stored) if row.is_deflated else stored
            assert (offset, size) == (len(content), len(piece))
            content += piece
        assert len(content) == row.column["size"]
        seen[row.path.decode("utf-8", "surrogateescape")] = content
    kept = {path: content for path, content in made.contents.items() if path in seen}
    assert {path: seen[path] for path in kept} == kept
    assert len(kept) > 15


def test_pitfall_04_the_algorithm_tag_comes_before_the_type_letter(raw: RawRepository) -> None:
    form = re.compile(rf"data/[0-9a-f]{{2}}/[0-9a-f]{{38}}{tag_of(raw)}[CHPXM]?")
    objects = [path for path in raw.files if path.startswith("data/")]
    assert all(form.fullmatch(path) for path in objects)
    assert {path[-1] for path in objects} >= set("CHPXM")


def test_pitfall_05_no_hash_is_written_in_capitals(raw: RawRepository) -> None:
    strings = [raw.manifest[letter] for letter in "CRXHMY"] + [raw.hash_line.decode()]
    strings += [
        text.decode() for catalog in raw.catalogs() for (text,) in catalog.query("SELECT sha1 FROM nested_catalogs")
    ]
    strings += [text.decode() for (text,) in raw.history().execute("SELECT hash FROM tags")]
    strings += [text.decode() for (text,) in raw.reflog().execute("SELECT hash FROM refs")]
    assert len(strings) > 15
    assert all(re.fullmatch("[0-9a-f]{32}([0-9a-f]{8}(-rmd160|-shake128)?)?", text) for text in strings)


def test_pitfall_06_only_files_are_ever_stored_uncompressed(raw: RawRepository) -> None:
    for kind in "CH":
        names = raw.names(kind)
        assert names
        assert all(zlib.decompress(raw.stored(name, kind)).startswith(b"SQLite format 3\0") for name in names)


def test_pitfall_07_the_same_bytes_as_file_and_as_chunk_are_two_objects(raw: RawRepository) -> None:
    catalog = raw.catalog()
    rows = {row.path: row for row in catalog.rows()}
    piece = rows[b"/piece"].column["hash"]
    assert catalog.chunks(b"/large")[0][2] == piece
    assert raw.stored(piece.hex() + tag_of(raw)) == raw.stored(piece.hex() + tag_of(raw), "P")


def test_pitfall_08_a_file_that_was_not_cut_is_no_chunked_file(raw: RawRepository) -> None:
    assert len(first_piece()) > LIMITS.minimum
    chunked = [(catalog, row) for catalog, row in raw.rows() if row.flags & 64]
    assert len(chunked) >= 4
    assert all(len(catalog.chunks(row.path)) > 1 for catalog, row in chunked)
    (piece,) = (row for _, row in raw.rows() if row.path == b"/piece")
    assert not piece.flags & 64


def headers_seen_by_s3(*paths: str) -> list[dict[str, str]]:
    """The headers, in small letters, with which S3 is told to store files."""
    with StumblingS3() as service:
        connection = S3Connection(
            endpoint=service.url, region="default", access_key="AKID", secret_key=SecretStr("s3cr3t")
        )
        store = S3BlobStore(connection, "cvmfs", FQRN)
        for path in paths:
            store.put(path, b"body")
        store.create(".cvmfspublished", b"body")
    return [{name.lower(): value for name, value in headers.items()} for _, _, headers in service.seen]


def test_pitfall_09_no_content_encoding_is_ever_set() -> None:
    seen = headers_seen_by_s3("data/aa/bb", "data/aa/bbC", ".cvmfswhitelist", ".cvmfsreflog")
    assert len(seen) == 5
    assert all("content-encoding" not in headers for headers in seen)


# Catalogs


def test_pitfall_10_the_root_path_is_the_empty_string(raw: RawRepository) -> None:
    first, second = 338333539836370388, 9098107892288553193
    count = "SELECT count(*) FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?"
    assert raw.catalog().one(count, first, second) == 1
    assert all(catalog.one(count, *md5_pair(b"/")) == 0 for catalog in raw.catalogs())


def test_pitfall_11_the_root_has_no_parent_and_is_nobodys_child(raw: RawRepository) -> None:
    root, *nested = raw.catalogs()
    assert root.query("SELECT parent_1, parent_2 FROM catalog WHERE name = ''") == [(0, 0)]
    itself = "SELECT count(*) FROM catalog WHERE md5path_1 = parent_1 AND md5path_2 = parent_2"
    assert root.one(itself) == 0
    for catalog in nested:
        top = catalog.query("SELECT parent_1, parent_2 FROM catalog WHERE flags & 32")
        assert top == [md5_pair(catalog.path.rpartition(b"/")[0])]


def test_pitfall_12_path_hashes_are_signed_little_endian_halves_of_the_md5(raw: RawRepository) -> None:
    assert md5_pair(b"/foo") == (5745132282796244766, -5819618580357280866)
    signs = set()
    for catalog, row in raw.rows():
        stored = (row.column["md5path_1"], row.column["md5path_2"])
        assert stored == md5_pair(row.path), row.path
        assert catalog.path == b"" or row.path.startswith(catalog.path)
        signs.add(stored[0] < 0)
    assert signs == {True, False}


def test_pitfall_13_name_and_symlink_are_never_null(raw: RawRepository) -> None:
    kinds = {
        catalog.query("SELECT DISTINCT typeof(name), typeof(symlink) FROM catalog")[0] for catalog in raw.catalogs()
    }
    assert kinds == {(b"text", b"text")}
    for _, row in raw.rows():
        assert bool(row.column["symlink"]) is stat.S_ISLNK(row.mode)


def test_pitfall_14_no_attributes_are_null_and_not_an_empty_blob(raw: RawRepository) -> None:
    attributes = {row.path: row.column["xattr"] for _, row in raw.rows()}
    assert attributes.pop(b"/attributes") == b"\x01\x02\x06\x01user.a\0\x06\x00user.b"
    assert attributes.pop(b"/sw") == b"\x01\x01\x0b\x04user.originhere"
    assert set(attributes.values()) == {None}


def stored_counters(catalog: RawCatalog, prefix: str) -> dict[str, int]:
    rows = {name.decode(): value for name, value in catalog.query("SELECT counter, value FROM statistics")}
    return {name: rows[f"{prefix}_{name}"] for name in COUNTERS.split()}


def counted(catalog: RawCatalog) -> dict[str, int]:
    """The counters of a catalog's own rows, counted one by one."""
    numbers: dict[str, int] = dict.fromkeys(COUNTERS.split(), 0)
    for row in catalog.rows():
        size = row.column["size"]
        if row.is_directory:
            numbers["dir"] += 1
        elif row.is_regular:
            numbers["regular"] += 1
            numbers["file_size"] += size
        elif stat.S_ISLNK(row.mode):
            numbers["symlink"] += 1
        else:
            numbers["special"] += 1
        if row.flags & 64:
            numbers["chunked"] += 1
            numbers["chunked_size"] += size
            numbers["chunks"] += len(catalog.chunks(row.path))
        if row.flags & 128:
            numbers["external"] += 1
            numbers["external_file_size"] += size
        numbers["xattr"] += row.column["xattr"] is not None
    return numbers | {"nested": len(catalog.below)}


def total(catalog: RawCatalog) -> dict[str, int]:
    """A catalog's own counters and those of everything below, added up."""
    parts = [counted(catalog), *map(total, catalog.below.values())]
    return {name: sum(part[name] for part in parts) for name in COUNTERS.split()}


def test_pitfall_15_all_24_counters_are_there(raw: RawRepository) -> None:
    expected = {f"{prefix}_{name}" for prefix in ("self", "subtree") for name in COUNTERS.split()}
    assert len(expected) == 24
    for catalog in raw.catalogs():
        assert {name.decode() for (name,) in catalog.query("SELECT counter FROM statistics")} == expected


def test_pitfall_16_own_counters_are_exact_root_entry_and_mount_points_included(raw: RawRepository) -> None:
    for catalog in raw.catalogs():
        assert stored_counters(catalog, "self") == counted(catalog), catalog.path
    assert all(number for name, number in total(raw.catalog()).items() if "external" not in name), "all are exercised"


def test_pitfall_17_subtree_counters_have_every_descendant_and_not_the_catalog_itself(raw: RawRepository) -> None:
    depth = 0
    for catalog in raw.catalogs():
        whole = total(catalog)
        below = {name: whole[name] - number for name, number in counted(catalog).items()}
        assert stored_counters(catalog, "subtree") == below, catalog.path
        depth = max(depth, catalog.path.count(b"/"))
    assert depth == 2, "there are grandchildren"


def test_pitfall_18_link_counts_are_2_plus_sub_directories_on_both_sides_of_a_mount_point(raw: RawRepository) -> None:
    sides: dict[bytes, set[int]] = defaultdict(set)
    below: dict[bytes, set[bytes]] = defaultdict(set)
    for _, row in raw.rows():
        if row.is_directory:
            sides[row.path].add(row.column["hardlinks"])
            if row.path:
                below[row.path.rpartition(b"/")[0]].add(row.path)
    assert {path: {2 + len(below[path])} for path in sides} == sides
    assert sides[b"/sw"] == {5}, "a directory was made in the root of this nested catalog"


def test_pitfall_19_hard_link_groups_stay_in_a_directory_and_count_their_members(raw: RawRepository) -> None:
    members: dict[tuple[bytes, int], list] = defaultdict(list)
    for catalog, row in raw.rows():
        group, count = row.links
        if group:
            members[catalog.path, group].append(row)
        elif not row.is_directory:
            assert count == 1
    ((rows),) = members.values()
    assert sorted(row.path for row in rows) == [b"/links/a", b"/links/c"]
    same = {
        tuple(value for key, value in row.column.items() if key not in {"name", "md5path_1", "md5path_2"})
        for row in rows
    }
    assert len(same) == 1
    assert rows[0].links[1] == 2


def test_pitfall_20_nested_catalogs_name_their_place_and_the_root_catalog_does_not(raw: RawRepository) -> None:
    root, *nested = raw.catalogs()
    assert "root_prefix" not in root.properties
    assert [catalog.properties["root_prefix"].encode() for catalog in nested] == [catalog.path for catalog in nested]
    assert len(nested) == 3


def test_pitfall_21_markers_lie_in_the_nested_catalog_and_go_when_it_is_merged(raw: RawRepository) -> None:
    markers = {row.path: catalog.path for catalog, row in raw.rows() if row.column["name"] == b".cvmfscatalog"}
    assert markers == {catalog.path + b"/.cvmfscatalog": catalog.path for catalog in raw.catalogs() if catalog.path}
    assert any(row.path == b"/gone/soon" for row in raw.catalog().rows()), "merged with what was in it"


def test_pitfall_22_references_have_the_plain_hash_and_the_size_of_the_database(raw: RawRepository) -> None:
    for catalog in raw.catalogs():
        for path, kind, name, size in catalog.query("SELECT path, typeof(sha1), sha1, size FROM nested_catalogs"):
            assert kind == b"text"
            assert re.fullmatch(f"[0-9a-f]{{40}}{tag_of(raw)}", name.decode())
            assert size == len(zlib.decompress(raw.stored(name.decode(), "C"))) == len(catalog.below[path].database)


def test_pitfall_23_no_row_is_left_behind_by_a_split(raw: RawRepository) -> None:
    for catalog in raw.catalogs():
        assert catalog.one("SELECT count(*) FROM catalog") == len(list(catalog.rows()))
        for mount in catalog.below:
            below = "SELECT count(*) FROM catalog WHERE parent_1 = ? AND parent_2 = ?"
            assert catalog.one(below, *md5_pair(mount)) == 0
            flags = catalog.one("SELECT flags FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", *md5_pair(mount))
            assert flags == 3
        strays = (
            "SELECT count(*) FROM chunks WHERE (md5path_1, md5path_2) NOT IN (SELECT md5path_1, md5path_2 FROM catalog)"
        )
        assert catalog.one(strays) == 0


def test_pitfall_24_chunked_files_without_a_hash_still_name_their_algorithm(raw: RawRepository) -> None:
    chunked = [row for _, row in raw.rows() if row.flags & 64]
    assert {row.column["hash"] for row in chunked} == {None}
    assert {row.tag for row in chunked} == {tag_of(raw)}


def test_pitfall_25_only_regular_files_have_hashes_and_hash_and_compression_bits(raw: RawRepository) -> None:
    others = [row for _, row in raw.rows() if not row.is_regular]
    assert {(row.column["hash"], row.flags >> 8 & 0b111111) for row in others} == {(None, 0)}
    assert {stat.S_IFMT(row.mode) for row in others} == {stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR}


def test_pitfall_26_databases_are_whole_and_in_rollback_mode(raw: RawRepository, tmp_path: Path) -> None:
    databases = [catalog.database for catalog in raw.catalogs()]
    databases += [zlib.decompress(raw.stored(raw.manifest["H"], "H")), raw.files[".cvmfsreflog"]]
    for database in databases:
        assert database[18:20] == b"\x01\x01"
        file = tmp_path / "database"
        file.write_bytes(database)
        db = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA encoding").fetchone() == ("UTF-8",)
        db.close()


def test_pitfall_27_columns_are_in_the_order_that_official_tools_copy_by(raw: RawRepository) -> None:
    expected = (
        "md5path_1 md5path_2 parent_1 parent_2 hardlinks hash size mode mtime mtimens flags name symlink uid gid xattr"
    )
    for catalog in raw.catalogs():
        assert b" ".join(line[1] for line in catalog.query("PRAGMA table_info(catalog)")) == expected.encode()


def test_pitfall_28_row_ids_stay_dense(raw: RawRepository) -> None:
    for catalog in raw.catalogs():
        rows, largest = catalog.query("SELECT count(*), max(rowid) FROM catalog")[0]
        assert 1 - rows / largest <= 0.25, catalog.path
    assert any(row.path == b"/many/59" for _, row in raw.rows())
    assert not any(row.path == b"/many/3" for _, row in raw.rows()), "most of a directory was removed"


def test_pitfall_29_counters_do_not_drift_over_many_revisions() -> None:
    made = Written()
    made.publish(lambda tree, marker: fill(made, tree, marker))
    for number in range(6):

        def edit(tree: CatalogTree, marker: Entry, number: int = number) -> None:
            place = ("/sw/v1", "/sw", "/many")[number % 3]
            tree.put_all(
                [(f"{place}/d{number}", folder()), made.file(f"{place}/d{number}/f", noise(100 * number + 1, b"drift"))]
            )
            tree.put(f"{place}/d{number}/f", replace(marker, xattrs={"user.n": b"%d" % number}))
            if number > 2:
                tree.remove(f"{('/sw/v1', '/sw', '/many')[number % 3]}/d{number - 3}")

        made.publish(edit)
    for catalog in made.raw().catalogs():
        assert stored_counters(catalog, "self") == counted(catalog)
        whole = total(catalog)
        below = {name: whole[name] - number for name, number in counted(catalog).items()}
        assert stored_counters(catalog, "subtree") == below


def test_pitfall_30_the_ttl_is_a_property_of_the_root_catalog(raw: RawRepository) -> None:
    assert raw.catalog().properties["TTL"] == raw.manifest["D"] == "900"


# Manifest, whitelist, history, reflog


def test_pitfall_31_each_file_has_its_own_signature_scheme(made: Written, raw: RawRepository) -> None:
    certificate = der_of(zlib.decompress(raw.stored(raw.manifest["X"], "X")).decode())
    block = decrypted(raw.signature, certificate)
    digest_info = bytes.fromhex("3021300906052b0e03021a05000414")
    assert block == b"\0\1" + b"\xff" * 218 + b"\0" + digest_info + hashlib.sha1(raw.hash_line).digest()
    _, hash_line, signature = split_signed(raw.files[".cvmfswhitelist"])
    block = decrypted(signature, der_of(made.public_key))
    assert block == b"\0\1" + b"\xff" * (253 - len(hash_line)) + b"\0" + hash_line


def test_pitfall_32_what_is_signed_is_the_hash_string_with_its_tag_and_without_a_line_feed(raw: RawRepository) -> None:
    certificate = der_of(zlib.decompress(raw.stored(raw.manifest["X"], "X")).decode())
    signed = decrypted(raw.signature, certificate)[-20:]
    line = raw.hash_line
    assert line.endswith(tag_of(raw).encode())
    wrong = (raw.letter, line + b"\n", line[:40] if tag_of(raw) else line.upper())
    assert hashlib.sha1(line).digest() == signed
    assert signed not in {hashlib.sha1(text).digest() for text in wrong}


def test_pitfall_33_the_hash_line_leaves_out_the_separator(raw: RawRepository) -> None:
    for name in (".cvmfspublished", ".cvmfswhitelist"):
        text, line, _ = split_signed(raw.files[name])
        assert line.decode() == hash_string(text, tag_of(raw))
        assert text.endswith(b"\n")
        assert line.decode() != hash_string(text + b"--\n", tag_of(raw))


def test_pitfall_34_the_manifest_has_the_revision_of_the_root_catalog(raw: RawRepository) -> None:
    assert raw.manifest["S"] == raw.catalog().properties["revision"] == "3"


def test_pitfall_35_no_revision_is_used_twice_not_even_after_a_lost_publish() -> None:
    made = Written()
    seen = [1]
    for number in range(4):
        if number == 2:
            made.store.available = False
            with pytest.raises(StoreUnavailable):
                made.publish(lambda tree, _marker: tree.put("/lost", folder()))
            made.store.available = True
        made.publish(lambda tree, _marker, number=number: tree.put(f"/d{number}", folder()))
        seen.append(int(made.raw().manifest["S"]))
    assert seen == [1, 2, 3, 4, 5]
    revisions = made.raw().history().execute("SELECT revision FROM tags WHERE name LIKE 'trunk%' ORDER BY 1").fetchall()
    assert revisions == [(4,), (5,)]


def test_pitfall_36_times_never_run_backwards_with_the_clock() -> None:
    made = Written()
    times = [int(made.raw().manifest["T"])]
    for hours in (1, -5, -24 * 400, 2):
        made.now = NOW + timedelta(hours=hours)
        made.publish(lambda tree, _marker, hours=hours: tree.put(f"/after {hours}", folder()))
        raw = made.raw()
        assert int(raw.manifest["T"]) >= int(raw.catalog().properties["last_modified"])
        times.append(int(raw.manifest["T"]))
    assert times == sorted(times)


def test_pitfall_37_the_manifest_has_the_size_of_the_root_database(raw: RawRepository) -> None:
    assert int(raw.manifest["B"]) == len(raw.catalog().database)


def test_pitfall_38_the_fingerprint_is_that_of_the_certificate_as_der(raw: RawRepository) -> None:
    certificate = der_of(zlib.decompress(raw.stored(raw.manifest["X"], "X")).decode())
    name = hash_string(certificate, tag_of(raw))
    pairs = [name[at : at + 2] for at in range(0, 40, 2)]
    lines = split_signed(raw.files[".cvmfswhitelist"])[0].decode().splitlines()
    assert (":".join(pairs) + name[40:]).upper() in lines


def test_pitfall_39_a_whitelist_ends_where_its_expiry_hour_begins(made: Written, raw: RawRepository) -> None:
    blob = raw.files[".cvmfswhitelist"]
    lines = split_signed(blob)[0].decode().splitlines()
    expires = datetime.strptime(lines[1], "E%Y%m%d%H%M%S").replace(tzinfo=UTC)
    assert lines[0] == f"{NOW:%Y%m%d%H%M%S}"
    assert expires - NOW == timedelta(days=30)
    hour = expires.replace(minute=0, second=0)
    whitelist = SignedWhitelist.from_bytes(blob)
    keys = [made.public_key.encode()]
    assert whitelist.verify(keys, fqrn=FQRN, now=hour - timedelta(seconds=1)).valid_until == hour
    with pytest.raises(Exception, match="valid until"):
        whitelist.verify(keys, fqrn=FQRN, now=hour)


def test_pitfall_40_public_keys_are_of_the_form_that_clients_load(tmp_path: Path) -> None:
    keys = KeyFiles(tmp_path).ensure_keys("a.example.org", now=NOW)
    assert keys.public_key.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert (tmp_path / "a.example.org.pub").read_text() == keys.public_key


def test_pitfall_41_a_tag_database_that_is_named_has_tags_on_the_default_branch(raw: RawRepository) -> None:
    tags = raw.history().execute("SELECT name, branch FROM tags").fetchall()
    assert (b"trunk", b"") in tags
    for name in raw.names("H"):
        assert raw.history(name).execute("SELECT count(*) FROM tags WHERE branch = ''").fetchone()[0]
    assert History.new(FQRN).check(), "and one without any is known to be bad"


def test_pitfall_42_the_default_branch_is_a_row(raw: RawRepository) -> None:
    assert raw.history().execute("SELECT * FROM branches").fetchall() == [(b"", None, 0)]
    assert raw.history().execute("PRAGMA foreign_key_check").fetchall() == []


def test_pitfall_43_tags_and_reflog_name_the_repository(raw: RawRepository) -> None:
    for db in (raw.history(), raw.reflog()):
        assert (b"fqrn", FQRN.encode()) in db.execute("SELECT key, value FROM properties").fetchall()


def test_pitfall_44_the_reflog_lies_raw_in_the_root_and_lists_what_is_current(raw: RawRepository) -> None:
    assert raw.files[".cvmfsreflog"].startswith(b"SQLite format 3\0")
    refs = set(raw.reflog().execute("SELECT hash, type FROM refs").fetchall())
    assert {(raw.manifest[letter].encode(), kind) for kind, letter in enumerate("CXHM")} <= refs
    assert hash_string(raw.files[".cvmfsreflog"], tag_of(raw)) == raw.manifest["Y"]


def assert_all_listed(raw: RawRepository) -> None:
    """The reflog lists every root catalog and tag database that is stored."""
    refs = set(raw.reflog().execute("SELECT hash, type FROM refs").fetchall())
    roots = [name for name in raw.names("C") if "root_prefix" not in raw.catalog(name).properties]
    assert {(name.encode(), 0) for name in roots} | {(name.encode(), 2) for name in raw.names("H")} <= refs


def test_pitfall_45_every_root_catalog_and_tag_database_that_was_stored_is_in_the_reflog(raw: RawRepository) -> None:
    assert len(raw.names("H")) == 3
    assert_all_listed(raw)


def test_pitfall_46_collecting_garbage_signs_the_manifest_again() -> None:
    made = Written()
    made.publish(lambda tree, marker: fill(made, tree, marker))
    made.now += timedelta(days=1)
    made.publish(lambda tree, marker: change(made, tree, marker))
    made.publish(lambda tree, _marker: tree.put("/more", folder()))
    before = made.raw()
    made.now += timedelta(days=100)
    Collector(made.publisher, Retention(revisions=0)).collect()
    after = made.raw()
    assert before.files.keys() - after.files.keys()
    assert after.files[".cvmfsreflog"] != before.files[".cvmfsreflog"]
    assert hash_string(after.files[".cvmfsreflog"], "") == after.manifest["Y"]
    assert after.hash_line.decode() == hash_string(after.letter, "")
    assert {**after.manifest, "Y": ""} == {**before.manifest, "Y": ""}, "nothing else has changed"


def test_pitfall_47_a_hash_that_is_kept_has_no_line_feed_behind_it(raw: RawRepository) -> None:
    assert not any("chksum" in path for path in raw.files), "the checksum of the reflog is kept in the manifest alone"
    assert b"\nY" + raw.manifest["Y"].encode() + b"\n" in raw.letter
    assert raw.manifest["Y"] == raw.manifest["Y"].strip()


# Publishing


class Watched(MemoryBlobStore):
    """A store that looks, at every write of the manifest, whether everything it leads to is there already."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.commits = 0

    def _write(self, path: str, body: bytes) -> str:
        if path == ".cvmfspublished":
            assert_complete(RawRepository({at: blob.body for at, (blob, _) in self._files.items()} | {path: body}, ""))
            self.commits += 1
        return super()._write(path, body)


def assert_complete(raw: RawRepository) -> None:
    """Every object of the live revision is stored, and the reflog is the one that the manifest means."""
    for catalog, row in raw.rows():
        for _, _, digest in catalog.chunks(row.path):
            raw.stored(digest.hex() + row.tag, "P")
        if row.column["hash"] is not None:
            raw.stored(row.column["hash"].hex() + row.tag)
    for letter in "XHM":
        raw.stored(raw.manifest[letter], letter)
    assert hash_string(raw.files[".cvmfsreflog"], tag_of(raw)) == raw.manifest["Y"]


def test_pitfall_48_the_manifest_is_written_after_everything_it_leads_to() -> None:
    made = Written(stored=Watched)
    made.publish(lambda tree, marker: fill(made, tree, marker))
    made.publish(lambda tree, marker: change(made, tree, marker))
    assert made.store.commits == 3


def test_pitfall_49_the_manifest_is_only_ever_swapped() -> None:
    made = Written()
    rivals = []

    def edit(tree: CatalogTree, _marker: Entry) -> None:
        if not rivals:  # somebody else publishes while this one is at it
            rivals.append(made.publish(lambda other, _marker: other.put("/theirs", folder())))
        tree.put("/ours", folder())

    made.publish(edit)
    raw = made.raw()
    assert {row.path for _, row in raw.rows()} == {b"", b"/ours", b"/theirs"}
    assert raw.manifest["S"] == "3"
    assert len(raw.names("C")) == 4, "one was stored in vain"
    assert_all_listed(raw)


def test_pitfall_50_an_old_object_that_a_publish_relies_on_is_not_collected_meanwhile() -> None:
    made = Written()
    made.publish(lambda tree, _marker: tree.put_all([made.file("/a", noise(50)), made.file("/gone", b"gone")]))
    made.now += timedelta(days=1)
    made.publish(lambda tree, _marker: (tree.remove("/a"), tree.remove("/gone")))
    made.publish(lambda tree, _marker: tree.put("/more", folder()))
    made.now += timedelta(days=100)

    def edit(tree: CatalogTree, _marker: Entry) -> None:
        entered = made.file("/again", noise(50))  # in the store already, and in no revision that is kept
        Collector(made.publisher, Retention(revisions=0)).collect()
        tree.put_all([entered])

    before = made.raw().files.keys()
    made.publish(edit)
    assert_complete(made.raw())
    assert before - made.raw().files.keys(), "there was garbage"


def test_pitfall_51_what_was_stored_once_is_not_taken_for_stored() -> None:
    made = Written()
    made.publish(lambda tree, _marker: tree.put_all([made.file("/a", b"same")]))
    (path,) = (path for path in made.raw().files if path.startswith("data/") and path[-1] not in "CHXM")
    made.store.delete(path)
    made.publish(lambda tree, _marker: tree.put_all([made.file("/b", b"same")]))
    assert path in made.raw().files


def test_pitfall_52_objects_are_cached_for_days_and_dot_files_for_a_minute() -> None:
    files = ("data/aa/bb", "data/aa/bbC", ".cvmfswhitelist", ".cvmfsreflog", ".cvmfs_status.json")
    seen = headers_seen_by_s3(*files)
    told = [(headers["content-type"], headers["cache-control"]) for headers in seen]
    assert told == [("application/octet-stream", "max-age=259200")] * 2 + [("application/x-cvmfs", "max-age=61")] * 4


def test_pitfall_54_checking_looks_at_objects_unless_it_is_told_not_to(tmp_path: Path) -> None:
    repository = CliRepository.copy(tmp_path)
    (repository.tree / "file").write_text("content")
    repository.published()
    lost = [path for path in (repository.folder / "data").rglob("*") if path.is_file() and path.name[-1] not in "CHXM"]
    for path in lost:
        path.unlink()
    found = json.loads(run("repo", "check", repository.storage, "--json").stdout)
    assert not found["ok"]


def test_no_pitfall_is_left_out() -> None:
    here = {int(name.split("_")[2]) for name in globals() if name.startswith("test_pitfall_")}
    assert here | NOT_YET.keys() == set(range(1, 55))
    assert not here & NOT_YET.keys()
