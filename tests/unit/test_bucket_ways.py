"""What S3 clients do to a bucket, in the orders in which it may be heard, and what a verifying reader sees."""

import itertools
from collections.abc import Iterator

import pytest

from events import UploadRefused
from functions.errors import VersionMoved
from functions.ports import ObjectInfo
from functions.publishing.keys import SETTINGS_KEY
from tests.reconciling import settle
from tests.unit.test_stories import content, names
from tests.world import World

pytestmark = pytest.mark.usefixtures("alices_repository")


def attributes(world: World, path: str) -> tuple[str, int, int | None, str]:
    with world.reader() as snapshot:
        entry = snapshot.lookup(path)
        assert entry is not None
        return oct(entry.mode), entry.mtime, entry.mtime_ns, entry.symlink


@pytest.mark.parametrize(
    ("key", "body", "metadata", "shown"),
    [
        pytest.param(
            "a",
            b"1",
            {"mode": "100640", "mtime": "1700000000.123456789"},
            ("0o100644", 1_700_000_000, 123_456_789, ""),
            id="a file of rclone",
        ),
        pytest.param(
            "a", b"1", {"mode": "33261", "mtime": "1700000000"}, ("0o100755", 1_700_000_000, None, ""), id="s3fs"
        ),
        pytest.param(
            "a",
            b"t",
            {"mode": "0120777", "mtime": "1700000000.5"},
            ("0o120777", 1_700_000_000, 500_000_000, "t"),
            id="a link of s3fs",
        ),
        pytest.param(
            "a.rclonelink",
            b"../t",
            {"mtime": "1700000000.25"},
            ("0o120777", 1_700_000_000, 250_000_000, "../t"),
            id="a link of rclone",
        ),
        pytest.param(
            "a/",
            b"",
            {"mode": "0700", "mtime": "1700000000.5"},
            ("0o40755", 1_700_000_000, 500_000_000, ""),
            id="a directory",
        ),
        pytest.param("a", b"\x7fELF\x02", {"mtime": "7"}, ("0o100755", 7, None, ""), id="a program"),
        pytest.param("a", b"#!/bin/sh", {"mtime": "7"}, ("0o100755", 7, None, ""), id="a script"),
        pytest.param("a", b"", {"mtime": "7"}, ("0o100644", 7, None, ""), id="nothing in it"),
        pytest.param("a", b"1", {"mode": "104755", "mtime": "7"}, ("0o100755", 7, None, ""), id="never setuid"),
    ],
)
def test_metadata_is_followed(world: World, key: str, body: bytes, metadata: dict[str, str], shown: tuple) -> None:
    world.upload(f"cvmfs/{key}", body, **metadata)
    settle(world)
    assert attributes(world, "/a") == shown


@pytest.mark.parametrize(
    ("key", "body", "metadata", "code", "told"),
    [
        pytest.param("d/", b"text", {}, "marker-with-content", "4 bytes", id="a directory with content"),
        pytest.param("l.rclonelink", b"x" * 4096, {}, "link-target", "1 to 4095", id="a link nobody could read"),
        pytest.param("t.tgz", b"t-1.tgz", {"mode": "41471"}, "link-as-archive", "'t-1.tgz'", id="a link of s3fs"),
    ],
)
def test_what_two_things_at_once_cannot_be_is_refused_and_says_why(
    world: World, key: str, body: bytes, metadata: dict[str, str], code: str, told: str
) -> None:
    world.upload(f"cvmfs/{key}", body, **metadata)
    settle(world)
    problem = world.problems()[f"cvmfs/{key}"]
    assert (problem.code, told in problem.reason, bool(problem.hint)) == (code, True, True)
    assert names(world) == []
    world.upload("cvmfs/d/", b"")
    world.upload("cvmfs/l.rclonelink", b"x" * 4095)
    world.upload(SETTINGS_KEY, b"[archives]\nunpack = false\n")
    settle(world)
    assert list(world.problems()) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_a_rename_is_a_copy_and_a_removal_in_either_order(world: World, order: tuple[int, ...]) -> None:
    world.upload("cvmfs/old/name", b"1")
    settle(world)
    world.source.put("alice", "cvmfs/new/name", b"1")
    world.source.delete("alice", "cvmfs/old/name")
    events = [("ObjectCreated:Copy", "cvmfs/new/name"), ("ObjectRemoved:Delete", "cvmfs/old/name")]
    for number in order:
        world.notify(*events[number])
        settle(world)
    assert names(world) == ["new"]
    assert content(world, "/new/name") == b"1"


def test_versions_come_and_go(world: World) -> None:
    first = world.source.put("alice", "cvmfs/a", b"first", metadata={"mtime": "1"})
    world.notify("ObjectCreated:Put", "cvmfs/a")
    settle(world)
    world.source.put("alice", "cvmfs/a", b"second", metadata={"mtime": "2"})
    world.notify("ObjectCreated:Put", "cvmfs/a")
    settle(world)
    assert content(world, "/a") == b"second"
    world.source.put("alice", "cvmfs/a", b"first", metadata={"mtime": "1"}, modified=first.modified)
    world.notify("ObjectRemoved:Delete", "cvmfs/a")  # of the second version: the first one is the current one again
    settle(world)
    assert content(world, "/a") == b"first"
    assert attributes(world, "/a")[1] == 1
    world.source.delete("alice", "cvmfs/a")
    world.notify("ObjectRemoved:DeleteMarkerCreated", "cvmfs/a")
    settle(world)
    assert names(world) == []
    world.source.put("alice", "cvmfs/a", b"first", metadata={"mtime": "1"}, modified=first.modified)
    world.notify("ObjectRemoved:Delete", "cvmfs/a")  # of the delete marker
    settle(world)
    assert content(world, "/a") == b"first"


