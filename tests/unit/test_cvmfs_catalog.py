"""Catalogs: what an edit changes, what it must leave alone, and what it refuses."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.catalog import Catalog, Counters, NestedReference
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Chunk, Entry, EntryFlag, path_hash
from functions.cvmfs.errors import CatalogError, EntryError
from functions.cvmfs.findings import Severity, error, warning
from tests.old_catalogs import as_upgraded_by_official_tools, as_written_by_revision
from tests.small_repository import MTIME, file_entry, special_entry

DIGEST = HashAlgorithm.SHA1.digest(b"content")
OTHER = HashAlgorithm.SHA1.digest(b"other content")
FILE = file_entry(DIGEST, 7)
DIRECTORY = Entry.directory(mtime=MTIME)
CHUNKED = replace(FILE, digest=None, size=5, chunks=(Chunk(0, 3, DIGEST), Chunk(3, 2, OTHER)))
EMPTY = Counters(dir=1)


def catalog_with(*paths: str, top: str = "") -> Catalog:
    """A catalog with these files, and the directories they need."""
    catalog = Catalog.new(top, DIRECTORY)
    entries: dict[str, Entry] = {}
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent != top:
            entries[parent] = DIRECTORY
            parent = parent.rpartition("/")[0]
        entries[path] = FILE
    catalog.put_all(entries.items())
    return catalog


def links(catalog: Catalog, path: str) -> int:
    entry = catalog.lookup(path)
    assert entry is not None
    return entry.linkcount


def bind_mount(catalog: Catalog, path: str) -> None:
    """Enter a bind mount, which only the official tools make."""
    catalog.put(path, DIRECTORY)
    catalog.query("INSERT INTO bind_mountpoints VALUES (?, ?, 1)", (path, str(DIGEST)))
    catalog.query("UPDATE catalog SET flags = flags | 16384 WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(path))


def steps_of(catalog: Catalog, edit: Callable[[], object]) -> int:
    """How many instructions SQLite executes for an edit."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    catalog._db.set_progress_handler(count, 1)
    edit()
    catalog._db.set_progress_handler(None, 1)
    return steps


def whole(catalog: Catalog) -> list:
    """Everything a reader would look at."""
    return [catalog.root, *catalog.walk()]


def rows(catalog: Catalog, table: str) -> int:
    return catalog.query(f"SELECT count(*) FROM {table}")[0][0]


# How a catalog begins


def test_a_new_root_catalog_is_what_mkfs_writes() -> None:
    catalog = Catalog.new("", DIRECTORY, now_s=1_800_000_000)
    assert dict(catalog.query("SELECT key, value FROM properties")) == {
        "schema": "2.5",
        "schema_revision": "7",
        "revision": "0",
        "last_modified": "1800000000",
    }
    assert catalog.query("SELECT * FROM catalog") == [
        (338333539836370388, 9098107892288553193, 0, 0, 2, None, 4096, 16877, MTIME, None, 1, "", "", 0, 0, None)
    ]
    statistics = dict(catalog.query("SELECT counter, value FROM statistics"))
    assert len(statistics) == 24
    catalog.to_bytes()
    statistics = dict(catalog.query("SELECT counter, value FROM statistics"))
    assert {name for name, value in statistics.items() if value} == {"self_dir"}
    assert catalog.check() == []


def test_a_new_nested_catalog_knows_where_it_is_mounted() -> None:
    catalog = Catalog.new("/sw/v1", DIRECTORY)
    assert catalog.path == "/sw/v1"
    assert catalog.get_property("root_prefix") == "/sw/v1"
    assert catalog.root.flags == 33
    assert catalog.query("SELECT parent_1, parent_2 FROM catalog") == [path_hash("/sw")]
    assert catalog.check() == ["/sw/v1: the nested catalog has no .cvmfscatalog"]
    catalog.put(f"/sw/v1/{MARKER_NAME}", FILE)
    assert catalog.check() == []


def test_the_root_of_a_catalog_is_a_directory() -> None:
    with pytest.raises(CatalogError, match="directory"):
        Catalog.new("", FILE)


def test_properties_are_read_and_written_as_text() -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.revision += 41
    catalog.last_modified = 5
    catalog.ttl = 60
    catalog.previous_revision = Digest(HashAlgorithm.RMD160, DIGEST.raw)
    catalog.set_property("volatile", "1")
    with Catalog.from_bytes(catalog.to_bytes()) as again:
        assert (again.revision, again.last_modified, again.ttl) == (41, 5, 60)
        assert str(again.previous_revision) == DIGEST.raw.hex() + "-rmd160"
        assert again.get_property("volatile") == "1"
        again.ttl = None
        again.previous_revision = None
        assert again.ttl is None
        assert again.previous_revision is None
        assert again.get_property("TTL") is None


def test_forty_zeros_mean_no_previous_revision() -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.set_property("previous_revision", "0" * 40)
    assert catalog.previous_revision is None


@pytest.mark.parametrize(
    ("key", "name"), [("revision", "revision"), ("TTL", "ttl"), ("last_modified", "last_modified")]
)
def test_a_property_that_is_no_number_is_an_error(key: str, name: str) -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.set_property(key, "soon")
    with pytest.raises(CatalogError, match="soon"):
        getattr(catalog, name)


