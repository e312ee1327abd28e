"""S3 with nothing but the standard library: requests signed with AWS Signature Version 4, path style.

Enough for nodes on which nothing can be installed; keys are those of a plan, plain ASCII.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
TIMEOUT_S = 60.0
_ATTEMPTS = 3


class S3Error(Exception):
    """An answer that is not 2xx; `status` is 0 when there was none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def signature_headers(
    method: str,
    host: str,
    path: str,
    query: str,
    body: bytes,
    *,
    region: str,
    access_key: str,
    secret_key: str,
    now: float,
) -> dict[str, str]:
    """The headers that sign a request; `path` and `query` as they go over the wire, the query sorted by name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    day = stamp[:8]
    body_hash = hashlib.sha256(body).hexdigest()
    scope = f"{day}/{region}/s3/aws4_request"
    signed = "host;x-amz-content-sha256;x-amz-date"
    headers = f"host:{host}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{stamp}\n"
    request = f"{method}\n{path}\n{query}\n{headers}\n{signed}\n{body_hash}"
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + secret_key.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {
        "x-amz-content-sha256": body_hash,
        "x-amz-date": stamp,
        "Authorization": f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}",
    }


class S3Client:
    """One account at one endpoint; safe for any number of threads, each with a connection of its own."""

    def __init__(self, endpoint: str, *, region: str, access_key: str, secret_key: str) -> None:
        parts = urlsplit(endpoint)
        self._tls = parts.scheme == "https"
        self._host = parts.netloc
        self._region = region
        self._access_key = access_key
        self._secret_key = secret_key
        self._mine = threading.local()

    def put(self, bucket: str, key: str, body: bytes) -> str:
        """Put an object; returns its etag without quotes. Raises S3Error."""
        headers, _ = self._ask("PUT", f"/{bucket}/{quote(key)}", "", body)
        return headers.get("etag", "").strip('"')

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, present or not; raises S3Error."""
        self._ask("DELETE", f"/{bucket}/{quote(key)}", "", b"")

    def modified(self, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and time (ISO 8601, as the store writes it) of every object below a prefix; raises S3Error."""
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            _, body = self._ask("GET", f"/{bucket}", _query(query), b"")
            root = ET.fromstring(body)
            space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
            for item in root.iter(f"{space}Contents"):
                yield item.findtext(f"{space}Key", ""), item.findtext(f"{space}LastModified", "")
            token = root.findtext(f"{space}NextContinuationToken", "")
            if not token:
                return

    def _ask(self, method: str, path: str, query: str, body: bytes) -> tuple[Mapping[str, str], bytes]:
        fault = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(0.2 * attempt)
            connection = self._connection()
            signed = signature_headers(
                method,
                self._host,
                path,
                query,
                body,
                region=self._region,
                access_key=self._access_key,
                secret_key=self._secret_key,
                now=time.time(),
            )
            headers = {**signed, "Date": formatdate(usegmt=True)}
            try:
                connection.request(method, f"{path}?{query}" if query else path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as err:
                connection.close()
                fault = f"{type(err).__name__}: {err}"
                continue
            if answer.status // 100 == 2:
                return {name.lower(): value for name, value in answer.getheaders()}, data
            fault = f"{method} {path} was answered {answer.status}: {data[:300].decode(errors='replace')}"
            if answer.status < 500:
                raise S3Error(answer.status, fault)
        raise S3Error(0, fault)

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if kept is None:
            kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
            kept = self._mine.connection = kind(self._host, timeout=TIMEOUT_S)
        return kept


def _query(values: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(values.items()))
