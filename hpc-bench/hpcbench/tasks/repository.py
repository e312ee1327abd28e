"""A CVMFS repository read with the standard library alone: manifest, catalogs, files, each checked by its hash.

Signatures are checked by the probe, which sees every revision; here a reader trusts the manifest it is given.
Format: ``cvmfs/manifest.cc``, ``cvmfs/catalog_sql.h``.
"""

from __future__ import annotations

import hashlib
import http.client
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_S = 30.0
_FILE, _LINK, _CHUNKED, _HASH_BITS = 0x4, 0x8, 0x40, 0x700


class ReadError(Exception):
    """What was read is not what its hash says, or is not there."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file stored in one object."""

    path: str
    size: int
    sha1: str


class Repository:
    """One repository below an HTTP address, over one connection; not for several threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=_TIMEOUT_S)
        self._path = parts.path

    def manifest(self) -> dict[str, str]:
        """The fields of the manifest by their letter; raises ReadError."""
        lines = self._get(".cvmfspublished").split(b"\n--\n")[0].decode("ascii", "replace").splitlines()
        return {line[0]: line[1:] for line in lines if line}

    def files(self, root: str) -> Iterator[File]:
        """Regular files below a root catalog that are stored whole with SHA-1; raises ReadError."""
        pending = [root]
        while pending:
            database = sqlite3.connect(":memory:")
            database.deserialize(self._object(pending.pop(), "C"))
            pending += [sha1 for (sha1,) in database.execute("SELECT sha1 FROM nested_catalogs")]
            prefix = dict(database.execute("SELECT key, value FROM properties")).get("root_prefix", "")
            yield from _files(database, prefix)
            database.close()

    def read(self, file: File) -> bytes:
        """The content; raises ReadError."""
        body = self._object(file.sha1, "")
        if len(body) != file.size:
            raise ReadError(f"{file.path} has {len(body)} bytes, the catalog says {file.size}")
        return body

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _object(self, sha1: str, suffix: str) -> bytes:
        stored = self._get(f"data/{sha1[:2]}/{sha1[2:]}{suffix}")
        if hashlib.sha1(stored, usedforsecurity=False).hexdigest() != sha1:
            raise ReadError(f"object {sha1}{suffix} has another hash")
        try:
            return zlib.decompress(stored)
        except zlib.error as err:
            raise ReadError(f"object {sha1}{suffix}: {err}") from err

    def _get(self, path: str) -> bytes:
        try:
            status, body = self._ask(path)
        except (OSError, http.client.HTTPException):
            self._connection.close()  # a kept connection may have been closed at the other end meanwhile
            try:
                status, body = self._ask(path)
            except (OSError, http.client.HTTPException) as err:
                self._connection.close()
                raise ReadError(f"{path}: {type(err).__name__} {err}") from err
        if status != http.client.OK:
            raise ReadError(f"{path} was answered {status}")
        return body

    def _ask(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", f"{self._path}/{path}")
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def _files(database: sqlite3.Connection, prefix: str) -> Iterator[File]:
    columns = "md5path_1, md5path_2, parent_1, parent_2, name, flags, size, hash"
    rows = list(database.execute(f"SELECT {columns} FROM catalog"))
    directories = {(one, two): (parent, name) for one, two, *parent, name, flags, _, _ in rows if not flags & _FILE}

    def path_of(key: tuple[int, int]) -> str:
        names: list[str] = []
        while key in directories:
            parent, name = directories[key]
            if tuple(parent) not in directories:
                break  # the catalog's own root, whose path is the prefix
            names.append(name)
            key = tuple(parent)
        return "/".join([prefix, *reversed(names)])

    for _, _, one, two, name, flags, size, digest in rows:
        if flags & _FILE and not flags & (_LINK | _CHUNKED | _HASH_BITS) and digest:
            yield File(f"{path_of((one, two))}/{name}", size, digest.hex())
