"""Buckets and topics as the service expects to find them in S3."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr

from functions.local.servers.s3_accounts import Account

REGION = "default"


def client(service: str, endpoint: str, account: Account) -> Any:
    """A boto3 client of ``s3``, ``sns`` or ``iam`` for a RadosGW on this machine, without proxies."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key.get_secret_value(),
        config=Config(
            signature_version="s3v4" if service == "s3" else "v4",
            s3={"addressing_style": "path"},
            proxies={},
            retries={"max_attempts": 3, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def public_read_policy(bucket: str) -> str:
    """Everyone may read the objects and list the bucket; without the second a missing key is 403 instead of 404."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": ["s3:GetObject", "s3:ListBucket"],
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            ],
        }
    )


def make_buckets(s3: Any, *, public: str, private: str) -> None:
    """Make both buckets and open the first for reading; existing ones of the same owner are fine."""
    for bucket in (public, private):
        try:
            s3.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
    s3.put_bucket_policy(Bucket=public, Policy=public_read_policy(public))


def make_topics(
    sns: Any, names: Iterable[str], *, push_endpoint: SecretStr, exchange: str, persistent: bool, ack_level: str
) -> None:
    """Make topics that publish to a topic exchange with the topic's name as routing key; repeating is fine.

    `ack_level` is ``none``, ``broker`` or ``routable``; RadosGW 16 aborts under load with any but the first.
    """
    # A password in the endpoint is taken over TLS only, or from a proxy that says it was.
    sns.meta.events.register("before-send.sns", _behind_tls)
    for name in names:
        sns.create_topic(
            Name=name,
            Attributes={
                "push-endpoint": push_endpoint.get_secret_value(),
                "amqp-exchange": exchange,
                "amqp-ack-level": ack_level,
                "persistent": "true" if persistent else "false",
            },
        )


def _behind_tls(request: AWSPreparedRequest, **_: object) -> None:
    request.headers["X-Forwarded-Proto"] = "https"
