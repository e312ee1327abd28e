"""A small signed repository in a dictionary, made to be damaged: SQL planted in a catalog is hashed and signed.

``SmallRepository().sealed()`` is healthy. Plant first (``plant``, or change the attributes), then seal: catalogs are
written from the deepest up, so that nothing but what was planted is wrong. Files can be damaged after sealing.
"""

from __future__ import annotations

import sqlite3
import stat
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import MARKER_NAME, Chunk, Entry, EntryFlag
from functions.cvmfs.history import History, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.metainfo import make_metainfo
from functions.cvmfs.objects import pack
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import KeySigner
from functions.cvmfs.whitelist import Whitelist
from tests.golden import golden

FQRN = "small.example.org"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PUBLISHED_AT = int(NOW.timestamp())
MTIME = 1_700_000_000


_WRITTEN: dict[HashAlgorithm, tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]] = {}
"""Catalogs, files and contents before anything was planted, which are the same for all tests."""


def file_entry(digest: Digest, size: int, **changes) -> Entry:
    """A regular file, 0644."""
    return replace(Entry(mode=stat.S_IFREG | 0o644, size=size, mtime=MTIME, digest=digest), **changes)


def special_entry(kind: int, size: int = 0) -> Entry:
    """A fifo, socket or device; `size` is the device number."""
    return Entry(mode=kind | 0o644, size=size, mtime=MTIME)


