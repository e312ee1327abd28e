"""`.cvmfs-sync.toml`: what its owner wants of a bucket, from the upload of the file to what worker nodes see."""

from datetime import timedelta

import pytest

from functions.publishing.keys import SETTINGS_KEY
from functions.publishing.records import load_record
from functions.publishing.sync_settings import PublishSettings, SyncSettings, SyncSettingsFault
from tests.reconciling import look_at, settle
from tests.unit.test_stories import content, names, tar_gz
from tests.world import World

pytestmark = pytest.mark.usefixtures("alices_repository")


def rule(world: World, text: str) -> None:
    """The owner uploads the file, and everything that follows from it is done."""
    world.upload(SETTINGS_KEY, text.encode())
    settle(world)


def modes(world: World) -> dict[str, str]:
    with world.reader() as snapshot:
        return {path: oct(entry.mode) for path, entry in snapshot.walk() if path and "cvmfscatalog" not in path}


def test_who_lost_a_clash_and_is_excluded_now_is_no_problem_any_more(world: World) -> None:
    world.upload("cvmfs/a/b", b"1")
    world.upload("cvmfs/a", b"2")
    settle(world)
    assert world.problems()["cvmfs/a/b"].code == "path-clash"
    rule(world, 'exclude = ["a/b"]')
    assert world.problems() == {}
    assert names(world) == ["a"]


def test_the_settings_are_followed_and_not_published(world: World) -> None:
    world.upload("cvmfs/keep", b"1")
    world.upload("cvmfs/build/x.o", b"2")
    settle(world)
    rule(world, 'exclude = ["build/"]')
    assert names(world) == ["keep"]
    assert world.problems() == {}


def test_what_is_no_longer_excluded_comes_back(world: World) -> None:
    world.upload("cvmfs/a.tmp", b"1")
    world.upload("cvmfs/b", b"2")
    rule(world, 'exclude = ["*.tmp"]')
    assert names(world) == ["b"]
    world.upload("cvmfs/later.tmp", b"3")
    settle(world)
    assert names(world) == ["b"]
    world.delete(SETTINGS_KEY)
    settle(world)
    assert names(world) == ["a.tmp", "b", "later.tmp"]


def test_archives_become_files_and_trees_again(world: World) -> None:
    packed = tar_gz(("bin/run", b"#!/bin/sh\n"))
    world.upload("cvmfs/sw/tool.tar.gz", packed)
    settle(world)
    assert names(world, "/sw") == ["tool"]
    rule(world, "[archives]\nunpack = false\n")
    assert names(world, "/sw") == ["tool.tar.gz"]
    assert content(world, "/sw/tool.tar.gz") == packed
    rule(world, "")
    assert names(world, "/sw") == ["tool"]
    assert content(world, "/sw/tool/bin/run") == b"#!/bin/sh\n"


@pytest.mark.parametrize("key", ["cvmfs/sw/..tar", "cvmfs/sw/.cvmfscatalog.tar"])
def test_what_could_be_published_by_older_rules_only_goes_with_them(world: World, key: str) -> None:
    rule(world, "[archives]\nunpack = false\n")
    world.upload(key, b"1")
    world.upload("cvmfs/x", b"1")
    settle(world)
    assert names(world, "/sw") == [key.rpartition("/")[2]]
    rule(world, "")
    assert names(world) == ["x"]
    assert list(world.problems()) == [key]
    rule(world, "[archives]\nunpack = false\n")
    assert content(world, key.removeprefix("cvmfs")) == b"1"
    assert world.problems() == {}
    world.upload(SETTINGS_KEY, b"")
    while world.deliver("handle-bucket-notification"):
        pass
    world.delete(key)
    while world.deliver("handle-bucket-notification") or world.deliver("publish-transaction"):
        pass
    assert names(world) == ["x"], "gone without a look at the whole bucket"


