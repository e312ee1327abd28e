"""Archives of every dialect, and what an unpacking program would have made of them."""

import struct
import tarfile
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.cvmfs.address import Kind
from functions.cvmfs.chunks import ChunkLimits
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import Entry
from functions.cvmfs.objects import StoredObject, pack
from functions.publishing import archive_tree, small_files
from functions.publishing.archive_tree import ArchiveTree
from functions.publishing.content import Recipe
from functions.publishing.forward_stream import ForwardStream
from functions.publishing.nesting import CatalogWeights
from functions.publishing.small_files import SmallFiles
from tests.archives import FOLDER, directory, findings, groups, hard_link, link, member, take_in, tar, zipped
from tests.world import World

LONG = "/directory-with-a-long-name-directory-with-a-long-name-"
TIME = 1_706_933_106  # 2024-02-03 04:05:06 UTC
CONTENTS = {
    "/.cvmfscatalog": b"",
    "/bin/run": b"#!/bin/sh\necho run\n",
    "/bin/run-again": b"#!/bin/sh\necho run\n",
    "/data/größe": b"unusual\n",
    "/data/nothing": b"",
    "/data/sparse": bytes(1_000_000) + b"middle" + bytes(2 * 2**20 - 1_000_006) + b"end\n",
    "/lib/run-elsewhere": b"#!/bin/sh\necho run\n",
    "/lib/run-there": b"#!/bin/sh\necho run\n",
    LONG * 3 + "/file": b"deep\n",
}
LINKS = {"/deep": LONG[1:] + LONG + LONG + "/file", "/lib/latest": "../bin/run"}
LINKED = {frozenset({"/bin/run", "/bin/run-again"}), frozenset({"/lib/run-elsewhere", "/lib/run-there"})}
TARS = sorted(path.name for path in FOLDER.glob("*.tar.*"))


@pytest.mark.parametrize("name", [*TARS, "info.zip", "info-descriptors.zip"])
def test_every_dialect_of_the_real_programs_gives_the_same_tree(name: str) -> None:
    found = take_in("tree.zip" if name.endswith(".zip") else "tree.tar.gz", (FOLDER / name).read_bytes())
    missing = {"/deep", LONG * 3 + "/file"} if name.startswith("v7") else set()
    missing |= {"/deep"} if name.startswith("ustar") else set()
    missing |= set(LINKS) if "descriptors" in name else set()
    assert found.contents == {path: body for path, body in CONTENTS.items() if path not in missing}
    links = {path: entry.symlink for path, entry in found.entries.items() if entry.is_symlink}
    assert links == {path: target for path, target in LINKS.items() if path not in missing}
    assert groups(found.entries) == (set() if name.endswith(".zip") else LINKED)
    assert ("/empty" in found.entries) == ("descriptors" not in name)
    dated = {path: entry for path, entry in found.entries.items() if path not in {"", "/.cvmfscatalog"}}
    implied = {path for path, entry in dated.items() if entry.is_directory} if "descriptors" in name else set()
    assert {entry.mtime for path, entry in dated.items() if path not in implied} == {TIME}
    fraction = 123_456_789 if name.startswith("posix") else None
    assert {entry.mtime_ns for entry in dated.values()} == {fraction}
    modes = {path: entry.mode & 0o7777 for path, entry in found.entries.items()}
    assert (modes["/bin/run"], modes["/data/nothing"]) == (0o755, 0o644)
    assert modes.get("/empty", 0o755) == 0o755  # 0750 in the archive, but everybody may read what is published


