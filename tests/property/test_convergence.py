"""Whatever was done to a bucket, and whatever was heard of it in which order: what is published follows from it alone.

Three must agree: the repository that lived through it all, a new one that saw every object once, and a plain model.
"""

from __future__ import annotations

import io
import random
import tarfile
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import BucketReconciled, ReconciliationRequested
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, base_name
from functions.publishing.sources import is_sourced
from tests import bucket_model
from tests.reconciling import settle
from tests.world import NOW, World

FQRN = "alice.infn.it"


def packed(*members: str) -> bytes:
    """A tar; names that end in a slash are directories."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name in members:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.mode = 0o755 if name.endswith("/") else 0o640
            member.mtime = 1_600_000_000
            content = b"" if name.endswith("/") else f"member {name}".encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


FILES = [
    "a",
    "a/b",
    "a/b/c",
    "a/lib/x",
    "a/lib/x/y",
    "a/empty/z",
    "a/new/dir/n",
    "d/e/f",
    "A",
    "caf\u00e9",
    "cafe\u0301",
]
MARKERS = ["a/", "a/b/", "a/lib/", "d/", "d/e/"]
LINKS = ["a.rclonelink", "a/b.rclonelink", "d/e/f.rclonelink"]
ARCHIVES = ["a.tar", "a.tgz", "a/b.tar", "d.tar", "a/lib.tar"]
NESTED = ["a/.cvmfscatalog", "d/.cvmfscatalog", "a/lib/.cvmfscatalog"]

BODIES = st.sampled_from([b"", b"1", b"two", b"#!/bin/sh\n"])
METADATA = st.sampled_from(
    [{}, {}, {"mode": "100600"}, {"mode": "0755", "mtime": "1500000000.25"}, {"mtime": "1500000001"}]
)
TARS = st.sampled_from(
    [packed("lib/x", "b"), packed("lib/", "empty/", "b/c"), packed("x"), packed("new", "lib/x/y"), b"no archive"]
)

Put = tuple[str, bytes, dict[str, str]]

puts = st.one_of(
    st.tuples(st.sampled_from(FILES), BODIES, METADATA),
    st.tuples(st.sampled_from(FILES), st.just(b"../target"), st.just({"mode": "0120777"})),
    st.tuples(st.sampled_from(MARKERS), st.just(b""), st.sampled_from([{}, {"mode": "0700", "mtime": "1400000000"}])),
    st.tuples(st.sampled_from(LINKS), st.sampled_from([b"x", b"../y", b""]), st.just({})),
    st.tuples(st.sampled_from(ARCHIVES), TARS, st.just({})),
    st.tuples(st.sampled_from(NESTED), st.just(b""), st.just({})),
)
KEYS = FILES + MARKERS + LINKS + ARCHIVES + NESTED
operations = st.one_of(
    st.tuples(st.just("put"), puts, st.integers(-3, 3)),
    st.tuples(st.just("put"), puts, st.integers(-3, 3)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("hear"), st.sampled_from(["first", "last", "all", "all and publish", "forget one", "twice"])),
    st.tuples(st.just("publish")),
)


class Life:
    """A bucket, what happens to it, and what is heard of it.

    With `told_apart` no two versions of an object are of the same second: listings would not tell them apart.
    """

    def __init__(self, world: World, *, told_apart: bool = False) -> None:
        self.world = world
        self.told_apart = told_apart
        self.versions: set[tuple[str, int]] = set()
        self.unheard: list[str] = []
        self.moment = 0
        self.touched: dict[str, None] = {}

    def do(self, what: str, *told: object) -> None:
        match what, told:
            case "put", ((name, body, metadata), ago):
                # Versions that come back are older than what they replace; seconds that are shared are won by the key.
                self.moment += 1
                seconds = 100 + self.moment + 2 * ago
                while self.told_apart and (name, seconds) in self.versions:
                    seconds += 1
                self.versions.add((name, seconds))
                modified = NOW + timedelta(seconds=seconds)
                self.world.source.put("alice", f"cvmfs/{name}", body, metadata=metadata, modified=modified)
                self.unheard.append(f"cvmfs/{name}")
                self.touched[f"cvmfs/{name}"] = None
            case "delete", (name,):
                self.world.source.delete("alice", f"cvmfs/{name}")
                self.unheard.append(f"cvmfs/{name}")
            case "publish", ():
                self.world.deliver("publish-transaction")
            case "hear", (how,):
                self.hear(str(how))

    def hear(self, how: str) -> None:
        heard = {"first": self.unheard[:1], "last": self.unheard[-1:]}.get(how, list(self.unheard))
        if how == "forget one":
            heard = heard[1:]
        for key in heard * (2 if how == "twice" else 1):
            self.world.notify("ObjectCreated:Put", key)
            self.world.deliver("handle-bucket-notification")
        self.unheard = [key for key in self.unheard if key not in heard] if how in {"first", "last"} else []
        if how == "all and publish":
            settle(self.world)


def shown(world: World) -> dict[str, tuple]:
    """What the verifying reader sees, less the markers that the publisher made for itself."""
    with world.reader() as snapshot:
        return {
            path: bucket_model.Node(
                entry.mode,
                entry.mtime,
                entry.mtime_ns,
                entry.symlink,
                snapshot.read(path) if entry.is_regular else b"",
            ).shown()
            for path, entry in snapshot.walk()
            if path and (base_name(path) not in {MARKER_NAME, AUTO_MARKER_NAME} or is_sourced(entry))
        }


def differences(found: dict[str, tuple], expected: dict[str, tuple]) -> dict[str, tuple]:
    paths = sorted(found.keys() | expected.keys())
    return {path: (found.get(path), expected.get(path)) for path in paths if found.get(path) != expected.get(path)}


def new_repository(world: World, bucket: World | None = None) -> World:
    world.request("alice")
    world.run_until_quiet()
    if bucket is not None:
        world.source._buckets["alice"].update(bucket.source._buckets["alice"])
    return world


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(happened=st.lists(operations, max_size=25), seed=st.integers(0, 2**16))
def test_what_is_published_follows_from_the_bucket_alone(happened, seed) -> None:
    live(happened, seed)


def live(happened, seed) -> None:
    order = random.Random(seed)
    lived, fresh = World(), World()
    try:
        life = Life(new_repository(lived))
        for operation in happened:
            life.do(*operation)
        # One look at every key, in any order and in any portions.
        keys = sorted(life.touched)
        order.shuffle(keys)
        while keys:
            portion = [keys.pop() for _ in range(min(len(keys), order.randint(1, 6)))]
            lived.notify("ObjectCreated:Put", *portion)
            if order.random() < 0.5:
                settle(lived)
        settle(lived)
        new_repository(fresh, lived)
        for info in fresh.source.list("alice", "cvmfs/"):
            fresh.notify("ObjectCreated:Put", info.key)
        settle(fresh)
        held = held_by(lived)
        expected = bucket_model.published(held)
        assert differences(shown(fresh), expected) == {}
        assert differences(shown(lived), expected) == {}
        assert set(lived.problems()) == set(fresh.problems())
        assert set(lived.problems()) <= set(held)
    finally:
        lived.close()
        fresh.close()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(happened=st.lists(operations, max_size=25))
def test_one_reconciliation_is_enough_whatever_was_not_heard(happened) -> None:
    lived, fresh = World(), World()
    try:
        life = Life(new_repository(lived), told_apart=True)
        for operation in happened:
            life.do(*operation)
        reconcile(lived)
        assert differences(shown(lived), bucket_model.published(held_by(lived))) == {}
        revision = lived.revision()
        reconcile(lived)
        assert lived.told(BucketReconciled)[-1].differences == 0
        assert lived.revision() == revision
        new_repository(fresh, lived)
        for info in fresh.source.list("alice", "cvmfs/"):
            fresh.notify("ObjectCreated:Put", info.key)
        settle(fresh)
        assert set(lived.problems()) == set(fresh.problems())
    finally:
        lived.close()
        fresh.close()


def reconcile(world: World) -> None:
    """One look at the whole bucket, and whatever looks the functions ask for because of it."""
    wish = ReconciliationRequested(repository=FQRN, cause="test", allow_empty=True)
    world.bus.publish([wish.to_cloudevent(source="/test", time=world.clock())])
    settle(world)


def held_by(world: World) -> dict[str, tuple[bytes, dict[str, str], int]]:
    """What the model is told of a bucket."""
    return {
        key: (body, dict(info.metadata), int(info.modified.timestamp()))
        for key, (info, body) in world.source._buckets["alice"].items()
    }