# Putting and removing


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        pytest.param(DIRECTORY, 1, id="directory"),
        pytest.param(FILE, 4, id="file"),
        pytest.param(replace(FILE, digest=Digest(HashAlgorithm.RMD160, DIGEST.raw)), 260, id="rmd160 file"),
        pytest.param(replace(FILE, digest=Digest(HashAlgorithm.SHAKE128, DIGEST.raw)), 516, id="shake128 file"),
        pytest.param(replace(FILE, compression=Compression.NONE), 2052, id="uncompressed file"),
        pytest.param(CHUNKED, 68, id="chunked file"),
        pytest.param(Entry.link("$(ARCH)/\udcff", mtime=1), 12, id="symlink to bytes that are no text"),
        pytest.param(special_entry(stat.S_IFIFO), 20, id="fifo"),
        pytest.param(special_entry(stat.S_IFCHR, 259), 20, id="device"),
        pytest.param(replace(FILE, extra_flags=EntryFlag.EXTERNAL), 132, id="external file"),
        pytest.param(replace(CHUNKED, extra_flags=EntryFlag.EXTERNAL), 196, id="chunked external file"),
        pytest.param(replace(FILE, extra_flags=EntryFlag.DIRECT_IO), 65540, id="direct I/O"),
        pytest.param(replace(DIRECTORY, extra_flags=EntryFlag.HIDDEN), 32769, id="hidden directory"),
        pytest.param(replace(FILE, xattrs={"user.\udcfe": b"\0\xff"}, mtime_ns=999_999_999), 4, id="xattrs and ns"),
        pytest.param(replace(FILE, uid=2**32 - 1, gid=2**32 - 1, mtime=-1), 4, id="owner nobody, before 1970"),
    ],
)
def test_every_kind_of_entry_comes_back_as_it_was_put(entry: Entry, flags: int) -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.put("/entry", entry)
    assert catalog.lookup("/entry") == entry
    assert catalog.query("SELECT flags FROM catalog WHERE name = 'entry'") == [(flags,)]
    assert catalog.self_counters == EMPTY + Counters.of(entry)
    assert catalog.check() == []
    with Catalog.from_bytes(catalog.to_bytes()) as again:
        assert again.lookup("/entry") == entry
    catalog.remove("/entry")
    assert catalog.self_counters == EMPTY
    assert rows(catalog, "chunks") == 0
    assert catalog.check() == []


@pytest.mark.parametrize("name", ["\udcff\udcfe", "half a caf\udcc3", "'; DROP TABLE catalog; --", "%", "_", "\n", " "])
def test_names_are_bytes_and_not_text(name: str) -> None:
    catalog = catalog_with(f"/{name}/{name}")
    catalog.put(f"/{name}/{MARKER_NAME}", FILE)
    child = catalog.split(f"/{name}")
    catalog.set_nested(f"/{name}", DIGEST, 1, child.total_counters, child.root)
    with Catalog.from_bytes(catalog.to_bytes()) as parent, Catalog.from_bytes(child.to_bytes()) as nested:
        assert [found for found, _ in parent.listing("")] == [name]
        assert parent.nested_covering(f"/{name}/x") == NestedReference(f"/{name}", DIGEST, 1)
        assert nested.path == f"/{name}"
        assert nested.lookup(f"/{name}/{name}") == FILE
        assert nested.check() == parent.check() == []


def test_listings_are_in_byte_order() -> None:
    catalog = catalog_with("/b", "/B", "/\udcff", "/é", "/a b", "/a", "/~")
    assert [name for name, _ in catalog.listing("")] == ["B", "a", "a b", "b", "~", "é", "\udcff"]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_many_entries_are_looked_up_together(count: int) -> None:
    there = [f"/d{number % 7}/file{number}" for number in range(count)]
    catalog = catalog_with("/odd", *there)
    catalog.put("/odd", CHUNKED)
    asked = ["", "/odd", *there, *(f"{path}.gone" for path in there)]
    assert catalog.lookup_all(asked) == {path: catalog.lookup(path) for path in ["", "/odd", *there]}


@pytest.mark.parametrize("top", ["", "/top", "/a/deep top"])
def test_directories_are_told_with_what_is_in_them(top: str) -> None:
    catalog = catalog_with(
        *(f"{top}/{path}" for path in ("a/b/1", "a/b/2", "a/3", "\udcff/4", "n/.cvmfscatalog")), top=top
    )
    catalog.split(f"{top}/n")
    told = catalog.directories()
    assert told == {top: 3, f"{top}/a": 2, f"{top}/a/b": 2, f"{top}/\udcff": 1}
    assert list(told).index(f"{top}/a") < list(told).index(f"{top}/a/b")
    walked = [path for path, entry in catalog.walk() if entry.is_directory and not entry.is_nested_mountpoint]
    assert sorted(told) == sorted(walked)


def test_a_directory_that_is_listed_under_another_path_than_its_own_is_damage() -> None:
    catalog = catalog_with("/a/b/c")
    catalog.query("UPDATE catalog SET name = 'x' WHERE name = 'b'")
    with pytest.raises(CatalogError, match="entered under another path"):
        catalog.directories()


def test_directories_count_their_sub_directories() -> None:
    catalog = catalog_with("/a/b/c/file", "/a/d/file")
    assert [links(catalog, path) for path in ("", "/a", "/a/b", "/a/b/c", "/a/d")] == [3, 4, 3, 2, 2]
    catalog.remove("/a/d/file")
    catalog.remove("/a/d")
    assert links(catalog, "/a") == 3
    catalog.put("/a/b/new", DIRECTORY)
    assert links(catalog, "/a/b") == 4
    catalog.remove_tree("/a/b")
    assert links(catalog, "/a") == 2
    assert catalog.check() == []


