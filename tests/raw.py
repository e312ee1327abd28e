"""A second reader, on purpose a naive one: repository files looked at with nothing but the standard library.

It shares no line with ``functions/cvmfs``, so a mistake made both in writing and in reading there does not cancel out
here. Hashes, signatures, SQL and inflation are spelled out as the format describes them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

TAGS = {40: "", 47: "-rmd160", 49: "-shake128"}
COUNTERS = "regular symlink special dir nested chunked chunks file_size chunked_size xattr external external_file_size"


def hash_string(stored: bytes, tag: str) -> str:
    """The hash string of stored bytes, with an algorithm's tag."""
    if tag == "-shake128":
        return hashlib.shake_128(stored).hexdigest(20) + tag
    return hashlib.new({"": "sha1", "-rmd160": "ripemd160"}[tag], stored).hexdigest() + tag


def md5_pair(path: bytes) -> tuple[int, int]:
    return struct.unpack("<qq", hashlib.md5(path).digest())


@dataclass
class RawRow:
    """One row of ``catalog``, with the path it was found under."""

    path: bytes
    column: dict[str, object]

    @property
    def flags(self) -> int:
        return self.column["flags"]

    @property
    def mode(self) -> int:
        return self.column["mode"]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def links(self) -> tuple[int, int]:
        """Hard-link group and link count."""
        return self.column["hardlinks"] >> 32, self.column["hardlinks"] & 0xFFFFFFFF

    @property
    def tag(self) -> str:
        """The hash algorithm that the flags name."""
        return list(TAGS.values())[self.flags >> 8 & 7]

    @property
    def is_deflated(self) -> bool:
        return not self.flags >> 11 & 7


@dataclass
class RawCatalog:
    """One catalog: its database, its size in bytes, and the mount paths of the nested catalogs below."""

    path: bytes
    database: bytes
    db: sqlite3.Connection
    below: dict[bytes, RawCatalog] = field(default_factory=dict)

    def query(self, sql: str, *values: object) -> list[tuple]:
        return self.db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: object) -> object:
        return self.db.execute(sql, values).fetchone()[0]

    @property
    def properties(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.query("SELECT key, value FROM properties")}

    def rows(self) -> Iterator[RawRow]:
        """Every row that can be reached from the root entry through parents, and only those."""
        names = [line[1].decode() for line in self.query("PRAGMA table_info(catalog)")]
        (top,) = self.query("SELECT * FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", *md5_pair(self.path))
        pending = [RawRow(self.path, dict(zip(names, top, strict=True)))]
        while pending:
            row = pending.pop()
            yield row
            if row.is_directory:
                below = self.query("SELECT * FROM catalog WHERE parent_1 = ? AND parent_2 = ?", *md5_pair(row.path))
                for line in below:
                    column = dict(zip(names, line, strict=True))
                    pending.append(RawRow(row.path + b"/" + column["name"], column))

    def chunks(self, path: bytes) -> list[tuple[int, int, bytes]]:
        return self.query(
            'SELECT "offset", size, hash FROM chunks WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY "offset"',
            *md5_pair(path),
        )


class RawRepository:
    """The files of a repository by path, and the master's public key as PEM text."""

    def __init__(self, files: Mapping[str, bytes], public_key: str) -> None:
        self.files = dict(files)
        self.public_key = public_key
        self.letter, self.hash_line, self.signature = split_signed(files[".cvmfspublished"])
        self.manifest = {line[:1].decode(): line[1:].decode() for line in self.letter.splitlines()}

    def stored(self, name: str, kind: str = "") -> bytes:
        """The stored bytes of an object, from its hash string and type letter."""
        return self.files[f"data/{name[:2]}/{name[2:]}{kind}"]

    def names(self, kind: str) -> list[str]:
        """The hash strings of all stored objects of a kind."""
        pattern = re.compile(f"data/([0-9a-f]{{2}})/([0-9a-f]{{38}})(|-rmd160|-shake128){kind}")
        found = (pattern.fullmatch(path) for path in self.files)
        return ["".join(match.groups()) for match in found if match]

    def catalog(self, name: str | None = None, path: bytes = b"") -> RawCatalog:
        """A tree of catalogs from the root one down; that of the manifest by default."""
        database = zlib.decompress(self.stored(name or self.manifest["C"], "C"))
        catalog = RawCatalog(path, database, opened(database))
        for mount, child in catalog.query("SELECT path, sha1 FROM nested_catalogs"):
            catalog.below[mount] = self.catalog(child.decode(), mount)
        return catalog

    @cached_property
    def _live(self) -> list[RawCatalog]:
        found = [self.catalog()]
        for catalog in found:
            found += catalog.below.values()
        return found

    def catalogs(self) -> list[RawCatalog]:
        """The live catalogs, parents first."""
        return self._live

    @cached_property
    def _rows(self) -> list[tuple[RawCatalog, RawRow]]:
        return [(catalog, row) for catalog in self._live for row in catalog.rows()]

    def rows(self) -> list[tuple[RawCatalog, RawRow]]:
        """The rows of all live catalogs, each with the catalog it is in."""
        return self._rows

    def history(self, name: str | None = None) -> sqlite3.Connection:
        return opened(zlib.decompress(self.stored(name or self.manifest["H"], "H")))

    def reflog(self) -> sqlite3.Connection:
        return opened(self.files[".cvmfsreflog"])


def opened(database: bytes) -> sqlite3.Connection:
    """A database in memory; text comes as bytes."""
    db = sqlite3.connect(":memory:")
    db.text_factory = bytes
    db.deserialize(database)
    return db


def split_signed(blob: bytes) -> tuple[bytes, bytes, bytes]:
    """The text of a signed file, its hash line and its signature."""
    text, _, rest = blob.partition(b"\n--\n")
    hash_line, _, signature = rest.partition(b"\n")
    return text + b"\n", hash_line, signature


def decrypted(signature: bytes, public_key_der: bytes) -> bytes:
    """The padded block inside an RSA signature, by the public key alone."""
    modulus, exponent = _rsa_numbers(public_key_der)
    return pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(len(signature), "big")


def der_of(pem: str) -> bytes:
    """The bytes inside the first block of a PEM text."""
    return base64.b64decode("".join(pem.split("-----")[2].split()))


def _rsa_numbers(der: bytes) -> tuple[int, int]:
    """Modulus and exponent: the first two large numbers after the RSA object identifier."""
    at = der.index(bytes.fromhex("2a864886f70d010101")) + 9
    start = der.index(b"\x03\x82", at) + 5  # the bit string, after its length and its count of unused bits
    _, body = _element(der[start:])
    modulus_tag, modulus = _element(body)
    exponent_tag, exponent = _element(body[_length_of(body) :])
    assert (modulus_tag, exponent_tag) == (2, 2)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _element(der: bytes) -> tuple[int, bytes]:
    header, size = _header(der)
    return der[0], der[header : header + size]


def _length_of(der: bytes) -> int:
    return sum(_header(der))


def _header(der: bytes) -> tuple[int, int]:
    if der[1] < 0x80:
        return 2, der[1]
    count = der[1] & 0x7F
    return 2 + count, int.from_bytes(der[2 : 2 + count], "big")