@pytest.mark.parametrize("key", ["cvmfs/a\nb.tmp", "cvmfs/a//b.tmp", "cvmfs/..tar", "cvmfs/n/" + "n" * 252 + ".tmp"])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_excluded_is_no_problem_whatever_it_is_called(world: World, key: str, is_first: bool) -> None:
    world.upload(key, b"1")
    settle(world)
    assert list(world.problems()) == [key]
    if is_first:
        world.delete(key)
    rule(world, 'exclude = ["*.tmp", "..tar"]\n')
    if is_first:
        world.upload(key, b"1")
    settle(world)
    assert world.problems() == {}
    rule(world, "")
    assert list(world.problems()) == [key]


def test_archives_are_gathered_below_software(world: World) -> None:
    world.upload("cvmfs/tool.tar", tar_gz(("tool/bin/run", b"1")))
    world.upload("cvmfs/sub/lib.tgz", tar_gz(("x", b"2")))
    rule(world, '[archives]\ntarget = "software"\n')
    assert names(world) == ["software"]
    assert content(world, "/software/tool/bin/run") == b"1"
    assert content(world, "/software/sub/lib/x") == b"2"
    world.delete("cvmfs/tool.tar")
    settle(world)
    assert names(world, "/software") == ["sub"]


def test_permissions_are_those_of_the_rules_and_again_those_of_the_objects(world: World) -> None:
    world.upload("cvmfs/script", b"#!/bin/sh\n")
    world.upload("cvmfs/data", b"1", mode="100600")
    world.upload("cvmfs/dir/", b"", mode="0700")
    settle(world)
    usual = {"/script": "0o100755", "/data": "0o100644", "/dir": "0o40755"}
    assert modes(world) == usual
    rule(world, '[permissions]\nfiles = "0644"\n')
    assert modes(world) == usual | {"/script": "0o100644"}
    rule(world, "[permissions]\nreadable_by_all = false\n")
    assert modes(world) == usual | {"/data": "0o100600", "/dir": "0o40700"}
    world.delete(SETTINGS_KEY)
    settle(world)
    assert modes(world) == usual


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('exclude = ["a"\n[archives', "line 2", id="no TOML"),
        pytest.param('\n[archives]\nunpack = "yes"\n', "line 3, archives.unpack", id="another type"),
        pytest.param("[archive]\nunpack = true\n", "line 1, archive: there is no such setting", id="an unknown table"),
        pytest.param('[publish]\nwindow = "9-17"\n', "line 2, publish.window", id="no time of day"),
        pytest.param('[publish]\nwindow = "09:00-09:00"\n', "line 2, publish.window", id="no time at all"),
        pytest.param('exclude = ["ok", "[a"]', "line 1, exclude[1]", id="no pattern"),
        pytest.param('[permissions]\nfiles = "0777"', "line 2, permissions.files", id="no such mode"),
        pytest.param("[publish]\nmin_interval = 86401", "line 2, publish.min_interval", id="more than a day"),
    ],
)
def test_mistakes_are_told_with_their_line_and_harm_nobody(world: World, text: str, told: str) -> None:
    rule(world, 'exclude = ["*.tmp"]')
    rule(world, text)
    assert told in world.problems()[SETTINGS_KEY].reason
    assert world.problems()[SETTINGS_KEY].code == "sync-settings"
    world.forget()
    world.upload("cvmfs/a.tmp", b"1")
    world.upload("cvmfs/b", b"2")
    settle(world)
    assert names(world) == ["b"], "the last version without mistakes counts"
    rule(world, "exclude = []")
    assert world.problems() == {}
    assert names(world) == ["a.tmp", "b"]


def test_mistakes_without_an_earlier_version_mean_no_rules(world: World) -> None:
    rule(world, "exclude = 7")
    world.upload("cvmfs/a", b"1")
    settle(world)
    assert names(world) == ["a"]
    world.delete(SETTINGS_KEY)
    settle(world)
    assert world.problems() == {}


