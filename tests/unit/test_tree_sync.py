"""Local trees published into a repository in memory, told by what the verifying reader sees at the end."""

from __future__ import annotations

import inspect
import os
import stat
import sys
from dataclasses import replace

import pytest

from functions.cvmfs.compression import STOCK, Compression
from functions.errors import TreeEmpty, TreeMoved, TreeRefused, VersionMoved
from functions.publishing.content import Recipe
from functions.publishing.local_tree import TreeItem
from functions.publishing.nesting import CatalogWeights
from functions.publishing.revision import TagRequest
from functions.publishing.tree_publish import TreePublish
from functions.publishing.tree_sync import ChangeKind
from tests.local_trees import SMALL_CHUNKS, Node, PaperRepository, PaperTree, folder

HELLO = Node(content=b"hello\n")


def changes(plan):
    return sorted(f"{change.kind.value} {change.path}" for change in plan.changes)


def quiet(*_):
    pass


def test_a_new_tree_is_added_with_modes_links_and_empty_directories():
    repository = PaperRepository()
    tree = {
        "/bin": folder(0o755),
        "/bin/tool": Node(content=b"#!/bin/sh\n", permissions=0o755),
        "/current": Node(target="bin/tool"),
        "/empty": folder(0o700),
    }
    published, plan = repository.publish(tree)
    assert (published.changed, published.manifest.revision) == (True, 2)
    assert changes(plan) == ["+ /bin", "+ /bin/tool", "+ /current", "+ /empty"]
    assert repository.shown() == tree
    assert repository.findings() == []


CASES = [
    pytest.param({"/a": HELLO}, {"/a": Node(content=b"HELLO\n", mtime_ns=5)}, ["~ /a"], ["/a"], id="other content"),
    pytest.param({"/a": HELLO}, {"/a": Node(content=b"hello, you\n")}, ["~ /a"], ["/a"], id="other size, same time"),
    pytest.param({"/a": HELLO}, {"/a": Node(content=b"hello\n", mtime_ns=5)}, ["~ /a"], ["/a"], id="other time only"),
    pytest.param(
        {"/a": HELLO},
        {"/a": Node(content=b"hello\n", mtime_ns=HELLO.mtime_ns + 1)},
        ["~ /a"],
        ["/a"],
        id="one nanosecond later",
    ),
    pytest.param(
        {"/a": HELLO},
        {"/a": Node(content=b"hello\n", permissions=0o755)},
        ["~ /a"],
        [],
        id="other mode: nothing is read",
    ),
    pytest.param({"/a": HELLO}, {}, ["- /a"], [], id="a file is gone"),
    pytest.param({"/d/a": HELLO, "/d/e/b": HELLO}, {}, ["- /d"], [], id="a directory is gone with all below"),
    pytest.param({"/a": HELLO}, {"/a": folder()}, ["~ /a"], [], id="a file becomes a directory"),
    pytest.param({"/a": HELLO}, {"/a/b": HELLO}, ["+ /a/b", "~ /a"], ["/a/b"], id="a file becomes a full directory"),
    pytest.param({"/a/b": HELLO}, {"/a": HELLO}, ["~ /a"], ["/a"], id="a full directory becomes a file"),
    pytest.param({"/a/b": HELLO}, {"/a": Node(target="b")}, ["~ /a"], [], id="a full directory becomes a link"),
    pytest.param({"/a": Node(target="b")}, {"/a": HELLO}, ["~ /a"], ["/a"], id="a link becomes a file"),
    pytest.param({"/a": Node(target="b")}, {"/a": Node(target="c")}, ["~ /a"], [], id="a link points elsewhere"),
    pytest.param({"/a": folder(0o755)}, {"/a": folder(0o711)}, ["~ /a"], [], id="a directory has another mode"),
    pytest.param({"/a": folder()}, {"/a": folder(mtime_ns=7)}, ["~ /a"], [], id="a directory has another time"),
    pytest.param(
        {"/a/b": HELLO, "/a": folder()},
        {"/a/b": HELLO, "/a": folder(mtime_ns=7)},
        ["~ /a"],
        [],
        id="a directory has another time, its content stays",
    ),
    pytest.param(
        {"/big": Node(content=b"ab" * 500)},
        {"/big": Node(content=b"ab" * 500, permissions=0o600)},
        ["~ /big"],
        [],
        id="a chunked file has another mode",
    ),
]


