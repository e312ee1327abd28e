"""How to reach one S3 service, and what its failures mean."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import S3Store
from pydantic import SecretStr

from functions.errors import StoreUnavailable

if TYPE_CHECKING:
    from obstore import GetResult

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 60
MAX_RETRIES = 3
"""Repetitions of a request that is safe to repeat, after 0.1, 0.2 and 0.4 seconds; then the event is tried again."""
RETRY_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Connection:
    """Endpoint and credentials of an S3 service, addressed path-style.

    `quoted_if_match`: whether PUT ``If-Match`` takes the etag in quotes, as the standard says. RadosGW 16 answers 412
    to the quoted form whatever the etag is.
    """

    endpoint: str
    region: str
    access_key: str
    secret_key: SecretStr
    quoted_if_match: bool = False

    def objects(self, *, retries: int = MAX_RETRIES) -> S3Store:
        """A client for objects whose paths begin with their bucket; shared by everybody in this process."""
        with _making:
            return _objects(self, retries)

    def boto3_client(self) -> Any:
        """A boto3 client, for what only bucket owners do; shared by everybody in this process."""
        with _making:
            return _boto3_client(self)


_making = threading.Lock()
"""A cache lets every thread that comes before the first is done make its own: eight boto3 clients were 96 MB more."""


@lru_cache(maxsize=16)
def _objects(connection: S3Connection, retries: int) -> S3Store:
    """One client for all buckets, so that a thousand repositories share one pool of connections.

    An obstore client is made for one bucket. Told that the bucket is in the host name, it adds the path to the endpoint
    as it is, and a path ``bucket/key`` makes the same request, and the same signature, as path-style addressing.
    """
    return S3Store(
        "any",
        endpoint=connection.endpoint.rstrip("/"),
        region=connection.region,
        access_key_id=connection.access_key,
        secret_access_key=connection.secret_key.get_secret_value(),
        virtual_hosted_style_request=True,
        conditional_put="etag",
        disable_bulk_delete=True,  # DeleteObjects aborts RadosGW 16 on a bucket with a persistent topic
        client_options={
            "allow_http": connection.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
        },
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
    )


@lru_cache(maxsize=16)
def _boto3_client(connection: S3Connection) -> Any:
    """Importing boto3 takes 0.4 s and 40 MB, which only functions that need it pay."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.session.Session().client(
        "s3",
        endpoint_url=connection.endpoint,
        region_name=connection.region,
        aws_access_key_id=connection.access_key,
        aws_secret_access_key=connection.secret_key.get_secret_value(),
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",  # RadosGW 16 does not know the newer checksums
            response_checksum_validation="when_required",
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=REQUEST_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": MAX_RETRIES + 1},
        ),
    )


def read_whole(get: Callable[[], GetResult]) -> tuple[GetResult, bytes]:
    """An answer with its whole body; asks again where the body breaks off, since obstore's retries end with its head.

    Raises what `get` raises, and obstore's BaseError when the last body broke off too.
    """
    for attempt in range(MAX_RETRIES):
        answer = get()
        try:
            return answer, bytes(answer.bytes())
        except BaseError:
            time.sleep(RETRY_PAUSE_S * 2**attempt)
    answer = get()
    return answer, bytes(answer.bytes())


def unavailable(doing: str, error: BaseException) -> StoreUnavailable:
    """What callers see of a driver's error: its first line, without the driver's debug output."""
    lines = str(error).splitlines()
    return StoreUnavailable(f"{doing}: {lines[0] if lines else type(error).__name__}")
