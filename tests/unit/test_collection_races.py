"""Collections beside publishers: whatever comes between whichever two calls, nothing that is needed goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from functions.cvmfs.address import Digest
from functions.errors import StoreUnavailable, TagRefused
from functions.ports import BlobStore
from functions.publishing.objects import RENEW_AFTER
from functions.publishing.retention import GRACE
from functions.publishing.revision import TagRequest
from functions.publishing.rollback import roll_back
from functions.publishing.tagging import add_tag, remove_tags
from tests.garbage_world import GarbageWorld, dying, interrupted, probing_everything

OLD = {"/a": b"alpha", "/tree/x": b"x" * 150, "/tree/y": b"y"}
"""What one old revision holds and later ones do not: a file, chunks, and a nested catalog."""

Deed = Callable[[GarbageWorld, Digest, "BlobStore | None"], object]
"""What somebody does, given the old root catalog with OLD, through a store."""


@pytest.fixture(scope="module")
def made() -> tuple[GarbageWorld, Digest]:
    """A world in which OLD is garbage since long, and not collected yet; and the root catalog that has it."""
    world = GarbageWorld()
    world.publish({"/kept": b"kept"}, tag="kept")
    root = world.publish(OLD, tag="early").manifest.root
    world.publish({**dict.fromkeys(OLD), "/a": b"beta"})
    remove_tags(world.publisher(), ["early"])
    world.age(days=30)
    world.publish({"/today": b"today"})
    world.age(hours=2)
    return world, root


@pytest.fixture
def world(made):
    return made[0].copied()


@pytest.fixture
def old_root(made):
    return made[1]


def publish_of_old(world, _root, store=None):
    """With small objects as with large ones, which are looked for before they are sent."""
    with probing_everything():
        world.publish({f"/new{path}": body for path, body in OLD.items()}, store=store)
    assert world.read("/new/a") == OLD["/a"]


def tag_of_old(world, root, store=None):
    """Works or is refused, depending on who comes first."""
    try:
        add_tag(world.publisher(store), TagRequest("again"), root)
    except TagRefused:
        return


def way_back(world, _root, store=None):
    roll_back(world.publisher(store), "kept")
    remove_tags(world.publisher(store), ["kept"])


def collection(world, _root, store=None):
    world.collect(store)


DEEDS: dict[str, Deed] = {
    "publishes what was garbage": publish_of_old,
    "tags an old revision": tag_of_old,
    "goes back to a tag and removes it": way_back,
}


@pytest.mark.parametrize(
    ("deed", "leftovers"),
    [
        *(pytest.param(deed, True, id=name) for name, deed in DEEDS.items()),
        pytest.param(collection, True, id="collects too"),
        pytest.param(publish_of_old, False, id="publishes beside a collection without a listing"),
    ],
)
def test_somebody_comes_between_any_two_calls_of_a_collection(world, old_root, deed, leftovers):
    at, came = 0, True
    while came:
        at, came = at + 1, False
        here = world.copied()

        def come(here=here):
            nonlocal came
            came = True
            deed(here, old_root)

        here.collect(interrupted(here.store, at, come), leftovers=leftovers)
        if came:
            assert here.findings() == [], f"before call {at}"
    assert at > 20


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_a_collection_comes_between_any_two_calls_of_somebody(world, old_root, deed):
    at, came = 0, True
    while came:
        at, came = at + 1, False
        here = world.copied()

        def come(here=here):
            nonlocal came
            came = True
            here.collect()

        deed(here, old_root, interrupted(here.store, at, come))
        if came:
            assert here.findings() == [], f"before call {at}"
    assert at > 8


def test_contents_stored_long_before_their_revision_are_there_when_it_is_published(world):
    """As those of a change record that waits in its queue nearly as long as it can."""
    entries = {path: world.stored(body) for path, body in OLD.items()}
    world.age(seconds=(GRACE - RENEW_AFTER).total_seconds())
    with probing_everything():
        same = {path: world.stored(body) for path, body in OLD.items()}
    assert same == entries
    world.age(seconds=(GRACE - RENEW_AFTER).total_seconds())
    world.collect()
    world.publisher().publish(lambda tree, _marker: [world.enter(tree, path, entry) for path, entry in entries.items()])
    assert world.findings() == []
    assert world.read("/tree/x") == OLD["/tree/x"]


@pytest.mark.parametrize("leftovers", [True, False], ids=["with a listing", "without"])
def test_a_collection_that_dies_at_any_write_leaves_a_whole_repository_and_the_next_one_ends_its_work(world, leftovers):
    undisturbed = world.copied()
    undisturbed.collect()
    for writes in range(100):
        here = world.copied()
        try:
            here.collect(dying(here.store, writes), leftovers=leftovers)
        except StoreUnavailable:
            assert here.findings(after_a_death=True) == []
            here.collect()
            assert here.findings() == []
            assert here.objects() == undisturbed.objects()
        else:
            break
    assert 10 < writes < 99


def test_what_a_publisher_that_died_has_left_is_found_when_it_is_old(world):
    for writes in range(1, 100):
        here = world.copied()
        try:
            here.publish({"/new/a": b"never seen", "/new/b": b"n" * 200}, store=dying(here.store, writes))
        except StoreUnavailable:
            here.collect()
            assert here.findings() == []
            assert here.unreachable()
            here.age(days=(GRACE + timedelta(days=1)).days)
            here.collect()
            assert here.findings() == []
            assert here.unreachable() == set()
        else:
            break
    assert 5 < writes < 99