@pytest.mark.parametrize(("before", "after", "expected", "read"), CASES)
def test_what_differs_is_planned_and_published(before, after, expected, read):
    repository = PaperRepository()
    repository.publish(before)
    tree = PaperTree(after)
    published, plan = repository.publish(tree)
    assert (published.changed, changes(plan), tree.read) == (True, expected, read)
    complete = tree.complete()
    del complete[""]
    assert repository.shown() == complete
    assert repository.findings() == []


def test_a_dry_run_reads_no_file_and_writes_nothing():
    repository = PaperRepository()
    tree = PaperTree({"/a": HELLO})
    before = {info.path for info in repository.store.list("")}
    assert changes(repository.job(tree).plan()) == ["+ /a"]
    assert tree.read == []
    assert {info.path for info in repository.store.list("")} == before


def test_below_a_path_everything_is_made_equal_and_missing_directories_are_made():
    repository = PaperRepository()
    repository.publish({"/keep": HELLO, "/sub/old": HELLO})
    repository.publish({"/new": HELLO}, "/sub")
    repository.publish({"/new": HELLO}, "/a/b")
    assert repository.shown().keys() == {"/keep", "/sub", "/sub/new", "/a", "/a/b", "/a/b/new"}


def test_a_single_file_is_published_at_its_path():
    repository = PaperRepository()
    repository.publish(PaperTree({}, top=HELLO), "/etc/motd")
    assert repository.shown()["/etc/motd"] == HELLO
    published, _ = repository.publish(PaperTree({}, top=HELLO), "/etc/motd")
    assert not published.changed


def test_the_top_directory_keeps_the_mode_it_has_in_the_repository_and_is_readable_when_it_is_made():
    repository = PaperRepository()
    private = PaperTree({"/a": HELLO}, top=folder(0o700))
    repository.publish(private)
    repository.publish(private, "/sub")
    snapshot = repository.reader().snapshot()
    assert [stat.S_IMODE(snapshot.lookup(path).mode) for path in ("", "/sub")] == [0o755, 0o755]


def test_a_file_in_the_way_of_the_path_is_told_and_kept():
    repository = PaperRepository()
    repository.publish({"/a": HELLO})
    with pytest.raises(TreeRefused, match="/a is a file in the repository"):
        repository.publish({"/b": HELLO}, "/a/x")
    assert repository.shown() == {"/a": HELLO}


REFUSED = [
    pytest.param({"/.cvmfs/x": HELLO}, "", "/.cvmfs/x has a name that CVMFS keeps for itself", id="/.cvmfs"),
    pytest.param({"/x": HELLO}, "/.cvmfs", "/.cvmfs has a name that CVMFS keeps", id="published at /.cvmfs"),
    pytest.param({"/.cvmfspublished": HELLO}, "", "that CVMFS keeps for itself", id="a name of the repository's root"),
    pytest.param({"/a/.cvmfscatalog/b": HELLO}, "", "a name that only a file may have", id="a directory as marker"),
    pytest.param({"/a/.cvmfsgraft-b": HELLO}, "", "describes a graft", id="graft"),
]


@pytest.mark.parametrize(("nodes", "place", "reason"), REFUSED)
def test_what_no_repository_can_hold_is_refused_and_nothing_is_published(nodes, place, reason):
    repository = PaperRepository()
    tree = PaperTree(nodes | {"/fine": HELLO})
    with pytest.raises(TreeRefused, match=reason):
        repository.publish(tree, place)
    assert repository.reader().manifest.revision == 1
    assert tree.read == []


SPECIAL = {
    "/pipe": Node(special=stat.S_IFIFO, permissions=0o600),
    "/socket": Node(special=stat.S_IFSOCK),
    "/null": Node(special=stat.S_IFCHR, device=os.makedev(1, 3)),
    "/disk": Node(special=stat.S_IFBLK, device=os.makedev(8, 1)),
}


def test_pipes_sockets_and_devices_are_published_and_compared():
    repository = PaperRepository()
    repository.publish(SPECIAL)
    assert repository.shown() == SPECIAL
    published, _ = repository.publish(SPECIAL)
    assert not published.changed
    changed = SPECIAL | {"/null": Node(special=stat.S_IFCHR, device=os.makedev(1, 5)), "/pipe": HELLO}
    _, plan = repository.publish(changed)
    assert changes(plan) == ["~ /null", "~ /pipe"]
    assert repository.shown() == changed
    assert repository.findings() == []


