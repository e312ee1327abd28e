"""RadosGW keeps the contracts of blob stores and object sources."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import urllib3
from pydantic import SecretStr

from functions.adapters import s3_objects
from functions.adapters.s3 import S3BlobStore
from functions.adapters.s3_connection import S3Connection
from functions.adapters.s3_objects import S3ObjectSource
from functions.adapters.s3_requests import SignedRequests
from functions.errors import StoreForbids, StoreUnavailable, VersionMoved
from tests.contracts.blob_store import BlobStoreContract, race
from tests.contracts.object_source import ObjectSourceContract
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.services

_numbers = itertools.count(1)
DOWN = S3Connection(endpoint="http://127.0.0.1:9", region="default", access_key="a", secret_key=SecretStr("b"))


@pytest.fixture
def connection(servers):
    endpoints = servers.ceph.endpoints
    return S3Connection(
        endpoint=endpoints.s3_url,
        region=endpoints.region,
        access_key=endpoints.service.access_key,
        secret_key=endpoints.service.secret_key,
    )


@pytest.fixture
def proxied(connection):
    """The same service through a proxy that misbehaves on demand."""
    target = urlsplit(connection.endpoint)
    with TcpProxy((target.hostname, target.port)) as proxy:
        yield (
            proxy,
            S3Connection(
                endpoint=f"http://127.0.0.1:{proxy.port}",
                region=connection.region,
                access_key=connection.access_key,
                secret_key=connection.secret_key,
            ),
        )


@pytest.fixture
def bucket(servers):
    name = f"contract-{next(_numbers)}"
    servers.ceph.client("s3").create_bucket(Bucket=name)
    return name


class TestS3BlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, connection, bucket):
        return S3BlobStore(connection, bucket, "einstein.infn.it")

    @pytest.fixture
    def broken_store(self):
        return S3BlobStore(DOWN, "bucket")

    @pytest.mark.parametrize(
        ("path", "content_type", "cache_control"),
        [
            ("data/ab/cdef", "application/octet-stream", "max-age=259200"),
            ("data/ab/cdefC", "application/octet-stream", "max-age=259200"),
            (".cvmfspublished", "application/x-cvmfs", "max-age=61"),
            (".cvmfswhitelist", "application/x-cvmfs", "max-age=61"),
            ("repositories/a.json", "application/json", "max-age=61"),
        ],
    )
    @pytest.mark.parametrize("how", ["put", "create", "replace"])
    def test_files_are_served_with_the_headers_clients_need(
        self, servers, store, bucket, path, content_type, cache_control, how
    ):
        if how == "put":
            store.put(path, b"1")
        else:
            version = store.create(path, b"1")
            if how == "replace":
                store.replace(path, b"2", version)
        head = servers.ceph.client("s3").head_object(Bucket=bucket, Key=f"einstein.infn.it/{path}")
        assert head["ContentType"] == content_type
        assert head["CacheControl"] == cache_control
        assert "ContentEncoding" not in head

    def test_two_prefixes_of_a_bucket_are_two_stores(self, connection, bucket):
        one, two = (S3BlobStore(connection, bucket, name) for name in ("a.infn.it", "a.infn.it.x"))
        one.put("data/1", b"1")
        assert two.get("data/1") is None
        assert [info.path for info in two.list("")] == []
        assert [info.path for info in one.list("")] == ["data/1"]

    def test_a_store_without_a_prefix_holds_the_whole_bucket(self, connection, bucket):
        S3BlobStore(connection, bucket, "a.infn.it").put("data/1", b"1")
        assert S3BlobStore(connection, bucket).get("a.infn.it/data/1").body == b"1"

    def test_a_bucket_that_is_missing_is_a_store_that_is_unavailable(self, connection):
        store = S3BlobStore(connection, "no-such-bucket-here")
        for attempt in (
            lambda: store.get("a"),
            lambda: store.put("a", b""),
            lambda: store.create("a", b""),
            lambda: store.delete("a"),
            lambda: list(store.list("")),
        ):
            with pytest.raises(StoreUnavailable):
                attempt()

    def test_refused_credentials_are_unavailable_and_not_shown(self, connection, bucket):
        wrong = S3Connection(
            endpoint=connection.endpoint, region="default", access_key="nobody", secret_key=SecretStr("hush-hush")
        )
        store = S3BlobStore(wrong, bucket)
        for attempt in (lambda: store.get("a"), lambda: store.put("a", b""), lambda: list(store.list(""))):
            with pytest.raises(StoreUnavailable) as caught:
                attempt()
            assert "hush" not in str(caught.value)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("lost", [1, 2])
    def test_a_conditional_write_whose_answer_is_lost_is_still_known_to_have_won(
        self, connection, bucket, proxied, lost
    ):
        proxy, shaky = proxied
        store = S3BlobStore(shaky, bucket)
        proxy.answers_to_lose = lost
        version = store.create(".cvmfspublished", b"1")
        assert S3BlobStore(connection, bucket).get(".cvmfspublished").version == version
        proxy.answers_to_lose = lost
        version = store.replace(".cvmfspublished", b"2", version)
        assert S3BlobStore(connection, bucket).get(".cvmfspublished").version == version
        assert S3BlobStore(connection, bucket).get(".cvmfspublished").body == b"2"

    def test_a_lost_race_is_a_lost_race_when_answers_are_lost_too(self, connection, bucket, proxied):
        proxy, shaky = proxied
        store = S3BlobStore(shaky, bucket)
        version = store.create(".cvmfspublished", b"1")
        S3BlobStore(connection, bucket).put(".cvmfspublished", b"somebody else's")
        for attempt in (
            lambda: store.replace(".cvmfspublished", b"2", version),
            lambda: store.create(".cvmfspublished", b"2"),
        ):
            proxy.answers_to_lose = 1
            with pytest.raises(VersionMoved):
                attempt()
        assert store.get(".cvmfspublished").body == b"somebody else's"

    @pytest.mark.parametrize("later_writes", [1, 15])
    def test_a_write_whose_answer_is_lost_has_won_also_when_others_wrote_after_it(
        self, connection, bucket, proxied, later_writes
    ):
        proxy, shaky = proxied
        store, other = S3BlobStore(shaky, bucket), S3BlobStore(connection, bucket)
        version = store.create(".cvmfspublished", b"1")

        def others_write():
            for _ in range(later_writes):
                blob = other.get(".cvmfspublished")
                other.replace(".cvmfspublished", blob.body + b"+", blob.version)

        proxy.answers_to_lose, proxy.when_lost = 1, others_write
        version = store.replace(".cvmfspublished", b"2", version)
        assert other.get(".cvmfspublished").body == b"2" + b"+" * later_writes
        with pytest.raises(VersionMoved):
            store.replace(".cvmfspublished", b"3", version)

    def test_writers_with_lost_answers_apply_every_change_once(self, connection, bucket, proxied):
        proxy, shaky = proxied
        store = S3BlobStore(shaky, bucket)
        S3BlobStore(connection, bucket).put(".cvmfscounter", b"\n")

        def append(number):
            # Three lost answers in all: fewer than a conditional write has attempts, so none may be unavailable.
            if number % 3 == 0:
                proxy.answers_to_lose += 1
            while True:
                blob = store.get(".cvmfscounter")
                try:
                    store.replace(".cvmfscounter", blob.body + b"%d\n" % number, blob.version)
                except VersionMoved:
                    continue
                return

        race(append, writers=8)
        lines = S3BlobStore(connection, bucket).get(".cvmfscounter").body.split()
        assert sorted(map(int, lines)) == list(range(8))

    @pytest.mark.parametrize("broken", [1, 5])
    def test_an_answer_that_breaks_off_within_its_body_is_asked_for_again(self, bucket, proxied, broken):
        proxy, shaky = proxied
        store = S3BlobStore(shaky, bucket)
        body = bytes(range(256)) * 400
        store.put("cvmfs/1", body)
        proxy.answers_to_break = broken
        assert store.get("cvmfs/1").body == body
        assert proxy.answers_to_break == 0
        proxy.answers_to_break = broken
        assert b"".join(S3ObjectSource(shaky).open(bucket, "cvmfs/1").blocks()) == body
        assert proxy.answers_to_break == 0

    def test_an_answer_that_always_breaks_off_is_a_store_that_is_unavailable(self, bucket, proxied):
        proxy, shaky = proxied
        S3BlobStore(shaky, bucket).put("cvmfs/1", bytes(100_000))
        proxy.answers_to_break = 10_000
        with pytest.raises(StoreUnavailable):
            S3BlobStore(shaky, bucket).get("cvmfs/1")
        with pytest.raises(StoreUnavailable):
            S3ObjectSource(shaky).open(bucket, "cvmfs/1")

    def test_a_store_is_there_again_after_an_outage(self, bucket, proxied):
        proxy, shaky = proxied
        store = S3BlobStore(shaky, bucket)
        store.put("data/1", b"1")
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            store.get("data/1")
        proxy.refusing = False
        assert store.get("data/1").body == b"1"
        assert [info.path for info in store.list("")] == ["data/1"]


def test_an_object_that_is_put_again_while_it_is_being_deleted_stays(connection, bucket, monkeypatch):
    """RadosGW itself looks at the time again, as part of the deletion."""
    store = S3BlobStore(connection, bucket, "a.infn.it")
    store.put("data/ab/cd", b"1")
    told = store.info("data/ab/cd")
    monkeypatch.setattr(store, "info", lambda _: replace(told, modified=told.modified - timedelta(days=30)))
    assert not store.delete_old("data/ab/cd", told.modified - timedelta(days=1))
    assert store.get("data/ab/cd").body == b"1"
    assert store.delete_old("data/ab/cd", told.modified + timedelta(days=1))
    assert not store.has("data/ab/cd")


class S3Users:
    """A user who writes raw bytes into headers, as S3 clients do."""

    def __init__(self, client, bucket):
        self.bucket = bucket
        self._client = client
        self._http = urllib3.PoolManager()

    def put(self, key, body, metadata=None):
        if all(value.isascii() for value in (metadata or {}).values()):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata or {})
            return
        url = self._client.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": key})
        headers = {f"x-amz-meta-{name}": value.encode() for name, value in metadata.items()}
        assert self._http.request("PUT", url, body=body, headers=headers).status == 200

    def delete(self, key):
        self._client.delete_object(Bucket=self.bucket, Key=key)


class TestS3ObjectSource(ObjectSourceContract):
    @pytest.fixture
    def source(self, connection):
        return S3ObjectSource(connection)

    @pytest.fixture
    def users(self, servers, bucket):
        return S3Users(servers.ceph.client("s3"), bucket)

    @pytest.fixture
    def broken_source(self):
        return S3ObjectSource(DOWN)

    def test_an_object_uploaded_in_parts_is_read_whole(self, servers, source, bucket):
        client = servers.ceph.client("s3")
        part = b"p" * (5 << 20)
        upload = client.create_multipart_upload(Bucket=bucket, Key="cvmfs/big", Metadata={"mode": "33261"})["UploadId"]
        parts = [
            {
                "PartNumber": number,
                "ETag": client.upload_part(
                    Bucket=bucket, Key="cvmfs/big", UploadId=upload, PartNumber=number, Body=part
                )["ETag"],
            }
            for number in (1, 2, 3)
        ]
        client.complete_multipart_upload(
            Bucket=bucket, Key="cvmfs/big", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        reader = source.open(bucket, "cvmfs/big")
        assert reader.info.etag.endswith("-3")
        assert reader.info.metadata == {"mode": "33261"}
        assert b"".join(reader.blocks()) == part * 3

    def test_a_connection_that_is_cut_in_the_middle_of_an_object_is_made_anew(self, users, proxied):
        proxy, shaky = proxied
        body = bytes(range(256)) * 100_000
        users.put("cvmfs/big", body)
        read = bytearray()
        for block in S3ObjectSource(shaky).open(users.bucket, "cvmfs/big").blocks():
            read += block
            proxy.answers_to_break += 2
            proxy.cut()
        assert read == body

    def test_a_bucket_with_versions_shows_those_that_count(self, servers, source, users):
        client, key = servers.ceph.client("s3"), "cvmfs/v"
        client.put_bucket_versioning(Bucket=users.bucket, VersioningConfiguration={"Status": "Enabled"})
        first = client.put_object(Bucket=users.bucket, Key=key, Body=b"first")
        second = client.put_object(Bucket=users.bucket, Key=key, Body=b"second")
        assert b"".join(source.open(users.bucket, key).blocks()) == b"second"
        marker = client.delete_object(Bucket=users.bucket, Key=key)
        assert source.head(users.bucket, key) is None
        assert source.open(users.bucket, key) is None
        assert list(source.list(users.bucket, "cvmfs/")) == []
        client.delete_object(Bucket=users.bucket, Key=key, VersionId=marker["VersionId"])
        assert list(source.list(users.bucket, "cvmfs/")) == [source.head(users.bucket, key)]
        assert source.head(users.bucket, key).etag == second["ETag"].strip('"')
        client.delete_object(Bucket=users.bucket, Key=key, VersionId=second["VersionId"])
        assert source.head(users.bucket, key).etag == first["ETag"].strip('"')
        assert b"".join(source.open(users.bucket, key).blocks()) == b"first"

    def test_an_outage_in_the_middle_of_an_object_says_so(self, users, proxied, monkeypatch):
        monkeypatch.setattr(s3_objects, "PAUSES_S", (0.01,))
        proxy, shaky = proxied
        users.put("cvmfs/big", b"x" * 30_000_000)
        blocks = S3ObjectSource(shaky).open(users.bucket, "cvmfs/big").blocks()
        next(blocks)
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            list(blocks)

    def test_an_object_that_may_not_be_read_says_so(self, users, connection):
        users.put("cvmfs/file", b"1")
        stranger = S3ObjectSource(replace(connection, secret_key=SecretStr("wrong")))
        with pytest.raises(StoreForbids, match=f"HEAD {users.bucket}/cvmfs/file was answered 403"):
            stranger.head(users.bucket, "cvmfs/file")
        with pytest.raises(StoreForbids, match=f"GET {users.bucket}/cvmfs/file was answered 403"):
            stranger.open(users.bucket, "cvmfs/file")

    def test_listings_of_more_than_a_page_go_on(self, servers, source, bucket):
        client = servers.ceph.client("s3")
        keys = [f"cvmfs/{number:04}" for number in range(1_003)]
        for key in keys:
            client.put_object(Bucket=bucket, Key=key)
        assert [info.key for info in source.list(bucket, "cvmfs/")] == keys


def test_the_signature_covers_what_the_service_checks(connection):
    requests = SignedRequests(connection)
    assert requests.send("GET", "/").status == 200
    before = datetime.now(UTC)
    assert before.tzinfo is UTC
    stranger = S3Connection(
        endpoint=connection.endpoint, region="default", access_key=connection.access_key, secret_key=SecretStr("wrong")
    )
    assert SignedRequests(stranger).send("GET", "/").status == 403
