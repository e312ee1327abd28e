"""Whatever happens to messages, servers and buckets: after one reconciliation the repository equals its bucket."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace

import pytest
from cloudevents.http import CloudEvent

from events import ReconciliationRequested, RollbackRequested
from events.types import PING
from functions.handlers import reconcile_bucket, reconciliation_timers
from functions.handlers.cloud import ARCHIVES_AT_ONCE
from functions.publishing import reconciling
from functions.publishing.keys import SETTINGS_KEY
from functions.publishing.reconciliations import Progress, is_waiting, last_reconciliation
from functions.publishing.records import Problem, Standing, change_record
from tests.world import SETTINGS, World

pytestmark = pytest.mark.usefixtures("alices_repository")

FQRN = "alice.infn.it"
EVERYTHING = CloudEvent({"type": PING, "source": "/apis/v1/namespaces/cvmfs-cloud/pingsources/reconcile-bucket"}, None)
WAITING = CloudEvent({"type": PING, "source": "/x"}, json.dumps(reconciliation_timers.FOR_WAITING).encode())


def lost(world: World, key: str, body: bytes = b"", **metadata: str) -> None:
    """An upload of which no message tells."""
    world.source.put("alice", key, body, metadata=metadata)


def ask(world: World, cause: str = "test", **how: object) -> None:
    request = ReconciliationRequested(repository=FQRN, cause=cause, **how)
    world.bus.publish([request.to_cloudevent(source="/test", time=world.clock())])
    world.run_until_quiet()


def tick(world: World, event: CloudEvent = EVERYTHING) -> None:
    reconcile_bucket.reconcile_bucket(event, world.cloud)
    world.run_until_quiet()


def files(world: World) -> dict[str, bytes]:
    """Path and content of every regular file that a worker node sees, without markers of nested catalogs."""
    with world.reader() as snapshot:
        return {
            path: snapshot.read(path)
            for path, entry in snapshot.walk()
            if entry.is_regular and not path.endswith((".cvmfscatalog", ".cvmfsautocatalog"))
        }


def wanted(world: World) -> dict[str, bytes]:
    """What is in the bucket, as files."""
    listed = [info.key for info in world.source.list("alice", "cvmfs/") if not info.key.endswith("/")]
    return {"/" + key.removeprefix("cvmfs/"): b"".join(world.source.open("alice", key).blocks()) for key in listed}


def tar(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def last(world: World):
    return last_reconciliation(world.state, FQRN)


def looks(world: World) -> list[str]:
    """The keys that wait to be looked at again."""
    return [
        record["s3"]["object"]["key"]
        for message in world.bus.messages("fn.handle-bucket-notification")
        for record in json.loads(message.body)["Records"]
    ]


def test_lost_notifications_of_every_kind_are_made_good(world):
    for name in ("kept", "overwritten", "removed", "dir/removed", "rewritten"):
        world.upload(f"cvmfs/{name}", name.encode())
    world.run_until_quiet()
    lost(world, "cvmfs/new", b"1")
    lost(world, "cvmfs/deep/er/new", b"2")
    lost(world, "cvmfs/overwritten", b"another content")
    lost(world, "cvmfs/rewritten", b"rewritten", mode="33261")
    world.source.delete("alice", "cvmfs/removed")
    world.source.delete("alice", "cvmfs/dir/removed")
    ask(world)
    assert files(world) == wanted(world)
    with world.reader() as snapshot:
        assert snapshot.lookup("/dir") is None
        assert snapshot.lookup("/rewritten").mode == 0o100755
    counts = last(world).counts
    assert (counts.objects, counts.entries) == (5, 5)
    assert (counts.new, counts.changed, counts.gone, counts.refused) == (2, 2, 2, 0)


def test_an_equal_repository_is_left_alone_and_no_object_is_read(world, monkeypatch):
    world.upload("cvmfs/a", b"1")
    world.upload("cvmfs/l.rclonelink", b"a")
    world.upload("cvmfs/dir/", b"")
    world.upload("cvmfs/x.tar.gz", tar(member=b"m"))
    world.upload("cvmfs/x/added", b"later than the archive")
    world.run_until_quiet()
    before = world.revision()
    monkeypatch.setattr(world.source, "open", lambda bucket, key: pytest.fail(f"{key} was read"))
    monkeypatch.setattr(
        world.source, "head", lambda bucket, key: None if key == SETTINGS_KEY else pytest.fail(f"{key} was asked for")
    )
    ask(world)
    assert world.revision() == before
    counts = last(world).counts
    assert (counts.objects, counts.entries, counts.differences) == (5, 5, 0)


def test_a_look_at_everything_reads_each_catalog_twice_at_most_and_keeps_none(world, monkeypatch):
    directories = [f"d{number}" for number in range(6)]
    for directory in directories:
        world.upload(f"cvmfs/{directory}/.cvmfscatalog")
        world.upload(f"cvmfs/{directory}/deep/.cvmfscatalog")
        world.upload(f"cvmfs/{directory}/deep/file", directory.encode())
        world.upload(f"cvmfs/{directory}/file", directory.encode())
    world.run_until_quiet()
    world.forget()
    monkeypatch.setattr(reconciling, "OPEN_CATALOGS", 1)
    store = world.store_of(FQRN)
    read: Counter[str] = Counter()
    monkeypatch.setattr(store, "get", lambda path, get=store.get: read.update([path]) or get(path))
    ask(world)
    assert last(world).counts.differences == 0
    catalogs = [path for path in read if path.endswith("C")]
    assert len(catalogs) == 1 + 2 * len(directories)
    assert max(read[path] for path in catalogs) == 2
    # A look at a few keys is asked for often, and by those who know that something is there.
    for cause in ("once", "twice"):
        read.clear()
        ask(world, cause, prefix="d3/deep/file")
        assert len([path for path in read if path.endswith("C")]) == (3 if cause == "once" else 0)


def test_lost_change_records_are_made_good(world):
    world.upload("cvmfs/a", b"1")
    while world.deliver("handle-bucket-notification"):
        pass
    while world.bus.pop(f"changes.{FQRN}") is not None:
        pass
    world.run_until_quiet()
    assert files(world) == {}
    ask(world)
    assert files(world) == {"/a": b"1"}


def test_a_lost_archive_and_a_lost_removal_of_one(world):
    world.upload("cvmfs/old.tar.gz", tar(member=b"old"))
    world.run_until_quiet()
    world.source.delete("alice", "cvmfs/old.tar.gz")
    lost(world, "cvmfs/sw/new.tar.gz", tar(member=b"new"))
    ask(world)
    assert files(world) == {"/sw/new/member": b"new"}


def test_the_marker_of_a_directory_that_is_an_archive_is_no_difference(world):
    world.upload("cvmfs/x.tar.gz", tar(member=b"m"))
    world.upload("cvmfs/x/", b"")
    world.run_until_quiet()
    ask(world)
    assert last(world).counts.differences == 0


def test_what_came_from_no_object_is_never_touched(world):
    world.upload("cvmfs/mine", b"")
    world.run_until_quiet()

    def edit(tree, marker):
        tree.put("/theirs", marker)

    world.cloud.publisher(FQRN).publish(edit)
    ask(world)
    assert files(world).keys() == {"/mine", "/theirs"}


def test_a_prefix_narrows_what_is_looked_at(world):
    lost(world, "cvmfs/in/a", b"1")
    lost(world, "cvmfs/out", b"2")
    ask(world, "an errand", prefix="in/")
    assert files(world) == {"/in/a": b"1"}
    assert last(world) is None
    lost(world, "cvmfs/in/b", b"1")
    ask(world, "a person", prefix="in/", again=True)
    assert (last(world).whole, last(world).counts.objects, last(world).counts.new) == (False, 2, 1)


# Refused objects and their problems


def test_a_refused_object_is_not_tried_again_before_a_day_has_passed(world):
    world.upload("cvmfs/broken.tar.gz", b"no archive")
    world.run_until_quiet()
    assert set(world.problems()) == {"cvmfs/broken.tar.gz"}
    ask(world, "once")
    assert (last(world).counts.refused, last(world).counts.differences) == (1, 0)
    ask(world, "by hand", again=True)
    assert (last(world).counts.refused, last(world).counts.differences) == (0, 1)
    world.clock.now += reconciliation_timers.STALE_AFTER * 30
    ask(world, "much later")
    assert last(world).counts.differences == 1
    assert set(world.problems()) == {"cvmfs/broken.tar.gz"}
    assert len(world.bus.parked("handle-bucket-notification")) == 1, "whoever looks parks no copy"


def test_a_refused_object_that_was_replaced_unseen_is_taken_in(world):
    world.upload("cvmfs/x.tar.gz", b"no archive")
    world.run_until_quiet()
    lost(world, "cvmfs/x.tar.gz", tar(member=b"m"))
    ask(world)
    assert files(world) == {"/x/member": b"m"}
    assert world.problems() == {}


def test_a_bad_key_that_nobody_told_of_is_told(world):
    lost(world, "cvmfs/a//b", b"1")
    ask(world)
    assert set(world.problems()) == {"cvmfs/a//b"}
    ask(world, "again")
    assert last(world).counts.differences == 0


def test_problems_of_objects_that_went_unseen_are_cleared(world):
    world.upload("cvmfs/broken.tar.gz", b"no archive")
    world.run_until_quiet()
    world.source.delete("alice", "cvmfs/broken.tar.gz")
    ask(world)
    assert world.problems() == {}


def stale_problem(world: World, key: str, code: str) -> Problem:
    """A problem as one that was solved leaves it when the message of that is lost."""
    problem = Problem(repository=FQRN, bucket="alice", key=key, code=code, reason="It was so.", seen_at=world.clock.now)
    world.state.put(problem.path, problem.to_bytes())
    return problem


def test_a_problem_of_an_object_that_is_published_all_the_same_is_over(world):
    world.upload("cvmfs/fine", b"1")
    world.run_until_quiet()
    stale_problem(world, "cvmfs/fine", "path-clash")
    ask(world)
    assert world.problems() == {}


@pytest.mark.parametrize("code", ["dirtab", "sync-settings"])
def test_what_is_wrong_with_what_a_published_object_says_stays(world, code):
    world.upload("cvmfs/.cvmfsdirtab", b"# nothing\n")
    world.run_until_quiet()
    stale_problem(world, "cvmfs/.cvmfsdirtab", code)
    ask(world)
    assert set(world.problems()) == {"cvmfs/.cvmfsdirtab"}


@pytest.mark.parametrize("key", [".cvmfswhitelist", "tag.requested"])
def test_problems_that_are_of_no_object_are_none_of_its_business(world, key):
    stale_problem(world, key, "some")
    ask(world)
    assert set(world.problems()) == {key}


def test_the_loser_of_a_clash_comes_back_when_the_winner_went_unseen(world):
    world.upload("cvmfs/a", b"file")
    world.upload("cvmfs/a/b", b"newer")
    world.run_until_quiet()
    assert set(world.problems()) == {"cvmfs/a"}
    ask(world, "both are there")
    assert last(world).counts.differences == 0
    world.delete("cvmfs/a/b")
    world.run_until_quiet()
    ask(world, "the way is free")
    assert files(world) == {"/a": b"file"}
    assert world.problems() == {}


def test_a_loser_that_was_uploaded_again_unseen_wins_although_its_content_is_the_same(world):
    world.upload("cvmfs/a/b", b"same")
    world.upload("cvmfs/a", b"file")
    world.run_until_quiet()
    assert set(world.problems()) == {"cvmfs/a/b"}
    lost(world, "cvmfs/a/b", b"same")
    ask(world)
    assert files(world) == {"/a/b": b"same"}
    assert set(world.problems()) == {"cvmfs/a"}


def test_a_refused_object_with_other_metadata_unseen_is_looked_at_again(world):
    world.upload("cvmfs/link", b"", mode="0120777")
    world.run_until_quiet()
    assert set(world.problems()) == {"cvmfs/link"}
    lost(world, "cvmfs/link", b"", mode="0100644")
    ask(world)
    assert files(world) == {"/link": b""}
    assert world.problems() == {}


def test_what_is_older_than_the_archive_in_whose_directory_it_is_is_not_read_every_hour(world):
    world.upload("cvmfs/t/lib/new", b"older")
    world.upload("cvmfs/t.tar.gz", tar(**{"lib/member": b"m"}))
    world.run_until_quiet()
    assert set(world.problems()) == {"cvmfs/t/lib/new"}
    ask(world)
    assert (last(world).counts.differences, last(world).counts.refused) == (0, 1)


# Markers of directories that are archives


def file_marker_and_archive(world: World) -> None:
    """The archive is the oldest, and stays since the marker keeps the file from its path."""
    world.upload("cvmfs/t.tar.gz", tar(member=b"m"))
    world.upload("cvmfs/t", b"file")
    world.upload("cvmfs/t/")
    world.run_until_quiet()
    assert files(world) == {"/t/member": b"m"}
    assert set(world.problems()) == {"cvmfs/t"}


def test_a_file_comes_back_when_the_marker_that_kept_it_out_went_unseen(world):
    file_marker_and_archive(world)
    world.source.delete("alice", "cvmfs/t/")
    ask(world)
    assert files(world) == {"/t": b"file"}
    assert set(world.problems()) == {"cvmfs/t.tar.gz"}


def test_a_marker_that_went_unseen_is_noted_and_then_no_difference(world):
    world.upload("cvmfs/t.tar.gz", tar(member=b"m"))
    world.run_until_quiet()
    lost(world, "cvmfs/t/")
    ask(world)
    assert last(world).counts.differences == 1
    ask(world, "again")
    assert last(world).counts.differences == 0
    lost(world, "cvmfs/t/")
    ask(world, "written again")
    assert last(world).counts.changed == 1
    ask(world, "and again")
    assert last(world).counts.differences == 0


# Rules of the bucket


def rules(world: World, text: str) -> None:
    """Settings of which no message tells."""
    lost(world, SETTINGS_KEY, text.encode())


def test_rules_that_nobody_heard_of_are_followed(world):
    world.upload("cvmfs/keep", b"1", mode="0600")
    world.upload("cvmfs/drop.log", b"1")
    world.upload("cvmfs/sw/x.tar.gz", tar(member=b"m"))
    world.run_until_quiet()
    rules(world, 'exclude = ["*.log"]\n[archives]\ntarget = "software"\n[permissions]\nfiles = "0755"\n')
    ask(world)
    with world.reader() as snapshot:
        found = {path: entry.mode & 0o777 for path, entry in snapshot.walk() if entry.is_regular}
    assert {path for path in found if not path.endswith(".cvmfscatalog")} == {"/keep", "/software/sw/x/member"}
    assert found["/keep"] == 0o755
    revision = world.revision()
    ask(world, "and again")
    assert (world.revision(), last(world).counts.differences) == (revision, 0)


@pytest.mark.parametrize("prefix", ["", "sw/"])
def test_an_archive_that_stands_elsewhere_is_no_difference_and_goes_when_its_object_went_unseen(world, prefix):
    rules(world, '[archives]\ntarget = "software"\n')
    lost(world, "cvmfs/sw/x.tar.gz", tar(member=b"m"))
    lost(world, "cvmfs/a", b"1")
    ask(world)
    assert files(world) == {"/a": b"1", "/software/sw/x/member": b"m"}
    before = len(world.bus.published)
    ask(world, "equal", prefix=prefix)
    assert not [event for event in world.bus.published[before:] if event["type"].endswith("changed")]
    world.source.delete("alice", "cvmfs/sw/x.tar.gz")
    ask(world, "gone", prefix=prefix, again=True)
    assert files(world) == {"/a": b"1"}


def test_settings_with_a_mistake_are_told_once(world):
    rules(world, "nonsense")
    ask(world)
    assert world.problems()[SETTINGS_KEY].code == "sync-settings"
    parked = len(world.bus.parked("handle-bucket-notification"))
    ask(world, "again")
    assert len(world.bus.parked("handle-bucket-notification")) == parked == 1


# Buckets that cannot be believed


def fill(world: World, number: int) -> None:
    for index in range(number):
        world.upload(f"cvmfs/{index:03}", b"%d" % index)
    world.run_until_quiet()


def test_a_bucket_that_is_gone_empties_nothing(world):
    fill(world, 3)
    world.source.remove_bucket("alice")
    ask(world)
    assert len(files(world)) == 3
    assert world.problems()["cvmfs/"].code == "bucket-missing"
    assert last(world).progress is Progress.REFUSED
    assert is_waiting(world.state, FQRN)
    ask(world, "confirmed", allow_empty=True)
    assert files(world) == {}
    assert world.problems() == {}


@pytest.mark.parametrize(("entries", "emptied"), [(5, True), (6, False)])
def test_an_empty_bucket_is_believed_if_little_would_go(entries, emptied):
    world = World(settings=SETTINGS.model_copy(update={"empty_bucket_limit": 5}))
    world.repository()
    fill(world, entries)
    for index in range(entries):
        world.source.delete("alice", f"cvmfs/{index:03}")
    ask(world)
    assert (files(world) == {}) is emptied
    assert ("cvmfs/" in world.problems()) is not emptied
    ask(world, "confirmed", allow_empty=True)
    assert files(world) == {}
    assert world.problems() == {}
    world.close()


def test_in_a_bucket_that_was_made_anew_nothing_counts_as_gone_until_confirmed(world):
    fill(world, 3)
    world.source.remove_bucket("alice")
    world.source.make_bucket("alice")
    ask(world, "empty")
    assert world.problems()["cvmfs/"].code == "bucket-empty"
    lost(world, "cvmfs/fresh", b"new")
    ask(world, "one file")
    assert files(world).keys() == {"/000", "/001", "/002", "/fresh"}
    assert world.problems()["cvmfs/"].code == "bucket-made-anew"
    ask(world, "still", prefix="fresh")
    assert set(world.problems()) == {"cvmfs/"}
    ask(world, "confirmed", allow_empty=True)
    assert files(world) == {"/fresh": b"new"}
    assert world.problems() == {}
    world.source.delete("alice", "cvmfs/fresh")
    lost(world, "cvmfs/last", b"1")
    ask(world, "the new one is followed from now on")
    assert files(world) == {"/last": b"1"}


def test_a_bucket_made_anew_with_all_that_was_in_it_is_followed_at_once(world):
    fill(world, 3)
    world.source.remove_bucket("alice")
    for index in range(3):
        lost(world, f"cvmfs/{index:03}", b"%d" % index)
    ask(world)
    assert world.problems() == {}
    world.source.delete("alice", "cvmfs/001")
    ask(world, "one is deleted")
    assert files(world) == {"/000": b"0", "/002": b"2"}


def test_a_bucket_that_may_not_be_read_is_told_and_changes_nothing(world):
    fill(world, 2)
    world.source.forbidden.add("alice")
    ask(world)
    assert len(files(world)) == 2
    assert world.problems()["cvmfs/"].code == "bucket-unreadable"
    world.source.forbidden.clear()
    ask(world, "open again")
    assert world.problems() == {}


def test_a_store_that_fails_keeps_the_request_for_later(world):
    fill(world, 2)
    lost(world, "cvmfs/new", b"1")
    world.source.available = False
    request = ReconciliationRequested(repository=FQRN, cause="test")
    world.bus.publish([request.to_cloudevent(source="/test", time=world.clock())])
    world.deliver("reconcile-bucket")
    assert world.answers[-1].status == 503
    assert len(world.bus.messages("fn.reconcile-bucket")) == 1
    world.source.available = True
    world.run_until_quiet()
    assert files(world) == wanted(world)


# Late buckets


def test_a_bucket_that_comes_after_its_repository_is_attached_and_taken_in_without_anybody_asking():
    world = World(settings=SETTINGS.model_copy(update={"create_buckets": False}))
    world.repository()
    assert is_waiting(world.state, FQRN)
    tick(world, WAITING)
    assert world.buckets.notified == set()
    lost(world, "cvmfs/early", b"bird")
    tick(world, WAITING)
    assert world.buckets.notified == {"alice"}
    assert files(world) == {"/early": b"bird"}
    assert not is_waiting(world.state, FQRN)
    world.upload("cvmfs/later", b"1")
    world.run_until_quiet()
    assert files(world) == wanted(world)
    world.close()


def test_what_is_in_a_bucket_before_its_repository_is_made_is_taken_in():
    world = World()
    lost(world, "cvmfs/before", b"1")
    world.repository()
    assert files(world) == {"/before": b"1"}
    world.close()


def test_waiting_ends_with_the_repository(world):
    world.source.remove_bucket("alice")
    ask(world)
    assert is_waiting(world.state, FQRN)
    world.state.delete(f"repositories/{FQRN}.json")
    tick(world, WAITING)
    assert not is_waiting(world.state, FQRN)


def test_notifications_that_somebody_took_away_are_attached_again(world):
    world.buckets.notified.clear()
    world.buckets._watched.clear()
    ask(world)
    assert world.buckets.notified == {"alice"}


def test_what_a_rollback_holds_back_is_no_difference(world):
    world.upload("cvmfs/a", b"1")
    world.run_until_quiet()
    world.upload("cvmfs/b", b"2")
    world.run_until_quiet()
    world.ask(RollbackRequested(repository=FQRN, request="back"))
    world.run_until_quiet()
    assert files(world) == {"/a": b"1"}
    world.source.delete("alice", "cvmfs/a")
    ask(world)
    assert files(world) == {"/a": b"1"}
    assert (last(world).counts.held, last(world).counts.differences) == (2, 0)
    lost(world, "cvmfs/c", b"3")
    ask(world, "newer than the rollback")
    assert files(world) == {"/a": b"1", "/c": b"3"}


# Timers


def test_a_timer_reconciles_every_repository(world):
    world.repository("bob")
    lost(world, "cvmfs/a", b"1")
    world.source.put("bob", "cvmfs/b", b"2")
    tick(world)
    assert files(world) == {"/a": b"1"}
    with world.reader("bob.infn.it") as snapshot:
        assert snapshot.read("/b") == b"2"


def test_a_timer_that_found_nothing_says_nothing(world):
    tick(world)
    assert last(world).progress is Progress.DONE
    ask(world, "a person")
    told = [event for event in world.bus.published if event["type"].endswith("bucket.reconciled")]
    assert [event.data["cause"] for event in told] == ["a person"]


def test_a_timer_adds_nothing_to_what_is_on_its_way(world, monkeypatch):
    lost(world, "cvmfs/a", b"1")
    monkeypatch.setattr(reconciliation_timers, "PILE", 1)
    world.notify("ObjectCreated:Put", "cvmfs/a")
    reconcile_bucket.reconcile_bucket(EVERYTHING, world.cloud)
    assert world.bus.messages("fn.reconcile-bucket") == []
    monkeypatch.setattr(reconciliation_timers, "PILE", 1000)
    reconcile_bucket.reconcile_bucket(EVERYTHING, world.cloud)
    world.deliver("handle-bucket-notification")
    assert world.bus.messages(f"changes.{FQRN}")
    world.deliver("reconcile-bucket")
    assert looks(world) == []
    world.run_until_quiet()
    assert files(world) == {"/a": b"1"}


@pytest.mark.parametrize("at_work", ["notifications wait", "a publisher is attached"])
def test_while_others_are_on_their_way_a_timer_leaves_young_objects_to_their_notifications(world, at_work):
    lost(world, "cvmfs/old", b"1")
    world.clock.now += reconciliation_timers.ON_ITS_WAY
    lost(world, "cvmfs/young", b"2")
    reconcile_bucket.reconcile_bucket(EVERYTHING, world.cloud)
    if at_work == "notifications wait":
        world.upload("cvmfs/other", b"3")
        world.deliver("reconcile-bucket")
    else:
        with world.bus.consume_changes(FQRN):
            world.deliver("reconcile-bucket")
    world.run_until_quiet()
    assert files(world).keys() - {"/other"} == {"/old"}
    tick(world)
    assert files(world).keys() - {"/other"} == {"/old", "/young"}


def test_a_person_who_asks_wants_everything(world):
    lost(world, "cvmfs/young", b"1")
    world.upload("cvmfs/other", b"2")
    world.bus.publish(
        [ReconciliationRequested(repository=FQRN, cause="a person").to_cloudevent(source="/test", time=world.clock())]
    )
    world.deliver("reconcile-bucket")
    assert "cvmfs/young" in looks(world)


@pytest.mark.parametrize("timer", [EVERYTHING, WAITING], ids=["hourly", "every minute"])
def test_changes_whose_wake_up_is_lost_get_another_one_by_the_timer(world, timer):
    world.upload("cvmfs/a", b"1")
    while world.deliver("handle-bucket-notification"):
        pass
    while world.bus.pop("fn.publish-transaction") is not None:
        pass
    world.run_until_quiet()
    assert files(world) == {}
    tick(world, timer)
    assert files(world) == {"/a": b"1"}


def test_a_request_of_a_timer_that_could_not_be_granted_for_long_gives_way_to_the_next(world):
    lost(world, "cvmfs/a", b"1")
    request = ReconciliationRequested(repository=FQRN, cause="timer 2026-03-01T12:00")
    world.bus.publish([request.to_cloudevent(source="/test", time=world.clock())])
    world.clock.now += 2 * reconciliation_timers.STALE_AFTER
    world.run_until_quiet()
    assert last(world) is None


def test_a_suspended_repository_rests(world):
    change_record(world.state, FQRN, lambda record: record.model_copy(update={"standing": Standing.SUSPENDED}))
    lost(world, "cvmfs/a", b"1")
    ask(world)
    assert files(world) == {}
    change_record(world.state, FQRN, lambda record: record.model_copy(update={"standing": Standing.ACTIVE}))
    world.forget()
    ask(world, "resumed")
    assert files(world) == {"/a": b"1"}


def test_a_repository_without_a_revision_waits_for_its_maker(world):
    world.store_of(FQRN).delete(".cvmfspublished")
    ask(world)
    assert world.answers[-1].status == 204
    assert last(world) is None


# Long ones


@pytest.mark.parametrize("batch", [1, 3])
def test_a_long_reconciliation_goes_on_where_it_stopped(world, monkeypatch, batch):
    monkeypatch.setattr(reconcile_bucket, "BATCH", batch)
    monkeypatch.setattr(reconcile_bucket, "CHECK_EVERY", 4)
    world.cloud = replace(world.cloud, settings=SETTINGS.model_copy(update={"reconcile_leg_s": 0.0}))
    for index in range(5):
        world.upload(f"cvmfs/d{index}/gone", b"1")
        world.upload(f"cvmfs/d{index}/kept", b"1")
    world.run_until_quiet()
    for index in range(5):
        world.source.delete("alice", f"cvmfs/d{index}/gone")
        lost(world, f"cvmfs/d{index}/new", b"2")
    ask(world)
    assert files(world) == wanted(world)
    done = last(world)
    assert (done.progress, done.position, done.whole) == (Progress.DONE, "", True)
    assert (done.counts.objects, done.counts.entries, done.counts.new, done.counts.gone) == (10, 10, 5, 5)
    asked = [event for event in world.bus.published if event["type"].endswith("reconciliation.requested")]
    assert len({event["id"] for event in asked}) == len(asked) > 2


def test_every_part_of_a_long_reconciliation_ends_the_problems_that_it_finds_solved(world, monkeypatch):
    monkeypatch.setattr(reconcile_bucket, "CHECK_EVERY", 2)
    world.cloud = replace(world.cloud, settings=SETTINGS.model_copy(update={"reconcile_leg_s": 0.0}))
    fill(world, 9)
    for key in ("cvmfs/000", "cvmfs/004", "cvmfs/008"):
        stale_problem(world, key, "path-clash")
    ask(world)
    assert world.problems() == {}


def test_a_part_whose_beginning_is_unknown_does_not_speak_for_the_whole(world):
    fill(world, 3)
    world.source.remove_bucket("alice")
    for index in (1, 2):
        lost(world, f"cvmfs/{index:03}", b"%d" % index)
    ask(world, "part", start_after="cvmfs/000")
    assert (last(world).whole, last(world).counts.kept) == (False, 0)
    ask(world, "all")
    assert last(world).counts.kept == 1
    assert files(world).keys() == {"/000", "/001", "/002"}


# Everything at once


def test_everything_at_once(world):
    for index in range(30):
        world.upload(f"cvmfs/d{index % 5}/f{index}", b"%d" % index)
    world.upload("cvmfs/x.tar.gz", tar(member=b"m"))
    world.upload("cvmfs/broken.zip", b"no archive")
    world.run_until_quiet()
    for index in range(0, 30, 3):
        world.source.delete("alice", f"cvmfs/d{index % 5}/f{index}")
    for index in range(1, 30, 3):
        lost(world, f"cvmfs/d{index % 5}/f{index}", b"changed %d" % index)
    lost(world, "cvmfs/d1", b"a file where a directory was")
    for key in [info.key for info in world.source.list("alice", "cvmfs/d1/")]:
        world.source.delete("alice", key)
    world.source.delete("alice", "cvmfs/x.tar.gz")
    world.source.delete("alice", "cvmfs/broken.zip")
    world.upload("cvmfs/seen", b"its change record is lost")
    while world.deliver("handle-bucket-notification"):
        pass
    while world.bus.pop(f"changes.{FQRN}") is not None:
        pass
    while world.bus.pop("fn.publish-transaction") is not None:
        pass
    world.buckets.notified.clear()
    world.forget()
    ask(world)
    assert files(world) == wanted(world)
    assert world.problems() == {}
    revision = world.revision()
    ask(world, "and again")
    assert (world.revision(), last(world).counts.differences) == (revision, 0)


def test_few_archives_are_unpacked_at_once_and_files_do_not_wait_for_them(world, monkeypatch):
    turn, usual, free = world.cloud.archive_turn, world.source.open, {}

    def turns_left():
        taken = sum(turn.acquire(blocking=False) for _ in range(ARCHIVES_AT_ONCE))
        turn.release(taken)
        return taken

    def opened(bucket, key):
        free[key] = turns_left()
        return usual(bucket, key)

    monkeypatch.setattr(world.source, "open", opened)
    world.upload("cvmfs/a.tar.gz", tar(member=b"m"))
    world.upload("cvmfs/broken.tar.gz", b"no archive")
    world.upload("cvmfs/file", b"f")
    world.run_until_quiet()
    assert free == {
        "cvmfs/a.tar.gz": ARCHIVES_AT_ONCE - 1,
        "cvmfs/broken.tar.gz": ARCHIVES_AT_ONCE - 1,
        "cvmfs/file": ARCHIVES_AT_ONCE,
    }
    assert turns_left() == ARCHIVES_AT_ONCE