def test_a_directory_that_exists_keeps_its_content_and_links() -> None:
    catalog = catalog_with("/a/b/file")
    catalog.put("/a", Entry.directory(mtime=9, mode=0o700, xattrs={"user.x": b"y"}))
    entry = catalog.lookup("/a")
    assert (entry.mtime, entry.mode, entry.linkcount) == (9, stat.S_IFDIR | 0o700, 3)
    assert catalog.self_counters.xattr == 1
    assert catalog.lookup("/a/b/file") == FILE
    assert catalog.check() == []


def test_a_batch_may_name_children_before_their_parents() -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.put_all([("/a/b/c", FILE), ("/a/b", DIRECTORY), ("/a", DIRECTORY)])
    assert links(catalog, "/a") == 3
    assert catalog.check() == []


def test_of_two_entries_for_one_path_the_later_counts() -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.put_all([("/a", FILE), ("/a", DIRECTORY)])
    assert catalog.lookup("/a") == DIRECTORY
    assert catalog.check() == []


def test_a_batch_may_hold_the_root_entry_too() -> None:
    catalog = Catalog.new("", DIRECTORY)
    catalog.put_all([("/a", DIRECTORY), ("", replace(DIRECTORY, mtime=5, xattrs={"user.a": b"b"}))])
    assert (catalog.root.mtime, catalog.root.linkcount) == (5, 3)
    assert catalog.check() == []


def test_a_file_may_become_a_directory_and_an_empty_directory_a_file() -> None:
    catalog = catalog_with("/a/x")
    catalog.put_all([("/a/x", DIRECTORY), ("/a/x/y", FILE)])
    assert links(catalog, "/a") == 3
    catalog.remove("/a/x/y")
    catalog.put("/a/x", CHUNKED)
    assert links(catalog, "/a") == 2
    assert catalog.check() == []
    catalog.put("/a/x", FILE)
    assert rows(catalog, "chunks") == 0
    assert catalog.check() == []


@pytest.mark.parametrize(
    ("path", "entry", "match"),
    [
        pytest.param("/a", FILE, "not empty", id="a full directory becomes a file"),
        pytest.param("/a/file/x", FILE, "no directory", id="below a file"),
        pytest.param("/no/x", FILE, "no directory", id="below nothing"),
        pytest.param("/mount", FILE, "not empty", id="a mount point becomes a file"),
        pytest.param("/mount/x", FILE, "mounted at /mount", id="below a mount point"),
        pytest.param("relative", FILE, "not below", id="a relative path"),
        pytest.param("/a/", FILE, "cannot be the name", id="an empty name"),
        pytest.param("/a/..", FILE, "cannot be the name", id="dots"),
        pytest.param("/a/nul\0", FILE, "cannot be the name", id="NUL in a name"),
        pytest.param("", FILE, "directory", id="a file as root"),
        pytest.param("/x", replace(FILE, digest=None), "hash or chunks", id="a file without hash"),
        pytest.param("/x", replace(FILE, symlink="y"), "symlink", id="a file with target"),
        pytest.param("/x", replace(DIRECTORY, digest=DIGEST), "regular file", id="a directory with hash"),
        pytest.param("/x", replace(Entry.link("y", mtime=1), chunks=CHUNKED.chunks), "regular file", id="chunked link"),
        pytest.param("/x", replace(DIRECTORY, hardlink_group=1), "no hard links", id="a linked directory"),
        pytest.param("/x", replace(DIRECTORY, extra_flags=EntryFlag.DIRECT_IO), "regular file", id="direct I/O"),
        pytest.param("/x", special_entry(stat.S_IFSOCK, 1), "has no size", id="a socket of some size"),
        pytest.param("/x", replace(FILE, linkcount=2), "hard-link group", id="links without a group"),
        pytest.param("/x", replace(FILE, linkcount=0), "out of range", id="no links"),
        pytest.param("/x", replace(FILE, mode=0o644), "out of range", id="no file type"),
        pytest.param("/x", replace(FILE, mode=1 << 20), "out of range", id="a mode of many bits"),
        pytest.param("/x", replace(FILE, size=2**63), "out of range", id="a size of 64 bits"),
        pytest.param("/x", replace(FILE, size=-1), "out of range", id="a negative size"),
        pytest.param("/x", replace(FILE, mtime_ns=10**9), "out of range", id="a billion nanoseconds"),
        pytest.param("/x", replace(FILE, uid=2**32), "out of range", id="an owner of 33 bits"),
        pytest.param("/x", replace(CHUNKED, size=6), "chunks have 5 bytes", id="chunks too short"),
        pytest.param(
            "/x", replace(CHUNKED, chunks=CHUNKED.chunks[::-1]), "should start at 0", id="chunks out of order"
        ),
        pytest.param(
            "/x",
            replace(CHUNKED, chunks=(CHUNKED.chunks[0], Chunk(3, 2, Digest(HashAlgorithm.RMD160, OTHER.raw)))),
            "several hash algorithms",
            id="chunks of two algorithms",
        ),
    ],
)
def test_an_edit_that_would_break_the_catalog_is_refused_and_changes_nothing(
    path: str, entry: Entry, match: str
) -> None:
    catalog = catalog_with("/a/file")
    catalog.set_nested("/mount", DIGEST, 1, Counters(dir=1), DIRECTORY)
    before = catalog.to_bytes()
    with pytest.raises(CatalogError, match=match):
        catalog.put_all([("/good", FILE), (path, entry)])
    assert catalog.to_bytes() == before
    assert catalog.check() == []


