"""What owners ask of their repositories, what is interrupted or comes twice, and what a verifying reader sees."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent
from structlog.testing import capture_logs

from events import (
    CollectionRequested,
    DeletionRequested,
    Event,
    GarbageCollected,
    Keys,
    ReconciliationRequested,
    ReleaseRequested,
    RenewalRequested,
    RepositoryDeleted,
    RepositoryResumed,
    RepositoryRolledBack,
    RepositorySuspended,
    RequestRefused,
    ResumptionRequested,
    RollbackReleased,
    RollbackRequested,
    SettingsChanged,
    SettingsRequested,
    SuspensionRequested,
    TagAction,
    TagChanged,
    TagRequested,
    WhitelistResigned,
    Wish,
)
from events.types import PING
from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.checker import check_repository
from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import Repository
from functions.errors import StoreUnavailable
from functions.publishing.records import SECONDS_LIMIT, RepositorySettings, Standing, load_record
from functions.publishing.resigning import stored_days_left
from tests.world import SETTINGS, World

pytestmark = pytest.mark.usefixtures("alices_repository")

FQRN = "alice.infn.it"
_wishes = (f"w{number}" for number in range(10**6))


def asked(world: World, kind: type[Wish], **fields: Any) -> str:
    """An owner's wish, carried out; returns its event's id."""
    wish = kind(repository=FQRN, request=next(_wishes), requested_by="alice", **fields)
    world.ask(wish)
    world.run_until_quiet()
    return wish.id


def uploaded(world: World, *files: tuple[str, bytes]) -> None:
    for path, body in files:
        world.upload(f"cvmfs{path}", body)
    world.run_until_quiet()


def shown(world: World) -> dict[str, bytes]:
    """Every file that a worker node sees."""
    with world.reader() as snapshot:
        return {path: snapshot.read(path) for path, entry in snapshot.walk() if entry.is_regular}


def tags(world: World) -> dict[str, int]:
    return {tag.name: tag.revision for tag in reader(world).tags()}


def reader(world: World) -> Repository:
    store = world.store_of(FQRN)
    public = world.keys.ensure_keys(FQRN, subject="", group=None, now=world.clock.now).public_key

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    return Repository.open(fetch, public_keys=[public], fqrn=FQRN, now=world.clock.now)


def findings(world: World) -> list[str]:
    """What the checker says against the repository, every tag and every object included."""
    store = world.store_of(FQRN)
    public = world.keys.ensure_keys(FQRN, subject="", group=None, now=world.clock.now).public_key
    report = check_repository(
        lambda path: None if (blob := store.get(path)) is None else blob.body,
        exists=store.has,
        public_keys=[public],
        fqrn=FQRN,
        now=world.clock.now,
        data=True,
        all_tags=True,
    )
    return [str(finding) for finding in report.findings]


def deliver_again(world: World, kind: type[Event], step: str) -> None:
    """The last event of a type comes once more, late."""
    event = [event for event in world.bus.published if event["type"] == kind.TYPE][-1]
    world.bus.reply(f"fn.{step}", bytes(to_structured(event)[1]))
    world.run_until_quiet()


def standing(world: World) -> Standing:
    return load_record(world.state, FQRN).standing


def refusals(world: World) -> list[RequestRefused]:
    return world.told(RequestRefused)  # type: ignore[return-value]


# Tags


def test_a_tag_is_put_on_the_newest_revision_moved_and_removed(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    asked(world, TagRequested, action=TagAction.ADD, name="v1", description="first")
    uploaded(world, ("/a", b"2"))
    assert tags(world)["v1"] == 2
    with world.reader(tag="v1") as snapshot:
        assert snapshot.read("/a") == b"1"
    asked(world, TagRequested, action=TagAction.MOVE, name="v1", revision=3)
    assert tags(world)["v1"] == 3
    asked(world, TagRequested, action=TagAction.REMOVE, name="v1")
    assert "v1" not in tags(world)
    assert [(fact.action, fact.revision) for fact in world.told(TagChanged)] == [  # type: ignore[attr-defined]
        (TagAction.ADD, 2),
        (TagAction.MOVE, 3),
        (TagAction.REMOVE, None),
    ]
    assert findings(world) == []


def test_a_tag_can_be_put_on_an_older_revision_by_its_root_hash(world: World) -> None:
    root = str(reader(world).manifest.root)
    uploaded(world, ("/a", b"1"))
    asked(world, TagRequested, action=TagAction.ADD, name="empty", root_hash=root)
    assert tags(world)["empty"] == 1


def test_a_wish_that_comes_twice_is_carried_out_once(world: World) -> None:
    asked(world, TagRequested, action=TagAction.ADD, name="v1")
    uploaded(world, ("/a", b"1"))
    deliver_again(world, TagRequested, "edit-repository")
    assert tags(world)["v1"] == 1
    asked(world, TagRequested, action=TagAction.REMOVE, name="v1")
    asked(world, TagRequested, action=TagAction.ADD, name="v1")
    first = next(event for event in world.bus.published if event["type"] == TagRequested.TYPE)
    world.bus.reply("fn.edit-repository", bytes(to_structured(first)[1]))
    world.run_until_quiet()
    assert tags(world)["v1"] == 2
    assert refusals(world) == []


def test_a_tag_whose_note_was_lost_is_recognised_although_a_revision_came_between(world: World) -> None:
    wish = TagRequested(repository=FQRN, request="once", action=TagAction.ADD, name="v1")
    world.ask(wish)
    _failing(world.state, 0, lambda: world.deliver("edit-repository"))
    uploaded(world, ("/a", b"1"))
    assert tags(world)["v1"] == 1
    assert world.bus.parked("edit-repository") == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"action": TagAction.ADD, "name": "v1"}, "tag-taken", id="taken"),
        pytest.param({"action": TagAction.ADD, "name": "v1", "revision": 3}, "tag-taken", id="taken elsewhere"),
        pytest.param({"action": TagAction.MOVE, "name": "v2"}, "tag-unknown", id="nothing to move"),
        pytest.param({"action": TagAction.ADD, "name": "v2", "revision": 99}, "tag-unknown", id="no such revision"),
        pytest.param({"action": TagAction.ADD, "name": "v2", "root_hash": "0" * 40}, "tag-unknown", id="no such root"),
        pytest.param({"action": TagAction.REMOVE, "name": "trunk"}, "tag-refused", id="reserved"),
    ],
)
def test_a_tag_that_cannot_be_is_refused_shown_and_forgotten_with_the_next_that_can(
    world: World, fields: dict[str, Any], code: str
) -> None:
    asked(world, TagRequested, action=TagAction.ADD, name="v1")
    uploaded(world, ("/a", b"1"))
    uploaded(world, ("/b", b"1"))
    before = world.store_of(FQRN).get(".cvmfspublished")
    wish = asked(world, TagRequested, **fields)
    (refused,) = refusals(world)
    assert (refused.request, refused.wanted, refused.code) == (wish, "tag.requested", code)
    problem = world.problems()["tag.requested"]
    assert (problem.code, problem.etag) == (code, wish.rpartition("/")[2])
    assert problem.hint
    (parked,) = world.bus.parked("edit-repository")
    assert refused.reason in parked.headers["x-parked-reason"]
    assert world.store_of(FQRN).get(".cvmfspublished") == before
    asked(world, TagRequested, action=TagAction.ADD, name="v3")
    assert world.problems() == {}


def test_a_wish_about_nobodys_repository_is_refused(world: World) -> None:
    world.ask(SuspensionRequested(repository="nobody.infn.it", request="x"))
    world.run_until_quiet()
    (refused,) = refusals(world)
    assert refused.code == "repository-unknown"


# Rollback


def rolled_back(world: World) -> None:
    """Revision 2 has /a and /keep, tagged v1; revision 3 another /a, revision 4 also /b; then back to v1."""
    uploaded(world, ("/a", b"old"))
    uploaded(world, ("/keep", b"k"))
    asked(world, TagRequested, action=TagAction.ADD, name="v1")
    uploaded(world, ("/a", b"bad"))
    uploaded(world, ("/b", b"bad too"))
    asked(world, RollbackRequested, tag="v1")


GONE_BACK = {"/a": b"old", "/keep": b"k"}


def test_a_rollback_is_not_undone_by_uploads_or_by_what_is_told_of_the_bucket_again(world: World) -> None:
    rolled_back(world)
    assert shown(world) == GONE_BACK
    (fact,) = world.told(RepositoryRolledBack)
    assert isinstance(fact, RepositoryRolledBack)
    assert (fact.revision, fact.target, fact.tag) == (6, 3, "v1")
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b")  # what a look at the whole bucket would find
    world.run_until_quiet()
    assert shown(world) == GONE_BACK
    uploaded(world, ("/c", b"new"))
    assert shown(world) == {**GONE_BACK, "/c": b"new"}
    world.forget()
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b")
    uploaded(world, ("/b", b"good"))
    assert shown(world) == {**GONE_BACK, "/c": b"new", "/b": b"good"}
    assert findings(world) == []


def test_what_the_user_deletes_after_a_rollback_goes(world: World) -> None:
    rolled_back(world)
    world.delete("cvmfs/a")
    world.delete("cvmfs/b")
    world.run_until_quiet()
    assert shown(world) == {"/keep": b"k"}


def test_what_was_deleted_before_a_rollback_comes_back_and_stays(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    uploaded(world, ("/x", b"1"))
    world.delete("cvmfs/a")
    late = world.bus.messages("fn.handle-bucket-notification")[-1]
    world.run_until_quiet()
    asked(world, RollbackRequested)
    assert shown(world) == {"/a": b"1", "/x": b"1"}
    world.bus.reply("fn.handle-bucket-notification", late.body)
    world.run_until_quiet()
    assert shown(world) == {"/a": b"1", "/x": b"1"}


def test_a_look_at_the_whole_bucket_does_not_take_away_what_came_back(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    uploaded(world, ("/x", b"1"))
    world.delete("cvmfs/a")
    world.run_until_quiet()
    asked(world, RollbackRequested)
    world.notify("ObjectRemoved:Reconcile", "cvmfs/a")
    world.notify("ObjectCreated:Put", "cvmfs/a")  # comes again, very late
    world.run_until_quiet()
    assert shown(world) == {"/a": b"1", "/x": b"1"}


def test_a_change_that_waits_while_somebody_rolls_back_is_held_back(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    uploaded(world, ("/a", b"2"))
    world.upload("cvmfs/b", b"late")
    world.deliver("handle-bucket-notification")
    world.ask(RollbackRequested(repository=FQRN, request="now"))
    world.deliver("edit-repository")
    world.run_until_quiet()
    assert shown(world) == {"/a": b"1"}
    assert world.bus.changes_state(FQRN).ready == 0


def test_a_released_rollback_lets_the_bucket_through_again(world: World) -> None:
    rolled_back(world)
    wish = asked(world, ReleaseRequested)
    (released,) = world.told(RollbackReleased)
    assert isinstance(released, RollbackReleased)
    assert released.revision == 7
    assert wish in [fact.cause for fact in world.told(ReconciliationRequested)]  # type: ignore[attr-defined]
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b")
    world.run_until_quiet()
    assert shown(world) == {"/a": b"bad", "/b": b"bad too", "/keep": b"k"}
    assert findings(world) == []


def test_where_nothing_is_held_back_a_release_makes_no_revision(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    asked(world, ReleaseRequested)
    assert world.revision() == 2


def test_an_undo_that_comes_twice_undoes_once_and_a_second_wish_is_refused(world: World) -> None:
    for body in (b"1", b"2", b"3"):
        uploaded(world, ("/a", body))
    asked(world, RollbackRequested)
    deliver_again(world, RollbackRequested, "edit-repository")
    assert (shown(world), world.revision()) == ({"/a": b"2"}, 5)
    asked(world, RollbackRequested)
    assert [refused.code for refused in refusals(world)] == ["tag-unknown"]


@pytest.mark.parametrize("writes", range(14))
@pytest.mark.parametrize("where", ["repository", "state"])
def test_a_rollback_that_dies_anywhere_is_finished_by_the_next_delivery(world: World, where: str, writes: int) -> None:
    for body in (b"1", b"2"):
        uploaded(world, ("/a", body))
    world.ask(RollbackRequested(repository=FQRN, request="once"))
    _failing(_stores(world)[where], writes, lambda: world.deliver("edit-repository"))
    world.forget()
    world.run_until_quiet()
    assert (shown(world), world.revision()) == ({"/a": b"1"}, 4)
    assert world.bus.parked("edit-repository") == []
    assert findings(world) == []


def test_a_publisher_that_loses_against_a_rollback_holds_back_what_it_was_about_to_publish(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    uploaded(world, ("/a", b"2"))
    store = world.store_of(FQRN)
    swap = store.replace

    def rolled_back_first(path: str, body: bytes, version: str) -> str:
        store.__dict__.pop("replace", None)
        if path == ".cvmfspublished":
            world.ask(RollbackRequested(repository=FQRN, request="first"))
            world.deliver("edit-repository")
        else:
            store.__dict__["replace"] = rolled_back_first
        return swap(path, body, version)

    store.__dict__["replace"] = rolled_back_first
    uploaded(world, ("/b", b"3"))
    assert shown(world) == {"/a": b"1"}
    assert findings(world) == []


# Suspension, resumption, settings


def test_a_suspended_repository_is_served_as_it_is_until_it_is_resumed(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    asked(world, SuspensionRequested, reason="a licence is being cleared")
    uploaded(world, ("/a", b"2"), ("/b", b"2"))
    world.delete("cvmfs/a")
    world.run_until_quiet()
    assert shown(world) == {"/a": b"1"}
    assert (standing(world), load_record(world.state, FQRN).suspended_for) == (
        Standing.SUSPENDED,
        "a licence is being cleared",
    )
    wish = asked(world, ResumptionRequested)
    assert wish in [fact.cause for fact in world.told(ReconciliationRequested)]  # type: ignore[attr-defined]
    uploaded(world, ("/c", b"3"))
    assert shown(world)["/c"] == b"3"
    assert (len(world.told(RepositorySuspended)), len(world.told(RepositoryResumed))) == (1, 1)
    assert all(not world.bus.parked(step) for step in ("handle-bucket-notification", "publish-transaction"))


def test_what_waits_when_a_repository_is_suspended_is_published_when_it_is_resumed(world: World) -> None:
    world.upload("cvmfs/a", b"1")
    world.deliver("handle-bucket-notification")
    world.ask(SuspensionRequested(repository=FQRN, request="s"))
    world.deliver("edit-repository")
    world.run_until_quiet()
    assert shown(world) == {}
    asked(world, ResumptionRequested)
    assert shown(world) == {"/a": b"1"}


def test_a_process_that_remembers_the_suspension_loses_nothing_after_the_resumption(world: World) -> None:
    world.settings = SETTINGS.model_copy(update={"record_keep_s": 300.0})
    world.forget()
    asked(world, SuspensionRequested)
    uploaded(world, ("/a", b"1"))
    stale = world.cloud
    world.forget()
    world.ask(ResumptionRequested(repository=FQRN, request="r"))
    world.deliver("edit-repository")
    world.cloud = stale
    uploaded(world, ("/b", b"2"))
    assert shown(world)["/b"] == b"2"


def test_a_suspension_that_comes_again_after_the_resumption_suspends_nothing(world: World) -> None:
    asked(world, SuspensionRequested)
    asked(world, ResumptionRequested)
    deliver_again(world, SuspensionRequested, "edit-repository")
    assert standing(world) is Standing.ACTIVE


def test_settings_change_by_name_and_go_back_to_the_services_own(world: World) -> None:
    asked(world, SettingsRequested, changes={"unpack_archives": False, "files_limit": 10})
    assert load_record(world.state, FQRN).settings == RepositorySettings(unpack_archives=False, files_limit=10)
    uploaded(world, ("/a.tar", b"no archive"))
    assert shown(world) == {"/a.tar": b"no archive"}
    asked(world, SettingsRequested, changes={"files_limit": None})
    assert load_record(world.state, FQRN).settings == RepositorySettings(unpack_archives=False)
    assert len(world.told(SettingsChanged)) == 2


def test_what_did_not_fit_is_published_when_the_limit_is_raised(world: World) -> None:
    asked(world, SettingsRequested, changes={"file_bytes_limit": 3})
    uploaded(world, ("/large", b"1234"))
    assert (shown(world), set(world.problems())) == ({}, {"cvmfs/large"})
    asked(world, SettingsRequested, changes={"file_bytes_limit": None})
    assert (shown(world), world.problems()) == ({"/large": b"1234"}, {})


def test_the_longest_times_that_can_be_set_are_lived_with(world: World) -> None:
    asked(
        world, SettingsRequested, changes=dict.fromkeys(("min_publish_interval_s", "keep_revisions_s"), SECONDS_LIMIT)
    )
    uploaded(world, ("/a", b"a"))
    asked(world, CollectionRequested)
    assert {ending.status for ending in world.answers} == {204}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"colour": 1, "files_limit": 2}, "no setting colour", id="unknown"),
        pytest.param({"files_limit": -1, "bytes_limit": "x"}, "files_limit: .*; bytes_limit: ", id="bad values"),
        pytest.param({"min_publish_interval_s": 1e15}, "min_publish_interval_s: ", id="an interval longer than time"),
        pytest.param({"keep_revisions_s": 10**15}, "keep_revisions_s: ", id="kept since before time began"),
    ],
)
def test_settings_that_cannot_be_are_refused_all_together(world: World, changes: dict[str, Any], reason: str) -> None:
    asked(world, SettingsRequested, changes=changes)
    (refused,) = refusals(world)
    assert refused.code == "settings-refused"
    assert pytest.importorskip("re").search(reason, refused.reason)
    assert load_record(world.state, FQRN).settings == RepositorySettings()


# Deletion


def test_a_deleted_repository_is_gone_and_the_bucket_is_as_it_was(world: World) -> None:
    uploaded(world, ("/a", b"1"), ("/b//c", b"refused"), ("/.cvmfs-sync.toml", b""))
    bucket = list(world.source.list("alice", ""))
    asked(world, DeletionRequested, confirm=FQRN)
    assert list(world.store_of(FQRN).list("")) == []
    assert list(world.source.list("alice", "")) == bucket
    assert "alice" not in world.buckets.notified
    assert [info.path for info in world.state.list("") if FQRN in info.path] == [f"repositories/{FQRN}.json"]
    assert FQRN not in _listed(world)
    (fact,) = world.told(RepositoryDeleted)
    assert isinstance(fact, RepositoryDeleted)
    assert (fact.last_revision, fact.keys, fact.objects > 5) == (2, Keys.KEEP, True)
    before = len(world.bus.parked("handle-bucket-notification"))
    uploaded(world, ("/a", b"2"))
    world.notify("ObjectCreated:Put", "cvmfs/a")
    world.run_until_quiet()
    assert len(world.bus.parked("handle-bucket-notification")) == before
    assert list(world.store_of(FQRN).list("")) == []


def test_a_large_repository_is_deleted_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded(world, *((f"/{number}", b"%d" % number) for number in range(30)))
    files = len(list(world.store_of(FQRN).list("")))
    monkeypatch.setattr("functions.publishing.deletion.ERRAND", 5)
    turns = iter(range(10**6))
    monkeypatch.setattr("functions.handlers.delete_repository.time.monotonic", lambda: next(turns) * 100.0)
    asked(world, DeletionRequested, confirm=FQRN)
    (fact,) = world.told(RepositoryDeleted)
    assert isinstance(fact, RepositoryDeleted)
    assert fact.objects == files - 1  # the manifest goes by itself
    assert len(world.told(DeletionRequested)) > 3
    assert list(world.store_of(FQRN).list("")) == []


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("where", ["repository", "state", "server"])
def test_a_deletion_that_dies_anywhere_is_finished_by_the_next_delivery(world: World, where: str, writes: int) -> None:
    uploaded(world, ("/a", b"1"))
    world.ask(DeletionRequested(repository=FQRN, request="once", confirm=FQRN, keys=Keys.DESTROY))
    _failing(_stores(world)[where], writes, lambda: world.deliver("delete-repository"))
    world.forget()
    world.run_until_quiet()
    assert list(world.store_of(FQRN).list("")) == []
    assert standing(world) is Standing.DELETED
    assert load_record(world.state, FQRN).last_revision == 2
    assert FQRN not in world.keys.owners
    assert world.bus.parked("delete-repository") == []


def test_a_name_can_be_had_again_and_goes_on_above_every_number_that_was_seen(world: World) -> None:
    uploaded(world, ("/a", b"1"))
    old = reader(world)
    asked(world, DeletionRequested, confirm=FQRN)
    world.repository()
    assert standing(world) is Standing.ACTIVE
    assert world.revision() > old.manifest.revision + 900
    assert "alice" in world.buckets.notified
    assert FQRN in _listed(world)
    uploaded(world, ("/a", b"2"))
    assert shown(world) == {"/a": b"2"}
    assert reader(world).manifest.published_at > old.manifest.published_at
    assert findings(world) == []


@pytest.mark.parametrize("keys", list(Keys))
def test_clients_of_the_old_repository_believe_the_new_one_only_if_the_keys_were_kept(world: World, keys: Keys) -> None:
    old = world.keys.ensure_keys(FQRN, subject="", group=None, now=world.clock.now).public_key
    asked(world, DeletionRequested, confirm=FQRN, keys=keys)
    world.repository()
    store = world.store_of(FQRN)

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    def opened() -> Repository:
        return Repository.open(fetch, public_keys=[old], fqrn=FQRN, now=world.clock.now)

    if keys is Keys.KEEP:
        assert opened().manifest.revision > 1
    else:
        with pytest.raises(FormatError):
            opened()


def test_nobody_else_gets_the_name_of_a_deleted_repository(world: World) -> None:
    asked(world, DeletionRequested, confirm=FQRN)
    wanted = world.bus.published[0]
    stolen = CloudEvent(
        {**wanted.get_attributes(), "time": world.clock().isoformat()}, wanted.get_data() | {"subject": "mallory"}
    )
    world.bus.publish([stolen])
    world.run_until_quiet()
    assert standing(world) is Standing.DELETED
    assert "another owner" in world.bus.parked("store-keys")[0].headers["x-parked-reason"]


def test_what_comes_late_neither_brings_back_what_was_deleted_nor_deletes_what_was_made_again(world: World) -> None:
    requests = [bytes(to_structured(event)[1]) for event in world.bus.published[:2]]
    asked(world, DeletionRequested, confirm=FQRN)
    world.bus.reply("fn.store-keys", requests[0])
    world.bus.reply("fn.create-repository", requests[1])
    world.run_until_quiet()
    assert standing(world) is Standing.DELETED
    world.repository()
    deliver_again(world, DeletionRequested, "delete-repository")
    record = load_record(world.state, FQRN)
    assert record.standing is Standing.ACTIVE
    world.state.put(record.path, replace_handled(record.to_bytes()))
    deliver_again(world, DeletionRequested, "delete-repository")
    assert standing(world) is Standing.ACTIVE


def test_a_slow_second_deletion_leaves_alone_whoever_has_the_name_by_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded(world, ("/a", b"1"), ("/b", b"2"))
    world.ask(DeletionRequested(repository=FQRN, request="d", confirm=FQRN, keys=Keys.DESTROY))
    message = world.bus.pop("fn.delete-repository")
    assert message is not None
    for _ in range(2):
        world.bus.reply("fn.delete-repository", message.body)
    store = world.store_of(FQRN)
    usual = store.list

    def overtaken(path: str) -> object:
        monkeypatch.setattr(store, "list", usual)
        world.run_until_quiet()
        assert standing(world) is Standing.DELETED
        world.repository()
        uploaded(world, ("/c", b"3"))
        return usual(path)

    monkeypatch.setattr(store, "list", overtaken)
    world.deliver("delete-repository")
    world.run_until_quiet()
    assert standing(world) is Standing.ACTIVE
    assert FQRN in world.keys.owners
    assert shown(world)["/c"] == b"3"
    assert findings(world) == []
    assert [answer.status for answer in world.answers if answer.status >= 300] == []


def test_a_request_that_comes_while_a_repository_is_deleted_is_granted_afterwards(world: World) -> None:
    world.ask(DeletionRequested(repository=FQRN, request="d", confirm=FQRN))
    _failing(world.store_of(FQRN), 3, lambda: world.deliver("delete-repository"))
    assert standing(world) is Standing.DELETING
    world.request()
    world.deliver("store-keys")
    assert world.answers[-1].status == 503
    world.run_until_quiet()
    assert standing(world) is Standing.ACTIVE
    assert world.revision() > 900


@pytest.mark.parametrize("kind", [SuspensionRequested, RollbackRequested])
def test_what_was_wished_of_a_deleted_repository_does_not_concern_the_one_that_has_its_name(
    world: World, kind: type[Wish]
) -> None:
    late = kind(repository=FQRN, request="late").to_cloudevent(source="/dashboard", time=world.clock())
    asked(world, DeletionRequested, confirm=FQRN)
    world.repository()
    uploaded(world, ("/a", b"1"), ("/b", b"2"))
    world.bus.publish([late])
    world.run_until_quiet()
    assert standing(world) is Standing.ACTIVE
    assert shown(world) == {"/a": b"1", "/b": b"2"}
    assert [refused.code for refused in refusals(world)] == ["repository-gone"]


@pytest.mark.parametrize(
    "kind", [SuspensionRequested, ResumptionRequested, RollbackRequested, ReleaseRequested, RenewalRequested]
)
def test_of_a_deleted_repository_nothing_can_be_wished(world: World, kind: type[Wish]) -> None:
    asked(world, DeletionRequested, confirm=FQRN)
    asked(world, kind)
    assert [refused.code for refused in refusals(world)] == ["repository-gone"]
    assert standing(world) is Standing.DELETED


# Whitelists


def timer(world: World, step: str) -> None:
    world.bus.reply(
        f"fn.{step}",
        json.dumps({"specversion": "1.0", "type": PING, "source": "/timer", "id": "1", "data": {}}).encode(),
    )


def left(world: World) -> float:
    return stored_days_left(world.store_of(FQRN), now=world.clock.now)


def test_a_timer_renews_whitelists_in_good_time_and_leaves_alone_those_that_last(world: World) -> None:
    timer(world, "resign-whitelist")
    world.run_until_quiet()
    assert world.told(WhitelistResigned) == []
    world.clock.now += timedelta(days=15, hours=1)
    timer(world, "resign-whitelist")
    world.run_until_quiet()
    (fact,) = world.told(WhitelistResigned)
    assert isinstance(fact, WhitelistResigned)
    assert left(world) > 29
    assert fact.expires_at == int((world.clock.now + timedelta(days=left(world))).timestamp())
    world.clock.now += timedelta(days=20)
    assert shown(world) == {}


def test_a_wished_renewal_is_made_whatever_is_left(world: World) -> None:
    world.clock.now += timedelta(days=3)
    asked(world, RenewalRequested)
    assert left(world) > 29
    assert len(world.told(WhitelistResigned)) == 1


def test_a_whitelist_that_cannot_be_renewed_is_a_problem_before_it_ends_and_none_afterwards(world: World) -> None:
    world.keys.available = False
    world.clock.now += timedelta(days=20)
    timer(world, "resign-whitelist")
    world.deliver("resign-whitelist")
    world.deliver("resign-whitelist")
    assert world.answers[-1].status == 503
    assert world.problems() == {}
    world.clock.now += timedelta(days=4)
    with capture_logs() as logs:
        world.deliver("resign-whitelist")
    assert [(line["event"], line["log_level"], line["repository"]) for line in logs] == [
        ("whitelist-ending", "error", FQRN)
    ]
    problem = world.problems()[".cvmfswhitelist"]
    assert (problem.code, "ends in 6.0 days" in problem.reason) == ("whitelist-ending", True)
    world.keys.available = True
    world.run_until_quiet()
    assert world.problems() == {}
    assert left(world) > 29


def test_a_whitelist_that_somebody_planted_is_told_at_once_and_not_signed(world: World) -> None:
    world.clock.now += timedelta(days=16)
    store = world.store_of(FQRN)
    blob = store.get(".cvmfswhitelist")
    assert blob is not None
    store.put(".cvmfswhitelist", blob.body.replace(FQRN.encode(), b"mallo.infn.it"))
    timer(world, "resign-whitelist")
    world.run_until_quiet()
    assert world.problems()[".cvmfswhitelist"].code == "whitelist-ending"
    assert len(world.bus.parked("resign-whitelist")) == 1


# Garbage


def old_revisions(world: World) -> None:
    for number in range(5):
        uploaded(world, ("/a", b"%d" % number))
    world.clock.now += timedelta(days=20)
    uploaded(world, ("/b", b"now"))


def test_a_timer_collects_what_old_revisions_leave(world: World) -> None:
    old_revisions(world)
    before = len(list(world.store_of(FQRN).list("data/")))
    timer(world, "collect-garbage")
    world.run_until_quiet()
    (fact,) = world.told(GarbageCollected)
    assert isinstance(fact, GarbageCollected)
    assert fact.complete
    assert len(list(world.store_of(FQRN).list("data/"))) == before - fact.objects < before
    assert shown(world) == {"/a": b"4", "/b": b"now"}
    assert findings(world) == []


def test_a_broker_that_has_lost_the_change_queue_keeps_nobody_from_collecting(world: World) -> None:
    old_revisions(world)
    world.bus.drop_changes(FQRN)
    asked(world, CollectionRequested)
    assert len(world.told(GarbageCollected)) == 1


def test_a_repository_may_keep_its_revisions_longer(world: World) -> None:
    old_revisions(world)
    asked(world, SettingsRequested, changes={"keep_revisions_s": 30 * 86400})
    asked(world, CollectionRequested)
    (fact,) = world.told(GarbageCollected)
    assert isinstance(fact, GarbageCollected)
    assert (fact.condemned_roots, fact.kept_roots) == (0, 7)


def test_a_collection_whose_time_is_over_goes_on(world: World) -> None:
    old_revisions(world)
    world.settings = SETTINGS.model_copy(update={"collect_stay_s": 8.0})
    world.forget()
    from functions.publishing import sweep

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "ERRAND", 1)
        wish = asked(world, CollectionRequested)
    facts = world.told(GarbageCollected)
    assert [fact.complete for fact in facts] == [False] * (len(facts) - 1) + [True]  # type: ignore[attr-defined]
    assert len(facts) > 1
    assert wish in load_record(world.state, FQRN).handled
    assert findings(world) == []


def test_a_collection_that_would_never_come_to_deleting_says_so(world: World) -> None:
    old_revisions(world)
    world.settings = SETTINGS.model_copy(update={"collect_stay_s": 1.0})
    world.forget()
    asked(world, CollectionRequested)
    (refused,) = refusals(world)
    assert "too large" in refused.reason


@pytest.mark.parametrize("what_stands_in_the_way", ["waiting changes", "suspension", "deletion"])
def test_what_stands_in_the_way_of_a_collection_is_passed_by_for_timers_and_told_to_owners(
    world: World, what_stands_in_the_way: str
) -> None:
    old_revisions(world)
    match what_stands_in_the_way:
        case "waiting changes":
            world.bus.send_changes(FQRN, [b"{}"])
        case "suspension":
            asked(world, SuspensionRequested)
        case _:
            asked(world, DeletionRequested, confirm=FQRN)
    timer(world, "collect-garbage")
    world.deliver("collect-garbage")
    world.deliver("collect-garbage")
    assert (world.answers[-1].status, world.answers[-1].code) == (204, "done")
    assert world.told(GarbageCollected) == []
    world.ask(CollectionRequested(repository=FQRN, request="mine"))
    world.deliver("collect-garbage")
    assert [refused.code for refused in refusals(world)] == ["collection-waits"]


# Inside


def replace_handled(record: bytes) -> bytes:
    """The record of a process that never noted what it did."""
    return json.dumps(json.loads(record) | {"handled": []}).encode()


def _stores(world: World) -> dict[str, MemoryBlobStore]:
    return {"repository": world.store_of(FQRN), "state": world.state, "server": world.store_of("")}


def _failing(store: MemoryBlobStore, writes: int, do: Any) -> None:
    """Do something while the store fails from its n-th write on, as for a process that is killed there."""
    left_over = writes
    kept = {name: getattr(store, name) for name in ("put", "create", "replace", "delete")}

    def failing(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal left_over
            left_over -= 1
            if left_over < 0:
                raise StoreUnavailable("killed here")
            return kept[name](*arguments)

        return call

    for name in kept:
        store.__dict__[name] = failing(name)
    try:
        do()
    finally:
        for name in kept:
            store.__dict__.pop(name)


def _listed(world: World) -> list[str]:
    blob = world.store_of("").get("info/v1/repositories.json")
    assert blob is not None
    return [entry["name"] for entry in json.loads(blob.body)["repositories"]]
