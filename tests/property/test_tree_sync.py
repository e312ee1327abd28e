"""Whatever the trees: the reader sees exactly what was published last, and publishing it again changes nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.cvmfs.entry import parent_path
from functions.publishing.nesting import CatalogWeights
from tests.local_trees import Node, PaperRepository, PaperTree, folder

NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", "lib", "..a", "-", " ", "new\nline", "tab\t", "\udcff\udc80", "é", "é", "x" * 255, "%2F"]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda name: name not in {".", ".."} and not name.startswith(".cvmfs")
    ),
)
TIMES = st.one_of(
    st.sampled_from([0, 1, 10**9, 10**9 - 1, -1, -(10**9)]), st.integers(min_value=-(10**18), max_value=4 * 10**18)
)
CONTENTS = st.one_of(st.binary(max_size=12), st.binary(min_size=300, max_size=700))
FILES = st.builds(Node, content=CONTENTS, permissions=st.integers(0, 0o7777), mtime_ns=TIMES)
LINKS = st.builds(
    lambda target, mtime_ns: Node(target=target, mtime_ns=mtime_ns),
    st.sampled_from(["a", "../b", "/etc/passwd", "$(SITE)/lib", "./a//b/", "\udc80", "x" * 4095]),
    TIMES,
)
FOLDERS = st.builds(folder, st.integers(0, 0o7777), TIMES)
MARKERS = st.builds(lambda mtime_ns: Node(content=b"", mtime_ns=mtime_ns), TIMES)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Node]:
    """Paths to nodes, so that nothing is below what is no directory; some directories are marked."""
    nodes: dict[str, Node] = {}
    places = [""]
    for name in draw(st.lists(NAMES, max_size=10)):
        path = f"{draw(st.sampled_from(places))}/{name}"
        if path in nodes:
            continue
        node = draw(st.one_of(FOLDERS, FILES, LINKS))
        nodes[path] = node
        if node.content is None and not node.target:
            places.append(path)
            if draw(st.integers(0, 3)) == 0:
                nodes[f"{path}/.cvmfscatalog"] = draw(MARKERS)
    return nodes


def marked(nodes: dict[str, Node]) -> list[str]:
    return sorted({"", *(parent_path(path) for path in nodes if path.endswith("/.cvmfscatalog"))})


SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(first=trees(), second=trees())
def test_the_reader_sees_exactly_the_tree_that_was_published_last(first, second):
    repository = PaperRepository()
    repository.publish(first)
    assert repository.shown() == first
    repository.publish(second)
    assert repository.shown() == second
    assert repository.mounts() == marked(second)
    assert repository.findings() == []


@SLOW
@given(tree=trees(), place=st.sampled_from(["", "/sub", "/a/b"]))
def test_publishing_the_same_tree_again_changes_nothing_and_reads_nothing(tree, place):
    repository = PaperRepository()
    before, _ = repository.publish(tree, place)
    again = PaperTree(tree)
    after, plan = repository.publish(again, place)
    assert (after.changed, after.manifest) == (False, before.manifest)
    assert (plan.changes, plan.unchanged, again.read) == ([], len(tree), [])


@SLOW
@given(inside=trees(), outside=trees())
def test_a_tree_below_a_place_leaves_everything_else_alone(inside, outside):
    repository = PaperRepository()
    outside = {path: node for path, node in outside.items() if not path.startswith("/place")}
    repository.publish(outside)
    repository.publish(inside, "/place/deep")
    assert repository.shown("/place/deep") == inside
    shown = {path: node for path, node in repository.shown().items() if not path.startswith("/place")}
    assert shown == outside
    assert repository.findings() == []


@SLOW
@given(tree=trees(), changes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4))
def test_catalogs_made_by_the_balancer_survive_publishing_from_a_tree_that_knows_nothing_of_them(tree, changes):
    repository = PaperRepository(weights=CatalogWeights(most=6, balanced=4, least=2))
    wanted = tree | {f"/many{number}": folder() for number in range(3)}
    wanted |= {f"/many{number % 3}/file{number}": Node(content=b"%d" % number) for number in range(15)}
    repository.publish(wanted)
    assert repository.shown() == wanted
    assert len(repository.mounts()) > len(marked(wanted))
    for number, size in changes:
        wanted[f"/many{number % 3}/file{number}"] = Node(content=b"x" * size, mtime_ns=number)
        repository.publish(wanted)
        assert repository.shown() == wanted
    assert repository.findings() == []
