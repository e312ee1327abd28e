"""Local trees on paper, and a repository in memory that they are published into and read back from."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from functions.adapters.memory import MemoryBlobStore, MemoryKeyStore
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.checker import check_repository
from functions.cvmfs.chunks import ChunkLimits
from functions.cvmfs.entry import AUTO_MARKER_NAME, encode_text, parent_path
from functions.cvmfs.reader import Repository
from functions.publishing.commit import Published, Publisher
from functions.publishing.content import Recipe
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import ObjectCache
from functions.publishing.local_tree import TreeItem, TreeSource
from functions.publishing.marking import made_by_dirtab
from functions.publishing.nesting import CatalogWeights
from functions.publishing.tree_publish import TreePublish
from functions.publishing.tree_sync import SyncPlan

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FQRN = "paper.example.org"

KEYS = MemoryKeyStore()
EXECUTOR = ThreadPoolExecutor(4)

SMALL_CHUNKS = ChunkLimits(32, 64, 128)


@dataclass(frozen=True)
class Node:
    """A file (content), a link (target), something special or a directory; `mtime_ns` in nanoseconds.

    Nodes with the same `inode` are names of one file.
    """

    content: bytes | None = None
    target: str = ""
    permissions: int = 0o644
    mtime_ns: int = 1_700_000_000_123_456_789
    special: int = 0
    device: int = 0
    inode: int = 0
    owner: tuple[int, int] | None = None
    xattrs: tuple[tuple[str, bytes], ...] | None = None

    @property
    def mode(self) -> int:
        if self.special:
            return self.special | self.permissions
        if self.target:
            return stat.S_IFLNK | 0o777
        return (stat.S_IFDIR if self.content is None else stat.S_IFREG) | self.permissions

    def item(self, path: str) -> TreeItem:
        """What a scan says of it."""
        size = len(self.content) if self.content is not None else len(encode_text(self.target)) or 4096
        return TreeItem(
            path,
            self.mode,
            self.device if self.special else size,
            self.mtime_ns,
            self.target,
            self.owner,
            self.xattrs,
            (1, self.inode) if self.inode else None,
        )


def folder(permissions: int = 0o755, mtime_ns: int = 1_700_000_000_000_000_000) -> Node:
    return Node(permissions=permissions, mtime_ns=mtime_ns)


@dataclass
class PaperTree:
    """A TreeSource in a dictionary from paths to nodes; directories that are not named are there nevertheless."""

    nodes: dict[str, Node]
    top: Node = field(default_factory=folder)
    read: list[str] = field(default_factory=list)

    def complete(self) -> dict[str, Node]:
        everything = {"": self.top} | self.nodes
        for path in self.nodes:
            while path := parent_path(path):
                everything.setdefault(path, folder())
        return dict(sorted(everything.items(), key=lambda item: (item[0].count("/"), encode_text(item[0]))))

    def items(self) -> Iterator[TreeItem]:
        for path, node in self.complete().items():
            yield node.item(path)

    def blocks(self, item: TreeItem) -> Iterator[bytes]:
        self.read.append(item.path)
        content = self.nodes[item.path].content if item.path else self.top.content
        assert content is not None
        for start in range(0, len(content), 100):
            yield content[start : start + 100]


class PaperRepository:
    """A repository in memory at revision 1, and its verifying reader."""

    def __init__(self, *, weights: CatalogWeights | None = None) -> None:
        self.now = NOW
        self.store = MemoryBlobStore(self.clock)
        keys = KEYS.ensure_keys(FQRN, subject="me", group=None, now=NOW)
        self.public_key = keys.public_key
        self.signer = KEYS.signer(FQRN)
        create_repository(
            self.store, self.signer, Certificate.from_pem(keys.certificate.encode()), NewRepository(FQRN), now=NOW
        )
        self.publisher = Publisher(
            FQRN,
            self.store,
            self.signer,
            ObjectCache(1 << 20),
            EXECUTOR,
            self.clock,
            weights=weights or CatalogWeights(),
        )

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def job(self, tree: TreeSource, place: str = "") -> TreePublish:
        return TreePublish(self.publisher, tree, place, Recipe(limits=SMALL_CHUNKS), may_empty=True)

    def publish(self, tree: TreeSource | dict[str, Node], place: str = "") -> tuple[Published, SyncPlan]:
        source = PaperTree(tree) if isinstance(tree, dict) else tree
        return self.job(source, place).publish(progress=lambda _plan, _files, _bytes: None)

    def fetch(self, path: str) -> bytes | None:
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def reader(self) -> Repository:
        return Repository.open(self.fetch, public_keys=[self.public_key], fqrn=FQRN, now=self.now)

    def shown(self, place: str = "") -> dict[str, Node]:
        """What a verifying reader sees below `place`, without markers that nobody but the publisher made."""
        snapshot = self.reader().snapshot()
        seen = {}
        for path, entry in snapshot.walk(place):
            nanoseconds = entry.mtime * 10**9 + (entry.mtime_ns or 0)
            seen[path.removeprefix(place)] = Node(
                content=snapshot.read(path) if entry.is_regular else None,
                target=entry.symlink,
                permissions=0o644 if entry.is_symlink else stat.S_IMODE(entry.mode),
                mtime_ns=nanoseconds,
                special=stat.S_IFMT(entry.mode) if entry.is_special else 0,
                device=entry.size if entry.is_special else 0,
            )
            if made_by_dirtab(entry):
                del seen[path.removeprefix(place)]
        for path in [path for path in seen if path.endswith(f"/{AUTO_MARKER_NAME}")]:
            del seen[path], seen[f"{parent_path(path)}/.cvmfscatalog"]
        del seen[""]
        return seen

    def mounts(self) -> list[str]:
        """Where catalogs start, the root one included."""
        return sorted(path for path, _, _ in self.reader().snapshot().catalogs())

    def findings(self) -> list[str]:
        report = check_repository(
            self.fetch,
            exists=self.store.has,
            public_keys=[self.public_key],
            fqrn=FQRN,
            now=self.now,
            data=True,
            all_tags=True,
        )
        return [str(finding) for finding in report.findings]