def test_names_that_differ_in_case_or_unicode_form_are_different(world: World) -> None:
    wanted = ["A", "a", "cafe\u0301", "caf\u00e9"]
    for name in wanted:
        world.upload(f"cvmfs/{name}", name.encode())
    settle(world)
    assert sorted(names(world)) == wanted
    for name in wanted:
        assert content(world, f"/{name}") == name.encode()


@pytest.mark.parametrize("marker_first", [False, True])
def test_a_directory_follows_its_marker_and_without_one_its_files(world: World, marker_first: bool) -> None:
    world.upload("cvmfs/d/old", b"1")
    world.upload("cvmfs/d/new", b"2")
    settle(world)
    newest = attributes(world, "/d/new")[1]
    assert attributes(world, "/d") == ("0o40755", newest, None, "")
    world.upload("cvmfs/d/", b"", mode="0775", mtime="5")
    settle(world)
    assert attributes(world, "/d") == ("0o40775", 5, None, "")
    for key in ["cvmfs/d/", "cvmfs/d/new"] if marker_first else ["cvmfs/d/new", "cvmfs/d/"]:
        world.delete(key)
        settle(world)
    assert attributes(world, "/d") == ("0o40755", attributes(world, "/d/old")[1], None, "")
    world.delete("cvmfs/d/old")
    settle(world)
    assert names(world) == []


class Shifting:
    """A reader in the middle of which something happens to the object."""

    def __init__(self, reader: object, happens: object) -> None:
        self.info: ObjectInfo = reader.info  # type: ignore[attr-defined]
        self._reader = reader
        self._happens = happens

    def blocks(self) -> Iterator[bytes]:
        blocks = self._reader.blocks()  # type: ignore[attr-defined]
        yield next(blocks)
        self._happens()  # type: ignore[operator]
        yield from blocks

    def read(self, start: int) -> bytes:
        return self._reader.read(start)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("becomes", [b"another" * 500_000, None])
def test_an_object_that_changes_while_it_is_read_is_looked_at_again(world: World, becomes: bytes | None) -> None:
    take = world.source.open
    happened = []

    def happens() -> None:
        if not happened:
            happened.append(True)
            if becomes is None:
                world.source.delete("alice", "cvmfs/big")
            else:
                world.source.put("alice", "cvmfs/big", becomes)

    def shifting(bucket: str, key: str) -> object:
        reader = take(bucket, key)
        return None if reader is None or key != "cvmfs/big" else Shifting(reader, happens)

    world.source.open = shifting  # type: ignore[method-assign,assignment]
    world.upload("cvmfs/big", b"x" * (3 << 20))
    world.run_until_quiet()
    assert content(world, "/big") == becomes


def test_an_object_that_never_rests_waits_in_the_queue(world: World) -> None:
    def never(bucket: str, key: str) -> object:
        if key == "cvmfs/a":
            raise VersionMoved("replaced while it was read")
        return None

    take, world.source.open = world.source.open, never  # type: ignore[method-assign,assignment]
    world.upload("cvmfs/a", b"1")
    world.deliver("handle-bucket-notification")
    assert world.answers[-1].status == 503
    world.source.open = take  # type: ignore[method-assign]
    world.run_until_quiet()
    assert content(world, "/a") == b"1"


def test_an_object_that_may_not_be_read_is_a_problem_until_it_may(world: World) -> None:
    world.upload("cvmfs/locked", b"1")
    world.source.unreadable.add(("alice", "cvmfs/locked"))
    for _ in range(3):
        world.deliver("handle-bucket-notification")
    problem = world.problems()["cvmfs/locked"]
    assert problem.code == "object-unreadable"
    assert "403" in problem.reason
    assert len(world.told(UploadRefused)) == 1, "however often it is tried"
    world.source.unreadable.clear()
    world.run_until_quiet()
    assert world.problems() == {}
    with world.reader() as reader:
        assert reader.read("/locked") == b"1"


def test_an_object_that_may_not_be_read_any_more_holds_up_no_other(world: World) -> None:
    world.upload("cvmfs/locked", b"1")
    world.upload("cvmfs/other", b"2")
    while world.deliver("handle-bucket-notification"):
        pass
    world.source.unreadable.add(("alice", "cvmfs/locked"))
    world.run_until_quiet()
    with world.reader() as reader:
        assert (reader.read("/locked"), reader.read("/other")) == (b"1", b"2")


def test_a_version_that_may_not_be_read_leaves_the_one_before_published(world: World) -> None:
    world.upload("cvmfs/file", b"1")
    world.run_until_quiet()
    world.upload("cvmfs/file", b"2")
    world.source.unreadable.add(("alice", "cvmfs/file"))
    world.deliver("handle-bucket-notification")
    with world.reader() as reader:
        assert reader.read("/file") == b"1"
    assert world.problems()["cvmfs/file"].code == "object-unreadable"