LEFT_OUT = [
    pytest.param({"/.cvmfscatalog": HELLO}, "", "/.cvmfscatalog is left out: the root of a", id="marker in the root"),
    pytest.param({"/gone": Node(special=stat.S_IFCHR)}, "/in", "/in/gone is left out: overlay", id="whiteout"),
]


@pytest.mark.parametrize(("nodes", "place", "remark"), LEFT_OUT)
def test_what_does_no_harm_is_left_out_and_told(nodes, place, remark):
    repository = PaperRepository()
    _, plan = repository.publish(nodes | {"/fine": HELLO}, place)
    assert [text.startswith(remark) for text in plan.remarks] == [True]
    assert repository.shown(place).keys() == {"/fine"}
    assert repository.findings() == []


def test_names_that_are_no_utf8_are_told_and_published():
    repository = PaperRepository()
    tree = {"/\udcff": HELLO, "/d/\udcfe\udc80": HELLO, "/é": HELLO}
    _, plan = repository.publish(tree)
    assert plan.remarks == ("Names that are not UTF-8: 2; they are published byte by byte.",)
    assert repository.shown().keys() == {*tree, "/d"}


def test_owners_and_attributes_are_compared_where_the_tree_has_them():
    repository = PaperRepository()
    named = {"/f": replace(HELLO, owner=(1, 2), xattrs=(("user.a", b"1"),)), "/d": replace(folder(), owner=(3, 4))}
    repository.publish(named)
    snapshot = repository.reader().snapshot()
    assert [(snapshot.lookup(path).uid, snapshot.lookup(path).gid) for path in named] == [(1, 2), (3, 4)]
    assert snapshot.lookup("/f").xattrs == {"user.a": b"1"}
    tree = PaperTree(named | {"/f": replace(named["/f"], owner=(5, 2), xattrs=(("user.b", b""),))})
    _, plan = repository.publish(tree)
    assert (changes(plan), tree.read) == (["~ /f"], [])
    entry = repository.reader().snapshot().lookup("/f")
    assert (entry.uid, entry.xattrs) == (5, {"user.b": b""})
    published, _ = repository.publish({"/f": HELLO, "/d": folder()})
    assert not published.changed
    _, plan = repository.publish({"/f": replace(HELLO, xattrs=()), "/d": folder()})
    assert repository.reader().snapshot().lookup("/f").xattrs == {}
    assert repository.findings() == []


def test_a_tree_that_holds_still_at_last_is_published():
    class Restless(PaperTree):
        def blocks(self, item: TreeItem):
            if len(self.read) < 2:
                self.read.append(item.path)
                self.nodes = {"/a": Node(content=b"final", mtime_ns=len(self.read))}
                raise TreeMoved("/a changed while it was read.")
            yield from super().blocks(item)

    repository = PaperRepository()
    tree = Restless({"/a": HELLO, "/b": HELLO})
    repository.publish(tree)
    assert repository.shown() == {"/a": Node(content=b"final", mtime_ns=2)}


def test_an_empty_tree_is_refused_only_where_something_would_go():
    repository = PaperRepository()
    empty = PaperTree({})
    job = replace(repository.job(empty), may_empty=False)
    published, _ = job.publish(progress=quiet)
    assert not published.changed
    repository.publish({"/a": HELLO})
    with pytest.raises(TreeEmpty, match="everything at / would be removed"):
        job.publish(progress=quiet)
    assert repository.shown() == {"/a": HELLO}
    replace(job, place="/elsewhere").publish(progress=quiet)
    assert repository.shown().keys() == {"/a", "/elsewhere"}


