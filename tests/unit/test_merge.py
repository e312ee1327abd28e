"""Two publishers at once, case by case: what survives, what is told, and what is not even looked at."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.entry import AUTO_MARKER_NAME, Entry, parent_path
from functions.publishing.nesting import CatalogWeights
from tests.forest import Forest, Wood

UNBALANCED = CatalogWeights()


def file(content: str, **changes) -> Entry:
    digest = HashAlgorithm.SHA1.digest(content.encode())
    return replace(Entry(mode=stat.S_IFREG | 0o644, size=len(content), mtime=1, digest=digest), **changes)


def folder(mode: int = 0o755, mtime: int = 1, **changes) -> Entry:
    return replace(Entry.directory(mode=mode, mtime=mtime), **changes)


def wood(entries: dict[str, Entry | str], *marked: str) -> Wood:
    """A tree from its files (by content) and whatever else is named; directories above are there by themselves."""
    complete = {"": folder()}
    for path in sorted(entries):
        parents = []
        parent = parent_path(path)
        while parent:
            parents.append(parent)
            parent = parent_path(parent)
        complete |= {above: folder() for above in reversed(parents) if above not in complete}
        entry = entries[path]
        complete[path] = file(entry) if isinstance(entry, str) else entry
    return Wood(complete, frozenset(marked))


def merged(base: Wood, ours: Wood, theirs: Wood, lease: str = "", forest: Forest | None = None):
    """The merged tree as it is read back, and the report; the tree is sound."""
    forest = forest or Forest(UNBALANCED)
    o = forest.grown(forest.empty, base)
    root, report = forest.merged(forest.grown(o, theirs), o, forest.grown(o, ours), lease)
    assert forest.findings(root) == []
    return forest.shown(root), report


def told(report):
    return {conflict.path: conflict.kind.value for conflict in report.conflicts}


BASE = wood({"/a": "a", "/d/x": "x", "/d/y": "y"})

CASES = [
    pytest.param({"/a": "a", "/d/x": "2", "/d/y": "y"}, {"/a": "2", "/d/x": "x", "/d/y": "y"},
                 {"/a": "2", "/d/x": "2", "/d/y": "y"}, {}, id="different files changed: both survive"),
    pytest.param({"/a": "a", "/d/x": "x", "/d/y": "y", "/d/o": "o"}, {"/a": "a", "/d/x": "x", "/d/y": "y", "/d/t": "t"},
                 {"/a": "a", "/d/x": "x", "/d/y": "y", "/d/o": "o", "/d/t": "t"}, {}, id="files added side by side"),
    pytest.param({"/a": "o", "/d/x": "x", "/d/y": "y"}, {"/a": "t", "/d/x": "x", "/d/y": "y"},
                 {"/a": "o", "/d/x": "x", "/d/y": "y"}, {"/a": "both-modified"}, id="one file changed twice: ours"),
    pytest.param({"/a": "s", "/d/x": "x", "/d/y": "y"}, {"/a": "s", "/d/x": "x", "/d/y": "y"},
                 {"/a": "s", "/d/x": "x", "/d/y": "y"}, {}, id="one file changed alike: no conflict"),
    pytest.param({"/a": "a", "/d/x": "x", "/d/y": "y", "/n": "o"}, {"/a": "a", "/d/x": "x", "/d/y": "y", "/n": "t"},
                 {"/a": "a", "/d/x": "x", "/d/y": "y", "/n": "o"}, {"/n": "added-twice"}, id="added twice: ours"),
    pytest.param({"/a": "o", "/d/x": "x", "/d/y": "y"}, {"/d/x": "x", "/d/y": "y"},
                 {"/a": "o", "/d/x": "x", "/d/y": "y"}, {"/a": "modified-removed"},
                 id="they removed what we changed: it is back"),
    pytest.param({"/d/x": "x", "/d/y": "y"}, {"/a": "t", "/d/x": "x", "/d/y": "y"},
                 {"/d/x": "x", "/d/y": "y"}, {"/a": "removed-modified"}, id="we removed what they changed: it is gone"),
    pytest.param({"/a": "a"}, {"/a": "a", "/d/x": "x", "/d/y": "t"},
                 {"/a": "a"}, {"/d/y": "removed-modified"}, id="we removed a directory in which they changed a file"),
    pytest.param({"/a": "a"}, {"/a": "a", "/d/x": "x", "/d/y": "y", "/d/n/m": "t"},
                 {"/a": "a", "/d/n/m": "t"}, {"/d": "parent-removed"},
                 id="we removed a directory into which they added: it stays with what they added"),
    pytest.param({"/a": "a", "/d/x": "x", "/d/y": "y", "/d/n/m": "o"}, {"/a": "a"},
                 {"/a": "a", "/d/n/m": "o"}, {"/d": "parent-removed"},
                 id="they removed a directory into which we added: it is back with what we added"),
    pytest.param({"/a": "a"}, {"/a": "a"}, {"/a": "a"}, {}, id="both removed a directory"),
    pytest.param({"/a": "a", "/d": "o"}, {"/a": "a", "/d/x": "x", "/d/y": "y"},
                 {"/a": "a", "/d": "o"}, {}, id="we put a file in place of a directory they left alone"),
    pytest.param({"/a": "a", "/d": "o"}, {"/a": "a", "/d/x": "t", "/d/y": "y", "/d/n": "n"},
                 {"/a": "a", "/d": "o"},
                 {"/d": "file-directory", "/d/n": "removed-modified", "/d/x": "removed-modified"},
                 id="we put a file in place of a directory they changed"),
    pytest.param({"/a/n": "o", "/d/x": "x", "/d/y": "y"}, {"/a": "t", "/d/x": "x", "/d/y": "y"},
                 {"/a/n": "o", "/d/x": "x", "/d/y": "y"}, {"/a": "file-directory"},
                 id="we put a directory in place of a file they changed"),
    pytest.param({"/a": "a", "/d/x": "x", "/d/y": "y", "/d/n": "o"}, {"/a": "a", "/d": "t"},
                 {"/a": "a", "/d/n": "o"}, {"/d": "file-directory"},
                 id="they put a file in place of a directory into which we added"),
    pytest.param({"/a": "a", "/d/y": "y"}, {"/a": "a", "/d": "t"},
                 {"/a": "a", "/d": "t"}, {}, id="they put a file in place of a directory in which we removed"),
    pytest.param({"/d/x": "x", "/d/y": "y"}, {"/a/n": "t", "/d/x": "x", "/d/y": "y"},
                 {"/a/n": "t", "/d/x": "x", "/d/y": "y"}, {"/a": "file-directory"},
                 id="we removed a file that they made a directory: what they added stays"),
    pytest.param({"/a": Entry.link("o", mtime=1), "/d/x": "x", "/d/y": "y"}, {"/a": "t", "/d/x": "x", "/d/y": "y"},
                 {"/a": Entry.link("o", mtime=1), "/d/x": "x", "/d/y": "y"}, {"/a": "both-modified"},
                 id="we put a link in place of a file they changed"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "expected", "conflicts"), CASES)
def test_each_kind_of_meeting_ends_as_documented(ours, theirs, expected, conflicts):
    shown, report = merged(BASE, wood(ours), wood(theirs))
    assert shown == wood(expected).shown()
    assert told(report) == conflicts


ATTRIBUTES = [
    pytest.param(folder(0o700), folder(0o755, xattrs={"user.a": b"1"}), folder(0o700, xattrs={"user.a": b"1"}), {},
                 id="one changed the mode, the other the attributes"),
    pytest.param(folder(0o700), folder(0o711), folder(0o700), {"/d": "both-modified"}, id="both changed the mode"),
    pytest.param(folder(mtime=5), folder(mtime=7), folder(mtime=7), {}, id="the later time holds"),
    pytest.param(folder(mtime=7), folder(mtime=5), folder(mtime=7), {}, id="the later time holds, if it is ours"),
    pytest.param(folder(mtime=5), folder(0o711, uid=3), folder(0o711, uid=3, mtime=5), {},
                 id="a time comes together with everything else"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "expected", "conflicts"), ATTRIBUTES)
def test_attributes_of_directories_come_together(ours, theirs, expected, conflicts):
    shown, report = merged(*(wood({"/d": entry, "/d/x": "x"}) for entry in (folder(), ours, theirs)))
    assert shown["/d"][0] == replace(expected, linkcount=1)
    assert told(report) == conflicts


def test_a_directory_that_they_removed_does_not_come_back_for_its_time():
    shown, report = merged(wood({"/d/x": "x", "/d/y": "y"}), wood({"/d": folder(mtime=9), "/d/x": "x"}), wood({}))
    assert shown.keys() == {""}
    assert report.conflicts == []


def test_a_lease_lets_in_what_is_below_it_and_tells_of_the_rest():
    base = wood({"/sw/v1/a": "a", "/sw/v2/a": "a", "/data/a": "a"})
    ours = wood(
        {"/sw": folder(0o700), "/sw/v1/a": "a", "/sw/v2/a": "2", "/sw/v2/b/c": "c", "/data/a": "2", "/new/a": "a"}
    )
    theirs = wood({"/sw/v1/a": "3", "/sw/v2/a": "a", "/data/a": "a"})
    shown, report = merged(base, ours, theirs, lease="/sw/v2")
    assert shown == wood({"/sw/v1/a": "3", "/sw/v2/a": "2", "/sw/v2/b/c": "c", "/data/a": "a"}).shown()
    assert (report.ignored, report.conflicts) == (["/data/a", "/new", "/sw"], [])


def test_directories_above_a_lease_are_made_where_they_are_missing():
    shown, report = merged(
        wood({}), wood({"/a": folder(0o711), "/a/b/c/file": "x", "/a/other": "y"}), wood({}), "/a/b/c"
    )
    assert shown == wood({"/a": folder(0o711), "/a/b/c/file": "x"}).shown()
    assert report.ignored == ["/a/other"]


@pytest.mark.parametrize(("theirs", "conflicts"), [("a", {}), ("2", {"/a": "file-directory"})])
def test_a_file_above_a_lease_that_became_a_directory_is_a_conflict_only_if_they_changed_it(theirs, conflicts):
    shown, report = merged(wood({"/a": "a"}), wood({"/a/x": "x"}), wood({"/a": theirs}), lease="/a/x")
    assert sorted(shown) == ["", "/a", "/a/x"]
    assert told(report) == conflicts


def test_a_lease_does_not_cover_names_that_only_begin_like_it():
    shown, report = merged(wood({}), wood({"/sw/a": "a", "/sw-old/a": "a"}), wood({}), "/sw")
    assert shown.keys() == {"", "/sw", "/sw/a"}
    assert report.ignored == ["/sw-old"]


# Nested catalogs


NESTED = wood({f"/{name}/sub/file": name for name in "abc"}, "/a", "/b", "/b/sub", "/c")


def test_a_nested_catalog_that_only_we_changed_is_swapped_without_opening_what_is_below():
    forest = Forest(UNBALANCED)
    base = forest.grown(forest.empty, NESTED)
    ours = forest.grown(base, wood({f"/{name}/sub/file": name for name in "abc"} | {"/b/new": "n"}, *NESTED.marked))
    theirs = forest.grown(base, wood({f"/{name}/sub/file": name for name in "abc"} | {"/c/new": "n"}, *NESTED.marked))
    forest.loaded.clear()
    root, report = forest.merged(theirs, base, ours)
    opened = set(forest.loaded)
    assert (report.swapped, report.added, report.conflicts) == (1, 0, [])
    mounts = forest.mounts(root)
    assert (mounts["/b"], mounts["/c"]) == (forest.mounts(ours)["/b"], forest.mounts(theirs)["/c"])
    assert opened.isdisjoint({forest.mounts(base)["/a"], forest.mounts(base)["/b/sub"], forest.mounts(theirs)["/c"]})
    assert forest.findings(root) == []


def test_a_nested_catalog_that_both_changed_is_descended_into():
    files = {f"/{name}/sub/file": name for name in "abc"}
    shown, report = merged(
        NESTED, wood(files | {"/b/o": "o"}, *NESTED.marked), wood(files | {"/b/t": "t"}, *NESTED.marked)
    )
    assert shown.keys() >= {"/b/o", "/b/t"}
    assert (report.swapped, report.added) == (0, 1)


def test_a_new_tree_with_its_nested_catalogs_is_one_row():
    forest = Forest(UNBALANCED)
    base = forest.grown(forest.empty, wood({"/old": "x"}))
    files = {f"/new/{number}/file": "x" for number in range(5)}
    ours = forest.grown(base, wood({"/old": "x"} | files, "/new", *(f"/new/{number}" for number in range(5))))
    root, report = forest.merged(forest.grown(base, wood({"/old": "2"})), base, ours)
    assert (report.swapped, report.added) == (1, 0)
    assert forest.mounts(root) == forest.mounts(ours)
    assert forest.findings(root) == []


MOVES = [
    pytest.param(["/a"], ["/a", "/a/sub"], ["/a"], ["/a", "/a/sub"], id="we began one"),
    pytest.param(["/a", "/a/sub"], ["/a"], ["/a", "/a/sub"], ["/a"], id="we ended one"),
    pytest.param(["/a"], ["/a/sub"], ["/a"], ["/a/sub"], id="we moved one down"),
    pytest.param(["/a/sub"], ["/a"], ["/a/sub"], ["/a"], id="we moved one up"),
    pytest.param([], ["/a"], ["/a/sub"], ["/a", "/a/sub"], id="each began one"),
    pytest.param([], ["/a"], ["/a"], ["/a"], id="both began the same"),
    pytest.param(["/a"], [], [], [], id="both ended the same"),
    pytest.param(["/a", "/a/sub"], ["/a"], ["/a/sub"], [], id="each ended one"),
    pytest.param(["/a"], [], ["/a", "/a/sub"], ["/a/sub"], id="we ended one inside of which they began one"),
]


@pytest.mark.parametrize(("base", "ours", "theirs", "expected"), MOVES)
@pytest.mark.parametrize("also", [{}, {"/a/sub/theirs": "t"}], ids=["", "with other content"])
def test_beginnings_of_catalogs_are_merged_apart_from_content(base, ours, theirs, expected, also):
    files = {"/a/x": "x", "/a/sub/y": "y"}
    forest = Forest(UNBALANCED)
    o = forest.grown(forest.empty, wood(files, *base))
    n, g = forest.grown(o, wood(files, *ours)), forest.grown(o, wood(files | also, *theirs))
    root, report = forest.merged(g, o, n)
    assert forest.shown(root) == wood(files | also).shown()
    assert set(forest.mounts(root)) == set(expected)
    assert report.conflicts == []
    assert forest.findings(root) == []


def test_a_marker_of_the_user_takes_the_place_of_a_balancers():
    forest = Forest(CatalogWeights(most=6, balanced=4, least=2))
    files = {f"/d/{number}": "x" for number in range(8)}
    base = forest.grown(forest.empty, wood(files))
    assert forest.mounts(base).keys() == {"/d"}
    assert forest.marked(base) == set()
    ours = forest.grown(base, wood(files, "/d"))
    root, _ = forest.merged(forest.grown(base, wood(files | {"/d/new": "n"})), base, ours)
    assert forest.marked(root) == {"/d"}
    assert forest.view(root).lookup(f"/d/{AUTO_MARKER_NAME}") is None
    assert forest.findings(root) == []


# Hard links


def linked(content: str, token: int) -> Entry:
    return file(content, hardlink_group=token)


LINKS = [
    pytest.param({"/a": linked("x", 1), "/b": linked("x", 1), "/c": linked("x", 1)}, {}, "abc", {}, id="we add a name"),
    pytest.param({"/a": linked("2", 1), "/b": linked("2", 1)}, {"/n": "n"}, "ab", {}, id="we change the group"),
    pytest.param({"/a": file("x"), "/b": file("2")}, {"/n": "n"}, "", {}, id="we end the group"),
    pytest.param(
        {"/a": linked("2", 1), "/b": linked("2", 1)},
        {"/a": linked("x", 1), "/b": linked("x", 1), "/c": linked("x", 1)},
        "ab",
        {"/a": "both-modified", "/b": "both-modified"},
        id="we change the content, they add a name: that one is left alone",
    ),
    pytest.param(
        {"/a": linked("x", 1), "/b": linked("x", 1), "/c": linked("x", 1)},
        {"/a": linked("x", 1), "/b": linked("x", 1), "/c": linked("x", 1)},
        "abc",
        {},
        id="both add the same name",
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "group", "conflicts"), LINKS)
def test_a_hard_link_group_moves_as_a_whole(ours, theirs, group, conflicts):
    base = {"/a": linked("x", 1), "/b": linked("x", 1), "/other": linked("z", 2), "/another": linked("z", 2)}
    others = {"/other": base["/other"], "/another": base["/another"]}
    shown, report = merged(wood(base), wood(others | ours), wood(base | theirs))
    assert {path: links for path, (_, links) in shown.items() if links} == {
        **{f"/{name}": frozenset(group) for name in group},
        **{path: frozenset({"other", "another"}) for path in others},
    }
    assert told(report) == conflicts
    assert shown.keys() >= theirs.keys()


def test_entries_that_only_catalogs_know_how_to_keep_come_through():
    base = wood({"/old": "x"})
    ours = wood(
        {
            "/old": "x",
            "/fifo": Entry(mode=stat.S_IFIFO | 0o600, size=0, mtime=1),
            "/null": Entry(mode=stat.S_IFCHR | 0o666, size=259, mtime=1),
            "/time": file("t", mtime=-5, mtime_ns=7, uid=4, gid=5, xattrs={"user.a": b"\0"}),
            "/link": Entry.link("$(ARCH)/lib", mtime=3),
        }
    )
    shown, _ = merged(base, ours, wood({"/old": "2"}))
    assert {path: shown[path] for path in ours.entries if path != "/old"} == {
        path: entry for path, entry in ours.shown().items() if path != "/old"
    }


def test_the_tree_generated_from_tags_is_left_as_it_is():
    shown, report = merged(wood({}), wood({"/.cvmfs/snapshots/v1": folder()}), wood({"/.cvmfs/snapshots/v2": folder()}))
    assert shown.keys() == {"", "/.cvmfs", "/.cvmfs/snapshots", "/.cvmfs/snapshots/v2"}
    assert report.conflicts == []
