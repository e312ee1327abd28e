"""What a rollback holds back, rule by rule, and where it is kept."""

from __future__ import annotations

import pytest

from functions.cvmfs.catalog import Catalog
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import CatalogError
from functions.publishing.pinning import Pin, is_held_back, note_wishes, read_pin, wishes_of, write_pin
from functions.publishing.rollback import release, roll_back, roll_back_and_pin
from tests.local_trees import Node, PaperRepository

PIN = Pin(held_before=1000, target=3)


@pytest.mark.parametrize(
    ("modified", "published", "held_back"),
    [
        pytest.param(999, 0, True, id="uploaded before"),
        pytest.param(1000, 0, False, id="uploaded in the very second"),
        pytest.param(1001, 0, False, id="uploaded afterwards"),
        pytest.param(0, 999, True, id="absent, nobody knows since when"),
        pytest.param(0, 1000, False, id="absent, and uploaded afterwards"),
        pytest.param(999, 500, True, id="told to be removed before"),
        pytest.param(1000, 500, False, id="told to be removed afterwards"),
    ],
)
def test_what_is_older_than_a_rollback_is_held_back(modified, published, held_back):
    assert is_held_back(PIN, modified, published) is held_back
    assert not is_held_back(None, modified, published)


@pytest.fixture
def catalog():
    with Catalog.new("", Entry.directory(mtime=1)) as catalog:
        yield catalog


def test_a_pin_is_stored_with_the_catalog_and_can_be_taken_away(catalog):
    assert read_pin(catalog) is None
    write_pin(catalog, PIN)
    with Catalog.from_bytes(catalog.to_bytes()) as stored:
        assert read_pin(stored) == PIN
        assert stored.check() == []
        write_pin(stored, None)
        assert read_pin(stored) is None


def test_a_pin_that_is_no_pin_is_damage(catalog):
    write_pin(catalog, PIN)
    catalog.set_property("cvmfs_cloud_held_before", "soon")
    with pytest.raises(CatalogError, match="soon"):
        read_pin(catalog)


def test_the_last_wishes_are_noted_in_order(catalog):
    for number in range(10):
        note_wishes(catalog, wishes_of(catalog), f"w{number}")
    assert wishes_of(catalog) == tuple(f"w{number}" for number in range(2, 10))
    note_wishes(catalog, (), None)
    assert wishes_of(catalog) == ()


@pytest.fixture
def repository():
    repository = PaperRepository()
    for number in range(2, 5):
        repository.publish({f"/{number}": Node(b"%d" % number)})
    return repository


def pin_of(repository):
    with Catalog.from_bytes(repository.publisher.catalog(repository.reader().manifest.root)) as root:
        return read_pin(root)


def test_later_revisions_inherit_the_pin_and_a_second_rollback_replaces_it(repository):
    first = roll_back_and_pin(repository.publisher, None, wish="one")
    assert (first.changed, first.pin.target) == (True, 3)
    repository.publish({"/new": Node(b"new")})
    assert pin_of(repository) == first.pin
    second = roll_back_and_pin(repository.publisher, None, wish="two")
    assert pin_of(repository) == second.pin
    assert second.pin.held_before > first.pin.held_before
    assert repository.findings() == []


def test_a_wish_is_remembered_across_the_rollbacks_that_follow_it(repository):
    roll_back_and_pin(repository.publisher, None, wish="one")
    repository.publish({"/5": Node(b"5")})
    roll_back_and_pin(repository.publisher, None, wish="two")
    again = roll_back_and_pin(repository.publisher, None, wish="one")
    assert (again.changed, again.manifest.revision) == (False, repository.reader().manifest.revision)


def test_a_released_pin_is_gone_and_the_content_is_the_same(repository):
    roll_back_and_pin(repository.publisher, None, wish="one")
    shown = repository.shown()
    done = release(repository.publisher, wish="free")
    assert (done.changed, done.manifest.revision, pin_of(repository)) == (True, 6, None)
    assert repository.shown() == shown
    assert not release(repository.publisher, wish="free again").changed
    assert not roll_back_and_pin(repository.publisher, None, wish="one").changed
    assert repository.findings() == []


def test_a_plain_rollback_to_a_revision_that_was_pinned_pins_nothing(repository):
    roll_back_and_pin(repository.publisher, None, wish="one")
    repository.publish({"/5": Node(b"5")})
    roll_back(repository.publisher)
    assert pin_of(repository) is None
