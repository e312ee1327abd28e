"""Two local trees published at once: the later publish keeps what the other one did, and tells where they met."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from functions.errors import VersionMoved
from functions.publishing.head import MANIFEST_PATH
from functions.publishing.nesting import CatalogWeights
from functions.publishing.revision import TagRequest
from tests.cli_repository import CliRepository
from tests.local_trees import Node, PaperRepository, PaperTree

HELLO = Node(content=b"hello\n")


def text(content: str) -> Node:
    return Node(content=content.encode())


class Race:
    """Lets others publish between the planning of a publish and its swap."""

    def __init__(self, repository: PaperRepository, *others: Callable[[], object]) -> None:
        self.store = repository.store
        self.others = list(others)
        self.swap = self.store.replace
        self.store.replace = self.replace

    def replace(self, path: str, body: bytes, version: str) -> str:
        if path == MANIFEST_PATH and self.others:
            self.store.replace = self.swap
            self.others.pop(0)()
            self.store.replace = self.replace
        return self.swap(path, body, version)


@pytest.fixture
def repository():
    return PaperRepository()


def kinds(published):
    return {conflict.path: conflict.kind.value for conflict in published.merged.conflicts}


def test_what_another_publisher_added_meanwhile_below_the_same_place_stays(repository):
    repository.publish({"/a": HELLO, "/lib/b": HELLO})
    theirs = {"/a": HELLO, "/lib/b": HELLO, "/lib/theirs": text("theirs"), "/new/theirs": text("too")}
    Race(repository, lambda: repository.publish(theirs))
    published, plan = repository.publish({"/a": text("ours"), "/lib/b": HELLO, "/lib/ours": text("ours")})
    shown = repository.shown()
    assert {path for path, node in shown.items() if node.content is not None} == {
        "/a", "/lib/b", "/lib/ours", "/lib/theirs", "/new/theirs",
    }  # fmt: skip
    assert (shown["/a"].content, kinds(published)) == (b"ours", {})
    assert (published.manifest.revision, len(plan.changes)) == (4, 2)
    assert repository.findings() == []


def test_what_was_removed_is_removed_and_nothing_else(repository):
    repository.publish({"/a": HELLO, "/b": HELLO, "/c": HELLO})
    Race(repository, lambda: repository.publish({"/a": HELLO, "/b": HELLO}))
    repository.publish({"/b": HELLO, "/c": HELLO})
    assert repository.shown().keys() == {"/b"}


def test_a_path_that_both_changed_is_ours_and_told(repository):
    repository.publish({"/a": HELLO, "/b": HELLO})
    Race(repository, lambda: repository.publish({"/a": text("their own"), "/b": HELLO}))
    published, _ = repository.publish({"/a": text("ours"), "/b": HELLO})
    assert repository.shown()["/a"].content == b"ours"
    assert kinds(published) == {"/a": "both-modified"}


def test_swaps_can_be_lost_several_times_and_the_base_stays_the_first_one(repository):
    repository.publish({"/a": HELLO})
    Race(
        repository,
        lambda: repository.publish({"/1": HELLO}, "/first"),
        lambda: repository.publish({"/2": HELLO}, "/second"),
        lambda: repository.publish({}, "/first") and repository.publish({"/a": HELLO, "/third": HELLO}),
    )
    tree = PaperTree({"/a": HELLO, "/ours": text("ours")})
    published, _ = repository.publish(tree)
    assert repository.shown().keys() == {"/a", "/ours", "/third"}
    assert (tree.read, kinds(published)) == (["/ours"], {})
    assert repository.findings() == []


def test_two_who_publish_the_same_make_one_revision(repository):
    repository.publish({"/a": HELLO})
    Race(repository, lambda: repository.publish({"/a": HELLO, "/b": HELLO}))
    published, _ = repository.publish({"/a": HELLO, "/b": HELLO})
    assert (published.changed, published.manifest.revision, kinds(published)) == (False, 3, {})


def test_a_tag_goes_on_the_merged_revision(repository):
    repository.publish({"/a": HELLO})
    Race(repository, lambda: repository.publish({"/a": HELLO, "/theirs": HELLO}))
    job = repository.job(PaperTree({"/a": HELLO, "/ours": HELLO}))
    published, _ = job.publish(tag=TagRequest("v1"), progress=lambda *_: None)
    assert published.manifest.revision == 4
    assert {path for path, _ in repository.reader().snapshot("v1").walk() if path} == {"/a", "/ours", "/theirs"}


def test_nested_catalogs_of_both_survive_with_the_balancer_at_work():
    repository = PaperRepository(weights=CatalogWeights(most=6, balanced=4, least=2))
    base = {f"/{name}/{number}": HELLO for name in "ab" for number in range(5)}
    repository.publish(base)
    theirs = base | {f"/a/new/{number}": HELLO for number in range(9)} | {"/m/.cvmfscatalog": text(""), "/m/x": HELLO}
    Race(repository, lambda: repository.publish(theirs))
    ours = {path: node for path, node in base.items() if path != "/a/0"} | {f"/b/deep/{n}/x": HELLO for n in range(9)}
    repository.publish(ours)
    files = {path for path, node in repository.shown().items() if node.content is not None}
    assert files == (theirs.keys() | ours.keys()) - {"/a/0"}
    assert {"/m"} < set(repository.mounts())
    assert repository.findings() == []


def test_the_store_that_never_lets_us_win_is_reported(repository):
    repository.publish({"/a": HELLO})

    def never(path: str, body: bytes, version: str) -> str:
        raise VersionMoved("somebody else was faster")

    repository.store.replace = never
    with pytest.raises(VersionMoved, match="lost the manifest"):
        repository.publish({"/a": text("ours")})


def test_the_command_tells_of_conflicts_and_of_the_merge(tmp_path, monkeypatch):
    from functions.adapters.directory import DirectoryBlobStore

    repository = CliRepository.copy(tmp_path)
    (repository.tree / "file").write_bytes(b"first")
    repository.published()
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"theirs")
    (other / "theirs").touch()
    (repository.tree / "file").write_bytes(b"ours!")
    swap = DirectoryBlobStore.replace

    def replace(store: DirectoryBlobStore, path: str, body: bytes, version: str) -> str:
        if path == MANIFEST_PATH:
            monkeypatch.setattr(DirectoryBlobStore, "replace", swap)
            assert repository.publish(source=other).exit_code == 0
        return swap(store, path, body, version)

    monkeypatch.setattr(DirectoryBlobStore, "replace", replace)
    result = repository.publish()
    assert result.exit_code == 0, result.stderr
    assert "Somebody else published meanwhile: both are kept." in result.stderr
    assert "Conflict at /file: another publisher changed it too; it is as published here." in result.stderr
    assert repository.reader().snapshot().read("/file") == b"ours!"
    assert repository.paths() == ["/file", "/theirs"]

    (repository.tree / "file").write_bytes(b"ours again")
    (other / "file").write_bytes(b"theirs again")
    monkeypatch.setattr(DirectoryBlobStore, "replace", replace)
    outcome = json.loads(repository.publish("--json").stdout)
    assert (outcome["merged"], outcome["conflicts"]) == (True, [{"path": "/file", "kind": "both-modified"}])
