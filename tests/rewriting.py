"""The golden repositories published once more by our own engine, revision by revision, from what the reader shows.

Begins at the official revision 0 and ends at the official trunk; the clock shows the official times, and compression is
that of the official tools, so whatever does not depend on the order of rows must come out the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.compression import STOCK, Compression
from functions.cvmfs.entry import MARKER_NAME, Entry, EntryFlag, base_name, parent_path
from functions.cvmfs.history import RESERVED_NAMES, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reader import Repository, Snapshot
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import KeySigner
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe, store_content
from functions.publishing.head import MANIFEST_PATH, REFLOG_PATH, WHITELIST_PATH, ObjectCache
from functions.publishing.objects import Objects
from functions.publishing.revision import TagRequest
from functions.publishing.tree import CatalogTree
from tests.golden import NOW, GoldenRepository, golden

EXECUTOR = ThreadPoolExecutor(4)

_STRUCTURE = EntryFlag.NESTED_MOUNTPOINT | EntryFlag.NESTED_ROOT
_BLOCK = 1 << 20


class Rewritten:
    """One golden repository and our own of the same content; `published` has our manifest of every revision."""

    def __init__(self, name: str) -> None:
        self.official = golden(name)
        self.store = MemoryBlobStore()
        self.now = NOW
        self.published: dict[int, Manifest] = {}
        self.reader = Repository.open(
            self.official.fetch, public_keys=[self.official.public_key], fqrn=self.official.fqrn, now=NOW
        )
        manifest = self.reader.manifest
        compression = Compression.NONE if name == "rmd160" else Compression.ZLIB
        self.recipe = Recipe(algorithm=manifest.root.algorithm, compression=compression, codec=STOCK)
        signer = signer_of(self.official)
        self.publisher = Publisher(
            self.official.fqrn, self.store, signer, ObjectCache(1 << 24), EXECUTOR, lambda: self.now, codec=STOCK
        )
        self._begin(self.official_tags()[0], signer)
        for tag in self.official_tags():
            self._publish(tag)

    def official_tags(self) -> list[Tag]:
        """The tag that each official publish made, oldest first."""
        return [tag for tag in self.reader.tags() if tag.name not in RESERVED_NAMES][::-1]

    def fetch(self, path: str) -> bytes | None:
        """The stored bytes of a file of ours, or None."""
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def objects(self, kinds: str) -> dict[str, bytes]:
        """Our stored objects of some kinds, such as ``"P"``; the empty string is files."""
        return {
            info.path: self.fetch(info.path) or b""
            for info in self.store.list("data/")
            if Address.from_path(info.path).kind.value == kinds
        }

    def _begin(self, first: Tag, signer: KeySigner) -> None:
        """Put the official revision 0 into the store: an empty root catalog and no tags."""
        official = self.reader.manifest
        root = catalogs_of(self.reader, first.root)[""][1].previous_revision
        assert root is not None
        named = {
            Address(root, Kind.CATALOG): RefType.CATALOG,
            Address(official.certificate, Kind.CERTIFICATE): RefType.CERTIFICATE,
            Address(official.metainfo, Kind.METAINFO): RefType.METAINFO,
        }
        reflog = Reflog.new(official.fqrn)
        catalog = next(self.reader.snapshot_of(root).catalogs())[2]
        for address, kind in named.items():
            self.store.put(address.path, self.official.read(address.path))
            reflog.add(address.digest, kind, catalog.last_modified)
        manifest = replace(
            official,
            root=root,
            root_size=len(catalog.to_bytes()),
            revision=0,
            history=None,
            published_at=catalog.last_modified,
            reflog=reflog.checksum(root.algorithm),
        )
        self.store.put(REFLOG_PATH, reflog.to_bytes())
        self.store.put(WHITELIST_PATH, self.official.read(WHITELIST_PATH))
        self.store.create(MANIFEST_PATH, manifest.sign(signer).to_bytes())

    def _publish(self, tag: Tag) -> None:
        self.now = datetime.fromtimestamp(tag.timestamp, UTC)
        wanted = self.reader.snapshot_of(tag.root)
        published = self.publisher.publish(
            lambda tree, marker: become(tree, wanted, self.recipe, Objects(self.store), marker),
            tag=TagRequest(tag.name, tag.description),
        )
        self.published[tag.revision] = published.manifest


def become(tree: CatalogTree, wanted: Snapshot, recipe: Recipe, objects: Objects, marker: Entry) -> None:
    """Edit `tree` until it has the paths and contents of `wanted`; nested catalogs follow from the markers alone."""
    before = {path: _plain(entry) for path, entry in tree.walk("")}
    after = {path: _plain(entry) for path, entry in wanted.walk()}
    for path in sorted(before.keys() - after.keys()):
        if parent_path(path) in after or not path:
            tree.remove(path)
    new = {path: entry for path, entry in after.items() if before.get(path) != entry}
    tree.put_all((path, _stored(entry, wanted, path, recipe, objects)) for path, entry in new.items())
    for path in sorted(new, key=len, reverse=True):
        if base_name(path) == MARKER_NAME:
            tree.split(parent_path(path), auto=False, marker=marker)


def _stored(entry: Entry, wanted: Snapshot, path: str, recipe: Recipe, objects: Objects) -> Entry:
    """The entry with the hashes that our own engine gives its content."""
    if not entry.is_regular:
        return entry
    content = wanted.read(path)
    blocks = (content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK))
    stored = store_content(blocks, recipe, objects.put)
    return replace(entry, digest=stored.digest, chunks=stored.chunks, size=stored.size, compression=recipe.compression)


def _plain(entry: Entry) -> Entry:
    return replace(entry, extra_flags=entry.extra_flags & ~_STRUCTURE)


def catalogs_of(reader: Repository, root: Digest) -> dict[str, tuple[Digest, Catalog]]:
    """The catalogs of a tree by mount path, with their digests."""
    return {path: (digest, catalog) for path, digest, catalog in reader.snapshot_of(root).catalogs()}


def signer_of(repository: GoldenRepository) -> KeySigner:
    """The signer with the keys of a golden repository."""
    return KeySigner(repository.signing_key, repository.master_key)


@cache
def rewritten(name: str) -> Rewritten:
    """The golden repository ``NAME.golden.example``, rewritten once for all tests: read only."""
    return Rewritten(name)
