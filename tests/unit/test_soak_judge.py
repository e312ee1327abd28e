"""The judge of the soak, judged: it must see what is wrong, and nothing where nothing is."""

from __future__ import annotations

import io
import tarfile

import pytest

from tests.soak.material import Kind, Users
from tests.soak.runtime_process import identity
from tests.soak.wanted import Item, Stored, differences, digest, is_refused_key, wanted


def stored(key, modified, body=b"1", **metadata):
    return Stored(f"cvmfs/{key}", f"etag of {key}", modified, metadata, body)


def packed(*names):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return archive.getvalue()


def paths(*objects):
    return set(wanted(objects).tree)


def test_a_seed_gives_the_same_operations_and_another_gives_others():
    first, again, other = ([users.next() for _ in range(300)] for users in (Users(5, 3), Users(5, 3), Users(6, 3)))
    assert first == again != other


def test_every_kind_of_operation_comes():
    users = Users(1, 1)
    assert {users.next().kind for _ in range(3000)} == set(Kind)


def test_what_every_file_needs_above_it_is_a_directory():
    assert paths(stored("a/b/c", 1)) == {"/a", "/a/b", "/a/b/c"}


def test_the_newer_of_a_file_and_what_is_below_it_wins():
    assert paths(stored("a", 1), stored("a/b", 2)) == {"/a", "/a/b"}
    found = wanted([stored("a", 2), stored("a/b", 1)])
    assert (set(found.tree), found.lost) == ({"/a"}, {"cvmfs/a/b"})


def test_an_upload_into_an_archive_counts_if_it_is_newer():
    archive = stored("p.tar", 5, packed("x/y", "z"))
    assert paths(archive, stored("p/x", 6)) == {"/p", "/p/x", "/p/z"}
    found = wanted([archive, stored("p/x", 4)])
    assert (set(found.tree), found.lost) == ({"/p", "/p/x", "/p/x/y", "/p/z"}, {"cvmfs/p/x"})


def test_one_of_two_archives_of_one_name_holds_the_directory():
    found = wanted([stored("p.tar", 5, packed("old")), stored("p.tar.gz", 6, packed("new"))])
    assert (set(found.tree), found.lost) == ({"/p", "/p/new"}, {"cvmfs/p.tar"})


@pytest.mark.parametrize("key", ["a//b", "../a", "./a", "a/..", ".cvmfs/x", "a\nb", "x" * 256, "d/.cvmfscatalog/x"])
def test_keys_that_nothing_can_be_published_under(key):
    assert is_refused_key(f"cvmfs/{key}")


def test_an_archive_that_cannot_be_read_is_refused():
    assert wanted([stored("p.tar", 1, b"no archive")]).refused == {"cvmfs/p.tar"}


def test_modes_are_read_as_rclone_and_s3fs_write_them():
    found = wanted([stored("a", 1, mode="100600"), stored("b", 1, mode="33261"), stored("c", 1, b"#!/bin/sh")]).tree
    assert [found[path].mode for path in ("/a", "/b", "/c")] == [0o644, 0o755, 0o755]


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"/a": Item("file", 0o644, digest(b"other"))},
        {"/a": Item("file", 0o755, digest(b"1"))},
        {"/a": Item("link", target="x")},
        {"/a": Item("file", 0o644, digest(b"1")), "/b": Item("directory", 0o755)},
    ],
)
def test_differences_are_seen(found):
    assert len(differences(wanted([stored("a", 1)]).tree, found)) == 1


def test_equal_trees_do_not_differ_and_the_publishers_markers_are_its_own():
    tree = wanted([stored("a", 1)]).tree
    assert differences(tree, tree | {"/.cvmfscatalog": Item("file", 0o644, digest(b""))}) == {}


def test_messages_have_one_name_on_every_way():
    event = {"ce-type": "it.infn.x", "ce-id": "1"}
    assert identity(event, b"") == "it.infn.x 1"
    assert identity({"ce-type": "dev.knative.rabbitmq.event", "ce-id": "random"}, b"body") == identity({}, b"body")