def test_attributes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EntryError):
        Catalog.new("", DIRECTORY).put("/x", replace(FILE, xattrs={"k" * 256: b""}))


@pytest.mark.parametrize(
    ("path", "match"),
    [
        pytest.param("/a", "not empty", id="a full directory"),
        pytest.param("", "stays where it is", id="the root"),
        pytest.param("/none", "no such entry", id="nothing"),
        pytest.param("/mount", "another catalog", id="a mount point"),
    ],
)
def test_a_removal_that_would_break_the_catalog_is_refused(path: str, match: str) -> None:
    catalog = catalog_with("/a/file")
    catalog.set_nested("/mount", DIGEST, 1, Counters(dir=1), DIRECTORY)
    with pytest.raises(CatalogError, match=match):
        catalog.remove(path)
    assert catalog.check() == []


def test_the_flags_that_say_where_catalogs_begin_are_not_taken_from_entries() -> None:
    catalog = catalog_with("/a/file")
    for flag in (EntryFlag.NESTED_MOUNTPOINT, EntryFlag.NESTED_ROOT, EntryFlag.BIND_MOUNTPOINT):
        catalog.put("/a", replace(DIRECTORY, extra_flags=flag | EntryFlag.HIDDEN))
        catalog.put("/new", replace(DIRECTORY, extra_flags=flag))
    assert catalog.lookup("/a").extra_flags == EntryFlag.HIDDEN
    assert catalog.lookup("/new").extra_flags == EntryFlag(0)
    assert catalog.check() == []


# Hard links


def linked_catalog(count: int = 3) -> Catalog:
    catalog = catalog_with("/d/other")
    group = catalog.new_hardlink_group()
    catalog.put_all((f"/d/{i}", replace(CHUNKED, hardlink_group=group, linkcount=count)) for i in range(count))
    return catalog


def test_members_of_a_hard_link_group_leave_one_by_one() -> None:
    catalog = linked_catalog()
    assert rows(catalog, "chunks") == 6
    catalog.remove("/d/1")
    assert links(catalog, "/d/0") == links(catalog, "/d/2") == 2
    catalog.put("/d/2", FILE)
    assert links(catalog, "/d/0") == 1
    assert links(catalog, "/d/other") == 1
    assert rows(catalog, "chunks") == 2
    assert catalog.check() == []


def test_all_members_of_a_group_can_be_replaced_together() -> None:
    catalog = linked_catalog()
    group = catalog.lookup("/d/0").hardlink_group
    catalog.put_all((f"/d/{i}", replace(FILE, hardlink_group=group, linkcount=3)) for i in range(3))
    assert links(catalog, "/d/1") == 3
    assert catalog.check() == []


def test_group_numbers_are_not_used_twice() -> None:
    catalog = linked_catalog()
    assert catalog.new_hardlink_group() == 2
    assert catalog.new_hardlink_group() == 3
    with Catalog.from_bytes(catalog.to_bytes()) as again:
        assert again.new_hardlink_group() == 2


def test_merging_renumbers_hard_link_groups() -> None:
    catalog = linked_catalog()
    catalog.put(f"/d/{MARKER_NAME}", FILE)
    child = catalog.split("/d")
    catalog.set_nested("/d", DIGEST, 1, child.total_counters, child.root)
    group = catalog.new_hardlink_group()
    catalog.put_all((f"/{i}", replace(FILE, hardlink_group=group, linkcount=2)) for i in range(2))
    catalog.merge(child)
    groups = [catalog.lookup(path).hardlink_group for path in ("/0", "/d/0")] + [catalog.new_hardlink_group()]
    assert len(set(groups)) == 3
    assert catalog.check() == []


# Nested catalogs


def family() -> tuple[Catalog, Catalog, Catalog]:
    """Catalogs at the root, ``/a`` and ``/a/b``, stored under made-up digests."""
    root = catalog_with("/a/b/c/file", "/a/file", f"/a/{MARKER_NAME}", f"/a/b/{MARKER_NAME}")
    inner = root.split("/a/b")
    root.set_nested("/a/b", DIGEST, 1, inner.total_counters, inner.root)
    outer = root.split("/a")
    root.set_nested("/a", OTHER, 2, outer.total_counters, outer.root)
    return root, outer, inner


def test_splitting_moves_the_rows_and_leaves_an_equal_mount_point() -> None:
    root, outer, inner = family()
    for catalog in (root, outer, inner):
        assert catalog.check() == []
    assert root.self_counters == Counters(dir=2, nested=1)
    assert outer.self_counters == Counters(dir=2, nested=1, regular=2, file_size=14)
    assert inner.self_counters == Counters(dir=2, regular=2, file_size=14)
    assert root.subtree_counters == outer.total_counters == outer.self_counters + inner.self_counters
    assert root.nested() == {"/a": NestedReference("/a", OTHER, 2)}
    assert outer.nested() == {"/a/b": NestedReference("/a/b", DIGEST, 1)}
    mount, nested_root = root.lookup("/a"), outer.root
    assert replace(mount, extra_flags=EntryFlag(0)) == replace(nested_root, extra_flags=EntryFlag(0))
    assert (mount.flags, nested_root.flags) == (3, 33)
    assert inner.revision == 0


def test_row_ids_of_a_split_catalog_are_dense_with_the_root_first() -> None:
    _, outer, _ = family()
    assert outer.query("SELECT min(rowid), max(rowid), count(*) FROM catalog") == [(1, 4, 4)]
    assert outer.query("SELECT name FROM catalog WHERE rowid = 1") == [("a",)]


