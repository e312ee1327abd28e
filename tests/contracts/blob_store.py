"""What every BlobStore does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.errors import Permanent, StoreUnavailable, VersionMoved

WRITERS = 16
SOON = timedelta(minutes=5)
segments = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda segment: segment not in {".", ".."} and "/" not in segment and len(segment.encode()) < 200
)


def race(work, writers=WRITERS):
    """Start `work(n)` in `writers` threads at the same moment and return the results in order."""
    start = threading.Barrier(writers)

    def run(number):
        start.wait()
        return work(number)

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(run, range(writers)))


class BlobStoreContract:
    """Subclasses give the fixtures `store` (empty) and `broken_store` (one that does not answer)."""

    def test_what_was_put_comes_back_and_a_second_put_replaces_it(self, store):
        store.put("leases/a.json", b"one")
        assert store.get("leases/a.json").body == b"one"
        store.put("leases/a.json", b"two")
        assert store.get("leases/a.json").body == b"two"

    def test_an_object_that_is_put_twice_is_one_object(self, store):
        for _ in range(2):
            store.put("data/ab/cdef", b"named by its hash")
        assert store.get("data/ab/cdef").body == b"named by its hash"
        assert [info.path for info in store.list("")] == ["data/ab/cdef"]

    @pytest.mark.parametrize(
        "body", [b"", b"\0\xff" * 9, bytes(range(256)) * 40_000], ids=["empty", "binary", "ten megabytes"]
    )
    def test_any_bytes_survive(self, store, body):
        store.put("data/00/11", body)
        assert store.get("data/00/11").body == body

    def test_any_plain_path_is_a_place_of_its_own(self, store):
        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(path=st.lists(segments, min_size=1, max_size=3).map(lambda parts: "/".join(["odd", *parts])))
        def holds(path):
            store.put(path, path.encode())
            try:
                assert store.get(path).body == path.encode()
                assert [info.path for info in store.list("odd/")] == [path]
            finally:
                store.delete(path)

        holds()

    @pytest.mark.parametrize(
        "path", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "a\nb", "a\0b", "a\udcffb"], ids=repr
    )
    def test_a_path_that_no_store_could_keep_is_refused(self, store, path):
        for attempt in (
            lambda: store.get(path),
            lambda: store.has(path),
            lambda: store.info(path),
            lambda: store.put(path, b""),
            lambda: store.create(path, b""),
            lambda: store.replace(path, b"", "1"),
            lambda: store.delete(path),
            lambda: store.delete_old(path, datetime.now(UTC)),
        ):
            with pytest.raises(Permanent):
                attempt()

    def test_what_is_not_there_is_none_and_deleting_it_is_fine(self, store):
        assert store.get("data/no/thing") is None
        assert not store.has("data/no/thing")
        assert store.info("data/no/thing") is None
        store.delete("data/no/thing")
        assert not store.delete_old("data/no/thing", datetime.now(UTC) + SOON)

    def test_a_deleted_file_is_gone(self, store):
        store.put("leases/a", b"1")
        assert store.has("leases/a")
        store.delete("leases/a")
        assert not store.has("leases/a")
        assert store.get("leases/a") is None

    def test_a_folder_is_not_a_file(self, store):
        store.put("data/ab/cd", b"1")
        assert store.get("data/ab") is None
        assert not store.has("data/ab")
        assert store.info("data/ab") is None

    def test_a_file_is_told_as_it_is_listed(self, store):
        store.put("data/ab/cdC", b"12345")
        (listed,) = store.list("data/ab/cdC")
        told = store.info("data/ab/cdC")
        assert (told.path, told.size) == ("data/ab/cdC", 5)
        assert told.modified.replace(microsecond=0) == listed.modified.replace(microsecond=0)

    @pytest.mark.parametrize("path", ["data/ab/cd", ".cvmfspublished"])
    def test_only_what_is_old_enough_is_deleted_for_its_age(self, store, path):
        store.put(path, b"1")
        assert not store.delete_old(path, datetime.now(UTC) - SOON)
        assert store.get(path).body == b"1"
        assert store.delete_old(path, datetime.now(UTC) + SOON)
        assert not store.has(path)
        assert not store.delete_old(path, datetime.now(UTC) + SOON)

    def test_a_put_makes_a_file_young(self, store):
        for _ in range(2):
            store.put("data/ab/cd", b"1")
            assert abs(store.info("data/ab/cd").modified - datetime.now(UTC)) < SOON

    def test_create_writes_once(self, store):
        version = store.create(".cvmfspublished", b"first")
        assert store.get(".cvmfspublished").version == version
        with pytest.raises(VersionMoved):
            store.create(".cvmfspublished", b"second")
        assert store.get(".cvmfspublished").body == b"first"

    def test_create_works_for_objects_below_data_too(self, store):
        store.create("data/ab/cd", b"first")
        with pytest.raises(VersionMoved):
            store.create("data/ab/cd", b"second")

    def test_replace_needs_the_version_that_was_read(self, store):
        first = store.create(".cvmfspublished", b"1")
        second = store.replace(".cvmfspublished", b"2", first)
        assert second != first
        assert store.get(".cvmfspublished") == type(store.get(".cvmfspublished"))(b"2", second)
        with pytest.raises(VersionMoved):
            store.replace(".cvmfspublished", b"3", first)
        assert store.get(".cvmfspublished").body == b"2"

    def test_replace_takes_the_version_of_an_unconditional_put(self, store):
        store.put("repositories/a.json", b"1")
        store.replace("repositories/a.json", b"2", store.get("repositories/a.json").version)
        assert store.get("repositories/a.json").body == b"2"

    def test_replacing_what_is_not_there_is_a_lost_race(self, store):
        version = store.create("repositories/a.json", b"1")
        store.delete("repositories/a.json")
        with pytest.raises(VersionMoved):
            store.replace("repositories/a.json", b"2", version)
        assert store.get("repositories/a.json") is None

    def test_of_sixteen_creators_one_wins(self, store):
        def attempt(number):
            try:
                return store.create("leases/one", b"%d" % number)
            except VersionMoved:
                return None

        versions = race(attempt)
        winners = [number for number, version in enumerate(versions) if version is not None]
        assert len(winners) == 1
        assert store.get("leases/one").body == b"%d" % winners[0]
        assert store.get("leases/one").version == versions[winners[0]]

    def test_of_sixteen_replacers_of_one_version_one_wins(self, store):
        version = store.create(".cvmfspublished", b"base")

        def attempt(number):
            try:
                return store.replace(".cvmfspublished", b"%d" % number, version)
            except VersionMoved:
                return None

        versions = race(attempt)
        winners = [number for number, version in enumerate(versions) if version is not None]
        assert len(winners) == 1
        assert store.get(".cvmfspublished").body == b"%d" % winners[0]

    def test_sixteen_counters_lose_no_increment(self, store):
        store.create(".cvmfscounter", b"0")

        def count(_number):
            for _ in range(3):
                while True:
                    blob = store.get(".cvmfscounter")
                    try:
                        store.replace(".cvmfscounter", b"%d" % (int(blob.body) + 1), blob.version)
                    except VersionMoved:
                        continue
                    break

        race(count)
        assert store.get(".cvmfscounter").body == b"%d" % (3 * WRITERS)

    def test_a_reader_never_sees_half_a_write(self, store):
        bodies = [bytes([letter]) * 300_000 for letter in b"abcd"]
        store.put(".cvmfspublished", bodies[0])
        done = threading.Event()

        def write():
            for turn in range(20):
                store.put(".cvmfspublished", bodies[turn % 4])
            done.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not done.is_set() and not writing.done():
                assert store.get(".cvmfspublished").body in bodies
            writing.result()

    def test_the_same_object_from_many_writers_at_once_is_whole(self, store):
        body = b"z" * 100_000
        race(lambda _: store.put("data/5a/5a5a", body))
        assert store.get("data/5a/5a5a").body == body

    def test_listing_is_in_path_order_and_knows_size_and_time(self, store):
        paths = [
            "data/ab/1",
            "data/ab.x",
            "data/ab/1C",
            "data/a\u00e9/1",
            "data/a\U0001f600",
            "data/abc",
            ".cvmfspublished",
        ]
        for path in paths:
            store.put(path, path.encode())
        listed = list(store.list(""))
        assert [info.path for info in listed] == sorted(paths)
        assert all(info.size == len(info.path.encode()) for info in listed)
        assert all(abs(info.modified - datetime.now(UTC)) < SOON for info in listed)

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            pytest.param("data/", ["data/ab", "data/ab/1", "data/abc"], id="a folder"),
            pytest.param("data/ab", ["data/ab", "data/ab/1", "data/abc"], id="half a name"),
            pytest.param("data/ab/", ["data/ab/1"], id="a folder beside a file of its name"),
            pytest.param("data/abd", [], id="nothing"),
            pytest.param(".cvmfs", [".cvmfspublished"], id="dot files"),
        ],
    )
    def test_listing_takes_any_prefix(self, store, prefix, expected):
        for path in ("data/ab/1", "data/abc", "databank", ".cvmfspublished"):
            store.put(path, b"")
        found = [info.path for info in store.list(prefix)]
        assert found == [path for path in expected if path != "data/ab"]

    def test_a_long_listing_is_complete(self, store):
        paths = [f"data/{number % 256:02x}/{number:05}" for number in range(1_100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: store.put(path, b""), paths))
        assert [info.path for info in store.list("data/")] == sorted(paths)

    def test_a_store_that_does_not_answer_says_so(self, broken_store):
        for attempt in (
            lambda: broken_store.get("a"),
            lambda: broken_store.has("a"),
            lambda: broken_store.info("a"),
            lambda: broken_store.put("a", b""),
            lambda: broken_store.create("a", b""),
            lambda: broken_store.replace("a", b"", "1"),
            lambda: broken_store.delete("a"),
            lambda: broken_store.delete_old("a", datetime.now(UTC)),
            lambda: list(broken_store.list("")),
        ):
            with pytest.raises(StoreUnavailable):
                attempt()
