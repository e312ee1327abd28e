"""Our publisher takes over a repository from the official tools, with its keys: nothing that was there is lost."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from functions.adapters.directory import DirectoryBlobStore
from functions.adapters.key_files import KeyFiles
from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.checker import check_repository
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import HistoryError
from functions.cvmfs.objects import pack
from functions.cvmfs.reader import Repository, fetch_object
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.schema import COLUMNS
from functions.ports import BlobStore
from functions.publishing.commit import Edit, Published, Publisher
from functions.publishing.content import Recipe
from functions.publishing.head import ObjectCache
from functions.publishing.revision import TagRequest
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_publish import TreePublish
from tests.golden import NOW, TAGS, GoldenRepository, golden
from tests.local_trees import Node, PaperTree
from tests.old_catalogs import as_upgraded_by_official_tools, as_written_by_revision
from tests.small_repository import FQRN, SmallRepository
from tests.small_repository import NOW as SMALL_NOW
from tests.unit.test_golden_repositories import as_the_client_shows_it

EXECUTOR = ThreadPoolExecutor(2)
LATER = NOW + timedelta(hours=1)
UNKNOWN = (("Q", "of a later release"), ("Z", "first"))


@dataclass(frozen=True)
class Taken:
    """A golden repository in a store of ours, and a publisher with its official keys."""

    official: GoldenRepository
    store: BlobStore
    publisher: Publisher

    def fetch(self, path: str) -> bytes | None:
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def reader(self) -> Repository:
        return Repository.open(self.fetch, public_keys=[self.official.public_key], fqrn=self.official.fqrn, now=LATER)

    def reflog(self) -> dict[object, RefType]:
        blob = self.fetch(".cvmfsreflog")
        assert blob is not None
        return {entry.digest: entry.type for entry in Reflog.from_bytes(blob, fqrn=self.official.fqrn).entries()}

    def publish_tree(self, nodes: dict[str, Node], place: str, tag: str) -> Published:
        recipe = Recipe(algorithm=self.reader().manifest.root.algorithm)
        job = TreePublish(self.publisher, PaperTree(nodes), place, recipe)
        return job.publish(tag=TagRequest(tag, "by us"), progress=lambda _plan, _files, _bytes: None)[0]


def in_memory(official: GoldenRepository, home: Path) -> BlobStore:
    store = MemoryBlobStore()
    for path in official.paths():
        store.put(path, official.read(path))
    return store


def in_a_folder(official: GoldenRepository, home: Path) -> BlobStore:
    shutil.copytree(official.folder, home / "repository")
    return DirectoryBlobStore(home / "repository")


def taken(name: str, home: Path, stored: Callable[[GoldenRepository, Path], BlobStore] = in_memory) -> Taken:
    official = golden(name)
    store = stored(official, home)
    keys = KeyFiles(official.folder.parent / "keys")
    publisher = Publisher(
        official.fqrn, store, keys.signer(official.fqrn), ObjectCache(1 << 22), EXECUTOR, lambda: LATER
    )
    return Taken(official, store, publisher)


NODES = {"/tool": Node(b"#!/bin/sh\nexit 0\n", permissions=0o755), "/data/empty": Node(b""), "/link": Node(target="x")}


@pytest.fixture(
    scope="module",
    params=[("sha1", in_a_folder), ("rmd160", in_memory), ("shake128", in_memory)],
    ids=lambda case: f"{case[0]}-{case[1].__name__}",
)
def continued(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Taken, Published, Published]:
    """Two more revisions: a tree into the nested catalog ``/pkg``, then one below a new directory. Read only."""
    name, stored = request.param
    repository = taken(name, tmp_path_factory.mktemp(name), stored)
    return (
        repository,
        repository.publish_tree(NODES, "/pkg/lib/added", "ours-1"),
        repository.publish_tree(NODES, "/new/place", "ours-2"),
    )


def test_a_repository_of_the_official_tools_is_continued(continued: tuple[Taken, Published, Published]) -> None:
    repository, first, second = continued
    official = Repository.open(repository.official.fetch, public_keys=None, fqrn=None, now=NOW)
    base, reader = official.manifest, repository.reader()

    # The manifest goes on where the official one ended.
    assert [published.manifest.revision for published in (first, second)] == [base.revision + 1, base.revision + 2]
    ours = replace(reader.manifest, revision=base.revision, published_at=base.published_at)
    same = ("root", "root_size", "history", "reflog")
    assert ours == replace(base, **{name: getattr(ours, name) for name in same})
    assert first.manifest.published_at >= base.published_at
    catalogs = {path: catalog for path, _, catalog in reader.snapshot_of(first.manifest.root).catalogs()}
    assert catalogs[""].previous_revision == base.root
    assert catalogs["/pkg"].revision == 3, "a nested catalog counts on its own"

    # Every tag is kept; those of the publisher have moved.
    before = {tag.name: tag for tag in official.tags()}
    after = {tag.name: tag for tag in reader.tags()}
    for name, tag in before.items():
        assert name.startswith("trunk") or after[name] == tag
    assert after["trunk"].root == second.manifest.root
    assert after["trunk-previous"].root == first.manifest.root
    assert after["ours-1"].root == first.manifest.root

    # Every entry point is kept in the reflog, and the new ones are in it.
    listed = repository.reflog()
    official_reflog = Reflog.from_bytes(repository.official.read(".cvmfsreflog"), fqrn=repository.official.fqrn)
    assert {entry.digest: entry.type for entry in official_reflog.entries()}.items() <= listed.items()
    for published in (first, second):
        assert listed[published.manifest.root] is RefType.CATALOG
        assert listed[published.manifest.history] is RefType.HISTORY

    # Whatever was stored is stored, byte for byte.
    for path in repository.official.paths():
        if path not in {".cvmfspublished", ".cvmfsreflog"}:
            assert repository.fetch(path) == repository.official.read(path), path


def test_old_and_new_revisions_are_readable_and_the_checker_is_content(
    continued: tuple[Taken, Published, Published],
) -> None:
    repository, _, second = continued
    reader = repository.reader()
    for tag in TAGS[:2]:
        listing = sorted(repository.official.listing(tag), key=lambda line: line["path"])
        assert as_the_client_shows_it(reader.snapshot(tag)) == listing
    shown = dict(reader.snapshot().walk())
    for place in ("/pkg/lib/added", "/new/place"):
        assert reader.snapshot().read(f"{place}/tool") == NODES["/tool"].content
        assert shown[f"{place}/link"].symlink == "x"
        assert (
            shown[f"{place}/data/empty"].digest == pack(b"", Kind.FILE, second.manifest.root.algorithm).address.digest
        )
    for line in repository.official.listing("trunk"):
        entry = shown[line["path"]]
        changed = line["path"] in {"/pkg", "/pkg/lib"}
        assert (entry.mode, entry.mtime) == (int(line["mode"], 0), line["mtime"]) or changed
    report = check_repository(
        repository.fetch,
        exists=repository.store.has,
        public_keys=[repository.official.public_key],
        fqrn=repository.official.fqrn,
        now=LATER,
        data=True,
        all_tags=True,
    )
    assert report.findings == ()


def test_a_tag_of_an_official_publisher_cannot_be_taken_again(tmp_path: Path) -> None:
    repository = taken("sha1", tmp_path)
    before = repository.fetch(".cvmfspublished")
    with pytest.raises(Exception, match="'v1'") as refused:
        repository.publish_tree(NODES, "/new", "v1")
    assert isinstance(refused.value, HistoryError) or isinstance(refused.value.__cause__, HistoryError)
    assert repository.fetch(".cvmfspublished") == before


def test_what_only_a_later_release_knows_is_carried_through_a_publish(tmp_path: Path) -> None:
    repository = taken("sha1", tmp_path)
    manifest = replace(repository.reader().manifest, unknown=UNKNOWN, alternative_path=False)
    repository.store.put(".cvmfspublished", manifest.sign(repository.publisher.signer).to_bytes())
    repository.publish_tree(NODES, "/new", "ours")
    assert repository.reader().manifest.unknown == UNKNOWN
    blob = repository.fetch(".cvmfspublished")
    assert blob is not None
    assert b"\nQof a later release\nZfirst\n--\n" in blob


# Catalogs of older writers


def written_by(revision: int | None) -> SmallRepository:
    """The small repository as a writer of a schema revision left it; None: upgraded in place to the newest."""
    small = SmallRepository()
    for path, database in small.databases.items():
        small.databases[path] = (
            as_upgraded_by_official_tools(database) if revision is None else as_written_by_revision(database, revision)
        )
    return small.sealed()


def published_on(small: SmallRepository, edit: Edit) -> tuple[MemoryBlobStore, Published]:
    store = MemoryBlobStore()
    for path, body in small.files.items():
        store.put(path, body)
    publisher = Publisher(FQRN, store, small.signer, ObjectCache(1 << 22), EXECUTOR, lambda: SMALL_NOW)
    return store, publisher.publish(edit)


@pytest.mark.parametrize("revision", [*range(7), None], ids=lambda revision: f"revision {revision}")
def test_a_catalog_of_an_older_writer_is_upgraded_when_it_is_rewritten_and_only_then(revision: int | None) -> None:
    small = written_by(revision)

    def edit(tree: CatalogTree, marker: Entry) -> None:
        tree.put("/pkg/lib/new", replace(marker, mode=stat.S_IFREG | 0o644))

    store, published = published_on(small, edit)

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    report = check_repository(
        fetch, exists=store.has, public_keys=small.public_keys, fqrn=FQRN, now=SMALL_NOW, data=True
    )
    assert report.findings == ()
    reader = Repository.open(fetch, public_keys=small.public_keys, fqrn=FQRN, now=SMALL_NOW)
    for path, digest, _ in reader.snapshot_of(published.manifest.root).catalogs():
        stored = fetch_object(fetch, Address(digest, Kind.CATALOG))
        if path == "/pkg/deep":
            assert stored == small.databases[path]
        else:
            with Catalog.from_bytes(stored) as catalog:
                assert catalog.get_property("schema_revision") == "7"
                columns = [name for (name,) in catalog.query("SELECT name FROM pragma_table_info('catalog')")]
                assert columns == list(COLUMNS), "in the order in which official tools copy rows"
    before = Repository.open(small.fetch, public_keys=None, fqrn=None, now=SMALL_NOW).snapshot()
    after = dict(reader.snapshot().walk())
    del after["/pkg/lib/new"]
    assert after == dict(before.walk())
    assert all(reader.snapshot().read(path) == content for path, content in small.contents.items() if path in after)