def test_a_split_needs_a_marker_and_must_be_stored_before_its_parent() -> None:
    catalog = catalog_with("/a/file")
    with pytest.raises(CatalogError, match="cvmfscatalog"):
        catalog.split("/a")
    catalog.put(f"/a/{MARKER_NAME}", FILE)
    child = catalog.split("/a")
    assert catalog.nested_covering("/a/file").path == "/a"
    assert catalog.check() == ["/a: the reference names no stored catalog"]
    with pytest.raises(CatalogError, match="set_nested"):
        catalog.to_bytes()
    catalog.set_nested("/a", DIGEST, 3, child.total_counters, child.root)
    assert catalog.check() == []


@pytest.mark.parametrize(
    ("path", "match"),
    [
        pytest.param("", "stays where it is", id="the root"),
        pytest.param("/a", "only a directory", id="a mount point"),
        pytest.param("/file", "only a directory", id="a file"),
        pytest.param("/none", "no such entry", id="nothing"),
    ],
)
def test_only_plain_directories_can_be_split_off(path: str, match: str) -> None:
    root, _, _ = family()
    root.put("/file", FILE)
    with pytest.raises(CatalogError, match=match):
        root.split(path)


def test_merging_is_the_reverse_of_splitting_but_for_the_marker() -> None:
    unsplit = catalog_with("/a/b/c/file", "/a/file")
    root, outer, inner = family()
    root.merge(outer)
    assert root.lookup(f"/a/{MARKER_NAME}") is None
    assert list(root.nested()) == ["/a/b"]
    assert root.subtree_counters == inner.total_counters
    assert root.check() == []
    root.merge(inner)
    assert root.nested() == {}
    assert root.subtree_counters == Counters()
    assert root.self_counters == unsplit.self_counters
    assert list(root.walk()) == list(unsplit.walk())
    assert root.check() == []


def test_merging_takes_what_happened_to_the_child_since() -> None:
    root, outer, inner = family()
    outer.put("/a/new", DIRECTORY)
    outer.set_root(replace(DIRECTORY, mtime=77, xattrs={"user.a": b"b"}))
    root.merge(outer)
    assert (root.lookup("/a").mtime, root.lookup("/a").linkcount) == (77, 4)
    assert root.self_counters.xattr == 1
    assert root.subtree_counters == inner.total_counters
    assert root.check() == []


def test_only_a_catalog_that_is_mounted_here_can_be_merged() -> None:
    root, outer, inner = family()
    with pytest.raises(CatalogError, match="no nested catalog"):
        root.merge(inner)
    with pytest.raises(CatalogError, match="no nested catalog"):
        outer.merge(root)


def test_a_new_version_of_a_nested_catalog_replaces_its_share_of_the_counters() -> None:
    root, outer, inner = family()
    outer.put("/a/new", CHUNKED)
    outer.put("/a/dir", DIRECTORY)
    root.set_nested("/a", DIGEST, 9, outer.total_counters, outer.root)
    assert root.subtree_counters == outer.self_counters + inner.self_counters
    assert links(root, "/a") == links(outer, "/a") == 4
    assert root.self_counters == Counters(dir=2, nested=1)
    assert root.nested() == {"/a": NestedReference("/a", DIGEST, 9)}
    assert root.check() == []


def test_a_nested_catalog_can_be_mounted_where_nothing_is() -> None:
    root = catalog_with("/dir/file")
    child = catalog_with(f"/dir/tree/{MARKER_NAME}", "/dir/tree/x/y", top="/dir/tree")
    root.set_nested("/dir/tree", DIGEST, 1, child.total_counters, child.root)
    assert links(root, "/dir") == 3
    assert links(root, "/dir/tree") == 3
    assert root.subtree_counters == child.self_counters
    assert root.check() == []


def test_an_empty_directory_can_become_a_mount_point() -> None:
    root = catalog_with("/dir/file")
    root.put("/dir/empty", DIRECTORY)
    root.set_nested("/dir/empty", DIGEST, 1, Counters(dir=1))
    assert root.lookup("/dir/empty").flags == 3
    assert root.check() == []


@pytest.mark.parametrize(
    ("path", "root"),
    [
        pytest.param("/dir", DIRECTORY, id="a full directory"),
        pytest.param("/dir/file", DIRECTORY, id="a file"),
        pytest.param("/dir/none", None, id="nothing, and no entry given"),
        pytest.param("/no/parent", DIRECTORY, id="no parent"),
        pytest.param("/new", FILE, id="a root entry that is a file"),
        pytest.param("", DIRECTORY, id="the catalog's own root"),
        pytest.param("/dir/snap", DIRECTORY, id="a bind mount"),
    ],
)
def test_a_nested_catalog_cannot_be_mounted_over_something(path: str, root: Entry | None) -> None:
    catalog = catalog_with("/dir/file")
    bind_mount(catalog, "/dir/snap")
    before = catalog.to_bytes()
    with pytest.raises(CatalogError):
        catalog.set_nested(path, DIGEST, 1, Counters(dir=1), root)
    assert catalog.to_bytes() == before


def test_references_are_found_for_everything_below_their_mount_point() -> None:
    root, outer, _ = family()
    assert root.nested_covering("/a").path == "/a"
    assert root.nested_covering("/a/b/c/file").path == "/a"
    assert outer.nested_covering("/a/b/c").path == "/a/b"
    for path in ("", "/", "/ab", "/b", "/a"):
        assert outer.nested_covering(path) is None