def test_a_file_that_was_removed_leaves_no_rules_behind(world: World) -> None:
    rule(world, 'exclude = ["a"]')
    world.delete(SETTINGS_KEY)
    settle(world)
    rule(world, "not TOML at all")
    world.upload("cvmfs/a", b"1")
    settle(world)
    assert names(world) == ["a"]


def test_what_was_taken_in_by_older_rules_is_not_published(world: World) -> None:
    world.upload("cvmfs/t.tar.gz", tar_gz(("x", b"1")))
    world.upload("cvmfs/secret", b"2")
    while world.deliver("handle-bucket-notification"):
        pass
    world.source.put("alice", SETTINGS_KEY, b'exclude = ["secret"]\n[archives]\nunpack = false\n')
    settle(world)
    look_at(world)
    settle(world)
    assert names(world) == ["t.tar.gz"]


def test_changes_wait_for_the_window_and_a_timer_brings_them(world: World) -> None:
    rule(world, '[publish]\nwindow = "22:00-06:00"\n')
    world.upload("cvmfs/a", b"1")
    settle(world)
    assert world.revision() == 1
    assert world.bus.messages("changes.alice.infn.it"), "it waits where it is safe"
    _timer(world)
    assert world.revision() == 1
    world.clock.now += timedelta(hours=11)
    _timer(world)
    assert names(world) == ["a"]


def test_a_window_that_is_opened_lets_waiting_changes_through(world: World) -> None:
    rule(world, '[publish]\nwindow = "22:00-06:00"\n')
    world.upload("cvmfs/a", b"1")
    settle(world)
    world.delete(SETTINGS_KEY)
    settle(world)
    assert names(world) == ["a"]


def test_a_clock_that_was_ahead_holds_back_no_revision(world: World) -> None:
    rule(world, "[publish]\nmin_interval = 3600\n")
    world.clock.now += timedelta(days=300)
    world.upload("cvmfs/a", b"1")
    settle(world)
    world.clock.now -= timedelta(days=300)
    world.upload("cvmfs/b", b"2")
    settle(world)
    assert names(world) == ["a", "b"]


def test_rules_are_read_anew_by_a_process_whose_clock_is_set_back(world: World) -> None:
    record = load_record(world.state, "alice.infn.it")
    world.cloud.rules.get(record)
    world.source.put("alice", SETTINGS_KEY, b'exclude = ["a"]')
    world.clock.now -= timedelta(hours=1)
    assert world.cloud.rules.get(record).excludes("cvmfs/a")


def test_revisions_keep_the_distance_their_owner_wants(world: World) -> None:
    rule(world, "[publish]\nmin_interval = 3600\n")
    world.clock.now += timedelta(hours=2)
    world.upload("cvmfs/a", b"1")
    settle(world)
    world.upload("cvmfs/b", b"2")
    settle(world)
    assert names(world) == ["a"]
    world.clock.now += timedelta(hours=1)
    _timer(world)
    assert names(world) == ["a", "b"]


@pytest.mark.parametrize(
    ("window", "now", "is_open"),
    [
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("09:00-17:30", "08:59", False),
        ("09:00-17:30", "09:00", True),
        ("09:00-17:30", "17:30", False),
        (None, "12:00", True),
    ],
)
def test_a_window_may_cross_midnight(window: str | None, now: str, is_open: bool) -> None:
    from datetime import time

    assert PublishSettings(window=window).is_open(time.fromisoformat(now)) is is_open


@pytest.mark.parametrize("content", [b"\xff", b"# " + b"x" * (64 << 10), b"exclude = [" * 5000])
def test_no_content_is_too_odd_to_be_judged(content: bytes) -> None:
    with pytest.raises(SyncSettingsFault):
        SyncSettings.parse(content)


def _timer(world: World) -> None:
    """What happens every minute."""
    from cloudevents.http import CloudEvent

    from events.types import PING
    from functions.handlers import reconcile_bucket, reconciliation_timers

    ping = CloudEvent({"type": PING, "source": "/timer"}, reconciliation_timers.FOR_WAITING)
    reconcile_bucket.reconcile_bucket(ping, world.cloud)
    settle(world)
