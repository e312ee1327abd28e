"""The users' buckets as RadosGW administers them: existence, owner, notifications."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from functions.adapters.s3_connection import S3Connection, unavailable
from functions.adapters.s3_requests import signed_requests
from functions.errors import StoreForbids, StoreUnavailable

NOTIFICATION_ID = "cvmfs-cloud"
WATCHED_PREFIX = "cvmfs/"
"""With the slash: without it RadosGW also tells of keys such as ``cvmfs-old/x``."""

_EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


def topic_of(bucket: str, *, prefix: str, shards: int) -> str:
    """The topic that a bucket's notifications go to, ``<prefix>-<n>``, the same in every process and release."""
    return f"{prefix}-{zlib.crc32(bucket.encode()) % shards}"


class S3BucketAdmin:
    """A BucketAdmin on RadosGW, for a service user that may use the admin API.

    The topics ``<topic_prefix>-0`` to ``-<topic_shards - 1>`` are made when the service is installed, since a new
    persistent topic stays silent for up to 30 s.
    """

    def __init__(self, connection: S3Connection, *, topic_prefix: str, topic_shards: int) -> None:
        self._connection = connection
        self._topic_prefix = topic_prefix
        self._topic_shards = topic_shards
        self._requests = signed_requests(connection)

    def exists(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        status = self._requests.send("HEAD", f"/{bucket}").status
        if status in {401, 403}:
            raise StoreForbids(f"looking for bucket {bucket} was answered {status}")
        if status not in {200, 404}:
            raise StoreUnavailable(f"looking for bucket {bucket} was answered {status}")
        return status == 200

    def identity(self, bucket: str) -> str | None:
        """RadosGW's id of the bucket's instance; None without leave to use the admin API, or another store."""
        answer = self._requests.send("GET", "/admin/bucket", {"bucket": bucket, "format": "json"})
        if answer.status != 200:
            return None
        try:
            return str(json.loads(answer.data)["id"])
        except (ValueError, KeyError, TypeError):
            return None

    def ensure_bucket(self, bucket: str, owner: str) -> None:
        """Make the bucket and link it to `owner`; a bucket that belongs to somebody else stays theirs.

        Without that user, or without leave to use the admin API, the service keeps it. A bucket left behind by a crash
        between the two steps still belongs to the service and is linked by the repetition.
        """
        if not self.exists(bucket):
            self._ask(f"making bucket {bucket}", self._create, bucket)
        acl = self._ask(f"owner of bucket {bucket}", self._client().get_bucket_acl, Bucket=bucket)
        own = self._ask("owner of the service's buckets", self._client().list_buckets, MaxBuckets=1)
        if acl["Owner"]["ID"] == own["Owner"]["ID"] != owner:
            self._requests.send("PUT", "/admin/bucket", {"bucket": bucket, "uid": owner})

    def ensure_notifications(self, bucket: str) -> bool:
        """Send creations and removals below ``cvmfs/`` to the bucket's topic, beside other notifications it has."""
        topic = topic_of(bucket, prefix=self._topic_prefix, shards=self._topic_shards)
        wanted = {
            "Id": NOTIFICATION_ID,
            "TopicArn": f"arn:aws:sns:{self._connection.region}::{topic}",
            "Events": _EVENTS,
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": WATCHED_PREFIX}]}},
        }
        client = self._client()
        doing = f"notifications of bucket {bucket}"
        present = self._ask(doing, client.get_bucket_notification_configuration, Bucket=bucket)
        if any(_same(wanted, entry) for entry in present.get("TopicConfigurations", ())):
            return False
        if any(entry.get("Id") == NOTIFICATION_ID for entry in present.get("TopicConfigurations", ())):
            # RadosGW adds a configuration to those that are there, also one of the same Id to another topic. What
            # happens in the moment without any is found by the next reconciliation.
            self.remove_notifications(bucket)
        self._ask(
            f"{doing} to topic {topic}",
            client.put_bucket_notification_configuration,
            Bucket=bucket,
            NotificationConfiguration={"TopicConfigurations": [wanted]},
        )
        return True

    def remove_notifications(self, bucket: str) -> None:
        """Take the service's own configuration off the bucket; RadosGW's extension names the one to go."""
        answer = self._requests.send("DELETE", f"/{bucket}", {"notification": NOTIFICATION_ID})
        if answer.status not in {200, 204, 404}:
            raise StoreUnavailable(f"removing the notifications of bucket {bucket} was answered {answer.status}")

    def _client(self) -> Any:
        return self._connection.boto3_client()

    def _create(self, bucket: str) -> None:
        client = self._client()
        try:
            client.create_bucket(Bucket=bucket)
        except (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            return

    @staticmethod
    def _ask(doing: str, request: Callable[..., Any], *positional: Any, **named: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return request(*positional, **named)
        except (BotoCoreError, ClientError) as error:
            raise unavailable(doing, error) from error


def _same(wanted: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether a configuration read back is the wanted one; RadosGW adds empty filters and may change the order."""
    rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    return (
        entry.get("Id") == wanted["Id"]
        and entry.get("TopicArn") == wanted["TopicArn"]
        and sorted(entry.get("Events", ())) == sorted(wanted["Events"])
        and [(rule["Name"].lower(), rule["Value"]) for rule in rules] == [("prefix", WATCHED_PREFIX)]
    )
