"""The messages in tests/data/notifications were caught from radosgw 16.2.15, one for each kind of request."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events import EventError, Record, parse_notification

CAUGHT = Path(__file__).parents[1] / "data" / "notifications"
MD5_EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
MD5_HELLO = "5d41402abc4b2a76b9719d911017c592"

# file -> event name, key, size, etag, whether it has a version
EXPECTED = {
    "copy": ("ObjectCreated:Copy", "cvmfs/copy", 6, "6e809cbda0732ac4845916a59016f954", False),
    "delete": ("ObjectRemoved:Delete", "cvmfs/a/b.txt", 6, "6e809cbda0732ac4845916a59016f954", False),
    "delete-missing": ("ObjectRemoved:Delete", "cvmfs/nope", 0, "", False),
    "delete-multi": ("ObjectRemoved:Delete", "cvmfs/copy", 1, "c4ca4238a0b923820dcc509a6f75849b", False),
    "multipart": (
        "ObjectCreated:CompleteMultipartUpload",
        "cvmfs/mpu",
        10485760,
        "7181cbc0d3760cb3e220d8321a5ea84c-2",
        False,
    ),
    "post-object": ("ObjectCreated:Post", "cvmfs/post-obj", 6, "c0e34cbf057062549f3a31a4418c9958", False),
    "put": ("ObjectCreated:Put", "cvmfs/a/b.txt", 5, MD5_HELLO, False),
    "put-big-16M": ("ObjectCreated:Put", "cvmfs/big", 16777216, "d4760a6c6500b8c7fbb09e4c65bc558a", False),
    "put-dirmarker": ("ObjectCreated:Put", "cvmfs/dir/", 0, MD5_EMPTY, False),
    "put-empty": ("ObjectCreated:Put", "cvmfs/empty", 0, MD5_EMPTY, False),
    "put-nometa": ("ObjectCreated:Put", "cvmfs/a/c.txt", 5, MD5_HELLO, False),
    "put-overwrite": ("ObjectCreated:Put", "cvmfs/a/b.txt", 6, "6e809cbda0732ac4845916a59016f954", False),
    "put-tagging": ("ObjectCreated:Put", "cvmfs/tagged", 1, "9dd4e461268c8034f5c8564e155c67a6", False),
    "put-weird-key": (
        "ObjectCreated:Put",
        "cvmfs/sp ace+plus%25/ü€\"q'&<>\\x.txt",
        1,
        "9dd4e461268c8034f5c8564e155c67a6",
        False,
    ),
    "ver-delete-marker": (
        "ObjectRemoved:DeleteMarkerCreated",
        "cvmfs/v",
        2,
        "b6d767d2f8ed5d21a44b0e5886680cb9",
        False,
    ),
    "ver-delete-the-marker": ("ObjectRemoved:Delete", "cvmfs/v", 0, "", True),
    "ver-delete-version": ("ObjectRemoved:Delete", "cvmfs/v", 1, "c4ca4238a0b923820dcc509a6f75849b", True),
    "ver-put1": ("ObjectCreated:Put", "cvmfs/v", 1, "c4ca4238a0b923820dcc509a6f75849b", True),
}


def caught(name):
    return (CAUGHT / f"{name}.json").read_bytes()


def only_record(body) -> Record:
    (record,) = parse_notification(body)
    assert isinstance(record, Record), record
    return record


def test_every_caught_message_is_in_the_table():
    assert {path.stem for path in CAUGHT.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_caught_message_says_what_happened_to_which_object(name):
    event_name, key, size, etag, versioned = EXPECTED[name]
    record = only_record(caught(name))
    assert (record.event_name, record.key, record.size, record.etag) == (event_name, key, size, etag)
    assert record.removed is event_name.startswith("ObjectRemoved:")
    assert bool(record.version_id) is versioned
    assert record.bucket == ("ver" if name.startswith("ver") else "exp")
    assert record.bucket_owner == "alice"
    assert record.event_id.endswith(f".{etag}")
    assert record.request_id.startswith("3b8122c3-")
    assert abs(record.sequencer[0] - record.event_time.timestamp()) < 2


def test_a_put_with_metadata_read_field_by_field():
    assert only_record(caught("put")) == Record.model_construct(
        event_name="ObjectCreated:Put",
        event_time=datetime(2026, 11, 23, 3, 26, 25, 297526, tzinfo=UTC),
        event_id="1795404385.299640.5d41402abc4b2a76b9719d911017c592",
        request_id="3b8122c3-47fa-4357-b5c9-1f071a0f56ef.4114.13202958756081777249",
        bucket="exp",
        bucket_owner="alice",
        key="cvmfs/a/b.txt",
        size=5,
        etag=MD5_HELLO,
        version_id="",
        sequencer=(1795404385, 299640600),
        metadata={"foo": "Bar=1", "user": "alice"},
    )


def test_request_headers_that_leak_in_are_not_metadata():
    assert b"x-amz-content-sha256" in caught("put-nometa")
    assert only_record(caught("put-nometa")).metadata == {}


def test_the_sequencer_orders_an_overwrite_after_what_it_overwrote():
    assert only_record(caught("put")).sequencer < only_record(caught("put-overwrite")).sequencer


@pytest.mark.parametrize("form", [bytes, bytes.decode, json.loads], ids=["bytes", "text", "decoded"])
def test_a_message_is_read_in_every_form_a_framework_hands_it_over(form):
    assert only_record(form(caught("put"))).key == "cvmfs/a/b.txt"


def test_a_name_with_the_prefix_of_other_releases_is_the_same_name():
    record = json.loads(caught("delete"))
    record["Records"][0]["eventName"] = "s3:ObjectRemoved:Delete"
    assert only_record(record) == only_record(caught("delete"))


def test_metadata_that_is_not_utf8_does_not_cost_the_message():
    body = caught("put").replace(b"Bar=1", b"Bar=\xe9")
    assert only_record(body).metadata["foo"] == "Bar=\ufffd"


def test_a_record_without_what_other_stores_leave_out_is_still_a_hint():
    notification = json.loads(caught("put"))
    record = notification["Records"][0]
    del record["eventId"], record["responseElements"]
    for name in ("size", "eTag", "versionId", "metadata"):
        del record["s3"]["object"][name]
    read = only_record(notification)
    assert (read.key, read.size, read.etag, read.metadata) == ("cvmfs/a/b.txt", 0, "", {})


def without(*path):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        del record[path[-1]]

    return change


def with_object(**fields):
    return lambda record: record["s3"]["object"].update(fields)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param(without("s3"), "Records[1].s3.bucket.name: Field required", id="no s3 part"),
        pytest.param(without("s3", "object", "key"), "Records[1].s3.object.key: Field required", id="no key"),
        pytest.param(with_object(key=""), "Records[1].s3.object.key: ", id="empty key"),
        pytest.param(with_object(key=7), "Records[1].s3.object.key: ", id="key is a number"),
        pytest.param(with_object(key="\ud800"), "Records[1].s3.object.key: ", id="key is half a character"),
        pytest.param(with_object(size=-1), "Records[1].s3.object.size: ", id="negative size"),
        pytest.param(with_object(size="5"), "Records[1].s3.object.size: ", id="size is text"),
        pytest.param(with_object(sequencer="61B2"), "Records[1].s3.object.sequencer: ", id="short sequencer"),
        pytest.param(with_object(sequencer=5), "Records[1].s3.object.sequencer: ", id="sequencer is a number"),
        pytest.param(with_object(metadata={"a": 1}), "Records[1].s3.object.metadata: ", id="metadata is no list"),
        pytest.param(with_object(metadata=["a"]), "Records[1].s3.object.metadata: ", id="metadata without names"),
        pytest.param(lambda record: record.update(eventTime="now"), "Records[1].eventTime: ", id="no time"),
        pytest.param(
            lambda record: record.update(eventTime="2026-11-23T03:26:25"), "Records[1].eventTime: ", id="time, no zone"
        ),
        pytest.param(without("eventName"), "Records[1].eventName: Field required", id="no event name"),
    ],
)
def test_a_broken_record_is_named_and_hides_no_good_one(change, fault):
    good = json.loads(caught("put"))["Records"][0]
    broken = copy.deepcopy(good)
    change(broken)
    first, second, third = parse_notification({"Records": [good, broken, good]})
    assert first == third == only_record(caught("put"))
    assert isinstance(second, EventError)
    assert any(named.startswith(fault) for named in second.faults)


@pytest.mark.parametrize("record", [None, 5, "x", [], {}])
def test_a_record_that_is_none_is_an_error_in_its_place(record):
    (read,) = parse_notification({"Records": [record]})
    assert isinstance(read, EventError)
    assert all(fault.startswith("Records[0]") for fault in read.faults)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"alice,1,alice.infn.it,https://iam,N", id="another message"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no records"),
        pytest.param(b'{"Records": {}}', id="records are no list"),
        pytest.param(b"[" * 100_000, id="nested deeper than any reader goes"),
        pytest.param(None, id="nothing"),
        pytest.param(["Records"], id="a decoded list"),
    ],
)
def test_what_is_not_a_notification_is_refused_as_a_whole(body):
    with pytest.raises(EventError):
        parse_notification(body)


def test_a_notification_may_be_empty():
    assert parse_notification(b'{"Records": []}') == []
