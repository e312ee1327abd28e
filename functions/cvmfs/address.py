"""Hashes and the names of objects.

A *digest* is the hash of an object's stored bytes; as text it is lower-case hex with the algorithm's tag
(``…e3-rmd160``). An *address* is a digest with the kind of object it names; it knows its path below the repository root
(``data/57/98f7…C``). Source: ``crypto/hash.h`` (``Digest::MakePath``, ``Suffix``) of cvmfs 2.12.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from functions.cvmfs.errors import AddressError

DIGEST_SIZE = 20
"""Bytes of every content digest, whatever the algorithm."""


class Hasher(Protocol):
    """A running hash that takes bytes and yields 20 digest bytes."""

    def update(self, data: bytes | bytearray, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


class _Shake128:
    """SHAKE-128 squeezed to 160 bits, with the interface of the fixed-length hashes."""

    def __init__(self, data: bytes = b"") -> None:
        self._state = hashlib.shake_128(data)

    def update(self, data: bytes | bytearray, /) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return self._state.digest(DIGEST_SIZE)


class HashAlgorithm(Enum):
    """The content hash algorithms, named as the options of ``cvmfs_server`` name them."""

    SHA1 = "sha1"
    RMD160 = "rmd160"
    SHAKE128 = "shake128"

    @property
    def tag(self) -> str:
        """What follows the hex digits in a hash string; empty for SHA-1."""
        return "" if self is HashAlgorithm.SHA1 else f"-{self.value}"

    @property
    def flag_bits(self) -> int:
        """Bits 8 to 10 of a catalog entry's flags (``catalog_sql.cc: StoreHashAlgorithm``)."""
        return _FLAG_VALUE[self] << 8

    @classmethod
    def from_flag_bits(cls, flags: int) -> HashAlgorithm:
        """The algorithm recorded in a catalog entry's flags."""
        value = flags >> 8 & 0b111
        for algorithm, known in _FLAG_VALUE.items():
            if known == value:
                return algorithm
        raise AddressError(f"catalog flags {flags:#x} name hash algorithm {value}, expected 0, 1 or 2")

    def hasher(self) -> Hasher:
        """A new running hash."""
        match self:
            case HashAlgorithm.SHA1:
                return hashlib.sha1(usedforsecurity=False)
            case HashAlgorithm.RMD160:
                return hashlib.new("ripemd160", usedforsecurity=False)
            case HashAlgorithm.SHAKE128:
                return _Shake128()

    def digest(self, data: bytes | bytearray) -> Digest:
        """The digest of `data`."""
        state = self.hasher()
        state.update(data)
        return Digest(self, state.digest())


_FLAG_VALUE = {HashAlgorithm.SHA1: 0, HashAlgorithm.RMD160: 1, HashAlgorithm.SHAKE128: 2}
_ALGORITHM_OF_TAG = {algorithm.tag: algorithm for algorithm in HashAlgorithm}


@dataclass(frozen=True, slots=True)
class Digest:
    """A content hash: its algorithm and its 20 raw bytes."""

    algorithm: HashAlgorithm
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != DIGEST_SIZE:
            raise AddressError(f"a {self.algorithm.value} digest has {DIGEST_SIZE} bytes, not {len(self.raw)}")

    def __str__(self) -> str:
        return self.raw.hex() + self.algorithm.tag

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a hash string without type letter; upper-case hex is refused, as nothing ever writes it."""
        digits, tag = text[: 2 * DIGEST_SIZE], text[2 * DIGEST_SIZE :]
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if len(raw) != DIGEST_SIZE or raw.hex() != digits:
            raise AddressError(f"{text!r} does not begin with {2 * DIGEST_SIZE} lower-case hex digits")
        if tag not in _ALGORITHM_OF_TAG:
            raise AddressError(f"{text!r} ends in an unknown algorithm tag {tag!r}")
        return cls(_ALGORITHM_OF_TAG[tag], raw)


class Kind(Enum):
    """The kinds of objects; the value is the suffix letter of their names (``crypto/hash.h: kSuffix*``)."""

    FILE = ""
    PARTIAL = "P"
    CATALOG = "C"
    HISTORY = "H"
    CERTIFICATE = "X"
    METAINFO = "M"


_KIND_OF_SUFFIX = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Address:
    """The name of one object in the content-addressed store."""

    digest: Digest
    kind: Kind

    def __str__(self) -> str:
        return f"{self.digest}{self.kind.value}"

    @property
    def path(self) -> str:
        """The object's path relative to the repository root, e.g. ``data/64/551dcc…C``."""
        text = str(self)
        return f"data/{text[:2]}/{text[2:]}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read a hash string with its type letter, if any."""
        suffix = text[-1:] if text[-1:].isupper() else ""
        if suffix not in _KIND_OF_SUFFIX:
            raise AddressError(f"{text!r} ends in an unknown object type {suffix!r}")
        return cls(Digest.parse(text[: len(text) - len(suffix)]), _KIND_OF_SUFFIX[suffix])

    @classmethod
    def from_path(cls, path: str) -> Address:
        """Read an object's path relative to the repository root."""
        top, _, rest = path.partition("/")
        directory, _, name = rest.partition("/")
        if top != "data" or len(directory) != 2 or "/" in name:
            raise AddressError(f"{path!r} is not of the form data/HH/REST")
        return cls.parse(directory + name)
