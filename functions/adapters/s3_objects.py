"""The users' buckets, read through S3."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError, PreconditionError

from functions.adapters.paths import is_plain
from functions.adapters.s3_connection import S3Connection, read_whole, unavailable
from functions.adapters.s3_requests import signed_requests
from functions.errors import StoreForbids, StoreUnavailable, VersionMoved
from functions.ports import ObjectInfo

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

BLOCK_SIZE = 4 << 20
"""Bytes per request: an object up to this size needs one, and its metadata comes with it."""

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long a reader waits, again and again, when the store fails in the middle of an object.

To begin anew with a hundred gigabytes costs more than a quarter of a minute of patience. An object that cannot even be
opened is given up at once: its event waits better in the queue.
"""

_STANDARD_HEADERS = frozenset(
    {
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Content-Disposition",
        "Cache-Control",
        "Storage-Class",
    }
)
_METADATA = "x-amz-meta-"

_NOT_FOR_US = frozenset({400, 403})
"""A policy denies an object, or it is encrypted by a key that only its owner has (SSE-C)."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """An answer to a ranged GET: what it says of the object, and some of its bytes."""

    info: ObjectInfo
    body: bytes


class _Way(Protocol):
    """A way to ask for objects; raises VersionMoved where `etag` no longer matches, StoreUnavailable, or gives None."""

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store says of the object."""

    def get(self, bucket: str, key: str, start: int, *, etag: str | None) -> _Piece | None:
        """One block of the object from `start` on."""


class _NotWithObstore(Exception):
    """obstore cannot express this key or this answer."""


class _Obstore:
    """The fast way."""

    def __init__(self, connection: S3Connection) -> None:
        self._store = connection.objects()

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            result = self._get(bucket, key, {"head": True})
        except FileNotFoundError:
            return None
        return _told(key, result)

    def get(self, bucket: str, key: str, start: int, *, etag: str | None) -> _Piece | None:
        options: GetOptions = {"range": (start, start + BLOCK_SIZE)}
        if etag is not None:
            options["if_match"] = f'"{etag}"'
        try:
            result, body = read_whole(lambda: self._get(bucket, key, options))
            return _Piece(_told(key, result), body)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise unavailable(f"reading {bucket}/{key}", error) from error

    def _get(self, bucket: str, key: str, options: GetOptions) -> GetResult:
        try:
            return obstore.get(self._store, f"{bucket}/{key}", options=options)
        except PreconditionError as error:
            raise VersionMoved(f"{bucket}/{key} was replaced while it was read") from error
        except BaseError as error:
            raise _NotWithObstore from error


class _Plain:
    """The way for what obstore cannot do: any key, any metadata, empty objects."""

    def __init__(self, connection: S3Connection) -> None:
        self.requests = signed_requests(connection)

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        piece = self._ask("HEAD", bucket, key, {})
        return None if piece is None else piece.info

    def get(self, bucket: str, key: str, start: int, *, etag: str | None) -> _Piece | None:
        headers = {"range": f"bytes={start}-{start + BLOCK_SIZE - 1}"}
        if etag is not None:
            headers["if-match"] = f'"{etag}"'
        return self._ask("GET", bucket, key, headers)

    def _ask(self, method: str, bucket: str, key: str, headers: Mapping[str, str]) -> _Piece | None:
        response = self.requests.send(method, f"/{bucket}/{key}", headers=headers)
        if response.status == 404:
            return None
        if response.status == 412:
            raise VersionMoved(f"{bucket}/{key} was replaced while it was read")
        if response.status == 416 and headers.get("range", "").startswith("bytes=0-"):  # an empty object has no byte 0
            return self._ask(method, bucket, key, {})
        if response.status not in {200, 206}:
            fault = StoreForbids if response.status in _NOT_FOR_US else StoreUnavailable
            raise fault(f"{method} {bucket}/{key} was answered {response.status}")
        answer = response.headers
        total = answer.get("content-range", "").rpartition("/")[2] or answer.get("content-length", "")
        try:
            info = ObjectInfo(
                key=key,
                size=int(total),
                etag=answer["etag"].strip('"'),
                modified=parsedate_to_datetime(answer["last-modified"]),
                metadata={
                    name.lower()[len(_METADATA) :]: _utf8(value)
                    for name, value in answer.items()
                    if name.lower().startswith(_METADATA)
                },
            )
        except (KeyError, ValueError) as error:
            raise unavailable(f"headers of {bucket}/{key}", error) from error
        return _Piece(info, response.data)


