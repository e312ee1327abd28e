"""RadosGW keeps the contract of bucket administration."""

import itertools
import json
import time

import boto3
import pika
import pytest
from botocore.config import Config
from pydantic import SecretStr

from functions.adapters.buckets import S3BucketAdmin, topic_of
from functions.adapters.s3_connection import S3Connection
from functions.errors import StoreUnavailable
from tests.contracts.bucket_admin import BucketAdminContract

pytestmark = pytest.mark.services

_numbers = itertools.count(1)
SHARDS = 2


@pytest.fixture
def connection(servers):
    endpoints = servers.ceph.endpoints
    return S3Connection(
        endpoint=endpoints.s3_url,
        region=endpoints.region,
        access_key=endpoints.service.access_key,
        secret_key=endpoints.service.secret_key,
    )


@pytest.fixture(scope="module")
def broker(servers):
    """The exchange that notifications go to, a queue behind it, and the topics of an installation."""
    endpoints = servers.rabbit.endpoints
    with pika.BlockingConnection(pika.URLParameters(endpoints.amqp_url.get_secret_value())) as connected:
        channel = connected.channel()
        channel.exchange_declare("notification-contract", "topic", durable=True)
        channel.queue_declare("bucket-events", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("bucket-events", "notification-contract", "#")
        names = [f"contract-{shard}" for shard in range(SHARDS)]
        servers.ceph.ensure_topics(names, endpoints.amqp_url, "notification-contract")
        yield channel


class World:
    def __init__(self, ceph):
        number = next(_numbers)
        self.bucket = f"admin-contract-{number}"
        account = ceph.create_user(f"user-{number}")
        self.owner = account.uid
        self._service = ceph.client("s3")
        self.user = boto3.client(
            "s3",
            endpoint_url=ceph.endpoints.s3_url,
            region_name="default",
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key.get_secret_value(),
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def make_bucket(self):
        self.user.create_bucket(Bucket=self.bucket)

    def remove_bucket(self):
        self.user.delete_bucket(Bucket=self.bucket)

    def owner_of(self, bucket):
        return self._service.get_bucket_acl(Bucket=bucket)["Owner"]["ID"]

    def notifications(self, bucket):
        return self._service.get_bucket_notification_configuration(Bucket=bucket).get("TopicConfigurations", [])

    def watched(self, bucket):
        return len(self.notifications(bucket))


class TestS3BucketAdmin(BucketAdminContract):
    @pytest.fixture
    def admin(self, connection, broker):
        return S3BucketAdmin(connection, topic_prefix="contract", topic_shards=SHARDS)

    @pytest.fixture
    def world(self, servers):
        return World(servers.ceph)

    @pytest.fixture
    def broken_admin(self):
        down = S3Connection(endpoint="http://127.0.0.1:9", region="default", access_key="a", secret_key=SecretStr("b"))
        return S3BucketAdmin(down, topic_prefix="contract", topic_shards=SHARDS)

    def test_the_owner_can_use_the_bucket_that_was_made_for_them(self, admin, world):
        admin.ensure_bucket(world.bucket, world.owner)
        world.user.put_object(Bucket=world.bucket, Key="cvmfs/x", Body=b"1")
        assert [bucket["Name"] for bucket in world.user.list_buckets()["Buckets"]] == [world.bucket]

    def test_a_bucket_for_a_user_who_is_not_there_yet_waits_with_the_service(self, admin, servers, world):
        admin.ensure_bucket(world.bucket, "not-there-yet")
        assert world.owner_of(world.bucket) == servers.ceph.endpoints.service.uid
        admin.ensure_bucket(world.bucket, world.owner)
        assert world.owner_of(world.bucket) == world.owner

    def test_other_notifications_of_the_bucket_stay(self, admin, world):
        world.make_bucket()
        theirs = {"Id": "theirs", "TopicArn": "arn:aws:sns:default::contract-0", "Events": ["s3:ObjectRemoved:*"]}
        world.user.put_bucket_notification_configuration(
            Bucket=world.bucket, NotificationConfiguration={"TopicConfigurations": [theirs]}
        )
        admin.ensure_notifications(world.bucket)
        assert sorted(entry["Id"] for entry in world.notifications(world.bucket)) == ["cvmfs-cloud", "theirs"]

    def test_only_our_own_notification_is_removed(self, admin, world):
        world.make_bucket()
        theirs = {"Id": "theirs", "TopicArn": "arn:aws:sns:default::contract-0", "Events": ["s3:ObjectRemoved:*"]}
        world.user.put_bucket_notification_configuration(
            Bucket=world.bucket, NotificationConfiguration={"TopicConfigurations": [theirs]}
        )
        admin.ensure_notifications(world.bucket)
        admin.remove_notifications(world.bucket)
        assert [entry["Id"] for entry in world.notifications(world.bucket)] == ["theirs"]

    def test_a_notification_to_another_topic_is_moved(self, connection, admin, world):
        world.make_bucket()
        for shards in (1, SHARDS):
            S3BucketAdmin(connection, topic_prefix="contract", topic_shards=shards).ensure_notifications(world.bucket)
            (entry,) = world.notifications(world.bucket)
            topic = topic_of(world.bucket, prefix="contract", shards=shards)
            assert entry["TopicArn"] == f"arn:aws:sns:default::{topic}"

    def test_a_topic_that_was_never_made_is_told(self, connection, world):
        world.make_bucket()
        with pytest.raises(StoreUnavailable, match="unmade-"):
            S3BucketAdmin(connection, topic_prefix="unmade", topic_shards=2).ensure_notifications(world.bucket)

    def test_uploads_and_removals_below_the_prefix_are_told_and_others_are_not(self, admin, broker, world):
        admin.ensure_bucket(world.bucket, world.owner)
        admin.ensure_notifications(world.bucket)
        for key in ("other/x", "cvmfs-old/x", "cvmfs/x"):
            world.user.put_object(Bucket=world.bucket, Key=key, Body=b"1")
        world.user.delete_object(Bucket=world.bucket, Key="cvmfs/x")
        told = []
        deadline = time.monotonic() + 90  # a new topic stays silent for up to 30 s
        while len(told) < 2 and time.monotonic() < deadline:
            _, _, body = broker.basic_get("bucket-events", auto_ack=True)
            if body is None:
                broker.connection.sleep(0.1)
                continue
            (record,) = json.loads(body)["Records"]
            if record["s3"]["bucket"]["name"] == world.bucket:
                told.append((record["eventName"], record["s3"]["object"]["key"]))
        assert sorted(told) == [("ObjectCreated:Put", "cvmfs/x"), ("ObjectRemoved:Delete", "cvmfs/x")]
