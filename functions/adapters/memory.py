"""Every port in memory: small honest implementations that pass the same contracts as the real servers.

For tests and for trying things out. Each has a switch `available`: when it is False every method raises the error that
the real server's absence would raise.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache

from functions.adapters.memory_bus import MemoryEventBus, Message
from functions.adapters.paths import checked
from functions.cvmfs.certificate import make_certificate
from functions.cvmfs.signing import KeyPair, KeySigner, load_private_key, new_key
from functions.errors import KeysUnavailable, RepositoryUnknown, StoreForbids, StoreUnavailable, VersionMoved
from functions.ports import Blob, BlobInfo, Clock, ObjectInfo, PublicKeys

__all__ = [
    "MemoryBlobStore",
    "MemoryBucketAdmin",
    "MemoryEventBus",
    "MemoryKeyStore",
    "MemoryObjectReader",
    "MemoryObjectSource",
    "Message",
]

BLOCK_SIZE = 1 << 20
"""Bytes per block when an object is read."""


def utc_now() -> datetime:
    """The time of this machine, aware, in UTC."""
    return datetime.now(UTC)


class MemoryBlobStore:
    """A BlobStore in a dictionary; versions count up and are never used twice."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self.available = True
        self._clock = clock
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self._files: dict[str, tuple[Blob, datetime]] = {}

    def get(self, path: str) -> Blob | None:
        """The file, or None."""
        self._check()
        stored = self._files.get(checked(path))
        return None if stored is None else stored[0]

    def has(self, path: str) -> bool:
        """Whether the file exists."""
        self._check()
        return checked(path) in self._files

    def info(self, path: str) -> BlobInfo | None:
        """What a listing would say of the file now."""
        self._check()
        stored = self._files.get(checked(path))
        return None if stored is None else BlobInfo(path, len(stored[0].body), stored[1])

    def put(self, path: str, body: bytes | bytearray) -> None:
        """Write unconditionally."""
        self._check()
        with self._lock:
            self._write(path, body)

    def create(self, path: str, body: bytes) -> str:
        """Write if absent."""
        self._check()
        with self._lock:
            if path in self._files:
                raise VersionMoved(f"{path} exists already")
            return self._write(path, body)

    def replace(self, path: str, body: bytes, version: str) -> str:
        """Write if the file still has `version`."""
        self._check()
        with self._lock:
            stored = self._files.get(checked(path))
            if stored is None or stored[0].version != version:
                raise VersionMoved(f"{path} is no longer at version {version}")
            return self._write(path, body)

    def delete(self, path: str) -> None:
        """Remove the file; absent is fine."""
        self._check()
        with self._lock:
            self._files.pop(checked(path), None)

    def delete_old(self, path: str, before: datetime) -> bool:
        """Remove the file if it was last written before `before`."""
        self._check()
        with self._lock:
            stored = self._files.get(checked(path))
            if stored is None or stored[1] >= before:
                return False
            del self._files[path]
            return True

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All files whose path starts with `prefix`, in path order."""
        self._check()
        with self._lock:
            found = sorted((path, stored) for path, stored in self._files.items() if path.startswith(prefix))
        return (BlobInfo(path, len(blob.body), modified) for path, (blob, modified) in found)

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("the store in memory is switched off")

    def _write(self, path: str, body: bytes | bytearray) -> str:
        version = str(next(self._versions))
        self._files[checked(path)] = (Blob(bytes(body), version), self._clock())
        return version


@dataclass(frozen=True, slots=True)
class MemoryObjectReader:
    """An object of a MemoryObjectSource, opened at one etag."""

    info: ObjectInfo
    body: bytes
    bucket: Mapping[str, tuple[ObjectInfo, bytes]]

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks; raises VersionMoved when the object changed since it was opened."""
        for start in range(0, len(self.body), BLOCK_SIZE):
            yield self.read(start)

    def read(self, start: int) -> bytes:
        """One block from byte `start` on; raises VersionMoved when the object changed since it was opened."""
        current = self.bucket.get(self.info.key)
        if current is None or current[0].etag != self.info.etag:
            raise VersionMoved(f"{self.info.key} was replaced while it was read")
        return self.body[start : start + BLOCK_SIZE]


