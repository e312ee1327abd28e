"""Records of repositories: changed by compare-and-swap, remembered by processes for a moment."""

from datetime import UTC, datetime, timedelta

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.errors import RepositoryUnknown, VersionMoved
from functions.publishing.known import KnownRepositories
from functions.publishing.records import (
    RECORD_ATTEMPTS,
    RepositoryRecord,
    RepositorySettings,
    Standing,
    change_record,
    keep_record,
    load_record,
    record_path,
)

NAME = "alice.infn.it"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def state():
    state = MemoryBlobStore()
    keep_record(
        state, RepositoryRecord(repository=NAME, bucket="alice", username="alice", subject="8f3c", created_at=NOW)
    )
    return state


def suspended(record: RepositoryRecord) -> RepositoryRecord:
    return record.model_copy(update={"standing": Standing.SUSPENDED})


def test_a_change_is_kept(state):
    changed = change_record(state, NAME, suspended)
    assert changed.standing is Standing.SUSPENDED
    assert load_record(state, NAME) == changed


def test_a_change_that_changes_nothing_writes_nothing(state):
    version = state.get(record_path(NAME)).version
    change_record(state, NAME, lambda record: record)
    assert state.get(record_path(NAME)).version == version


def test_a_change_is_made_again_on_what_somebody_else_wrote_first(state):
    seen = []

    def limited(record: RepositoryRecord) -> RepositoryRecord:
        if not seen:
            change_record(state, NAME, suspended)
        seen.append(record.standing)
        return record.model_copy(update={"settings": RepositorySettings(files_limit=5)})

    change_record(state, NAME, limited)
    assert seen == [Standing.ACTIVE, Standing.SUSPENDED]
    both = load_record(state, NAME)
    assert (both.standing, both.settings.files_limit) == (Standing.SUSPENDED, 5)


def test_who_always_loses_gives_up(state):
    tries = []

    def losing(record: RepositoryRecord) -> RepositoryRecord:
        tries.append(record)
        change_record(
            state, NAME, lambda other: other.model_copy(update={"settings": RepositorySettings(files_limit=len(tries))})
        )
        return suspended(record)

    with pytest.raises(VersionMoved):
        change_record(state, NAME, losing)
    assert len(tries) == RECORD_ATTEMPTS


def test_there_is_nothing_to_change_in_an_unknown_repository(state):
    with pytest.raises(RepositoryUnknown):
        change_record(state, "bob.infn.it", suspended)


def test_a_record_is_read_again_after_a_moment(state):
    now = NOW
    known = KnownRepositories(state, lambda: now, timedelta(seconds=5))
    assert known.get(NAME).standing is Standing.ACTIVE
    change_record(state, NAME, suspended)
    now = NOW + timedelta(seconds=4)
    assert known.get(NAME).standing is Standing.ACTIVE
    now = NOW + timedelta(seconds=5)
    assert known.get(NAME).standing is Standing.SUSPENDED


def test_a_clock_that_is_set_back_makes_no_record_be_remembered_for_longer(state):
    now = NOW
    known = KnownRepositories(state, lambda: now, timedelta(seconds=5))
    known.get(NAME)
    change_record(state, NAME, suspended)
    now = NOW - timedelta(hours=1)
    assert known.get(NAME).standing is Standing.SUSPENDED


def test_a_record_that_was_forgotten_is_read_at_once(state):
    known = KnownRepositories(state, lambda: NOW)
    known.get(NAME)
    change_record(state, NAME, suspended)
    known.forget(NAME)
    assert known.get(NAME).standing is Standing.SUSPENDED


def test_an_unknown_repository_is_not_remembered(state):
    known = KnownRepositories(state, lambda: NOW)
    with pytest.raises(RepositoryUnknown):
        known.get("bob.infn.it")
    keep_record(
        state,
        RepositoryRecord(repository="bob.infn.it", bucket="bob", username="bob", subject="77", created_at=NOW),
    )
    assert known.get("bob.infn.it").bucket == "bob"
