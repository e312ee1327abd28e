"""Objects of any size: read in ranges, continued where a connection broke, never whole in memory."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest

from functions.adapters import s3_objects
from functions.adapters.s3_objects import BLOCK_SIZE, S3ObjectReader
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.objects import StoredObject, unpack
from functions.errors import StoreUnavailable, VersionMoved
from functions.ports import ObjectInfo
from functions.publishing.content import Recipe
from functions.publishing.ingest import Ingest
from functions.publishing.keys import key_to_target

GIB = 1 << 30
SECOND = datetime(2026, 3, 1, tzinfo=UTC)


class Ranges:
    """A store with one large object, whose byte at each block's start tells the block; it fails where it is told to."""

    def __init__(self, size: int, failures: Mapping[int, int] | None = None) -> None:
        self.info = ObjectInfo("cvmfs/big", size, "etag", SECOND)
        self.failures = dict(failures or {})
        self.asked: list[tuple[int, str | None]] = []

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self.info

    def get(self, bucket: str, key: str, start: int, *, etag: str | None) -> s3_objects._Piece | None:
        self.asked.append((start, etag))
        if self.failures.get(start):
            self.failures[start] -= 1
            raise StoreUnavailable("the connection broke")
        if etag not in {None, self.info.etag}:
            raise VersionMoved("replaced")
        return s3_objects._Piece(self.info, self.content(start))

    def content(self, start: int) -> bytes:
        size = min(BLOCK_SIZE, self.info.size - start)
        return (start.to_bytes(8, "big") + bytes(BLOCK_SIZE - 8))[:size]

    def reader(self) -> S3ObjectReader:
        first = self.get("b", "k", 0, etag=None)
        assert first is not None
        return S3ObjectReader(self, "b", first)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(s3_objects.time, "sleep", waited.append)
    return waited


def test_a_connection_that_breaks_is_continued_where_it_broke(pauses: list[float]) -> None:
    ranges = Ranges(3 * BLOCK_SIZE + 5, {BLOCK_SIZE: 3, 3 * BLOCK_SIZE: 1})
    blocks = list(ranges.reader().blocks())
    assert b"".join(blocks) == b"".join(ranges.content(start) for start in range(0, 3 * BLOCK_SIZE + 5, BLOCK_SIZE))
    starts = [start // BLOCK_SIZE for start, _ in ranges.asked]
    assert starts == [0, 1, 1, 1, 1, 2, 3, 3], "nothing that was read is read again"
    assert {etag for _, etag in ranges.asked[1:]} == {"etag"}
    assert pauses == [0.5, 1.0, 2.0, 0.5]


def test_a_store_that_stays_away_is_told(pauses: list[float]) -> None:
    with pytest.raises(StoreUnavailable):
        list(Ranges(2 * BLOCK_SIZE, {BLOCK_SIZE: 100}).reader().blocks())
    assert len(pauses) == len(s3_objects.PAUSES_S)


def test_an_object_that_is_replaced_while_the_connection_is_gone_is_not_mixed(pauses: list[float]) -> None:
    ranges = Ranges(3 * BLOCK_SIZE, {BLOCK_SIZE: 1})
    reader = ranges.reader()
    ranges.info = ObjectInfo("cvmfs/big", 3 * BLOCK_SIZE, "another", SECOND)
    with pytest.raises(VersionMoved):
        list(reader.blocks())


def test_offsets_go_beyond_what_one_upload_or_32_bits_can_hold() -> None:
    ranges = Ranges(6 * GIB)
    reader = ranges.reader()
    for start in (5 * GIB, (1 << 32) + BLOCK_SIZE, 6 * GIB - BLOCK_SIZE):
        assert int.from_bytes(reader.read(start)[:8], "big") == start


class Counting:
    """A reader of a large object that is made up as it is read, and knows how much of it is still in use."""

    def __init__(self, size: int) -> None:
        self.info = ObjectInfo("cvmfs/big", size, "etag", SECOND)

    def blocks(self) -> Iterator[bytes]:
        for start in range(0, self.info.size, BLOCK_SIZE):
            yield self.read(start)

    def read(self, start: int) -> bytes:
        size = min(BLOCK_SIZE, self.info.size - start)
        return (start.to_bytes(8, "big") + bytes(BLOCK_SIZE - 8))[:size]


def test_a_large_file_is_never_whole_in_memory() -> None:
    import tracemalloc

    reader = Counting(128 << 20)
    stored: dict[Address, bytes] = {}

    def put(item: StoredObject) -> None:
        stored[item.address] = bytes(item.body)

    tracemalloc.start()
    try:
        record = Ingest(Recipe(), put).take("b", key_to_target("cvmfs/big"), reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 96 << 20, "a few chunks and what they are packed to"
    assert record.entry is not None
    assert record.entry.size == 128 << 20
    position = 0
    for chunk in record.entry.chunks:
        address = next(address for address in stored if str(address.digest) == chunk.digest)
        assert address.kind is Kind.PARTIAL
        content = unpack(address, stored[address], Recipe().compression)
        assert (chunk.offset, chunk.size) == (position, len(content))
        for start in range(-(-position // BLOCK_SIZE) * BLOCK_SIZE, position + chunk.size - 8, BLOCK_SIZE):
            assert int.from_bytes(content[start - position : start - position + 8], "big") == start
        position += chunk.size
    assert position == record.entry.size