class MemoryObjectSource:
    """An ObjectSource in dictionaries, with the users' side of it: make_bucket, put and delete, and remove_bucket.

    Buckets in `forbidden` may not be listed, objects in `unreadable` (bucket and key) not be read.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self.available = True
        self.forbidden: set[str] = set()
        self.unreadable: set[tuple[str, str]] = set()
        self._clock = clock
        self._buckets: dict[str, dict[str, tuple[ObjectInfo, bytes]]] = {}
        self._identities: dict[str, str] = {}
        self._made = itertools.count(1)

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object as it is now, metadata included."""
        self._check_object("HEAD", bucket, key)
        stored = self._buckets.get(bucket, {}).get(key)
        return None if stored is None else stored[0]

    def open(self, bucket: str, key: str) -> MemoryObjectReader | None:
        """The object as it is now, ready to be read."""
        self._check_object("GET", bucket, key)
        objects = self._buckets.get(bucket, {})
        stored = objects.get(key)
        return None if stored is None else MemoryObjectReader(*stored, objects)

    def list(self, bucket: str, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix` and is above `after`, in key order, without metadata as on S3."""
        self._check()
        if bucket in self.forbidden:
            raise StoreForbids(f"listing {bucket}/{prefix} was answered 403")
        objects = self._buckets.get(bucket, {})
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        return (replace(objects[key][0], metadata={}) for key in keys if key in objects)

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        return bucket in self._buckets

    def make_bucket(self, bucket: str) -> None:
        """Make the bucket; existing is fine."""
        if bucket not in self._buckets:
            self._buckets[bucket] = {}
            self._identities[bucket] = f"bucket {next(self._made)}"

    def identity(self, bucket: str) -> str | None:
        """What tells the bucket from others of its name."""
        return self._identities.get(bucket) if bucket in self._buckets else None

    def remove_bucket(self, bucket: str) -> None:
        """Remove the bucket with all it holds; absent is fine."""
        self._buckets.pop(bucket, None)

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        modified: datetime | None = None,
    ) -> ObjectInfo:
        """What a user's PUT does; the etag is the MD5 of the body, and `modified` is now unless given."""
        self.make_bucket(bucket)
        info = ObjectInfo(
            key=key,
            size=len(body),
            etag=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            modified=modified or self._clock(),
            metadata={name.lower(): value for name, value in (metadata or {}).items()},
        )
        self._buckets[bucket][key] = (info, bytes(body))
        return info

    def delete(self, bucket: str, key: str) -> None:
        """What a user's DELETE does; absent is fine."""
        self._buckets.get(bucket, {}).pop(key, None)

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("the object source in memory is switched off")

    def _check_object(self, method: str, bucket: str, key: str) -> None:
        self._check()
        if (bucket, key) in self.unreadable and key in self._buckets.get(bucket, {}):
            raise StoreForbids(f"{method} {bucket}/{key} was answered 403")


@dataclass(slots=True)
class MemoryBucketAdmin:
    """A BucketAdmin over a MemoryObjectSource; `owners` and `notified` show what was done."""

    source: MemoryObjectSource
    owners: dict[str, str] = field(default_factory=dict)
    notified: set[str] = field(default_factory=set)
    available: bool = True
    _watched: dict[str, str] = field(default_factory=dict)

    def exists(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        self._check()
        return self.source.has_bucket(bucket)

    def identity(self, bucket: str) -> str | None:
        """What tells the bucket from others of its name."""
        self._check()
        return self.source.identity(bucket)

    def ensure_bucket(self, bucket: str, owner: str) -> None:
        """Make the bucket for `owner`; a bucket that exists keeps its owner."""
        self._check()
        if not self.source.has_bucket(bucket):
            self.source.make_bucket(bucket)
            self.owners[bucket] = owner

    def ensure_notifications(self, bucket: str) -> bool:
        """Note that the bucket is watched; a bucket that does not exist cannot be."""
        self._check()
        if not self.source.has_bucket(bucket):
            raise StoreUnavailable(f"bucket {bucket} does not exist, so it cannot be watched")
        identity = str(self.source.identity(bucket))
        fresh = self._watched.get(bucket) != identity
        self._watched[bucket] = identity
        self.notified.add(bucket)
        return fresh

    def remove_notifications(self, bucket: str) -> None:
        """Note that the bucket is not watched any more."""
        self._check()
        self.notified.discard(bucket)

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("the bucket administration in memory is switched off")


@cache
def _key(fqrn: str, role: str, generation: int) -> KeyPair:  # noqa: ARG001  (the arguments are the cache's key)
    """One RSA key per repository and role and process: making one takes a tenth of a second of CPU."""
    return new_key()


_KEY_LOCK = threading.Lock()


class MemoryKeyStore:
    """A KeyStore with real RSA keys that live as long as the process; `gateway_keys` maps names to gateway keys."""

    def __init__(self) -> None:
        self.available = True
        self.gateway_keys: dict[str, str] = {}
        self.owners: dict[str, tuple[str, str | None]] = {}
        self._public: dict[str, PublicKeys] = {}
        self._signers: dict[str, KeySigner] = {}
        self._generations: Counter[str] = Counter()

    def ensure_keys(self, fqrn: str, *, subject: str, group: str | None, now: datetime) -> PublicKeys:
        """Make the keys, or return those that exist."""
        self._check()
        with _KEY_LOCK:
            if fqrn not in self._public:
                generation = self._generations[fqrn]
                signing, master = _key(fqrn, "signing", generation), _key(fqrn, "master", generation)
                certificate = make_certificate(
                    fqrn, load_private_key(signing.private_pem), now=now, serial=secrets.randbits(63) + 1
                )
                self._signers[fqrn] = KeySigner(signing.private_pem, master.private_pem)
                self._public[fqrn] = PublicKeys(master.public_pem.decode("ascii"), certificate.decode("ascii"))
                self.gateway_keys[fqrn] = f"plain_text keygw{fqrn.partition('.')[0]} {secrets.token_hex(32)}"
                self.owners[fqrn] = (subject, group)
            return self._public[fqrn]

    def signer(self, fqrn: str) -> KeySigner:
        """The signer of this repository; raises RepositoryUnknown if it has no keys."""
        self._check()
        if fqrn not in self._signers:
            raise RepositoryUnknown(f"repository {fqrn} has no keys")
        return self._signers[fqrn]

    def destroy_keys(self, fqrn: str, *, subject: str, group: str | None) -> None:  # noqa: ARG002
        """Forget the keys; those made next are others."""
        self._check()
        with _KEY_LOCK:
            if self._public.pop(fqrn, None) is not None:
                self._generations[fqrn] += 1
            for kept in (self._signers, self.gateway_keys, self.owners):
                kept.pop(fqrn, None)

    def _check(self) -> None:
        if not self.available:
            raise KeysUnavailable("the key store in memory is switched off")
