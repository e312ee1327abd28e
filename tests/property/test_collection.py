"""Whatever happens, in whatever order: what is needed is there, and in the end nothing else."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.errors import StoreUnavailable, TagRefused
from functions.publishing.objects import RENEW_AFTER
from functions.publishing.revision import TagRequest
from functions.publishing.rollback import roll_back
from functions.publishing.tagging import add_tag, remove_tags
from tests.garbage_world import GarbageWorld, dying, probing_everything

GRACE = timedelta(days=2)
PATHS = ["/a", "/b", "/d/a", "/d/b", "/d/c", "/d/d", "/e/a", "/e/b"]
CONTENTS = [None, b"", b"one", b"two", b"three" * 40, b"four" * 60]
"""Few, so that what was removed comes back, as a file or as chunks."""
TAGS = ["t1", "t2"]
ALIVE = 1000

changes = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS), min_size=1, max_size=5)
deaths = st.one_of(st.just(ALIVE), st.integers(0, 12))
"""Before which write a process dies, mostly before none."""
spans = st.sampled_from([timedelta(0), timedelta(hours=2), timedelta(hours=13), timedelta(days=1), timedelta(days=3)])

steps = st.one_of(
    st.tuples(st.just("publish"), changes, deaths),
    st.tuples(st.just("publish"), changes, deaths),
    st.tuples(st.just("upload"), changes, st.none()),
    st.tuples(st.just("publish uploads"), st.none(), deaths),
    st.tuples(st.just("tag"), st.sampled_from(TAGS), st.integers(0, 6)),
    st.tuples(st.just("untag"), st.sampled_from(TAGS), deaths),
    st.tuples(st.just("go back"), st.sampled_from([None, *TAGS]), deaths),
    st.tuples(st.just("collect"), st.integers(0, 3), deaths),
    st.tuples(st.just("collect"), spans, deaths),
    st.tuples(st.just("collect without a listing"), st.integers(0, 2), deaths),
    st.tuples(st.just("wait"), spans, st.none()),
)


def take(world: GarbageWorld, uploads, what, argument, more) -> None:
    """One step; processes that die or are refused just end."""
    if what == "wait":
        world.now += argument
        return
    if what == "upload":
        contents = {path: content for path, content in argument.items() if content is not None}
        uploads |= {path: (world.stored(content), world.now) for path, content in contents.items()}
        return
    if what == "publish uploads":
        waiting = [(path, entry) for path, (entry, at) in uploads.items() if world.now - at <= GRACE - RENEW_AFTER]
        uploads.clear()
        publisher = world.publisher(dying(world.store, more))
        publisher.publish(lambda tree, _: [world.enter(tree, path, entry) for path, entry in waiting])
        return
    if what == "tag":
        add_tag(world.publisher(), TagRequest(argument), more)
        return
    store = dying(world.store, more)
    if what == "publish":
        world.publish(argument, store=store)
    elif what == "untag":
        remove_tags(world.publisher(store), [argument])
    elif what == "go back":
        roll_back(world.publisher(store), argument)
    else:
        keep = {"since": argument} if isinstance(argument, timedelta) else {"keep": argument}
        world.collect(store, grace=GRACE, leftovers=what == "collect", **keep)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=3, max_size=14))
def test_what_is_needed_stays_and_what_is_not_goes_in_the_end(history):
    world, uploads = GarbageWorld(), {}
    with probing_everything():
        for what, argument, more in history:
            with suppress(StoreUnavailable, TagRefused):
                take(world, uploads, what, argument, more)
            assert world.findings(after_a_death=True) == []
        world.age(days=GRACE.days + 1)
        world.collect(keep=0, grace=GRACE)
    assert world.findings() == []
    assert world.unreachable() == set()
