"""A BlobStore in an S3 bucket: the repositories, and the service's own records."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from functions.adapters.paths import checked
from functions.adapters.s3_connection import RETRY_PAUSE_S, S3Connection, read_whole, unavailable
from functions.adapters.s3_requests import signed_requests
from functions.errors import StoreUnavailable, VersionMoved
from functions.ports import Blob, BlobInfo

if TYPE_CHECKING:
    from obstore import PutMode

_CONDITIONAL_ATTEMPTS = 4
_MARKS = "write-ids"
"""User metadata that names the last conditional writes of a file, newest first (``x-amz-meta-write-ids``).

A write whose answer was lost is recognised by it, also when others have written after it meanwhile.
"""
_MARKS_KEPT = 16
_MARKS_FROM = "#"
"""Separates the etag from the marks in a version."""
_SUPERSEDED = "superseded"
"""The etag of a write that was applied, and followed by another before its etag was known: no file will have it."""

_OBJECT = {"Content-Type": "application/octet-stream", "Cache-Control": "max-age=259200"}
_DOT_FILE = {"Content-Type": "application/x-cvmfs", "Cache-Control": "max-age=61"}
_JSON = {"Content-Type": "application/json", "Cache-Control": "max-age=61"}


def headers_of(path: str) -> Mapping[str, str]:
    """The HTTP headers a file is stored with, which proxies and clients then see.

    Objects may be cached for three days, dot files for 61 s, since squid caches nothing up to 60 s
    (``s3fanout.cc: InitializeRequest``).
    """
    if path.rpartition("/")[2].startswith(".cvmfs"):
        return _DOT_FILE
    if path.endswith(".json"):
        return _JSON
    return _OBJECT


class S3BlobStore:
    """Files below a prefix of a bucket; a version is the etag, unquoted, and the marks of the last writes."""

    def __init__(self, connection: S3Connection, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._quoted = connection.quoted_if_match
        self._store = connection.objects()
        self._once = connection.objects(retries=0)
        self._requests = signed_requests(connection)

    def get(self, path: str) -> Blob | None:
        """The file, or None."""
        try:
            answer, body = read_whole(lambda: obstore.get(self._store, self._key(path)))
        except FileNotFoundError as error:
            self._raise_if_no_bucket(error)
            return None
        except BaseError as error:
            raise self._failed("reading", path, error) from error
        return Blob(body, _version(answer.meta["e_tag"], answer.attributes.get(_MARKS, "")))

    def has(self, path: str) -> bool:
        """Whether the file exists."""
        try:
            obstore.head(self._store, self._key(path))
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise self._failed("looking for", path, error) from error
        return True

    def info(self, path: str) -> BlobInfo | None:
        """What a listing would say of the file now."""
        try:
            told = obstore.head(self._store, self._key(path))
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise self._failed("looking for", path, error) from error
        return BlobInfo(path, told["size"], told["last_modified"])

    def put(self, path: str, body: bytes | bytearray) -> None:
        """Write unconditionally."""
        try:
            obstore.put(self._store, self._key(path), body, attributes=dict(headers_of(path)), use_multipart=False)
        except (BaseError, FileNotFoundError) as error:
            raise self._failed("writing", path, error) from error

    def create(self, path: str, body: bytes) -> str:
        """Write if absent (PUT ``If-None-Match: *``)."""
        return self._conditional_put(path, body, None)

    def replace(self, path: str, body: bytes, version: str) -> str:
        """Write if the file still has `version` (PUT ``If-Match``)."""
        return self._conditional_put(path, body, version)

    def delete(self, path: str) -> None:
        """Remove the file with one DELETE; absent is fine."""
        try:
            obstore.delete(self._store, self._key(path))
        except FileNotFoundError as error:
            self._raise_if_no_bucket(error)
        except BaseError as error:
            raise self._failed("deleting", path, error) from error

    def delete_old(self, path: str, before: datetime) -> bool:
        """Remove the file if it was last written before `before`.

        RadosGW compares the time once more as part of the removal (``rgw_rest_s3.cc: RGWDeleteObj_ObjStore_S3``).
        """
        told = self.info(path)
        if told is None or told.modified >= before:
            return False
        headers = {"x-amz-delete-if-unmodified-since": before.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")}
        response = self._requests.send("DELETE", "/" + self._key(path), headers=headers)
        if response.status not in {200, 204, 404, 412}:
            raise StoreUnavailable(f"deleting {self._bucket}/{self._prefix}{path} was answered {response.status}")
        return response.status in {200, 204}

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All files whose path starts with `prefix`, in path order."""
        lines = self._requests.listing(self._bucket, self._prefix + prefix)
        if lines is None:
            raise StoreUnavailable(f"bucket {self._bucket} does not exist")
        return (BlobInfo(line.key[len(self._prefix) :], line.size, line.modified) for line in lines)

    def _conditional_put(self, path: str, body: bytes, version: str | None) -> str:
        """Write `body` if the file is still at `version` (None: absent), at most once, whatever the answers.

        An answer of 500, or none, leaves open whether the write was applied. Then the file is read again. Our own mark
        in its metadata means that it was, whoever has written since (its bytes would prove nothing: the winner may have
        written the same); the expected version means that it was not yet, and since the write is conditional it can be
        sent again; anything else means that somebody else won. obstore's own retries are off here: they would take the
        412 to a repetition of a write that was applied for a lost race.
        """
        key = self._key(path)
        etag, _, earlier = (version or "").partition(_MARKS_FROM)
        mode: PutMode = "create" if version is None else {"e_tag": f'"{etag}"' if self._quoted else etag}
        mark = secrets.token_hex(8)
        marks = " ".join([mark, *earlier.split()][:_MARKS_KEPT])
        attributes = {**headers_of(path), _MARKS: marks}
        last: BaseException | None = None
        for attempt in range(_CONDITIONAL_ATTEMPTS):
            if last is not None:
                time.sleep(RETRY_PAUSE_S * 2**attempt)
                found = self.get(path)
                present = [] if found is None else found.version.partition(_MARKS_FROM)[2].split()
                if found is not None and mark in present:
                    return found.version if present[0] == mark else _version(_SUPERSEDED, marks)
                if (None if found is None else found.version) != version:
                    raise VersionMoved(_moved(key, version)) from last
            try:
                result = obstore.put(self._once, key, body, attributes=attributes, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError) as error:
                if last is None:
                    raise VersionMoved(_moved(key, version)) from error
                last = error
            except FileNotFoundError as error:
                self._raise_if_no_bucket(error)
                raise VersionMoved(_moved(key, version)) from error
            except BaseError as error:
                last = error
            else:
                return _version(result["e_tag"], marks)
        raise self._failed("writing", path, last or TimeoutError()) from last

    def _key(self, path: str) -> str:
        return f"{self._bucket}/{self._prefix}{checked(path)}"

    def _raise_if_no_bucket(self, error: FileNotFoundError) -> None:
        if "NoSuchBucket" in str(error):
            raise StoreUnavailable(f"bucket {self._bucket} does not exist") from error

    def _failed(self, doing: str, path: str, error: BaseException) -> StoreUnavailable:
        return unavailable(f"{doing} {self._bucket}/{self._prefix}{path}", error)


def _moved(key: str, version: str | None) -> str:
    return f"{key} exists already" if version is None else f"{key} is no longer at version {version}"


def _version(etag: str | None, marks: str) -> str:
    if etag is None:
        raise StoreUnavailable("the store sent no etag, so nothing can be compared and swapped")
    return etag.strip('"') + _MARKS_FROM + marks