def test_a_tree_is_removed_with_the_references_in_it() -> None:
    root, outer, _ = family()
    root.put("/keep", FILE)
    root.merge(outer)
    root.remove_tree("/a")
    assert root.nested() == {}
    assert root.subtree_counters == Counters()
    assert root.self_counters == Counters(dir=1, regular=1, file_size=7)
    assert links(root, "") == 2
    assert root.check() == []


def test_removing_a_tree_removes_bind_mounts_and_chunks_in_it() -> None:
    catalog = catalog_with("/a/b/file")
    catalog.put("/a/b/chunked", CHUNKED)
    bind_mount(catalog, "/a/snap")
    assert catalog.bind_mounts() == {"/a/snap": NestedReference("/a/snap", DIGEST, 1)}
    assert catalog.check() == []
    catalog.put("/a/snap", replace(DIRECTORY, mtime=3))
    with pytest.raises(CatalogError, match="another catalog"):
        catalog.remove("/a/snap")
    with pytest.raises(CatalogError, match="mounted at /a/snap"):
        catalog.put("/a/snap/x", FILE)
    assert catalog.check() == []
    catalog.remove_tree("/a")
    assert catalog.bind_mounts() == {}
    assert rows(catalog, "chunks") == 0
    assert list(catalog.walk()) == [("", DIRECTORY)]
    assert catalog.check() == []


def test_bind_mounts_move_with_the_directory_they_are_in() -> None:
    catalog = catalog_with("/a/file", f"/a/{MARKER_NAME}", "/b/file")
    bind_mount(catalog, "/a/snap")
    bind_mount(catalog, "/b/snap")
    child = catalog.split("/a")
    assert list(child.bind_mounts()) == ["/a/snap"]
    assert list(catalog.bind_mounts()) == ["/b/snap"]
    assert child.check() == []
    catalog.merge(child)
    assert list(catalog.bind_mounts()) == ["/a/snap", "/b/snap"]
    assert catalog.check() == []


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda c: c.put("/d1/new", FILE), id="put"),
        pytest.param(lambda c: c.put("/d1/file", CHUNKED), id="replace"),
        pytest.param(lambda c: c.put("/d1/sub", DIRECTORY), id="make a directory"),
        pytest.param(lambda c: c.remove("/d1/file"), id="remove"),
        pytest.param(lambda c: c.remove_tree("/d1"), id="remove a tree"),
        pytest.param(lambda c: c.set_nested("/d1/n", DIGEST, 1, EMPTY, DIRECTORY), id="mount"),
    ],
)
def test_an_edit_costs_the_same_in_a_small_and_in_a_large_catalog(edit: Callable[[Catalog], object]) -> None:
    small, large = (catalog_with(*(f"/d{i}/file" for i in range(count))) for count in (10, 2000))
    cost = steps_of(small, lambda: edit(small))
    assert 0 < steps_of(large, lambda: edit(large)) < 2 * cost


def test_a_dropped_nested_catalog_takes_its_mount_point_along() -> None:
    root, _, _ = family()
    root.drop_nested("/a")
    assert root.lookup("/a") is None
    assert root.total_counters == EMPTY
    assert root.check() == []
    with pytest.raises(CatalogError, match="no nested catalog"):
        root.drop_nested("/a")


def test_a_catalog_asks_once_for_the_counters_of_what_it_refers_to() -> None:
    root, outer, _ = family()
    blob, stored = root.to_bytes(), outer.total_counters
    asked: list[NestedReference] = []

    def counters_of(reference: NestedReference) -> Counters:
        asked.append(reference)
        return stored

    with Catalog.from_bytes(blob, counters_of=counters_of) as again:
        outer.put("/a/new", FILE)
        for _ in range(2):
            again.set_nested("/a", DIGEST, 1, outer.total_counters, outer.root)
        assert again.subtree_counters == outer.total_counters
        again.drop_nested("/a")
        assert again.subtree_counters == Counters()
    assert asked == [NestedReference("/a", OTHER, 2)]


@pytest.mark.parametrize("edit", ["set_nested", "drop_nested", "remove_tree", "merge", "split"])
def test_without_the_counters_of_a_reference_it_cannot_be_replaced_or_moved(edit: str) -> None:
    root, outer, _ = family()
    root.merge(outer)
    root.put(f"/a/{MARKER_NAME}", FILE)
    with Catalog.from_bytes(root.to_bytes()) as again, Catalog.new("/a/b", DIRECTORY) as child:
        edits = {
            "set_nested": lambda: again.set_nested("/a/b", DIGEST, 1, Counters(), DIRECTORY),
            "drop_nested": lambda: again.drop_nested("/a/b"),
            "remove_tree": lambda: again.remove_tree("/a"),
            "merge": lambda: again.merge(child),
            "split": lambda: again.split("/a"),
        }
        before = again.to_bytes()
        with pytest.raises(CatalogError, match="counters of the nested catalog are not known"):
            edits[edit]()
        assert again.to_bytes() == before


# Storing


def test_an_unchanged_catalog_keeps_its_bytes() -> None:
    blob = catalog_with("/a/b/file").to_bytes()
    with Catalog.from_bytes(blob) as catalog:
        assert catalog.to_bytes() == blob
        catalog.revision = catalog.revision
        assert catalog.to_bytes() == blob


def test_the_bytes_are_a_database_every_client_can_open() -> None:
    blob = catalog_with("/file").to_bytes()
    assert blob[:16] == b"SQLite format 3\0"
    assert int.from_bytes(blob[16:18], "big") == 4096
    assert blob[18:20] == b"\1\1", "rollback journal"
    assert blob[56:60] == b"\0\0\0\1", "UTF-8"


