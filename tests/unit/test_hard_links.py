"""Hard links of a local tree, as groups in the repository, through everything that can happen to their members."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from functions.errors import VersionMoved
from functions.publishing.nesting import CatalogWeights
from tests.interrupted_store import InterruptedStore
from tests.local_trees import Node, PaperRepository, PaperTree, folder

ONE = Node(content=b"one file", inode=1)
OTHER = Node(content=b"another", inode=2)
ALONE = Node(content=b"one file")


def groups(repository: PaperRepository) -> list[list[str]]:
    """The names of each group; the checker has looked at counts and equality before."""
    assert repository.findings() == []
    found: dict[tuple[str, int], list[str]] = {}
    for path, entry in repository.reader().snapshot().walk():
        if entry.hardlink_group:
            assert entry.linkcount > 1
            found.setdefault((path.rpartition("/")[0], entry.hardlink_group), []).append(path)
        elif not entry.is_directory:
            assert entry.linkcount == 1
    return sorted(found.values())


def published(repository: PaperRepository, nodes: dict[str, Node]) -> list[str]:
    """Publish, see that it is all there, and say what was read."""
    tree = PaperTree(nodes)
    repository.publish(tree)
    shown = {path: node for path, node in repository.shown().items() if node.content is not None}
    assert shown == {path: replace(node, inode=0) for path, node in nodes.items() if node.content is not None}
    return tree.read


def test_names_of_one_file_in_one_directory_are_a_group_and_read_once():
    repository = PaperRepository()
    read = published(
        repository, {"/a": ONE, "/b": ONE, "/c": OTHER, "/d": OTHER, "/e": ALONE, "/f": Node(content=b"", inode=3)}
    )
    assert sorted(read) == ["/a", "/c", "/e", "/f"]
    assert groups(repository) == [["/a", "/b"], ["/c", "/d"]]


def test_names_in_several_directories_are_a_group_in_each_and_read_once():
    repository = PaperRepository()
    read = published(repository, {"/x/a": ONE, "/x/b": ONE, "/y/c": ONE, "/y/d": ONE, "/z/e": ONE})
    assert len(read) == 1
    assert groups(repository) == [["/x/a", "/x/b"], ["/y/c", "/y/d"]]


LATER = [
    pytest.param({"/a": ONE, "/b": ONE, "/c": ONE}, [], [["/a", "/b", "/c"]], id="a name more, nothing is read"),
    pytest.param({"/a": ONE}, [], [], id="one name is left"),
    pytest.param({"/a": ONE, "/b": ALONE}, [], [], id="independent files with the same content and time"),
    pytest.param({"/a": ONE, "/b": OTHER}, ["/b"], [], id="a name is another file now"),
    pytest.param({"/a": OTHER, "/b": OTHER}, ["/a"], [["/a", "/b"]], id="both names are another file"),
    pytest.param({"/b": ONE, "/c": ONE}, [], [["/b", "/c"]], id="a name moved"),
    pytest.param({"/d/a": ONE, "/d/b": ONE}, ["/d/a"], [["/d/a", "/d/b"]], id="the group moved to a directory"),
    pytest.param({"/a/x": ALONE, "/b": ONE}, ["/a/x"], [], id="a name is a directory now"),
    pytest.param({"/a": Node(target="b"), "/b": ONE}, [], [], id="a name is a link now"),
    pytest.param(
        {name: replace(ONE, permissions=0o600) for name in ("/a", "/b")}, [], [["/a", "/b"]], id="another mode"
    ),
    pytest.param(
        {name: replace(ONE, content=b"newer", mtime_ns=5) for name in ("/a", "/b")},
        ["/a"],
        [["/a", "/b"]],
        id="written to",
    ),
    pytest.param(
        {"/a": ONE, "/b": ONE, "/c": OTHER, "/d": OTHER}, ["/c"], [["/a", "/b"], ["/c", "/d"]], id="a second group"
    ),
]


@pytest.mark.parametrize(("after", "read", "expected"), LATER)
def test_a_group_follows_its_members(after, read, expected):
    repository = PaperRepository()
    published(repository, {"/a": ONE, "/b": ONE})
    assert published(repository, after) == read
    assert groups(repository) == expected
    again, _ = repository.publish(after)
    assert not again.changed


def test_a_group_that_is_as_before_is_left_alone():
    repository = PaperRepository()
    tree = {"/a": ONE, "/b": ONE, "/c": OTHER, "/d": OTHER}
    published(repository, tree)
    before = repository.reader().snapshot().lookup("/a")
    _, plan = repository.publish(tree | {"/c": ALONE})
    assert sorted(change.path for change in plan.changes) == ["/c", "/d"]
    assert repository.reader().snapshot().lookup("/a") == before


def test_groups_survive_the_splitting_and_merging_of_catalogs():
    repository = PaperRepository(weights=CatalogWeights(most=8, balanced=5, least=3))
    tree = {
        f"/{place}/{number}": Node(content=b"%d" % (number // 2), inode=1 + number // 2)
        for place in "xy"
        for number in range(6)
    }
    published(repository, tree)
    whole = groups(repository)
    assert len(repository.mounts()) > 1
    assert [len(names) for names in whole] == [2] * 6
    repository.publish(tree | {"/x/.cvmfscatalog": Node(content=b""), "/y/more": ALONE})
    assert groups(repository) == whole
    few = {path: node for path, node in tree.items() if path.startswith(("/x/0", "/x/1"))}
    published(repository, few)
    assert (groups(repository), repository.mounts()) == ([["/x/0", "/x/1"]], [""])


def test_links_and_pipes_may_have_several_names_too():
    repository = PaperRepository()
    link, pipe = Node(target="x", inode=1), Node(special=stat.S_IFIFO, inode=2)
    repository.publish({"/a": link, "/b": link, "/c": pipe, "/d": pipe})
    assert groups(repository) == [["/a", "/b"], ["/c", "/d"]]


def test_a_chunked_file_with_several_names_has_its_chunks_under_each():
    repository = PaperRepository()
    large = Node(content=bytes(range(256)) * 4, inode=1)
    published(repository, {"/a": large, "/b": large})
    assert repository.reader().snapshot().lookup("/b").chunks
    assert groups(repository) == [["/a", "/b"]]
    published(repository, {"/b": large})
    assert groups(repository) == []


def test_a_group_is_whole_after_a_lost_swap():
    repository = PaperRepository()
    store, rival = repository.store, PaperRepository()
    object.__setattr__(rival.publisher, "store", store)
    swap, lost = store.replace, []

    def replace_late(path: str, body: bytes, version: str) -> str:
        if path == ".cvmfspublished" and not lost:
            lost.append(path)
            store.replace = swap
            rival.publish({"/r": ONE, "/s": ONE}, "/rival")
            raise VersionMoved("somebody else was faster")
        return swap(path, body, version)

    store.replace = replace_late
    tree = {"/a": ONE, "/b": ONE, "/.cvmfscatalog": Node(content=b"")}
    repository.publish(tree, "/us")
    assert lost
    assert groups(repository) == [["/rival/r", "/rival/s"], ["/us/a", "/us/b"]]
    assert repository.mounts() == ["", "/us"]


def test_a_name_that_is_published_alone_leaves_its_group():
    repository = PaperRepository()
    published(repository, {"/a": ONE, "/b": ONE})
    repository.publish(PaperTree({}, top=ONE), "/b")
    assert repository.findings() == []
    snapshot = repository.reader().snapshot()
    assert [snapshot.lookup(path).linkcount for path in ("/a", "/b")] == [1, 1]
    assert published(repository, {"/a": ONE, "/b": ONE}) == []
    assert groups(repository) == [["/a", "/b"]]


def test_directories_are_never_linked():
    repository = PaperRepository()
    repository.publish({"/a": replace(folder(), inode=1), "/b": replace(folder(), inode=1)})
    assert groups(repository) == []


MARK = Node(content=b"", inode=4)


def test_a_marker_among_the_names_of_a_file_starts_a_catalog_also_if_nothing_has_to_be_read():
    repository = PaperRepository()
    published(repository, {"/d/a": MARK, "/d/b": MARK})
    assert published(repository, {"/d/a": MARK, "/d/b": MARK, "/d/.cvmfscatalog": MARK}) == []
    assert repository.mounts() == ["", "/d"]
    assert groups(repository) == [["/d/.cvmfscatalog", "/d/a", "/d/b"]]


def test_names_that_were_files_of_their_own_are_equal_once_they_are_linked():
    repository = PaperRepository()
    first = replace(ALONE, owner=(1, 1), xattrs=(("user.a", b"1"),))
    second = replace(ALONE, owner=(2, 2), xattrs=())
    repository.publish({"/a": first, "/b": second, "/c/x": ALONE})
    assert published(repository, {"/a": ONE, "/b": ONE, "/c": ONE}) == []
    assert groups(repository) == [["/a", "/b", "/c"]]
    snapshot = repository.reader().snapshot()
    owners = {(snapshot.lookup(path).uid, tuple(snapshot.lookup(path).xattrs)) for path in ("/a", "/b", "/c")}
    assert owners == {(1, ("user.a",))}


def test_names_that_looked_the_same_and_were_not_are_read_when_they_are_linked():
    repository = PaperRepository()
    published(repository, {"/a": ALONE, "/b": replace(ALONE, content=b"two file")})
    published(repository, {"/a": ONE, "/b": ONE})
    assert groups(repository) == [["/a", "/b"]]


def test_links_and_pipes_of_several_owners_are_equal_once_they_are_one():
    repository = PaperRepository()
    nodes = {
        "/l": Node(target="x", owner=(1, 1)),
        "/m": Node(target="x", owner=(2, 2), xattrs=(("user.a", b"1"),)),
        "/p": Node(special=stat.S_IFIFO, owner=(1, 1)),
        "/q": Node(special=stat.S_IFIFO, owner=(2, 2)),
    }
    repository.publish(nodes)
    linked = {path: replace(node, owner=None, xattrs=None, inode=10 + (path > "/n")) for path, node in nodes.items()}
    repository.publish({path: replace(node, mtime_ns=7) for path, node in linked.items()})
    assert groups(repository) == [["/l", "/m"], ["/p", "/q"]]
    assert repository.reader().snapshot().lookup("/q").uid == 1


def test_a_marker_that_has_other_names_is_a_file_of_its_own_when_two_publishers_mark_one_directory():
    repository, rival = PaperRepository(), PaperRepository()
    store = InterruptedStore(repository.store)
    object.__setattr__(rival.publisher, "store", store)
    object.__setattr__(repository.publisher, "store", store)
    store.before_swap[".cvmfspublished"] = lambda: rival.publish({"/r": ONE, "/s": ONE, "/t": ONE}, "/us/theirs")
    repository.publish({"/a": MARK, "/b": MARK, "/.cvmfscatalog": MARK}, "/us")
    repository.store = store
    assert repository.mounts() == ["", "/us"]
    assert groups(repository) == [["/us/a", "/us/b"], ["/us/theirs/r", "/us/theirs/s", "/us/theirs/t"]]
