"""Catalog entries: path hashes, flags and extended attributes of the format."""

from __future__ import annotations

import stat

import pytest

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import (
    Chunk,
    Entry,
    EntryFlag,
    base_name,
    decode_text,
    encode_text,
    pack_xattrs,
    parent_path,
    path_hash,
    sorted_names,
    unpack_xattrs,
)
from functions.cvmfs.errors import EntryError


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("", 338333539836370388, 9098107892288553193),
        ("/a", -2906336618250618618, -744252105585281751),
        ("/a/b", -79414819578584146, 8517581007188477988),
        ("/foo", 5745132282796244766, -5819618580357280866),
        ("/foo/bar", -2822516800166431715, 9048809318629099454),
        ("/software", 3445601412511816508, 6267067367417020806),
        ("/software/v1", 5933606009665733622, -8320353742129006166),
        ("/new_repository", 8193369706472672701, 4868506713845114430),
    ],
)
def test_path_hashes_of_the_format(path, first, second):
    assert path_hash(path) == (first, second)


def test_an_undecodable_path_is_hashed_by_its_bytes():
    assert path_hash(decode_text(b"/\xff")) != path_hash("/ÿ")
    assert encode_text(decode_text(b"/\xff\xc3")) == b"/\xff\xc3"


@pytest.mark.parametrize(
    ("path", "parent", "name"),
    [("", "", ""), ("/a", "", "a"), ("/a/b", "/a", "b"), ("/a b/ c", "/a b", " c")],
)
def test_a_path_has_a_parent_and_a_name(path, parent, name):
    assert (parent_path(path), base_name(path)) == (parent, name)


NO_FLAG = EntryFlag(0)


def regular(
    algorithm: HashAlgorithm = HashAlgorithm.SHA1,
    compression: Compression = Compression.ZLIB,
    extra: EntryFlag = NO_FLAG,
    *,
    chunked: bool = False,
) -> Entry:
    digest = algorithm.digest(b"")
    return Entry(
        mode=stat.S_IFREG | 0o644,
        size=1,
        mtime=0,
        digest=None if chunked else digest,
        chunks=(Chunk(0, 1, digest),) if chunked else (),
        compression=compression,
        extra_flags=extra,
    )


def directory(extra: EntryFlag = NO_FLAG) -> Entry:
    return Entry(mode=stat.S_IFDIR | 0o755, size=4096, mtime=0, linkcount=2, extra_flags=extra)


def special(kind: int) -> Entry:
    return Entry(mode=kind | 0o644, size=0, mtime=0)


RMD160, SHAKE128, NONE = HashAlgorithm.RMD160, HashAlgorithm.SHAKE128, Compression.NONE
NESTED_ROOT, MOUNTPOINT, HIDDEN = EntryFlag.NESTED_ROOT, EntryFlag.NESTED_MOUNTPOINT, EntryFlag.HIDDEN


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        pytest.param(Entry.directory(mtime=0), 1, id="directory"),
        pytest.param(directory(MOUNTPOINT), 3, id="nested catalog, in the parent"),
        pytest.param(directory(NESTED_ROOT), 33, id="nested catalog, in the child"),
        pytest.param(regular(), 4, id="file, zlib, SHA-1"),
        pytest.param(regular(RMD160), 260, id="file, zlib, RIPEMD-160"),
        pytest.param(regular(SHAKE128), 516, id="file, zlib, SHAKE-128"),
        pytest.param(regular(compression=NONE), 2052, id="file, uncompressed"),
        pytest.param(regular(chunked=True), 68, id="chunked"),
        pytest.param(regular(SHAKE128, NONE, chunked=True), 2628, id="chunked, uncompressed, SHAKE-128"),
        pytest.param(Entry.link("target", mtime=0), 12, id="symlink"),
        pytest.param(special(stat.S_IFIFO), 20, id="fifo"),
        pytest.param(special(stat.S_IFSOCK), 20, id="socket"),
        pytest.param(special(stat.S_IFCHR), 20, id="character device"),
        pytest.param(special(stat.S_IFBLK), 20, id="block device"),
        pytest.param(regular(extra=EntryFlag.EXTERNAL), 132, id="external"),
        pytest.param(regular(extra=EntryFlag.EXTERNAL, chunked=True), 196, id="external, chunked"),
        pytest.param(regular(extra=EntryFlag.DIRECT_IO), 65540, id="direct I/O"),
        pytest.param(directory(HIDDEN | MOUNTPOINT), 32771, id="/.cvmfs in the parent"),
        pytest.param(directory(HIDDEN | NESTED_ROOT), 32801, id="/.cvmfs in its own catalog"),
        pytest.param(directory(EntryFlag.BIND_MOUNTPOINT), 16385, id="bind mount"),
    ],
)
def test_flags_of_the_format(entry, flags):
    assert entry.flags == flags


