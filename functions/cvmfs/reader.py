"""Reading a repository as a client does: nothing is believed that is not signed, or hashed by something signed.

Source: ``manifest_fetch.cc: DoVerify``, ``catalog_mgr_impl.h: MountSubtree``, ``cvmfs.cc: cvmfs_read``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import Chunk, Entry
from functions.cvmfs.errors import EntryError, HistoryError, ObjectMissing, SignatureError
from functions.cvmfs.history import History, Tag
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.objects import unpack
from functions.cvmfs.signing import FILE_LIMIT
from functions.cvmfs.tree_view import TreeView
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist

Fetch = Callable[[str], bytes | None]
"""Where a repository is: from a path relative to its root to the stored bytes, or None if there is no such file."""

MANIFEST_PATH = ".cvmfspublished"
WHITELIST_PATH = ".cvmfswhitelist"
REFLOG_PATH = ".cvmfsreflog"


def fetch_file(fetch: Fetch, path: str) -> bytes:
    """The bytes of a file; raises ObjectMissing."""
    body = fetch(path)
    if body is None:
        raise ObjectMissing(f"{path} does not exist")
    return body


def fetch_object(
    fetch: Fetch, address: Address, compression: Compression = Compression.ZLIB, *, limit: int | None = None
) -> bytes:
    """The content of an object, of at most `limit` bytes; raises ObjectMissing, HashMismatch or CompressionError."""
    return unpack(address, fetch_file(fetch, address.path), compression, limit=limit)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one revision, as its manifest describes it.

    `whitelist` and `certificate` are what the manifest was verified with, None if it was not.
    """

    manifest: Manifest
    whitelist: Whitelist | None
    certificate: Certificate | None
    fetch: Fetch = field(repr=False)
    cache: CatalogCache = field(repr=False)

    @classmethod
    def open(
        cls,
        fetch: Fetch,
        *,
        public_keys: Sequence[bytes | str] | None,
        fqrn: str | None,
        now: datetime,
        cache: CatalogCache | None = None,
    ) -> Repository:
        """Read and verify the manifest, as of `now` (aware).

        `public_keys` are master keys in PEM form, any of which may have signed the whitelist; None reads structure
        only, for a folder one trusts. `fqrn` is the name the repository must have, None takes the manifest's word.
        Raises ObjectMissing, SignatureError, WhitelistExpired or another FormatError.
        """
        signed = SignedManifest.from_bytes(fetch_file(fetch, MANIFEST_PATH))
        manifest, whitelist, certificate = signed.unverified, None, None
        if fqrn is not None and manifest.fqrn != fqrn:
            raise SignatureError(f"the manifest is that of {manifest.fqrn!r}, expected {fqrn!r}")
        if public_keys is not None:
            certificate = read_certificate(fetch, manifest)
            signed_whitelist = SignedWhitelist.from_bytes(fetch_file(fetch, WHITELIST_PATH))
            whitelist = signed_whitelist.verify(public_keys, fqrn=manifest.fqrn, now=now)
            if not whitelist.admits(certificate):
                raise SignatureError("the certificate of the manifest is not on the whitelist")
            manifest = signed.verify(certificate)
        return cls(manifest, whitelist, certificate, fetch, CatalogCache() if cache is None else cache)

    @property
    def fqrn(self) -> str:
        """The repository's fully qualified name."""
        return self.manifest.fqrn

    def tags(self) -> list[Tag]:
        """All tags, newest first; none if the repository has no tag database."""
        history = self._history()
        return [] if history is None else history.tags()

    def snapshot(self, tag: str | None = None) -> Snapshot:
        """The tree at a tag, or the newest one; raises HistoryError if there is no such tag."""
        if tag is None:
            return self.snapshot_of(self.manifest.root)
        history = self._history()
        found = None if history is None else history.tag(tag)
        if found is None:
            raise HistoryError(f"{self.fqrn} has no tag {tag!r}")
        return self.snapshot_of(found.root)

    def snapshot_of(self, root: Digest) -> Snapshot:
        """The tree below any root catalog."""
        return Snapshot(root, self.fetch, self.cache)

    def _history(self) -> History | None:
        if self.manifest.history is None:
            return None
        history = History.from_bytes(fetch_object(self.fetch, Address(self.manifest.history, Kind.HISTORY)))
        if history.fqrn != self.fqrn:
            raise HistoryError(f"the tag database belongs to {history.fqrn!r}, expected {self.fqrn!r}")
        return history