@pytest.mark.parametrize(
    "dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_formats_and_compressions_of_python(dialect: int, mode: str) -> None:
    body = tar(
        directory("a/b"),
        member("a/b/c", b"1" * 2000, mode=0o4755, mtime=1),
        link("a/l", "b/c"),
        member("x" * 90 + "/" + "y" * 90, b"2"),
        mode=mode,
        dialect=dialect,
    )
    found = take_in("t.tar", body)
    assert found.contents == {"/.cvmfscatalog": b"", "/a/b/c": b"1" * 2000, f"/{'x' * 90}/{'y' * 90}": b"2"}
    assert (found.entries["/a/b/c"].mode, found.entries["/a/b/c"].mtime) == (0o100755, 1)
    assert found.entries["/a/l"].symlink == "b/c"


def test_times_keep_every_digit_and_may_lie_before_the_epoch() -> None:
    times = {"a": "1700000000.123456789", "b": "-0.25", "c": "12", "d": "1e3", "e": "99999999999", "f": "0.1234567899"}
    found = take_in("t.tar", tar(*(member(name, pax_headers={"mtime": text}) for name, text in times.items())))
    got = {path[1:]: (entry.mtime, entry.mtime_ns) for path, entry in found.entries.items()}
    assert {name: got[name] for name in times} == {
        "a": (1_700_000_000, 123_456_789),
        "b": (-1, 750_000_000),
        "c": (12, None),
        "d": (1000, None),
        "e": (0, None),
        "f": (0, 123_456_789),
    }


def test_the_later_of_two_members_counts_and_directories_may_come_after_their_content() -> None:
    body = tar(
        member("./d/file", b"old"),
        member("d//./file", b"new"),
        member("d/other", b"file"),
        link("d/other", "file"),
        directory("d", mode=0o700, mtime=5),
        directory("d/", mode=0o711, mtime=7),
        member("e"),
    )
    found = take_in("t.tar", body)
    assert found.contents["/d/file"] == b"new"
    assert found.entries["/d/other"].symlink == "file"
    assert (found.entries["/d"].mode, found.entries["/d"].mtime) == (0o40755, 7)


@pytest.mark.parametrize("name", ["d/caf\u00e9", "d/" + "n" * 200, "d/short"])
def test_a_sparse_member_has_its_own_name_and_not_that_of_a_stand_in(name: str) -> None:
    above, _, last = name.rpartition("/")
    headers = {"major": "1", "minor": "0", "name": name, "realsize": "9000"}
    stand_in = member(
        f"{above}/GNUSparseFile.7/{last}",
        b"1\n0\n5\n".ljust(512, b"\0") + b"hello",
        pax_headers={f"GNU.sparse.{key}": value for key, value in headers.items()},
    )
    found = take_in("x.tar", tar(stand_in, hard_link("again", name)))
    content = b"hello".ljust(9000, b"\0")
    assert {path: found.contents[path] for path in sorted(found.contents) if "cvmfs" not in path} == {
        "/again": content,
        f"/{name}": content,
    }
    assert sorted(path for path, entry in found.entries.items() if entry.is_directory) == ["", "/d"]


def test_what_several_names_of_a_file_become() -> None:
    body = tar(
        member("a/1", b"one"),
        hard_link("a/2", "./a/1"),
        hard_link("a/3", "a/2"),
        hard_link("b/1", "a/1"),
        hard_link("c/1", "a/1"),
        hard_link("c/2", "b/1"),
        member("a/2", b"another file by now"),
        link("a/link", "1"),
        hard_link("a/link2", "a/link"),
        hard_link("a/1", "a/1"),
        member("a/large", bytes(5000)),
        hard_link("a/large2", "a/large"),
    )
    found = take_in("t.tar", body)
    assert found.contents["/a/2"] == b"another file by now"
    assert {found.contents[path] for path in ("/a/1", "/a/3", "/b/1", "/c/1", "/c/2")} == {b"one"}
    assert groups(found.entries) == {
        frozenset(names)
        for names in (("/a/1", "/a/3"), ("/c/1", "/c/2"), ("/a/link", "/a/link2"), ("/a/large", "/a/large2"))
    }


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_a_single_top_folder_named_as_the_archive_is_folded_away_and_only_that(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_tree, "BATCH_ENTRIES", batch)
    inside = [directory("t", mtime=9), member("t/a", b"1"), hard_link("t/b", "t/a"), directory("t/.d")]
    folded = take_in("t.tar", tar(directory("."), *inside))
    assert set(folded.entries) == {"", "/.cvmfscatalog", "/a", "/b", "/.d"}
    assert folded.entries[""].mtime == 9
    outside = take_in("t.tar", tar(directory(".", mtime=3), *inside, member("u/v", b"2")))
    assert set(outside.entries) == {"", "/.cvmfscatalog", "/t", "/t/a", "/t/b", "/t/.d", "/u", "/u/v"}
    assert (outside.entries[""].mtime, outside.entries["/t"].mtime, outside.entries["/t"].linkcount) == (3, 9, 3)
    assert groups(outside.entries) == {frozenset({"/t/a", "/t/b"})}
    assert set(take_in("t.tar", tar(member("t", b"1"))).entries) == {"", "/.cvmfscatalog", "/t"}


def test_markers_are_stored_as_they_are_entered_also_where_content_is_not_compressed() -> None:
    taken = take_in("a.tar", tar(member("x", b"1")), recipe=Recipe(compression=Compression.NONE))
    assert taken.contents["/.cvmfscatalog"] == b""


def test_markers_in_an_archive_start_nested_catalogs_except_those_of_a_balancer(world: World) -> None:
    world.repository()
    body = tar(
        member("own/.cvmfscatalog"),
        hard_link("own/x", "own/.cvmfscatalog"),
        member("balanced/.cvmfsautocatalog"),
        member("balanced/.cvmfscatalog"),
        member("balanced/x", b"1"),
    )
    world.upload("cvmfs/t.tar", body)
    world.run_until_quiet()
    with world.reader() as snapshot:
        assert [path for path, _, _ in snapshot.catalogs()] == ["", "/t", "/t/own"]
        assert [name for name, _ in snapshot.listing("/t/balanced")] == ["x"]
    assert findings(world) == []


def test_hard_links_stay_right_when_single_files_are_uploaded_over_them(world: World) -> None:
    world.repository()
    names = ("a", "b", "c", "d")
    world.upload("cvmfs/t.tar", tar(member("x/a", b"one"), *(hard_link(f"x/{name}", "x/a") for name in names[1:])))
    world.run_until_quiet()
    with world.reader() as snapshot:
        assert groups(snapshot.walk("/t")) == {frozenset(f"/t/x/{name}" for name in names)}
    world.upload("cvmfs/t/x/b", b"two")
    world.upload("cvmfs/t/x/c/now-a-directory", b"three")
    world.run_until_quiet()
    with world.reader() as snapshot:
        assert groups(snapshot.walk("/t")) == {frozenset({"/t/x/a", "/t/x/d"})}
        assert (snapshot.read("/t/x/a"), snapshot.read("/t/x/b")) == (b"one", b"two")
    assert findings(world) == []
    world.delete("cvmfs/t/x/b")
    world.upload("cvmfs/t/x/d", b"four")
    world.run_until_quiet()
    with world.reader() as snapshot:
        assert groups(snapshot.walk("/t")) == {frozenset({"/t/x/a", "/t/x/b"})}  # the member b is back
        assert (snapshot.read("/t/x/b"), snapshot.read("/t/x/d")) == (b"one", b"four")
    assert findings(world) == []
    world.delete("cvmfs/t.tar")
    world.run_until_quiet()
    assert findings(world) == []


def test_groups_keep_numbers_of_their_own_when_their_tree_is_split() -> None:
    pairs = [(f"d{number % 3}/{number}", f"d{number % 3}/{number}-too") for number in range(300)]
    body = tar(*(part for first, second in pairs for part in (member(first), hard_link(second, first))))
    found = take_in("t.tar", body, weights=CatalogWeights(most=100, balanced=50, least=10))
    assert found.catalogs == 4
    assert len(groups(found.entries)) == len(pairs)


# Zip


def unix(name: str, mode: int = 0o100644, system: int = 3, extra: bytes = b"", **attributes: object) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
    found.create_system, found.external_attr, found.extra = system, mode << 16, extra
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["stored", "deflated", "bzip2", "lzma"],
)
@pytest.mark.parametrize("zip64", [False, True], ids=["32 bits", "64 bits"])
def test_every_method_of_zip(compression: int, zip64: bool) -> None:
    large = bytes(range(256)) * 2_000
    body = zipped(("small", b"1"), ("large", large), ("none", b""), compression=compression, force_zip64=zip64)
    found = take_in("z.zip", body)
    assert found.contents == {"/.cvmfscatalog": b"", "/small": b"1", "/large": large, "/none": b""}


