"""What the S3 adapter sends, and what it makes of answers that leave open whether a write was applied."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pydantic import SecretStr

from functions.adapters.buckets import topic_of
from functions.adapters.s3 import S3BlobStore, headers_of
from functions.adapters.s3_connection import S3Connection
from functions.adapters.s3_requests import signed_headers
from functions.errors import StoreUnavailable, VersionMoved
from tests.stumbling_s3 import StumblingS3

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONNECTION = S3Connection(
    endpoint="http://s3.example.org:7480", region="default", access_key="AKID", secret_key=SecretStr("s3cr3t")
)


@pytest.fixture
def service():
    with StumblingS3() as service:
        yield service


@pytest.fixture
def connection(service):
    return replace(CONNECTION, endpoint=service.url)


@pytest.fixture
def store(connection):
    return S3BlobStore(connection, "cvmfs", "a.infn.it")


@pytest.mark.parametrize(
    ("method", "key", "query"),
    [
        ("GET", "/cvmfs", {"list-type": "2", "prefix": "a/b c+d", "continuation-token": "x/y=="}),
        ("HEAD", "/bucket/cvmfs/dir/", {}),
        ("GET", "/bucket/cvmfs//caf\u00e9 \U0001f600+%41*~'()", {}),
        ("PUT", "/admin/bucket", {"uid": "albert", "bucket": "einstein"}),
    ],
    ids=["listing", "marker", "odd key", "admin"],
)
def test_requests_are_signed_as_botocore_signs_them(monkeypatch, method, key, query):
    target = quote(key, safe="/-_.~")
    text = "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
    ours = signed_headers(CONNECTION, method, target, text, "s3.example.org:7480", now=NOW)

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: NOW.replace(tzinfo=None))
    request = AWSRequest(method, f"http://s3.example.org:7480{target}" + (f"?{text}" if text else ""))
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials("AKID", "s3cr3t"), "s3", "default").add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]


@pytest.mark.parametrize(("quoted", "sent"), [(False, "{}"), (True, '"{}"')], ids=["RadosGW 16", "standard"])
def test_the_etag_of_a_condition_is_quoted_where_the_service_wants_it(service, connection, quoted, sent):
    store = S3BlobStore(replace(connection, quoted_if_match=quoted), "cvmfs", "a.infn.it")
    version = store.create(".cvmfspublished", b"1")
    store.replace(".cvmfspublished", b"2", version)
    first, second = (headers for _, _, headers in service.seen)
    assert first["if-none-match"] == "*"
    assert second["if-match"] == sent.format(hashlib.md5(b"1").hexdigest())  # the etag of what was there


def test_deleting_sends_one_delete_and_never_a_bulk_request(service, store):
    store.put("data/ab/cd", b"1")
    store.delete("data/ab/cd")
    assert [(method, path) for method, path, _ in service.seen] == [
        ("PUT", "/cvmfs/a.infn.it/data/ab/cd"),
        ("DELETE", "/cvmfs/a.infn.it/data/ab/cd"),
    ]


@pytest.mark.parametrize(
    "failures", [["after"], ["before"], ["before", "after"], ["after", "before"]], ids=" then ".join
)
@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_conditional_write_answered_500_is_applied_once(service, store, how, failures):
    version = store.create(".cvmfspublished", b"old") if how == "replace" else ""
    service.failures = list(failures)
    if how == "create":
        made = store.create(".cvmfspublished", b"new")
    else:
        made = store.replace(".cvmfspublished", b"new", version)
    assert store.get(".cvmfspublished").body == b"new"
    assert store.get(".cvmfspublished").version == made


def test_bytes_equal_to_the_winners_do_not_make_a_loser_win(service, connection, store):
    """Two writers may write the same bytes, say a counter; a 500 to the one must not let both believe they won."""
    version = store.create(".cvmfscounter", b"1")
    service.failures = ["before"]
    other = S3BlobStore(connection, "cvmfs", "a.infn.it")
    read = store.get

    def read_after_the_other_has_won(path):
        store.get = read
        other.replace(".cvmfscounter", b"2", version)
        return read(path)

    store.get = read_after_the_other_has_won
    with pytest.raises(VersionMoved):
        store.replace(".cvmfscounter", b"2", version)


def test_a_conditional_write_that_keeps_failing_is_given_up(service, store):
    service.failures = ["before"] * 10
    with pytest.raises(StoreUnavailable):
        store.create(".cvmfspublished", b"1")
    assert service.objects == {}


def test_an_unconditional_write_is_repeated_after_a_500(service, store):
    service.failures = ["before", "after"]
    store.put("data/ab/cd", b"1")
    assert store.get("data/ab/cd").body == b"1"


@pytest.mark.parametrize(
    ("path", "content_type", "cache_control"),
    [
        ("data/ab/cdefC", "application/octet-stream", "max-age=259200"),
        (".cvmfspublished", "application/x-cvmfs", "max-age=61"),
        (".cvmfsreflog", "application/x-cvmfs", "max-age=61"),
        ("repositories/a.json", "application/json", "max-age=61"),
    ],
)
def test_each_class_of_files_has_its_headers(path, content_type, cache_control):
    assert headers_of(path) == {"Content-Type": content_type, "Cache-Control": cache_control}


def test_buckets_spread_over_the_topics_and_stay_where_they_are():
    topics = [topic_of(f"user-{number}", prefix="cvmfs", shards=4) for number in range(1_000)]
    assert sorted(set(topics)) == [f"cvmfs-{shard}" for shard in range(4)]
    assert all(topics.count(topic) > 200 for topic in set(topics))
    # CRC-32 modulo the number of topics; another result would silence buckets that are attached already.
    assert [topic_of(name, prefix="cvmfs", shards=4) for name in ("einstein", "curie", "fermi")] == [
        "cvmfs-0",
        "cvmfs-1",
        "cvmfs-1",
    ]


def test_a_connection_does_not_show_its_secret():
    assert "s3cr3t" not in repr(CONNECTION)