class S3ObjectReader:
    """An object opened at one etag, read in ranges; the next range is fetched while one is worked on.

    Where a connection breaks the same range is asked for again, at the same etag: what was read stays read.
    """

    def __init__(self, way: _Way, bucket: str, first: _Piece) -> None:
        self.info = first.info
        self._way = way
        self._bucket = bucket
        self._first = first.body

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks; raises VersionMoved if the object was replaced or removed meanwhile."""
        if self._first:
            if len(self._first) == self.info.size:
                yield self._first
                return
            with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead:
                block = self._first
                position = 0
                while block:
                    position += len(block)
                    following = ahead.submit(self._block, position) if position < self.info.size else None
                    yield block
                    block = b"" if following is None else following.result()

    def read(self, start: int) -> bytes:
        """One block from byte `start` on; what was read on opening is not asked for again."""
        return self._first[start:] or self._block(start)

    def _block(self, start: int) -> bytes:
        for pause_s in PAUSES_S:
            try:
                return self._asked(start)
            except StoreUnavailable:
                time.sleep(pause_s)
        return self._asked(start)

    def _asked(self, start: int) -> bytes:
        try:
            piece = self._way.get(self._bucket, self.info.key, start, etag=self.info.etag)
        except _NotWithObstore as error:
            raise unavailable(f"reading {self._bucket}/{self.info.key}", error.__cause__ or error) from error
        if piece is None or piece.info.etag != self.info.etag:
            raise VersionMoved(f"{self._bucket}/{self.info.key} was replaced while it was read")
        if not piece.body:
            raise StoreUnavailable(f"{self._bucket}/{self.info.key} ended at byte {start} of {self.info.size}")
        return piece.body


class S3ObjectSource:
    """An ObjectSource over S3; one instance serves all buckets."""

    def __init__(self, connection: S3Connection) -> None:
        self._fast = _Obstore(connection)
        self._plain = _Plain(connection)

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object as it is now, metadata included."""
        if is_plain(key):
            try:
                return self._fast.head(bucket, key)
            except _NotWithObstore:
                pass
        return self._plain.head(bucket, key)

    def open(self, bucket: str, key: str) -> S3ObjectReader | None:
        """The object as it is now; its first block is read already."""
        ways: list[_Way] = [self._fast, self._plain] if is_plain(key) else [self._plain]
        for way in ways:
            try:
                first = way.get(bucket, key, 0, etag=None)
            except _NotWithObstore:
                continue
            return None if first is None else S3ObjectReader(way, bucket, first)
        raise StoreUnavailable(f"reading {bucket}/{key} failed")

    def list(self, bucket: str, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix` and is above `after`, in key order."""
        lines = self._plain.requests.listing(bucket, prefix, after=after)
        for line in lines or ():
            yield ObjectInfo(key=line.key, size=line.size, etag=line.etag, modified=line.modified)


def _told(key: str, result: GetResult) -> ObjectInfo:
    meta = result.meta
    etag = meta["e_tag"]
    modified: datetime = meta["last_modified"]
    if etag is None:
        raise StoreUnavailable(f"the store sent no etag for {key}")
    return ObjectInfo(
        key=key,
        size=meta["size"],
        etag=etag.strip('"'),
        modified=modified,
        metadata={name.lower(): value for name, value in result.attributes.items() if name not in _STANDARD_HEADERS},
    )


def _utf8(value: str) -> str:
    """A header value as the user meant it: urllib3 reads headers as Latin-1, S3 clients send UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