def _raw_name(body: bytes, placeholder: bytes, raw: bytes) -> bytes:
    """The same archive with other bytes of a name, and without the flag that says UTF-8."""
    assert len(placeholder) == len(raw)
    return body.replace(placeholder, raw)


@pytest.mark.parametrize(
    ("system", "raw", "name"),
    [
        pytest.param(3, "größe".encode(), "größe", id="UTF-8 of a Unix without the flag"),
        pytest.param(19, "größe".encode(), "größe", id="UTF-8 of a Mac without the flag"),
        pytest.param(0, "größe!!".encode("cp437"), "größe!!", id="the code page of DOS"),
        pytest.param(0, b"a\\b\\c!!", "a/b/c!!", id="backslashes of DOS"),
        pytest.param(3, b"a\\b\\c!!", "a\\b\\c!!", id="backslashes of a Unix"),
    ],
)
def test_names_of_zip_members(system: int, raw: bytes, name: str) -> None:
    body = zipped((unix("placehd", 0 if system == 0 else 0o100644, system), b"1"))
    assert set(take_in("z.zip", _raw_name(body, b"placehd", raw)).contents) == {"/.cvmfscatalog", f"/{name}"}


def test_the_unicode_field_of_a_zip_member_names_it_if_it_belongs_to_it() -> None:
    def field(raw: bytes) -> bytes:
        name = "größe".encode()
        return struct.pack("<HHBI", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name

    body = zipped((unix("right", extra=field(b"right")), b"1"), (unix("other", extra=field(b"wrong")), b"2"))
    assert set(take_in("z.zip", body).contents) == {"/.cvmfscatalog", "/größe", "/other"}


def test_times_of_zip_members() -> None:
    extended = struct.pack("<HHBi", 0x5455, 5, 1, 1_700_000_001)
    ntfs = struct.pack("<HHIHHQQQ", 0x000A, 32, 0, 1, 24, (11_644_473_600 + 1_700_000_002) * 10**7, 0, 0)
    body = zipped(
        (unix("e", extra=extended), b""),
        (unix("n", extra=ntfs), b""),
        (unix("w", extra=struct.pack("<HHB", 0x5455, 1, 0)), b""),
    )
    found = take_in("z.zip", body)
    assert [found.entries[path].mtime for path in ("/e", "/n", "/w")] == [1_700_000_001, 1_700_000_002, 1_767_323_046]


def test_modes_of_zip_members() -> None:
    body = zipped(
        (unix("run", 0, 0), b"#!/bin/sh"),
        (unix("text", 0, 0), b"hello"),
        (unix("mine", 0o104700), b"1"),
        (unix("folder", 0o040700), b""),
        (unix("dos", 0, 0, external_attr=0x10), b""),
        (unix("slash/", 0, 0), b""),
        (unix("link", 0o120777), b"mine"),
    )
    found = take_in("z.zip", body)
    modes = {path: f"{entry.mode:o}" for path, entry in found.entries.items()}
    del modes[""], modes["/.cvmfscatalog"]
    assert modes == {
        "/run": "100755",
        "/text": "100644",
        "/mine": "100755",
        "/folder": "40755",
        "/dos": "40755",
        "/slash": "40755",
        "/link": "120777",
    }
    assert found.entries["/link"].symlink == "mine"


def test_a_zip_behind_a_program_that_unpacks_it_and_one_under_another_name() -> None:
    body = zipped(("a", b"1"))
    assert take_in("z.zip", b"#!/bin/sh\nexit 1\n" + body).contents["/a"] == b"1"
    assert take_in("z.tar", body).contents["/a"] == b"1"


# Storing


def test_small_files_are_packed_by_other_threads_in_batches_and_all_of_them_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(small_files, "BATCH_FILES", 3)
    monkeypatch.setattr(small_files, "BATCHES_WAITING", 2)
    filling = bytes(small_files.WORTH_BYTES)
    stored: list[object] = []
    with ThreadPoolExecutor(2) as executor:
        files = SmallFiles(Recipe(), stored.append, executor)
        tickets = [files.add(b"#!%d" % number + filling) for number in range(20)]
        contents = [ticket.content() for ticket in tickets]
    assert [item.address.digest for item in stored] == [found.digest for found in contents]
    assert {(found.head[:2], found.chunks) for found in contents} == {(b"#!", ())}
    alone = SmallFiles(Recipe(), stored.append).add(b"#!7" + filling).content()
    assert alone == contents[7]


@pytest.mark.parametrize(("size", "is_worth_a_thread"), [(1, False), (small_files.WORTH_BYTES, True)])
def test_very_small_files_are_packed_by_who_reads_them(
    size: int, is_worth_a_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed_by = []

    def packed(contents: list[bytes], recipe: Recipe) -> list[StoredObject]:
        packed_by.append(threading.current_thread())
        return [pack(content, Kind.FILE, recipe.algorithm) for content in contents]

    monkeypatch.setattr(small_files, "_packed", packed)
    with ThreadPoolExecutor(1) as executor:
        SmallFiles(Recipe(), [].append, executor).add(bytes(size)).content()
    assert (packed_by != [threading.current_thread()]) is is_worth_a_thread


def test_only_what_is_never_cut_counts_as_small() -> None:
    limits = ChunkLimits(64, 128, 256)
    assert SmallFiles(Recipe(limits=limits), [].append).limit == 64


def test_a_tree_is_as_large_as_its_last_batch() -> None:
    tree = ArchiveTree("/t", modified=1)
    for number in range(2_500):
        tree.put(f"/d/{number}", Entry.link("x", mtime=1))
    assert len(tree._pending) <= archive_tree.BATCH_ENTRIES
    assert tree.finish() == []
    assert tree.tree.root.entry_count == 2_502
    tree.close()


def test_tarfile_remembers_no_members(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = tarfile.TarFile.next

    def watched(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        seen.append(len(archive.members))
        return original(archive)

    monkeypatch.setattr(tarfile.TarFile, "next", watched)
    take_in("t.tar", tar(*(member(str(number)) for number in range(50))))
    assert max(seen) <= 1


def test_reading_goes_only_forwards() -> None:
    stream = ForwardStream([b"0123", b"4567", b"89"])
    assert stream.read(2) == b"01"
    stream.seek(5)
    assert (stream.tell(), stream.read(2), stream.read(9), stream.read(1)) == (5, b"56", b"789", b"")
    with pytest.raises(OSError, match="begins before"):
        stream.seek(3)