def test_a_file_with_another_content_and_the_same_time_is_found_by_content():
    repository = PaperRepository()
    tree = {
        "/a": HELLO,
        "/big": Node(content=b"ab" * 300),
        "/b": Node(content=b"other", inode=1),
        "/c": Node(content=b"other", inode=1),
    }
    repository.publish(tree)
    other = PaperTree(tree | {"/a": Node(content=b"HELLO\n")})
    published, _ = repository.publish(other)
    assert not published.changed
    _, plan = replace(repository.job(other), by_content=True).publish(progress=quiet)
    assert changes(plan) == ["~ /a"]
    assert repository.reader().snapshot().read("/a") == b"HELLO\n"
    stock = Recipe(limits=SMALL_CHUNKS, codec=STOCK)
    published, _ = replace(repository.job(other), by_content=True, recipe=stock).publish(progress=quiet)
    assert not published.changed


@pytest.mark.parametrize("marked", [False, True])
def test_a_tree_may_be_deeper_than_python_likes_to_recurse(marked):
    repository = PaperRepository()
    paths = [deep[:end] for deep in ["/d" * 160] for end in range(2, 321, 2)]
    tree = {path: folder() for path in paths} | {f"{paths[-1]}/file": HELLO}
    if marked:
        tree |= {f"{path}/.cvmfscatalog": Node(content=b"") for path in paths}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        repository.publish(tree)
        assert {path for path, _ in repository.reader().snapshot().walk()} == {"", *tree}
    finally:
        sys.setrecursionlimit(limit)
    assert repository.mounts() == ["", *(paths if marked else ())]
    assert repository.findings() == []


def test_a_refusal_names_the_first_faults_and_counts_the_rest():
    repository = PaperRepository()
    with pytest.raises(TreeRefused, match=r"/\.cvmfs4 has a name that CVMFS keeps for itself; and 3 more\."):
        repository.publish({f"/.cvmfs{number}": HELLO for number in range(8)})


def test_a_directory_tree_cannot_be_published_as_a_file_of_the_root():
    with pytest.raises(TreeRefused, match="must be a directory"):
        PaperRepository().publish(PaperTree({}, top=HELLO))


def test_a_marker_starts_a_nested_catalog_and_its_removal_ends_it():
    repository = PaperRepository()
    tree = {"/lib": folder(), "/lib/a": HELLO, "/lib/deep": folder(), "/lib/deep/b": HELLO}
    marks = {"/lib/.cvmfscatalog": Node(content=b""), "/lib/deep/.cvmfscatalog": Node(content=b"")}
    repository.publish(tree | marks)
    assert repository.mounts() == ["", "/lib", "/lib/deep"]
    repository.publish(tree | {"/lib/deep/.cvmfscatalog": Node(content=b"")})
    assert repository.mounts() == ["", "/lib/deep"]
    repository.publish(tree)
    assert repository.mounts() == [""]
    assert repository.shown() == tree
    assert repository.findings() == []


def test_an_edit_inside_a_nested_catalog_touches_only_the_catalogs_above():
    repository = PaperRepository()
    marks = {f"/{name}/.cvmfscatalog": Node(content=b"") for name in "abc"}
    tree = marks | {f"/{name}/file": HELLO for name in "abc"}
    repository.publish(tree)
    before = {path: digest for path, digest, _ in repository.reader().snapshot().catalogs()}
    repository.publish({"/file": Node(content=b"new"), "/.cvmfscatalog": Node(content=b"")}, "/b")
    after = {path: digest for path, digest, _ in repository.reader().snapshot().catalogs()}
    assert [path for path in after if after[path] != before[path]] == ["", "/b"]


def test_a_published_path_opens_no_catalog_beside_it():
    repository = PaperRepository()
    tree = {f"/{name}/.cvmfscatalog": Node(content=b"") for name in "abc"}
    repository.publish(tree)
    beside = [digest for path, digest, _ in repository.reader().snapshot().catalogs() if path in {"/a", "/c"}]
    for digest in beside:
        repository.store.delete(f"data/{str(digest)[:2]}/{str(digest)[2:]}C")
    fresh = PaperRepository()
    fresh.store = repository.store
    object.__setattr__(fresh.publisher, "store", repository.store)
    published, _ = fresh.publish({"/.cvmfscatalog": Node(content=b""), "/x": HELLO}, "/b")
    assert published.changed