def test_a_catalog_with_many_removals_is_compacted() -> None:
    catalog = catalog_with(*(f"/d{i}/file" for i in range(2000)))
    full = len(catalog.to_bytes())
    for i in range(1900):
        catalog.remove_tree(f"/d{i}")
    assert len(catalog.to_bytes()) < full / 5
    assert catalog.query("SELECT count(*), max(rowid) FROM catalog") == [(201, 201)]
    assert catalog.query("SELECT name FROM catalog WHERE rowid <= 2 ORDER BY rowid")[0] == ("",)
    assert catalog.check() == []


def test_replacing_entries_keeps_row_ids() -> None:
    catalog = catalog_with("/a", "/b")
    before = catalog.query("SELECT rowid, name FROM catalog")
    catalog.put_all([("/a", replace(FILE, size=1)), ("/b", CHUNKED)])
    assert catalog.query("SELECT rowid, name FROM catalog") == before


def test_a_copy_is_another_catalog() -> None:
    blob = catalog_with("/a").to_bytes()
    with Catalog.from_bytes(blob) as one, Catalog.from_bytes(blob) as two:
        one.put("/b", FILE)
        assert two.lookup("/b") is None


def test_a_closed_catalog_says_so_as_a_catalog_error() -> None:
    catalog = catalog_with("/a")
    catalog.close()
    catalog.close()
    with pytest.raises(CatalogError, match="closed"):
        catalog.lookup("/a")


