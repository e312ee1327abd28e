"""Trees of the local file system, as they are scanned and read."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from functions.adapters.file_tree import BLOCK_BYTES, FileTree, TreeAspects
from functions.errors import TreeMoved, TreeRefused


def paths(tree: FileTree) -> list[str]:
    return [item.path for item in tree.items()]


def item_at(tree: FileTree, path: str):
    return next(item for item in tree.items() if item.path == path)


def test_everything_is_seen_once_directories_first_and_names_in_byte_order(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "file").touch()
    (tmp_path / "a").touch()
    (tmp_path / "Z").mkdir()
    assert paths(FileTree(tmp_path)) == ["", "/Z", "/a", "/b", "/b/deep", "/b/deep/file"]


def test_modes_sizes_and_times_are_those_of_the_file_system(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    file.chmod(0o751)
    os.utime(file, ns=(1, 1_700_000_000_000_000_042))
    item = item_at(FileTree(tmp_path), "/file")
    assert (item.mode, item.size, item.mtime_ns) == (stat.S_IFREG | 0o751, 5, 1_700_000_000_000_000_042)


@pytest.mark.parametrize("target", ["file", "./file", "a//b/", "/etc/passwd", "nowhere", "."])
def test_links_are_taken_as_they_are_and_not_followed(tmp_path, target):
    os.symlink(target, tmp_path / "link")  # noqa: PTH211  # Path would tidy the target up
    item = item_at(FileTree(tmp_path), "/link")
    assert (stat.S_ISLNK(item.mode), item.target) == (True, target)
    assert paths(FileTree(tmp_path)) == ["", "/link"]


def test_the_top_may_be_a_link_and_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    assert paths(FileTree(tmp_path / "link")) == ["", "/file"]


def test_names_that_are_no_utf8_come_through(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    tree = FileTree(tmp_path)
    item = item_at(tree, "/\udcff\udcfe")
    assert b"".join(tree.blocks(item)) == b"x"


def test_a_file_may_be_the_top(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    tree = FileTree(tmp_path / "file")
    (item,) = tree.items()
    assert (item.path, b"".join(tree.blocks(item))) == ("", b"content")


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_content_comes_in_blocks_of_limited_size(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    tree = FileTree(tmp_path)
    blocks = list(tree.blocks(item_at(tree, "/file")))
    assert b"".join(blocks) == content
    assert all(0 < len(block) <= BLOCK_BYTES for block in blocks)


def test_a_named_pipe_is_seen_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO(item_at(FileTree(tmp_path), "/pipe").mode)


def test_a_top_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TreeRefused, match=r"There is no .*/nothing"):
        list(FileTree(tmp_path / "nothing").items())


def test_a_file_that_was_written_since_the_scan_is_told(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    tree = FileTree(tmp_path)
    item = item_at(tree, "/file")
    os.utime(file, ns=(1, item.mtime_ns + 1))
    with pytest.raises(TreeMoved, match="changed while it was read"):
        list(tree.blocks(item))


def test_a_file_that_disappeared_since_the_scan_is_told(tmp_path):
    file = tmp_path / "file"
    file.touch()
    tree = FileTree(tmp_path)
    item = item_at(tree, "/file")
    file.unlink()
    with pytest.raises(TreeMoved, match="disappeared"):
        list(tree.blocks(item))


def test_a_file_that_became_a_link_since_the_scan_is_not_followed(tmp_path):
    file = tmp_path / "file"
    file.touch()
    tree = FileTree(tmp_path)
    item = item_at(tree, "/file")
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(TreeRefused, match="cannot be read"):
        list(tree.blocks(item))


def test_what_the_file_system_refuses_is_told_with_its_path(tmp_path):
    (tmp_path / "file").touch()
    tree = FileTree(tmp_path / "file" / "below")
    with pytest.raises(TreeRefused, match=r"/file/below cannot be read: Not a directory\."):
        list(tree.items())


def test_paths_longer_than_a_system_call_takes_are_scanned_and_read(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    name = "long" * 60
    for _ in range(40):
        os.mkdir(name, dir_fd=folder)
        deeper = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    file = os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder)
    os.write(file, b"deep down")
    os.symlink("target", "link", dir_fd=folder)
    os.close(file)
    os.close(folder)
    tree = FileTree(tmp_path, TreeAspects(xattrs=True))
    found = {item.path: item for item in tree.items()}
    assert len(found) == 43
    assert found[f"/{name}" * 40 + "/link"].target == "target"
    assert b"".join(tree.blocks(found[f"/{name}" * 40 + "/file"])) == b"deep down"


def test_special_files_have_the_sizes_that_catalogs_want(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        tree = FileTree(tmp_path)
        assert [item_at(tree, path).size for path in ("/pipe", "/socket")] == [0, 0]


def test_only_files_with_several_names_have_an_inode(tmp_path):
    (tmp_path / "one").touch()
    os.link(tmp_path / "one", tmp_path / "two")
    (tmp_path / "alone").touch()
    (tmp_path / "folder" / "below").mkdir(parents=True)
    tree = FileTree(tmp_path)
    assert item_at(tree, "/one").inode == item_at(tree, "/two").inode is not None
    assert [item_at(tree, path).inode for path in ("/alone", "/folder")] == [None, None]


def test_owners_are_those_of_the_files_or_the_one_that_is_given(tmp_path):
    (tmp_path / "file").touch()
    assert item_at(FileTree(tmp_path), "/file").owner == (os.getuid(), os.getgid())
    assert item_at(FileTree(tmp_path, TreeAspects(owner=(7, 8))), "/file").owner == (7, 8)


def test_attributes_are_read_if_asked_and_those_that_fit_no_catalog_are_told(tmp_path):
    file = tmp_path / "file"
    file.touch()
    attributes = {"user.a": b"\0\xff", "user.empty": b"", "user.full": b"x" * 255, "user.large": b"x" * 256}
    for name, value in attributes.items():
        set_attribute(file, name, value)
    (tmp_path / "folder").mkdir()
    set_attribute(tmp_path / "folder", "user.b", b"2")
    (tmp_path / "link").symlink_to("file")
    tree = FileTree(tmp_path, TreeAspects(xattrs=True))
    item = item_at(tree, "/file")
    assert item.xattrs == (("user.a", b"\0\xff"), ("user.empty", b""), ("user.full", b"x" * 255))
    assert item.remark == "extended attributes that not all clients read are left out: user.large"
    assert item_at(tree, "/folder").xattrs == (("user.b", b"2"),)
    assert item_at(tree, "/link").xattrs == ()
    assert item_at(FileTree(tmp_path), "/file").xattrs is None


def set_attribute(path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as err:
        if err.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system keeps no extended attributes")


def test_a_file_that_grew_since_the_scan_is_told_though_its_time_is_the_same(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    tree = FileTree(tmp_path)
    item = item_at(tree, "/file")
    file.write_bytes(b"before and after")
    os.utime(file, ns=(1, item.mtime_ns))
    with pytest.raises(TreeMoved, match="changed while it was read"):
        list(tree.blocks(item))


def test_a_directory_that_disappears_during_the_scan_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    scan = FileTree(tmp_path).items()
    assert [next(scan).path, next(scan).path] == ["", "/a"]
    (tmp_path / "a").rmdir()
    with pytest.raises(TreeMoved, match=r"/a disappeared while the tree was read\."):
        next(scan)
