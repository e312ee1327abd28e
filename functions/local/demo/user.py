"""The user's side of S3: puts and deletes with their own keys, as rclone would do them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from functions.local.demo.material import Upload

PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Put:
    """A PUT that has returned: the etag of the object, and when (time.monotonic)."""

    upload: Upload
    etag: str
    at: float


class S3User:
    """One user with one bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, upload: Upload) -> Put:
        """Put one object."""
        answer = self._client.put_object(
            Bucket=self._bucket, Key=upload.key, Body=upload.read(), Metadata=upload.metadata
        )
        return Put(upload, answer["ETag"].strip('"'), time.monotonic())

    def put_all(self, uploads: Iterable[Upload], done: Callable[[Put], None]) -> list[Put]:
        """Put many, PARALLEL at a time; `done` hears of each as it returns."""

        def one(upload: Upload) -> Put:
            put = self.put(upload)
            done(put)
            return put

        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="user") as threads:
            return list(threads.map(one, uploads))

    def delete(self, key: str) -> float:
        """Delete one object; returns when (time.monotonic). One by one: a bulk delete aborts RadosGW 16."""
        self._client.delete_object(Bucket=self._bucket, Key=key)
        return time.monotonic()
