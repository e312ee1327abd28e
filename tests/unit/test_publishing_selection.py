"""Which change records still hold when the objects are looked at again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from events import ChangeRecord, EntryRecord
from functions.adapters.memory import MemoryObjectSource
from functions.publishing.selection import HEAD_AT_MOST, current_records, look_again

THEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def seen(source: MemoryObjectSource, key: str) -> ChangeRecord:
    """The record of an object as it is now."""
    info = source.head("alice", key)
    if info is None:
        return ChangeRecord(bucket="alice", key=key, path="/" + key)
    return ChangeRecord(
        bucket="alice",
        key=key,
        path="/" + key,
        etag=info.etag,
        modified=int(info.modified.timestamp()),
        entry=EntryRecord(mode=0o100644, size=info.size, mtime=0),
    )


def held(source: MemoryObjectSource, records: list[ChangeRecord]) -> list[ChangeRecord]:
    with ThreadPoolExecutor(2) as executor:
        return current_records(records, look_again(source, executor, records)).records


@pytest.fixture
def source() -> MemoryObjectSource:
    source = MemoryObjectSource()
    source.make_bucket("alice")
    return source


def test_a_record_holds_while_the_object_is_the_same(source: MemoryObjectSource) -> None:
    source.put("alice", "a", b"1")
    record = seen(source, "a")
    assert held(source, [record]) == [record]


def test_a_stale_record_does_not_bring_a_deleted_object_back(source: MemoryObjectSource) -> None:
    source.put("alice", "a", b"1")
    record = seen(source, "a")
    source.delete("alice", "a")
    assert held(source, [record]) == []


def test_a_removal_does_not_hold_once_the_object_is_back(source: MemoryObjectSource) -> None:
    removal = seen(source, "a")
    source.put("alice", "a", b"1")
    assert held(source, [removal]) == []


def test_an_overwritten_object_is_left_to_its_own_event(source: MemoryObjectSource) -> None:
    source.put("alice", "a", b"1")
    old = seen(source, "a")
    source.put("alice", "a", b"2")
    new = seen(source, "a")
    assert held(source, [new, old]) == [new]


def test_the_same_content_written_later_with_other_metadata_is_another_object(source: MemoryObjectSource) -> None:
    source.put("alice", "a", b"1", modified=THEN)
    old = seen(source, "a")
    source.put("alice", "a", b"1", modified=THEN.replace(minute=1))
    assert held(source, [old]) == []


def test_many_keys_are_found_in_a_listing(source: MemoryObjectSource) -> None:
    keys = [f"d/{number:04}" for number in range(HEAD_AT_MOST * 3)]
    for key in keys[::2]:
        source.put("alice", key, key.encode())
    records = [seen(source, key) for key in keys]
    assert held(source, records) == records


def test_a_listing_begins_where_the_keys_begin(source: MemoryObjectSource, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"d/{number:05}" for number in range(3000)]
    for key in keys:
        source.put("alice", key, b"")
    records = [seen(source, key) for key in keys[1999 : 2000 + HEAD_AT_MOST]]  # all that they share is "d/0"

    def head(bucket: str, key: str) -> None:
        raise AssertionError(f"{bucket}/{key} was asked for")

    monkeypatch.setattr(source, "head", head)
    assert held(source, records) == records


def test_keys_far_apart_are_asked_for_when_the_listing_grows_too_long(source: MemoryObjectSource) -> None:
    keys = [f"d/{number:05}" for number in range(2000)]
    for key in keys:
        source.put("alice", key, b"")
    wanted = [*keys[: HEAD_AT_MOST + 1], keys[-1], "d/99999"]
    records = [seen(source, key) for key in wanted]
    source.delete("alice", keys[0])
    assert held(source, records) == records[1:]