def test_links_and_directories_are_made_with_the_values_of_the_format():
    link = Entry.link("$(CVMFS_ARCH)/é", mtime=5)
    assert (link.mode, link.size, link.is_symlink, link.algorithm) == (41471, 16, True, None)
    folder = Entry.directory(mtime=5)
    assert (folder.mode, folder.size, folder.linkcount, folder.is_directory) == (16877, 4096, 2, True)
    assert regular().mode == 33188


EXAMPLE = bytes.fromhex(
    "01021304736563757269 74792e6361706162696c697479 01000002 0803 757365722e666f6f 626172".replace(" ", "")
)


def test_the_xattr_example_of_the_format():
    xattrs = {"user.foo": b"bar", "security.capability": b"\1\0\0\2"}
    assert pack_xattrs(xattrs) == EXAMPLE
    assert unpack_xattrs(EXAMPLE) == xattrs
    assert unpack_xattrs(EXAMPLE + b"trailing bytes") == xattrs


def test_no_attributes_are_null_not_an_empty_blob():
    assert pack_xattrs({}) is None
    assert unpack_xattrs(None) == {}
    assert unpack_xattrs(b"\1\0") == {}


@pytest.mark.parametrize(
    "xattrs",
    [
        pytest.param({"k" * 256: b""}, id="name of 256 bytes"),
        pytest.param({"é" * 128: b""}, id="name of 128 characters and 256 bytes"),
        pytest.param({"k": b"v" * 65536}, id="value of 65536 bytes"),
        pytest.param({"": b"v"}, id="empty name"),
        pytest.param({"a\0b": b"v"}, id="NUL in the name"),
        pytest.param({f"k{n}": b"" for n in range(256)}, id="256 attributes"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(xattrs):
    with pytest.raises(EntryError):
        pack_xattrs(xattrs)


def test_large_values_are_read_and_written_as_newer_releases_do():
    xattrs = {"user.large": b"v" * 256, "user.small": b"s"}
    blob = b"\2\2\x0a\0\1user.large" + b"v" * 256 + b"\x0a\1\0user.smalls"
    assert unpack_xattrs(blob) == xattrs
    assert pack_xattrs(xattrs) == blob
    assert pack_xattrs({"user.small": b"s"})[0] == 1


def test_the_largest_attributes_fit():
    xattrs = {f"{n:03}".ljust(255, "k"): bytes([n]) * 255 for n in range(255)}
    assert pack_xattrs(xattrs)[0] == 1
    assert unpack_xattrs(pack_xattrs(xattrs)) == xattrs
    xattrs["user.largest"] = b"v" * 65535
    del xattrs["000".ljust(255, "k")]
    assert unpack_xattrs(pack_xattrs(xattrs)) == xattrs


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\1", id="no number"),
        pytest.param(b"\3\0", id="another version"),
        pytest.param(b"\2\1\1\0", id="half the lengths of version 2"),
        pytest.param(b"\2\1\1\0\1k", id="a large value cut off"),
        pytest.param(b"\1\1", id="no lengths"),
        pytest.param(b"\1\1\1", id="half the lengths"),
        pytest.param(b"\1\1\0\0", id="empty name"),
        pytest.param(b"\1\1\2\0k", id="name cut off"),
        pytest.param(EXAMPLE[:-1], id="value cut off"),
    ],
)
def test_a_damaged_xattr_blob_is_refused(blob):
    with pytest.raises(EntryError):
        unpack_xattrs(blob)


def test_names_are_sorted_by_their_bytes():
    assert sorted_names(["\udcff", "b", "é", "a", "\U0001f42b", "B"]) == ["B", "a", "b", "é", "\U0001f42b", "\udcff"]
