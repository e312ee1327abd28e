"""Going back: the content is that of an older revision, the number is a new one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.checker import check_repository
from functions.cvmfs.history import Branch
from functions.cvmfs.reader import Repository
from functions.cvmfs.signing import KeySigner
from functions.errors import TagRefused, TagUnknown
from functions.publishing.commit import Publisher
from functions.publishing.head import MANIFEST_PATH, ObjectCache
from functions.publishing.revision import TagRequest, plan_manifest
from functions.publishing.rollback import roll_back
from functions.publishing.tagging import add_tag, remove_tags
from tests.golden import GOLDEN, NOW, golden
from tests.local_trees import Node, PaperRepository
from tests.old_catalogs import as_written_by_revision
from tests.small_repository import NOW as SMALL_NOW
from tests.small_repository import SmallRepository
from tests.unit.test_golden_repositories import as_the_client_shows_it
from tests.unit.test_tagging import interrupt, making, names, reflog_of

EXECUTOR = ThreadPoolExecutor(2)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def repository():
    """Revisions 2, 3 and 4 with one file each, tagged v2 to v4, and a second name for revision 2."""
    repository = PaperRepository()
    for number in "234":
        repository.publish({f"/{number}": Node(number.encode())})
        add_tag(repository.publisher, TagRequest(f"v{number}", f"the {number}"))
    add_tag(repository.publisher, TagRequest("stable"), 2)
    return repository


def root_catalog(repository):
    return next(repository.reader().snapshot().catalogs())[2]


def test_an_undo_publishes_the_revision_before_as_the_newest(repository):
    before = repository.reader().manifest
    outcome = roll_back(repository.publisher)
    after = repository.reader().manifest
    assert outcome.manifest == after
    assert (outcome.target.name, outcome.target.revision) == ("trunk-previous", 3)
    assert after.revision == root_catalog(repository).revision == 5
    assert root_catalog(repository).previous_revision == before.root
    assert root_catalog(repository).last_modified == after.published_at > before.published_at
    assert repository.shown().keys() == {"/3"}
    assert repository.reader().snapshot().read("/3") == b"3"
    assert [tag.name for tag in outcome.removed] == ["v4"]
    assert names(repository) == {"trunk": 5, "v3": 3, "v2": 2, "stable": 2}
    assert reflog_of(repository).contains(after.root)
    assert repository.findings() == []


def test_a_tag_to_go_back_to_moves_to_the_new_revision_and_later_ones_vanish(repository):
    outcome = roll_back(repository.publisher, "v2")
    assert names(repository) == {"trunk": 5, "v2": 5, "stable": 2}
    assert sorted(tag.name for tag in outcome.removed) == ["v3", "v4"]
    moved = next(tag for tag in repository.reader().tags() if tag.name == "v2")
    assert (moved.root, moved.description) == (repository.reader().manifest.root, "the 2")
    assert repository.shown().keys() == {"/2"}
    assert repository.findings() == []


def test_an_undo_cannot_be_repeated_before_the_next_publish(repository):
    roll_back(repository.publisher)
    with pytest.raises(TagUnknown, match="nothing to undo"):
        roll_back(repository.publisher)
    repository.publish({"/6": Node(b"6")})
    assert roll_back(repository.publisher).manifest.revision == 7
    assert repository.shown().keys() == {"/3"}
    assert repository.findings() == []


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        pytest.param("v9", TagUnknown, "There is no tag 'v9'", id="unknown"),
        pytest.param("v4", TagRefused, "is on revision 4, which is the current one", id="the newest by its name"),
        pytest.param("trunk", TagRefused, "which is the current one", id="the newest"),
        pytest.param("side", TagRefused, "on branch 'b', not on the default branch", id="on a branch"),
    ],
)
def test_what_upstream_refuses_is_refused_and_nothing_is_changed(repository, name, error, reason):
    def branch(base, reflog):
        history = repository.publisher.tags_of(base)
        history._branches["b"] = Branch("b", "", 2)
        history.add(replace(history.tag("v2"), name="side", branch="b"))
        return plan_manifest(base, history, reflog(), now_s=base.published_at)

    repository.publisher.commit(branch)
    before = dict(repository.store._files)
    with pytest.raises(error, match=reason):
        roll_back(repository.publisher, name)
    assert repository.store._files == before


def test_a_rollback_that_loses_against_a_publish_goes_back_from_there(repository):
    other = replace(repository.publisher)
    interrupt(repository, MANIFEST_PATH, lambda: other.publish(making("/other")))
    outcome = roll_back(repository.publisher, "v2")
    assert outcome.manifest.revision == 6
    assert repository.shown().keys() == {"/2"}
    assert names(repository) == {"trunk": 6, "v2": 6, "stable": 2}
    assert repository.findings() == []


def test_a_rollback_whose_tag_is_removed_meanwhile_is_refused(repository):
    other = replace(repository.publisher)
    interrupt(repository, MANIFEST_PATH, lambda: remove_tags(other, ["v2"]))
    with pytest.raises(TagUnknown, match="There is no tag 'v2'"):
        roll_back(repository.publisher, "v2")
    assert repository.reader().manifest.revision == 4
    assert repository.findings() == []


def test_a_clock_that_goes_backwards_takes_no_time_back(repository):
    before = repository.reader().manifest
    late = replace(repository.publisher, clock=lambda: repository.now - timedelta(days=1))
    roll_back(late)
    after = repository.reader().manifest
    assert after.published_at == root_catalog(repository).last_modified == before.published_at
    assert repository.findings() == []


def publisher_of(store, fqrn, signer, now):
    return Publisher(fqrn, store, signer, ObjectCache(1 << 22), EXECUTOR, lambda: now)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_repository_of_the_official_tools_goes_back_to_their_tag(name):
    official, store = golden(name), MemoryBlobStore()
    for path in official.paths():
        store.put(path, official.read(path))
    signer = KeySigner(official.signing_key, official.master_key)

    def fetch(path):
        blob = store.get(path)
        return None if blob is None else blob.body

    before = Repository.open(official.fetch, public_keys=[official.public_key], fqrn=official.fqrn, now=NOW)
    roll_back(publisher_of(store, official.fqrn, signer, LATER), "v1")
    reader = Repository.open(fetch, public_keys=[official.public_key], fqrn=official.fqrn, now=LATER)
    assert reader.manifest.revision == before.manifest.revision + 1
    assert as_the_client_shows_it(reader.snapshot()) == sorted(official.listing("v1"), key=lambda line: line["path"])
    report = check_repository(
        fetch,
        exists=store.has,
        public_keys=[official.public_key],
        fqrn=official.fqrn,
        now=LATER,
        data=True,
        all_tags=True,
    )
    assert report.findings == ()


@pytest.mark.parametrize("revision", [0, 3, 6])
def test_a_root_catalog_of_an_older_writer_comes_back_as_a_new_one(revision):
    small = SmallRepository()
    for path, database in small.databases.items():
        small.databases[path] = as_written_by_revision(database, revision)
    small.sealed()
    store = MemoryBlobStore()
    for path, body in small.files.items():
        store.put(path, body)
    publisher = publisher_of(store, small.fqrn, small.signer, SMALL_NOW)
    publisher.publish(making("/new"))
    outcome = roll_back(publisher, "v1")
    with Catalog.from_bytes(publisher.catalog(outcome.manifest.root)) as catalog:
        assert (catalog.revision, catalog.lookup("/new"), catalog.check()) == (5, None, [])
        assert catalog.lookup("/README") is not None
