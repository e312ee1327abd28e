"""Tags edited without a new revision, and tags that publishes make by themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.cvmfs.address import Address, HashAlgorithm, Kind
from functions.cvmfs.entry import Entry
from functions.cvmfs.history import History
from functions.cvmfs.reflog import Reflog
from functions.errors import TagRefused, TagTaken, TagUnknown
from functions.publishing.head import MANIFEST_PATH, REFLOG_PATH
from functions.publishing.nesting import CatalogWeights
from functions.publishing.objects import Objects
from functions.publishing.resigning import resign_manifest
from functions.publishing.revision import AutoTags, TagRequest
from functions.publishing.rollback import roll_back
from functions.publishing.tagging import add_tag, remove_tags
from tests.interrupted_store import InterruptedStore
from tests.local_trees import FQRN, Node, PaperRepository

UNKNOWN = (("Q", "of a later release"), ("Z", "first"), ("Z", "second"))


@pytest.fixture
def repository():
    """Revisions 2, 3 and 4 with one file each, of which none has a name."""
    repository = PaperRepository()
    for number in "234":
        repository.publish({f"/{number}": Node(number.encode())})
    return repository


def names(repository):
    return {tag.name: tag.revision for tag in repository.reader().tags()}


def root_of(repository, revision):
    catalog = next(repository.reader().snapshot().catalogs())[2]
    root = repository.reader().manifest.root
    while catalog.revision > revision:
        root = catalog.previous_revision
        catalog = next(repository.reader().snapshot_of(root).catalogs())[2]
    return root


def history_of(repository):
    manifest = repository.reader().manifest
    return History.from_bytes(Objects(repository.store).get(Address(manifest.history, Kind.HISTORY)))


def reflog_of(repository):
    return Reflog.from_bytes(repository.fetch(REFLOG_PATH), fqrn=FQRN)


def making(path):
    """An edit that makes a directory."""
    return lambda tree, _marker: tree.put(path, Entry.directory(mtime=1))


def interrupt(repository, path, deed):
    """Let `deed` happen once, right before the next conditional write of `path`."""
    repository.store = InterruptedStore(repository.store)
    repository.publisher = replace(repository.publisher, store=repository.store)
    repository.store.before_swap[path] = deed


def test_a_tag_on_the_newest_revision_makes_no_new_one(repository):
    before = repository.reader().manifest
    added = add_tag(repository.publisher, TagRequest("v4", "the fourth"))
    after = repository.reader().manifest
    assert (added.tag.revision, added.moved_from) == (4, None)
    assert names(repository) == {"trunk": 4, "trunk-previous": 3, "v4": 4}
    assert replace(after, history=before.history, reflog=before.reflog, published_at=before.published_at) == before
    assert after.published_at > before.published_at
    assert history_of(repository).previous_revision == before.history
    assert reflog_of(repository).contains(after.history)
    assert reflog_of(repository).contains(before.history)
    assert repository.findings() == []


def test_the_tag_says_of_its_root_catalog_what_that_says_of_itself(repository):
    tag = add_tag(repository.publisher, TagRequest("v3"), root_of(repository, 3)).tag
    catalog = next(repository.reader().snapshot("v3").catalogs())[2]
    assert (tag.revision, tag.timestamp, tag.size) == (3, catalog.last_modified, len(catalog.to_bytes()))
    assert repository.reader().snapshot("v3").read("/3") == b"3"


@pytest.mark.parametrize("revision", [1, 2, 3, 4])
def test_a_revision_is_found_by_its_number_with_a_tag_or_without(repository, revision):
    root = root_of(repository, revision)
    assert add_tag(repository.publisher, TagRequest("old"), revision).tag.root == root
    assert add_tag(repository.publisher, TagRequest("again"), revision).tag.root == root
    assert repository.findings() == []


@pytest.mark.parametrize("revision", [0, 5, 10**15])
def test_a_revision_that_never_was_is_unknown(repository, revision):
    with pytest.raises(TagUnknown, match=f"There is no revision {revision}"):
        add_tag(repository.publisher, TagRequest("old"), revision)


def test_a_revision_that_was_collected_is_unknown(repository):
    gone = Address(root_of(repository, 2), Kind.CATALOG).path
    repository.store.delete(gone)
    repository.publisher = replace(repository.publisher, cache=type(repository.publisher.cache)(0))
    with pytest.raises(TagUnknown, match="may have been collected"):
        add_tag(repository.publisher, TagRequest("old"), 1)


def test_a_root_that_a_collection_has_condemned_cannot_be_tagged(repository):
    root, reflog = root_of(repository, 2), reflog_of(repository)
    reflog.remove(root)
    repository.store.put(REFLOG_PATH, reflog.to_bytes())
    with pytest.raises(TagUnknown, match="not in the reflog"):
        add_tag(repository.publisher, TagRequest("old"), root)


def test_tagging_an_old_root_refreshes_its_entry_in_the_reflog(repository):
    root = root_of(repository, 2)
    before = next(entry for entry in reflog_of(repository).entries() if entry.digest == root)
    add_tag(repository.publisher, TagRequest("old"), root)
    after = next(entry for entry in reflog_of(repository).entries() if entry.digest == root)
    assert after.timestamp > before.timestamp


def test_a_tag_is_moved_and_keeps_its_description(repository):
    add_tag(repository.publisher, TagRequest("latest", "what users get"), 3)
    moved = add_tag(repository.publisher, TagRequest("latest"), 4)
    assert (moved.moved_from.revision, moved.tag.revision, moved.tag.description) == (3, 4, "what users get")
    assert add_tag(repository.publisher, TagRequest("latest", "older"), 2).tag.description == "older"
    assert repository.reader().snapshot("latest").read("/2") == b"2"
    assert repository.findings() == []


REFUSED = [
    pytest.param("taken", None, TagTaken, "There is a tag 'taken' already, on revision 4", id="a name that is taken"),
    pytest.param("taken", 4, TagRefused, "is on .* already", id="moved to where it is"),
    pytest.param("trunk", None, TagTaken, "There is a tag 'trunk' already", id="the publisher's own"),
    pytest.param("trunk", 2, TagRefused, "reserved", id="the publisher's own, moved"),
    pytest.param("a b", None, TagRefused, "not a tag name", id="a blank"),
    pytest.param("new", HashAlgorithm.SHA1.digest(b"?"), TagUnknown, "cannot be read", id="a root nobody knows"),
]


@pytest.mark.parametrize(("name", "at", "error", "reason"), REFUSED)
def test_a_tag_that_cannot_be_is_refused_and_nothing_is_changed(repository, name, at, error, reason):
    add_tag(repository.publisher, TagRequest("taken"))
    before = dict(repository.store._files)
    with pytest.raises(error, match=reason) as refused:
        add_tag(repository.publisher, TagRequest(name, "x"), at)
    assert refused.value.hint
    assert repository.store._files == before


def test_a_nested_catalog_is_no_revision():
    repository = PaperRepository(weights=CatalogWeights(most=4, balanced=3, least=1))
    repository.publish({f"/pkg/{number}": Node(b"x") for number in range(9)})
    nested = next(digest for path, digest, _ in repository.reader().snapshot().catalogs() if path)
    reflog = reflog_of(repository)
    reflog.add(nested, 0, 1)
    repository.store.put(REFLOG_PATH, reflog.to_bytes())
    with pytest.raises(TagRefused, match="not a root catalog, but that of /pkg"):
        add_tag(repository.publisher, TagRequest("part"), nested)


def test_several_tags_are_removed_at_once_or_none(repository):
    for name in ("a", "b", "c"):
        add_tag(repository.publisher, TagRequest(name))
    with pytest.raises(TagUnknown, match="There is no tag 'd'"):
        remove_tags(repository.publisher, ["a", "d"])
    with pytest.raises(TagRefused, match="'trunk' is kept by the publisher"):
        remove_tags(repository.publisher, ["a", "trunk"])
    assert {"a", "b", "c"} <= names(repository).keys()
    assert [tag.name for tag in remove_tags(repository.publisher, ["c", "a", "c"])] == ["c", "a"]
    assert names(repository) == {"trunk": 4, "trunk-previous": 3, "b": 4}
    assert repository.findings() == []


def test_a_tag_edit_that_loses_against_a_publish_is_made_on_top_of_it(repository):
    other = replace(repository.publisher)
    interrupt(repository, MANIFEST_PATH, lambda: other.publish(making("/other")))
    added = add_tag(repository.publisher, TagRequest("newest"))
    assert added.tag.revision == repository.reader().manifest.revision == 5
    assert repository.reader().snapshot("newest").lookup("/other") is not None
    assert repository.findings() == []


def test_a_publish_that_loses_its_name_meanwhile_is_refused_as_the_users_error(repository):
    other = replace(repository.publisher)
    interrupt(repository, MANIFEST_PATH, lambda: add_tag(other, TagRequest("v5")))
    with pytest.raises(TagTaken, match="There is a tag 'v5' already"):
        repository.publisher.publish(making("/mine"), tag=TagRequest("v5"))
    assert repository.reader().manifest.revision == 4
    assert repository.findings() == []


def test_a_clock_that_goes_backwards_does_not_take_the_manifest_back(repository):
    before = repository.reader().manifest
    late = replace(repository.publisher, clock=lambda: repository.now - timedelta(days=1))
    add_tag(late, TagRequest("v4"))
    assert repository.reader().manifest.published_at == before.published_at
    assert repository.findings() == []


def test_the_first_tag_of_a_repository_that_has_no_tag_database(repository):
    manifest = replace(repository.reader().manifest, history=None)
    repository.store.put(MANIFEST_PATH, manifest.sign(repository.signer).to_bytes())
    add_tag(repository.publisher, TagRequest("first"))
    assert names(repository) == {"trunk": 4, "first": 4}
    assert history_of(repository).previous_revision is None
    assert repository.findings() == []


@pytest.mark.parametrize(
    "deed",
    [
        pytest.param(lambda publisher: add_tag(publisher, TagRequest("new")), id="a tag added"),
        pytest.param(lambda publisher: remove_tags(publisher, ["old"]), id="a tag removed"),
        pytest.param(roll_back, id="a rollback"),
        pytest.param(resign_manifest, id="the manifest signed again"),
    ],
)
def test_every_field_of_the_manifest_is_kept_those_of_later_releases_too(repository, deed):
    add_tag(repository.publisher, TagRequest("old"))
    before = replace(repository.reader().manifest, unknown=UNKNOWN, ttl=61, garbage_collectable=False)
    repository.store.put(MANIFEST_PATH, before.sign(repository.signer).to_bytes())
    deed(repository.publisher)
    after = repository.reader().manifest
    moving = ("root", "root_size", "revision", "history", "reflog", "published_at", "ttl")
    assert replace(after, **{name: getattr(before, name) for name in moving}) == before
    assert b"\nQof a later release\nZfirst\nZsecond\n--\n" in repository.fetch(MANIFEST_PATH)


# Automatic tags


def test_every_revision_without_a_name_gets_one_made_of_its_time(repository):
    repository.publisher = replace(repository.publisher, auto_tags=AutoTags())
    repository.publish({"/5": Node(b"5")})
    made = repository.reader().tags()[0]
    moment = datetime.fromtimestamp(repository.reader().manifest.published_at, UTC)
    assert (made.name, made.revision) == (f"generic-{moment:%Y-%m-%dT%H:%M:%SZ}", 5)
    repository.publisher.publish(making("/6"), tag=TagRequest("v6"))
    assert [tag.name for tag in repository.reader().tags() if tag.revision == 6] == ["trunk", "v6"]
    assert repository.findings() == []


def test_a_publish_without_a_change_makes_no_automatic_tag(repository):
    repository.publisher = replace(repository.publisher, auto_tags=AutoTags())
    assert not repository.publish({"/4": Node(b"4")})[0].changed
    assert names(repository) == {"trunk": 4, "trunk-previous": 3}


def test_automatic_tags_go_when_they_are_old_and_no_others(repository):
    add_tag(repository.publisher, TagRequest("generic-release"))
    repository.publisher = replace(repository.publisher, auto_tags=AutoTags(timedelta(days=1)))
    repository.publish({"/5": Node(b"5")})
    repository.now += timedelta(hours=23)
    repository.publish({"/6": Node(b"6")})
    assert sum(name.startswith("generic-2") for name in names(repository)) == 2
    repository.now += timedelta(hours=2)
    repository.publish({"/7": Node(b"7")})
    kept = names(repository)
    assert sorted(revision for name, revision in kept.items() if name.startswith("generic-2")) == [6, 7]
    assert kept["generic-release"] == 4
    assert repository.findings() == []


def test_automatic_tags_of_the_same_second_are_numbered(repository):
    moment = repository.now
    repository.publisher = replace(repository.publisher, auto_tags=AutoTags(), clock=lambda: moment)
    for number in "56":
        repository.publish({f"/{number}": Node(number.encode())})
    stamp = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    assert {f"generic-{stamp}": 5, f"generic_1-{stamp}": 6}.items() <= names(repository).items()
    assert repository.findings() == []


def test_the_tags_that_the_gateway_of_the_official_tools_makes_expire_too(repository):
    stamped = "generic-2020-01-01T00:00:00.123Z"
    history = history_of(repository)
    old = replace(history.tag("trunk-previous"), name=stamped, timestamp=1, description="")
    history.add(old)
    assert history.expire_generic(2) == [old]
    assert history.expire_generic(2) == []
