"""What every ObjectSource does."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from functions.errors import StoreUnavailable, VersionMoved

NASTY_KEYS = [
    "cvmfs/a/b.txt",
    "cvmfs/dir/",
    "cvmfs//twice",
    "/cvmfs/lead",
    "cvmfs/./dot",
    "cvmfs/../up",
    "cvmfs/sp ace+plus%41&q=1#f?x",
    "cvmfs/caf\u00e9",
    "cvmfs/cafe\u0301",
    "cvmfs/\U0001f600",
    "cvmfs/new\nline",
    "cvmfs/back\\slash*'\"<>|",
]


class ObjectSourceContract:
    """Subclasses give `source`, `broken_source` and `users` (with `bucket`, put(key, body, metadata), delete(key))."""

    def test_head_tells_size_etag_time_and_metadata(self, source, users):
        users.put("cvmfs/tool", b"#!/bin/sh\n", {"mode": "33261", "mtime": "1700000000.5"})
        info = source.head(users.bucket, "cvmfs/tool")
        assert info.key == "cvmfs/tool"
        assert info.size == 10
        assert info.etag == hashlib.md5(b"#!/bin/sh\n").hexdigest()
        assert info.metadata == {"mode": "33261", "mtime": "1700000000.5"}
        assert abs(info.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_names_of_metadata_are_lower_case(self, source, users):
        users.put("cvmfs/x", b"1", {"Rclone-Mode": "0755"})
        assert source.head(users.bucket, "cvmfs/x").metadata == {"rclone-mode": "0755"}

    def test_metadata_in_raw_utf8_is_read(self, source, users):
        users.put("cvmfs/x", b"1", {"author": "Jos\u00e9 \u4e2d"})
        assert source.head(users.bucket, "cvmfs/x").metadata["author"] == "Jos\u00e9 \u4e2d"
        reader = source.open(users.bucket, "cvmfs/x")
        assert reader.info.metadata["author"] == "Jos\u00e9 \u4e2d"
        assert b"".join(reader.blocks()) == b"1"

    def test_what_is_not_there_is_none(self, source, users):
        users.put("cvmfs/x", b"1")
        for key in ("cvmfs/y", "cvmfs", "cvmfs/", "cvmfs/x/", "cvmfs/x/y"):
            assert source.head(users.bucket, key) is None
            assert source.open(users.bucket, key) is None

    def test_a_bucket_that_is_not_there_is_empty(self, source):
        assert source.head("no-such-bucket-here", "cvmfs/x") is None
        assert source.open("no-such-bucket-here", "cvmfs/x") is None
        assert list(source.list("no-such-bucket-here", "")) == []

    @pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 13_000_001])
    def test_content_of_any_size_comes_whole_in_blocks_of_a_few_mebibytes(self, source, users, size):
        body = (hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1))[:size]
        users.put("cvmfs/big", body, {"mode": "33188"})
        reader = source.open(users.bucket, "cvmfs/big")
        assert reader.info == source.head(users.bucket, "cvmfs/big")
        blocks = list(reader.blocks())
        assert b"".join(blocks) == body
        assert all(0 < len(block) <= 8 << 20 for block in blocks)

    def test_an_opened_object_can_be_read_anywhere(self, source, users):
        body = bytes(range(256)) * 40_000
        users.put("cvmfs/big", body)
        reader = source.open(users.bucket, "cvmfs/big")
        for start in (len(body) - 1, 0, 5_000_000, 4 << 20, 3):
            part = reader.read(start)
            assert part
            assert body.startswith(part, start)

    def test_an_opened_object_can_be_read_twice(self, source, users):
        users.put("cvmfs/big", b"x" * 9_000_000)
        reader = source.open(users.bucket, "cvmfs/big")
        assert b"".join(reader.blocks()) == b"".join(reader.blocks())

    @pytest.mark.parametrize("change", ["replace", "delete"])
    def test_an_object_that_changes_under_the_reader_is_never_mixed(self, source, users, change):
        users.put("cvmfs/big", b"a" * 30_000_000)
        blocks = source.open(users.bucket, "cvmfs/big").blocks()
        next(blocks)
        if change == "replace":
            users.put("cvmfs/big", b"b" * 30_000_000)
        else:
            users.delete("cvmfs/big")
        with pytest.raises(VersionMoved):
            list(blocks)

    def test_a_reader_may_stop_early(self, source, users):
        users.put("cvmfs/big", b"a" * 30_000_000)
        blocks = source.open(users.bucket, "cvmfs/big").blocks()
        assert next(blocks)
        blocks.close()

    @pytest.mark.parametrize("key", NASTY_KEYS, ids=ascii)
    def test_any_key_is_told_and_read_as_itself(self, source, users, key):
        users.put(key, key.encode(), {"mode": "33188"})
        assert source.head(users.bucket, key).key == key
        assert source.head(users.bucket, key).metadata == {"mode": "33188"}
        assert b"".join(source.open(users.bucket, key).blocks()) == key.encode()

    def test_a_directory_marker_and_a_file_of_that_name_are_two_objects(self, source, users):
        users.put("cvmfs/a", b"file")
        users.put("cvmfs/a/", b"")
        assert source.head(users.bucket, "cvmfs/a").size == 4
        assert source.head(users.bucket, "cvmfs/a/").size == 0

    def test_listing_has_every_key_in_order(self, source, users):
        for key in NASTY_KEYS:
            users.put(key, key.encode())
        listed = list(source.list(users.bucket, ""))
        assert [info.key for info in listed] == sorted(NASTY_KEYS)
        assert all(info.size == len(info.key.encode()) for info in listed)
        below = [info.key for info in source.list(users.bucket, "cvmfs/")]
        assert below == sorted(key for key in NASTY_KEYS if key.startswith("cvmfs/"))
        assert [info.key for info in source.list(users.bucket, "cvmfs/caf")] == ["cvmfs/cafe\u0301", "cvmfs/caf\u00e9"]

    @pytest.mark.parametrize("after", ["", "cvmfs/", "cvmfs/a/b.txt", "cvmfs/b", "cvmfs/sp ace+", "cvmfs/zzz", "d"])
    def test_a_listing_goes_on_after_any_key(self, source, users, after):
        for key in NASTY_KEYS:
            users.put(key, b"1")
        listed = [info.key for info in source.list(users.bucket, "cvmfs/", after=after)]
        assert listed == sorted(key for key in NASTY_KEYS if key.startswith("cvmfs/") and key > after)

    def test_a_line_of_a_listing_is_what_head_tells_without_metadata(self, source, users):
        users.put("cvmfs/x", b"1")
        assert list(source.list(users.bucket, "cvmfs/")) == [source.head(users.bucket, "cvmfs/x")]

    def test_a_source_that_does_not_answer_says_so(self, broken_source):
        for attempt in (
            lambda: broken_source.head("bucket", "cvmfs/x"),
            lambda: broken_source.head("bucket", "cvmfs/x/"),
            lambda: broken_source.open("bucket", "cvmfs/x"),
            lambda: list(broken_source.list("bucket", "cvmfs/")),
        ):
            with pytest.raises(StoreUnavailable):
                attempt()