def test_markers_of_the_balancer_are_kept_until_the_user_marks_the_directory():
    repository = PaperRepository(weights=CatalogWeights(most=6, balanced=4, least=2))
    tree = {"/d": folder()} | {f"/d/{number}": HELLO for number in range(8)}
    repository.publish(tree)
    assert repository.mounts() == ["", "/d"]
    marked = tree | {"/d/.cvmfscatalog": Node(content=b"mine")}
    repository.publish(marked)
    snapshot = repository.reader().snapshot()
    assert snapshot.lookup("/d/.cvmfsautocatalog") is None
    assert snapshot.read("/d/.cvmfscatalog") == b"mine"
    assert repository.findings() == []


def test_a_copy_of_a_balanced_repository_does_not_make_its_markers_the_users():
    repository = PaperRepository()
    tree = {"/d/a": HELLO, "/d/.cvmfscatalog": Node(content=b""), "/d/.cvmfsautocatalog": Node(content=b"")}
    repository.publish(tree)
    assert repository.shown().keys() == {"/d", "/d/a"}
    assert repository.mounts() == [""]


def test_equal_files_are_stored_once():
    repository = PaperRepository()
    before = sum(1 for _ in repository.store.list("data/"))
    repository.publish({f"/{number}": HELLO for number in range(50)})
    new = sum(1 for _ in repository.store.list("data/")) - before
    assert new == len(["content", "catalog", "tags"])


def test_a_repository_without_compression_stores_files_as_they_are():
    repository = PaperRepository()
    job = TreePublish(repository.publisher, PaperTree({"/a": HELLO}), "", Recipe(compression=Compression.NONE))
    job.publish(progress=quiet)
    assert repository.shown() == {"/a": HELLO}
    digest = repository.reader().snapshot().lookup("/a").digest
    assert repository.fetch(f"data/{str(digest)[:2]}/{str(digest)[2:]}") == b"hello\n"
    assert repository.findings() == []


def test_a_tag_makes_a_revision_even_of_an_equal_tree():
    repository = PaperRepository()
    repository.publish({"/a": HELLO})
    published, plan = repository.job(PaperTree({"/a": HELLO})).publish(tag=TagRequest("v1", "first"), progress=quiet)
    assert (published.manifest.revision, plan.changes) == (3, [])
    assert [(tag.name, tag.revision) for tag in repository.reader().tags() if tag.name == "v1"] == [("v1", 3)]


def test_progress_tells_of_every_file_and_byte():
    repository = PaperRepository()
    told = []
    tree = PaperTree({f"/{number}": Node(content=b"x" * 250) for number in range(200)})
    repository.job(tree).publish(progress=lambda plan, files, size: told.append((len(plan.files), files, size)))
    assert told[-1] == (200, 200, 50_000)
    assert told == sorted(told)


def test_a_file_that_changes_while_it_is_read_makes_the_publish_fail_for_now():
    class Restless(PaperTree):
        def blocks(self, item: TreeItem):
            yield b"half"
            raise TreeMoved(f"{item.path} changed while it was read.")

    repository = PaperRepository()
    with pytest.raises(TreeMoved, match="/a changed"):
        repository.publish(Restless({"/a": HELLO}))
    assert repository.reader().manifest.revision == 1


def test_a_lost_swap_is_planned_again_on_the_new_revision_without_reading_twice():
    repository = PaperRepository()
    store = repository.store
    rival = PaperRepository()
    rival.store = store
    object.__setattr__(rival.publisher, "store", store)
    swap, lost = store.replace, []

    def replace(path: str, body: bytes, version: str) -> str:
        if path == ".cvmfspublished" and not lost:
            lost.append(path)
            store.replace = swap
            rival.publish({"/theirs": HELLO}, "/rival")
            raise VersionMoved("somebody else was faster")
        return swap(path, body, version)

    store.replace = replace
    tree = PaperTree({"/ours": Node(content=b"ours")})
    published, _ = repository.publish(tree, "/us")
    assert (lost, published.manifest.revision, tree.read) == ([".cvmfspublished"], 3, ["/ours"])
    assert repository.shown().keys() == {"/us", "/us/ours", "/rival", "/rival/theirs"}
    assert repository.findings() == []


def test_changes_are_counted_by_kind():
    repository = PaperRepository()
    repository.publish({"/same": HELLO, "/other": HELLO, "/gone": HELLO})
    _, plan = repository.publish({"/same": HELLO, "/other": Node(content=b"x"), "/new": HELLO})
    assert [plan.count(kind) for kind in ChangeKind] == [1, 1, 1]
    assert plan.unchanged == 1
