"""Repositories as worker nodes read them: files by path below a URL, or below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

import urllib3

from functions.adapters.directory import DirectoryBlobStore
from functions.adapters.paths import checked
from functions.errors import Permanent, StoreUnavailable

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
RETRIES = 3
CONNECTIONS = 16
"""Connections kept open; more than these many threads still work, with connections that are closed again."""


class Reader(Protocol):
    """The files of one repository, read only. Methods may be called from several threads; raise StoreUnavailable."""

    def fetch(self, path: str) -> bytes | None:
        """The stored bytes, or None."""

    def exists(self, path: str) -> bool:
        """Whether the file is there."""


def open_reader(address: str) -> Reader:
    """The reader of the repository at an ``http://``, ``https://`` or ``file://`` URL, or in a folder.

    Raises Permanent for any other scheme.
    """
    parts = urlsplit(address)
    if parts.scheme in {"http", "https"}:
        return HttpReader(address)
    if parts.scheme == "file":
        return FolderReader(Path(unquote(parts.path)))
    if "://" in address:
        raise Permanent(f"{address!r} is neither an HTTP address nor a folder")
    return FolderReader(Path(address))


class HttpReader:
    """A Reader over plain HTTP, with connections that are kept.

    Only 404 means that a file is not there. A 403 is an error: a bucket that answers so for missing files is not
    readable by CVMFS clients either.
    """

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._http = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=urllib3.Retry(
                RETRIES, status_forcelist=(500, 502, 503, 504), raise_on_status=False, backoff_factor=0.1
            ),
        )

    def fetch(self, path: str) -> bytes | None:
        """The stored bytes, never inflated on the way, or None."""
        response = self._ask("GET", path)
        return None if response is None else response.data

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return self._ask("HEAD", path) is not None

    def _ask(self, method: str, path: str) -> urllib3.BaseHTTPResponse | None:
        url = f"{self._base}/{quote(checked(path))}"
        try:
            response = self._http.request(method, url, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"{method} {url}: {told(error)}") from error
        if response.status == 404:
            return None
        if response.status != 200:
            raise StoreUnavailable(f"{method} {url} was answered {response.status}")
        return response


def told(error: urllib3.exceptions.HTTPError) -> str:
    """What went wrong at last, without the names of urllib3's objects and how often it was tried."""
    text = str(getattr(error, "reason", None) or error)
    return text.partition(": ")[2] if text.startswith("HTTP") else text


class FolderReader:
    """A Reader of a folder."""

    def __init__(self, folder: Path) -> None:
        self._store = DirectoryBlobStore(folder)

    def fetch(self, path: str) -> bytes | None:
        """The stored bytes, or None."""
        blob = self._store.get(path)
        return None if blob is None else blob.body

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return self._store.has(path)
