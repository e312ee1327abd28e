"""Repositories that our engine writes, with everything the format knows in them."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from functions.adapters.key_files import KeyFiles
from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.chunks import ChunkLimits, split
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import Entry
from functions.ports import Clock
from functions.publishing.commit import Edit, Publisher
from functions.publishing.content import Recipe, StoredContent, store_content
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import ObjectCache
from functions.publishing.objects import Objects
from functions.publishing.revision import TagRequest
from functions.publishing.tree import CatalogTree
from tests.golden import golden
from tests.raw import RawRepository

FQRN = "sha1.golden.example"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LIMITS = ChunkLimits(32, 64, 128)
EXECUTOR = ThreadPoolExecutor(4)


class Written:
    """A repository of ours with everything the format knows, written in several revisions."""

    def __init__(
        self,
        algorithm: HashAlgorithm = HashAlgorithm.SHA1,
        compression: Compression = Compression.ZLIB,
        stored: Callable[[Clock], MemoryBlobStore] = MemoryBlobStore,
    ) -> None:
        keys = golden("sha1")
        self.certificate = Certificate.from_pem(keys.certificate)
        self.public_key = keys.public_key.decode()
        self.now = NOW
        self.store = stored(self.clock)
        self.recipe = Recipe(algorithm=algorithm, compression=compression, limits=LIMITS)
        self.contents: dict[str, bytes] = {}
        signer = KeyFiles(keys.folder.parent / "keys").signer(FQRN)
        new = NewRepository(FQRN, algorithm=algorithm, compression=compression, ttl_s=900)
        create_repository(self.store, signer, self.certificate, new, now=NOW)
        self.publisher = Publisher(FQRN, self.store, signer, ObjectCache(1 << 22), EXECUTOR, self.clock)

    def clock(self) -> datetime:
        return self.now

    def publish(self, edit: Edit, tag: str | None = None) -> Written:
        self.publisher.publish(edit, tag=None if tag is None else TagRequest(tag))
        return self

    def raw(self) -> RawRepository:
        files = {info.path: self.store.get(info.path) for info in self.store.list("")}
        return RawRepository({path: blob.body for path, blob in files.items() if blob}, self.public_key)

    def stored(self, content: bytes) -> StoredContent:
        return store_content(iter([content]), self.recipe, Objects(self.store, self.clock).put)

    def file(self, path: str, content: bytes, **changes: object) -> tuple[str, Entry]:
        self.contents[path] = content
        stored = self.stored(content)
        entry = Entry(
            mode=stat.S_IFREG | 0o644,
            size=stored.size,
            mtime=1_700_000_000,
            digest=stored.digest,
            chunks=stored.chunks,
            compression=self.recipe.compression,
        )
        return path, replace(entry, **changes)


def folder(**changes: object) -> Entry:
    return replace(Entry.directory(mtime=1_700_000_000), **changes)


def noise(size: int, seed: bytes = b"noise") -> bytes:
    return hashlib.shake_256(seed).digest(size)


def first_piece() -> bytes:
    """What a chunked file begins with: longer than the minimum, yet never cut when it is a file of its own."""
    return next(split(iter([noise(2_000)]), LIMITS))


def special(kind: int, size: int = 0) -> Entry:
    return Entry(mode=kind | 0o644, size=size, mtime=1)


def fill(written: Written, tree: CatalogTree, marker: Entry) -> None:
    """Everything at once, nested catalogs two deep included."""
    tree.put_all(
        [
            written.file("/empty", b""),
            written.file("/script", b"#!/bin/sh\n", mode=stat.S_IFREG | 0o755),
            written.file("/not \udcff utf-8", b"bytes\n"),
            written.file("/large", noise(2_000)),
            written.file("/piece", first_piece()),
            written.file("/attributes", b"x", xattrs={"user.b": b"", "user.a": b"\0"}),
            ("/link", Entry.link("$(ARCH)/bin", mtime=1)),
            ("/fifo", special(stat.S_IFIFO)),
            ("/null", special(stat.S_IFCHR, 259)),
            ("/many", folder()),
            *(written.file(f"/many/{number}", b"%d" % number) for number in range(60)),
            ("/sw", folder(xattrs={"user.origin": b"here"})),
            ("/sw/v1", folder()),
            ("/sw/v1/bin", folder()),
            written.file("/sw/v1/bin/tool", noise(500, b"tool")),
            ("/sw/v2", folder()),
            ("/sw/v2/lib", folder()),
            written.file("/sw/v2/lib/so", b"object"),
            ("/gone", folder()),
            written.file("/gone/soon", b"soon"),
            ("/links", folder()),
            *(
                written.file(f"/links/{name}", noise(300, b"linked"), hardlink_group=1, linkcount=3)
                for name in ("a", "b", "c")
            ),
        ]
    )
    written.stored(b"")
    for path in ("/sw/v1", "/sw/v2", "/sw", "/gone"):
        tree.put(
            f"{path}/.cvmfscatalog",
            replace(marker, digest=written.stored(b"").digest, compression=written.recipe.compression),
        )
        tree.split(path, auto=False, marker=marker)


def change(written: Written, tree: CatalogTree, marker: Entry) -> None:
    """A nested catalog merged, directories made and removed at both sides of mount points, most of a directory gone."""
    tree.merge("/gone")
    tree.put("/sw/v3", folder())
    tree.put_all([("/sw/v1/share", folder()), written.file("/sw/v1/share/doc", b"read me")])
    tree.remove("/sw/v2/lib")
    tree.remove("/links/b")
    for number in range(55):
        tree.remove(f"/many/{number}")


@cache
def written(algorithm: HashAlgorithm, compression: Compression) -> Written:
    """Written once for all tests: read only."""
    made = Written(algorithm, compression)
    made.publish(lambda tree, marker: fill(made, tree, marker), "v1")
    return made.publish(lambda tree, marker: change(made, tree, marker))


KINDS = [
    (HashAlgorithm.SHA1, Compression.ZLIB),
    (HashAlgorithm.RMD160, Compression.ZLIB),
    (HashAlgorithm.SHAKE128, Compression.NONE),
]