def test_a_catalog_can_be_read_by_several_threads() -> None:
    catalog = catalog_with(*(f"/d{i}/file" for i in range(50)))
    expected = list(catalog.walk())
    results: list[list] = []
    threads = [threading.Thread(target=lambda: results.append(list(catalog.walk()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_walking_starts_at_any_directory() -> None:
    catalog = catalog_with("/a/b/file", "/a.b", "/c")
    assert [path for path, _ in catalog.walk()] == ["", "/a", "/a.b", "/c", "/a/b", "/a/b/file"]
    assert [path for path, _ in catalog.walk("/a")] == ["/a", "/a/b", "/a/b/file"]
    assert list(catalog.walk("/none")) == []


# Opening


def database(*statements: str, blob: bytes | None = None) -> bytes:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(catalog_with("/a/file", "/b").to_bytes() if blob is None else blob)
    for statement in statements:
        db.execute(statement)
    blob = db.serialize()
    db.close()
    return blob


@pytest.mark.parametrize(
    ("blob", "match"),
    [
        pytest.param(b"", "not an SQLite", id="nothing"),
        pytest.param(b"x\x9c\x03\0\0\0\0\1", "not an SQLite", id="still compressed"),
        pytest.param(database()[:5000], "damaged", id="cut off"),
        pytest.param(database()[:100] + b"\xff" * 9000, "damaged", id="overwritten"),
        pytest.param(
            database().replace(b"TABLE chunks (md5path_1", b"TABLE chunks (\x80d5path_1"),
            "damaged",
            id="a broken schema",
        ),
        pytest.param(database()[:18] + b"\2\2" + database()[20:], "WAL", id="WAL mode"),
        pytest.param(database("DROP TABLE chunks"), "no table chunks", id="a table missing"),
        pytest.param(database("DROP TABLE bind_mountpoints"), "bind_mountpoints", id="no bind mounts in revision 7"),
        pytest.param(database("DELETE FROM statistics WHERE counter = 'self_dir'"), "self_dir", id="a counter missing"),
        pytest.param(database("UPDATE statistics SET value = 'x'"), "is missing", id="counters that are text"),
        pytest.param(database("ALTER TABLE catalog DROP COLUMN xattr"), "no column xattr", id="a column missing"),
        pytest.param(database("UPDATE properties SET value = '2.3' WHERE key = 'schema'"), "2.3", id="schema 2.3"),
        pytest.param(database("DELETE FROM properties WHERE key = 'schema'"), "1.0", id="no schema"),
        pytest.param(database("UPDATE properties SET value = 8 WHERE key = 'schema_revision'"), "8", id="revision 8"),
        pytest.param(database("UPDATE properties SET value = 'x'"), "not numbers", id="schema that is no number"),
        pytest.param(
            database("CREATE TRIGGER evil AFTER INSERT ON catalog BEGIN DELETE FROM catalog; END"),
            "trigger",
            id="trigger",
        ),
        pytest.param(
            database("ALTER TABLE catalog RENAME TO c", "CREATE VIEW catalog AS SELECT * FROM c"), "view", id="a view"
        ),
    ],
)
def test_bytes_that_are_no_catalog_are_refused(blob: bytes, match: str) -> None:
    with pytest.raises(CatalogError, match=match):
        Catalog.from_bytes(blob)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE catalog SET mode = 'x'", id="mode is text"),
        pytest.param("UPDATE catalog SET mode = 1 << 40", id="mode is huge"),
        pytest.param("UPDATE catalog SET size = NULL", id="size is NULL"),
        pytest.param("UPDATE catalog SET hash = 'text' WHERE hash IS NOT NULL", id="hash is text"),
        pytest.param("UPDATE catalog SET hash = X'00' WHERE hash IS NOT NULL", id="hash is short"),
        pytest.param("UPDATE catalog SET xattr = X'0201'", id="xattr of version 2"),
        pytest.param("UPDATE catalog SET flags = flags | 7 << 8", id="unknown hash algorithm"),
        pytest.param("UPDATE catalog SET flags = flags | 7 << 11", id="unknown compression"),
        pytest.param("UPDATE catalog SET name = NULL WHERE name <> ''", id="name is NULL"),
        pytest.param("UPDATE catalog SET name = '..' WHERE name = 'b'", id="name is dots"),
        pytest.param("UPDATE catalog SET name = 'x/y' WHERE name = 'b'", id="name with a slash"),
        pytest.param("UPDATE catalog SET name = 'c' WHERE name = 'b'", id="another name than hashed"),
        pytest.param("UPDATE catalog SET parent_1 = md5path_1, parent_2 = md5path_2 WHERE name = ''", id="own parent"),
        pytest.param("DELETE FROM catalog WHERE name = ''", id="no root"),
    ],
)
def test_rows_no_writer_produces_raise_catalog_errors_and_are_found(statement: str) -> None:
    with Catalog.from_bytes(database(statement)) as catalog:
        assert catalog.check()
        with pytest.raises(CatalogError):
            whole(catalog)


def test_the_paths_of_references_may_be_damaged_too() -> None:
    blob = database("INSERT INTO nested_catalogs VALUES ('/a', 'not a hash', 1)")
    with Catalog.from_bytes(blob) as catalog:
        with pytest.raises(CatalogError, match="nested_catalogs: /a"):
            catalog.nested()
        assert any("nested_catalogs: /a" in finding for finding in catalog.check())


@pytest.mark.parametrize("revision", range(7))
def test_older_revisions_are_read_and_written_anew(revision: int) -> None:
    entries = {"/a": DIRECTORY, "/a/file": FILE, "/chunked": CHUNKED, "/fifo": special_entry(stat.S_IFIFO)}
    catalog = Catalog.new("", DIRECTORY)
    catalog.put_all(entries.items())
    catalog.set_nested("/nested", DIGEST, 5, Counters(dir=3), DIRECTORY)
    fresh = catalog.to_bytes()
    with Catalog.from_bytes(as_written_by_revision(fresh, revision)) as old:
        assert {path: entry for path, entry in old.walk() if path in entries} == entries
        assert old.self_counters == catalog.self_counters
        assert old.nested()["/nested"].size == (5 if revision >= 1 else 0)
        assert ("xattr" in old.uncounted) is (revision < 2)
        assert ("special" in old.uncounted) is (revision < 5)
        assert old.check() == []
        old.put("/new", replace(FILE, mtime_ns=5, xattrs={"user.a": b"b"}))
        with Catalog.from_bytes(old.to_bytes()) as again:
            assert again.get_property("schema_revision") == "7"
            assert again.lookup("/new").mtime_ns == 5
            assert again.uncounted == frozenset()
            assert again.self_counters == catalog.self_counters + Counters.of(old.lookup("/new"))
            assert again.query("SELECT count(*) FROM statistics") == [(24,)]


def test_an_upgraded_catalog_gets_its_columns_in_the_fresh_order() -> None:
    fresh = catalog_with("/a/file")
    fresh.put("/a/file", replace(FILE, mtime_ns=123, uid=5))
    upgraded = as_upgraded_by_official_tools(fresh.to_bytes())
    with Catalog.from_bytes(upgraded) as catalog:
        assert list(catalog.walk()) == list(fresh.walk())
        columns = [name for (name,) in catalog.query("SELECT name FROM pragma_table_info('catalog')")]
        assert columns.index("mtimens") == 9


def test_a_catalog_of_tiny_pages_opens_too() -> None:
    fresh = catalog_with("/a/file")
    source, target = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    source.deserialize(fresh.to_bytes())
    target.execute("PRAGMA page_size = 1024")
    target.executescript("\n".join(source.iterdump()))
    blob = target.serialize()
    source.close()
    target.close()
    assert int.from_bytes(blob[16:18], "big") == 1024
    with Catalog.from_bytes(blob) as catalog:
        catalog.put("/b", FILE)
        assert catalog.check() == []
        assert int.from_bytes(catalog.to_bytes()[16:18], "big") == 1024


# Counters


def test_counters_add_up_and_have_names() -> None:
    one = Counters.of(CHUNKED)
    assert one == Counters(regular=1, chunked=1, chunks=2, file_size=5, chunked_size=5)
    assert one + one - one == one
    assert Counters.of_mapping(one.as_mapping()) == one
    assert Counters.of_mapping({"dir": 2}) == Counters(dir=2)
    assert (one + EMPTY).entries == 2
    with pytest.raises(CatalogError, match="no such counters: files"):
        Counters.of_mapping({"files": 1})


def test_a_finding_reads_as_a_line() -> None:
    assert str(error("", "broken")) == "error: /: broken"
    assert warning("/a", "odd").severity is Severity.WARNING


@pytest.mark.parametrize("entry", [FILE, CHUNKED], ids=["small", "chunked"])
def test_markers_that_are_names_of_a_file_leave_its_group_when_their_catalog_is_merged(entry: Entry) -> None:
    catalog = catalog_with("/d/alone")
    group = catalog.new_hardlink_group()
    names = (MARKER_NAME, AUTO_MARKER_NAME, "a", "b")
    for name in names:
        catalog.put(f"/d/{name}", replace(entry, hardlink_group=group, linkcount=len(names)))
    child = catalog.split("/d")
    catalog.merge(child)
    assert catalog.check() == []
    assert [name for name, _ in catalog.listing("/d")] == ["a", "alone", "b"]
    assert links(catalog, "/d/a") == links(catalog, "/d/b") == 2