def read_certificate(fetch: Fetch, manifest: Manifest) -> Certificate:
    """The certificate that a manifest names; not to be trusted before a whitelist admits it."""
    if manifest.certificate is None:
        raise SignatureError("the manifest names no certificate")
    return Certificate.from_pem(fetch_object(fetch, Address(manifest.certificate, Kind.CERTIFICATE), limit=FILE_LIMIT))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tree of a repository, across all its catalogs; every object is verified by its hash before it is used.

    Symlinks are given as they are stored, variables included. Bind mounts, which show other revisions inside
    ``/.cvmfs``, are empty directories here.
    """

    root: Digest
    fetch: Fetch = field(repr=False)
    cache: CatalogCache = field(repr=False)

    @property
    def view(self) -> TreeView:
        """The catalogs of this tree."""
        return TreeView(self.root, self._read_catalog, self.cache)

    def lookup(self, path: str) -> Entry | None:
        """The entry at `path`, or None."""
        return self.view.lookup(path)

    def listing(self, path: str) -> list[tuple[str, Entry]]:
        """Names and entries in the directory at `path`, in byte order; nothing if it is none."""
        return self.view.listing(path)

    def walk(self, top: str = "") -> Iterator[tuple[str, Entry]]:
        """Every path and entry at and below `top`, parents before children; opens the catalogs on its way."""
        view = self.view
        catalog = view.catalog_holding(top)
        walks = [(catalog.nested(), catalog.walk(top))]
        while walks:
            nested, entries = walks[-1]
            for path, entry in entries:
                if path in nested:
                    catalog = view.open(nested[path])
                    walks.append((catalog.nested(), catalog.walk(path)))
                    break
                yield path, entry
            else:
                walks.pop()

    def catalogs(self) -> Iterator[tuple[str, Digest, Catalog]]:
        """Every catalog with its mount path and digest, parents first; they are shared through the cache: read only."""
        view = self.view
        pending = [NestedReference("", self.root, 0)]
        while pending:
            reference = pending.pop()
            catalog = view.open(reference)
            yield reference.path, reference.digest, catalog
            pending += reversed(catalog.nested().values())

    def read(self, path: str) -> bytes:
        """The content of the regular file at `path`; see blocks."""
        return b"".join(self.blocks(path))

    def blocks(self, path: str) -> Iterator[bytes]:
        """The content of the regular file at `path` in pieces, one for each object.

        Raises ObjectMissing if there is no such path or an object is not stored, EntryError if it is no regular file or
        its objects have another size than the catalog says, HashMismatch or CompressionError for damaged objects.
        """
        entry = self.lookup(path)
        if entry is None:
            raise ObjectMissing(f"{path or '/'} does not exist")
        for chunk, kind in content_of(path, entry):
            content = fetch_object(self.fetch, Address(chunk.digest, kind), entry.compression, limit=chunk.size)
            if len(content) != chunk.size:
                raise EntryError(f"{path}: object {chunk.digest} has {len(content)} bytes, expected {chunk.size}")
            yield content

    def _read_catalog(self, digest: Digest) -> bytes:
        return fetch_object(self.fetch, Address(digest, Kind.CATALOG))


def content_of(path: str, entry: Entry) -> list[tuple[Chunk, Kind]]:
    """The objects that make up a regular file, in order; raises EntryError if it has no content in this store."""
    if not entry.is_regular:
        raise EntryError(f"{path or '/'} is not a regular file")
    if entry.is_external:
        raise EntryError(f"{path}: the content is kept outside the repository")
    if entry.chunks:
        return [(chunk, Kind.PARTIAL) for chunk in entry.chunks]
    if entry.digest is None:
        raise EntryError(f"{path}: a regular file without a hash")
    return [(Chunk(0, entry.size, entry.digest), Kind.FILE)]