class SmallRepository:
    """Three catalogs (``""``, ``/pkg``, ``/pkg/deep``) with every kind of entry, and all that goes around them."""

    def __init__(self, algorithm: HashAlgorithm = HashAlgorithm.SHA1) -> None:
        keys = golden("sha1")
        self.algorithm = algorithm
        self.fqrn = FQRN
        self.files: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.signer = KeySigner(keys.signing_key, keys.master_key)
        self.public_keys = [keys.public_key]
        self.certificate = Certificate.from_pem(keys.certificate)
        self.whitelist = Whitelist.make(FQRN, [self.certificate.fingerprint(algorithm)], now=NOW)
        self.manifest_changes: dict[str, object] = {}
        self.history = History.new(FQRN)
        self.extra_tags: list[Tag] = []
        self.reflog_left_out: set[RefType] = set()
        self.planted: dict[str, list[str]] = defaultdict(list)
        if algorithm not in _WRITTEN:
            _WRITTEN[algorithm] = self._write_catalogs(), self.files, self.contents
        databases, files, contents = _WRITTEN[algorithm]
        self.databases, self.files, self.contents = dict(databases), dict(files), dict(contents)

    # Planting

    def plant(self, catalog: str, *statements: str) -> None:
        """Damage the catalog mounted at `catalog` with SQL when it is sealed."""
        self.planted[catalog] += statements

    def sealed(self) -> SmallRepository:
        """Write catalogs, tags, reflog and manifest, and sign; returns itself."""
        sizes: dict[str, int] = {}
        digests: dict[str, Digest] = {}
        for path in sorted(self.databases, key=len, reverse=True):
            with _edited(self.databases[path]) as db:
                sized = ("size",) in db.execute("SELECT name FROM pragma_table_info('nested_catalogs')").fetchall()
                for child, digest in digests.items():
                    db.execute("UPDATE nested_catalogs SET sha1 = ? WHERE path = ?", (str(digest), child))
                    if sized:
                        db.execute("UPDATE nested_catalogs SET size = ? WHERE path = ?", (sizes[child], child))
                for statement in self.planted[path]:
                    db.executescript(statement)
                self.databases[path] = db.serialize()
            digests[path] = self._store(self.databases[path], Kind.CATALOG)
            sizes[path] = len(self.databases[path])
        self._write_manifest(digests[""], sizes[""])
        return self

    def _write_manifest(self, root: Digest, root_size: int) -> None:
        if not self.history.tags():
            self.history.publish(root, root_size, 3, PUBLISHED_AT, name="v1")
            for tag in self.extra_tags:
                self.history.add(tag)
        manifest = Manifest(
            root=root,
            root_size=root_size,
            ttl=240,
            revision=3,
            garbage_collectable=True,
            fqrn=FQRN,
            certificate=self._store(self.certificate.pem, Kind.CERTIFICATE),
            history=self._store(self.history.to_bytes(), Kind.HISTORY),
            published_at=PUBLISHED_AT,
            metainfo=self._store(make_metainfo(email="a@example.org"), Kind.METAINFO),
        )
        manifest = replace(manifest, **self.manifest_changes)
        reflog = Reflog.new(FQRN)
        for digest, kind in (
            (manifest.root, RefType.CATALOG),
            (manifest.certificate, RefType.CERTIFICATE),
            (manifest.history, RefType.HISTORY),
            (manifest.metainfo, RefType.METAINFO),
        ):
            if digest is not None and kind not in self.reflog_left_out:
                reflog.add(digest, kind, PUBLISHED_AT)
        self.files[".cvmfsreflog"] = reflog.to_bytes()
        self.manifest = replace(manifest, reflog=self.algorithm.digest(reflog.to_bytes()))
        self.files[".cvmfspublished"] = self.manifest.sign(self.signer).to_bytes()
        self.files[".cvmfswhitelist"] = self.whitelist.sign(self.signer, self.algorithm).to_bytes()

    # Reading

    def fetch(self, path: str) -> bytes | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files

    def object_path(self, path: str) -> str:
        """The path of the one object of a file, or of its second chunk."""
        for database in self.databases.values():
            with Catalog.from_bytes(database) as catalog:
                entry = catalog.lookup(path)
                if entry is not None and entry.chunks:
                    return Address(entry.chunks[1].digest, Kind.PARTIAL).path
                if entry is not None and entry.digest:
                    return Address(entry.digest, Kind.FILE).path
        raise LookupError(path)

    def catalog_path(self, path: str) -> str:
        """The path of the object of a catalog."""
        return pack(self.databases[path], Kind.CATALOG, self.algorithm).address.path

    # Content

    def _store(self, content: bytes, kind: Kind, compression: Compression = Compression.ZLIB) -> Digest:
        stored = pack(content, kind, self.algorithm, compression)
        self.files[stored.address.path] = stored.body
        return stored.address.digest

    def _file(
        self, path: str, content: bytes, compression: Compression = Compression.ZLIB, **changes
    ) -> tuple[str, Entry]:
        self.contents[path] = content
        digest = self._store(content, Kind.FILE, compression)
        return path, file_entry(digest, len(content), compression=compression, **changes)

    def _chunked(self, path: str, pieces: list[bytes]) -> tuple[str, Entry]:
        chunks, offset = [], 0
        for piece in pieces:
            chunks.append(Chunk(offset, len(piece), self._store(piece, Kind.PARTIAL)))
            offset += len(piece)
        self.contents[path] = b"".join(pieces)
        return path, replace(file_entry(chunks[0].digest, offset), digest=None, chunks=tuple(chunks))

    def _write_catalogs(self) -> dict[str, bytes]:
        directory = Entry.directory(mtime=MTIME)
        marker = self._file("/ignored", b"")[1]
        del self.contents["/ignored"]
        deep = Catalog.new("/pkg/deep", directory)
        deep.put_all([(f"/pkg/deep/{MARKER_NAME}", marker), self._file("/pkg/deep/y", b"deep down\n")])
        package = Catalog.new("/pkg", Entry.directory(mtime=MTIME, xattrs={"user.origin": b"here"}))
        package.put_all(
            [
                (f"/pkg/{MARKER_NAME}", marker),
                ("/pkg/lib", directory),
                self._file("/pkg/lib/x", b"library\n"),
            ]
        )
        package.set_nested("/pkg/deep", self.algorithm.digest(b""), 1, deep.total_counters, deep.root)
        root = Catalog.new("", directory)
        linked = {"hardlink_group": root.new_hardlink_group(), "linkcount": 2}
        root.put_all(
            [
                self._file("/README", b"read me\n"),
                self._file("/empty", b""),
                self._file("/raw", b"as it is " * 100, Compression.NONE),
                self._file("/attr", b"attributes\n", xattrs={"user.a": b"1", "user.b": b""}),
                self._chunked("/big.bin", [b"a" * 1000, b"b" * 1000, b"c" * 10]),
                ("/external", file_entry(self.algorithm.digest(b"elsewhere"), 9, extra_flags=EntryFlag.EXTERNAL)),
                ("/link", Entry.link("$(ARCH)/bin/tool", mtime=MTIME)),
                ("/bin", directory),
                self._file("/bin/tool", b"#!/bin/sh\n", mode=stat.S_IFREG | 0o755),
                ("/hard", directory),
                self._file("/hard/a", b"two names\n", **linked),
                self._file("/hard/b", b"two names\n", **linked),
                ("/fifo", special_entry(stat.S_IFIFO)),
                ("/null", special_entry(stat.S_IFCHR, 259)),
            ]
        )
        root.set_nested("/pkg", self.algorithm.digest(b""), 1, package.total_counters, package.root)
        root.ttl = 240
        databases = {}
        for catalog in (root, package, deep):
            catalog.revision = 3
            catalog.last_modified = PUBLISHED_AT
            databases[catalog.path] = catalog.to_bytes()
            catalog.close()
        return databases


class _edited:  # noqa: N801  # a context manager, used like a function
    """A database to run SQL on that the library would never run."""

    def __init__(self, blob: bytes) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.deserialize(blob)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()
