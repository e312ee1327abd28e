"""What is measured: each function prepares one publish in this process and returns it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from enginebench.inputs import text_blocks
from enginebench.measure import Work
from functions import wiring
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import Entry
from functions.ports import BlobStore
from functions.publishing.application import apply_records
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import ObjectCache
from functions.publishing.ingest import Ingest
from functions.publishing.keys import key_to_target
from functions.publishing.local_tree import TreeItem, TreeSource
from functions.publishing.nesting import CatalogWeights
from functions.publishing.objects import Objects, Uploads
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_publish import TreePublish

FQRN = "bench.example.org"
THREADS = max(4, os.cpu_count() or 1)
"""As the command line has them."""

CACHE_BYTES = 64 << 20
AS_IT_IS = CatalogWeights(most=2**60, least=0)
"""Catalogs are neither split nor merged."""


@dataclass(frozen=True)
class Place:
    """A repository of the bench: the folder of its storage, and that of the keys."""

    storage: Path
    keys: Path

    def make(self) -> None:
        """Make the repository; its keys are made once for all."""
        keys = wiring.open_keys(self.keys)
        now = wiring.utc_now()
        certificate = Certificate.from_pem(keys.ensure_keys(FQRN, now=now).certificate.encode())
        create_repository(self.store(), keys.signer(FQRN), certificate, NewRepository(FQRN), now=now)

    def store(self) -> BlobStore:
        """The storage."""
        return wiring.open_storage(f"dir:{self.storage}")

    def publisher(self, executor: ThreadPoolExecutor, weights: CatalogWeights | None = None) -> Publisher:
        """A publisher as a new process has it: nothing cached, no key loaded."""
        signer = wiring.open_keys(self.keys).signer(FQRN)
        cache = ObjectCache(CACHE_BYTES)
        return Publisher(
            FQRN, self.store(), signer, cache, executor, wiring.utc_now, weights=weights or CatalogWeights()
        )


def tree_publish(place: Place, tree: Path, path: str = "", weights: CatalogWeights | None = None) -> Work:
    """Publish a local tree as the command line does."""
    return lambda: _publish(place, wiring.open_tree(tree), path, weights)


def stream_publish(place: Place, size: int) -> Work:
    """Publish a tree with one file of `size` bytes that no disk holds."""
    return lambda: _publish(place, _OneStream(size))


def archive_publish(place: Place, archive: Path) -> Work:
    """Take in an archive as the function does that hears of it, and mount it as the one that publishes."""

    def work() -> None:
        with ThreadPoolExecutor(THREADS) as executor, wiring.open_archive(str(archive)) as reader:
            uploads = Uploads(Objects(place.store()), executor)
            ingest = Ingest(Recipe(), uploads.put, executor=executor)
            record = ingest.take("bench", key_to_target(f"cvmfs/{archive.name}"), reader)
            uploads.finish()
            published = place.publisher(executor).publish(
                lambda tree, marker: (apply_records(tree, [record], marker), None)[1]
            )
            assert published.changed

    return work


def command(*words: str) -> Work:
    """Run a command with nothing to show it on."""
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fill(place: Place, directories: int, files: int, nested: bool) -> Work:
    """Make directories of files that are all empty, each a nested catalog or all in one; for what comes after."""

    def edit(tree: CatalogTree, marker: Entry) -> None:
        for number in range(directories):
            path = f"/d{number}"
            tree.put(path, Entry.directory(mtime=marker.mtime))
            if nested:
                tree.split(path, auto=False, marker=marker)
            tree.put_all((f"{path}/file{file}", marker) for file in range(files))

    def work() -> None:
        with ThreadPoolExecutor(THREADS) as executor:
            place.publisher(executor, AS_IT_IS).publish(edit)

    return work


class _OneStream(TreeSource):
    """A tree of one file, whose content is made while it is read."""

    def __init__(self, size: int) -> None:
        self._size = size

    def items(self) -> Iterator[TreeItem]:
        """A directory and the file."""
        yield TreeItem("", 0o040755, 4096, 0)
        yield TreeItem("/file", 0o100644, self._size, 0)

    def blocks(self, item: TreeItem) -> Iterator[bytes]:
        """The file."""
        return text_blocks(item.size)


def _publish(place: Place, source: TreeSource, path: str = "", weights: CatalogWeights | None = None) -> None:
    with ThreadPoolExecutor(THREADS) as executor:
        job = TreePublish(place.publisher(executor, weights), source, path, Recipe())
        published, _ = job.publish(progress=lambda _plan, _files, _bytes: None)
    assert published.changed
