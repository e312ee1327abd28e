"""Limits, suspended repositories, and problems that are over: what the user reads and the reader sees."""

import pytest

from functions.publishing.records import RepositorySettings, Standing, change_record
from tests.reconciling import look_at, settle
from tests.unit.test_stories import content, names, tar_gz
from tests.world import World

pytestmark = pytest.mark.usefixtures("alices_repository")


def allow(world: World, **limits: int) -> None:
    change_record(
        world.state,
        "alice.infn.it",
        lambda record: record.model_copy(update={"settings": RepositorySettings(**limits)}),
    )
    world.cloud.known.forget("alice.infn.it")


def stand(world: World, standing: Standing) -> None:
    change_record(world.state, "alice.infn.it", lambda record: record.model_copy(update={"standing": standing}))
    world.cloud.known.forget("alice.infn.it")


def codes(world: World) -> dict[str, str]:
    return {key.removeprefix("cvmfs/"): problem.code for key, problem in world.problems().items()}


def test_what_does_not_fit_stays_out_and_comes_when_there_is_room(world: World) -> None:
    allow(world, bytes_limit=10)
    world.upload("cvmfs/first", b"12345678")
    world.upload("cvmfs/second", b"123")
    world.upload("cvmfs/third", b"12")
    settle(world)
    assert names(world) == ["first", "third"]
    assert codes(world) == {"second": "quota-bytes"}
    assert "11 bytes, 10 are allowed" in world.problems()["cvmfs/second"].reason
    world.delete("cvmfs/third")
    settle(world)
    assert names(world) == ["first"], "one byte too many still"
    world.delete("cvmfs/first")
    settle(world)
    assert names(world) == ["second"]
    assert world.problems() == {}


def test_files_are_counted_with_the_directories_they_need(world: World) -> None:
    allow(world, files_limit=4)  # the root directory is one of them
    world.upload("cvmfs/d/a", b"1")
    world.upload("cvmfs/d/e/b", b"1")
    world.upload("cvmfs/c", b"1")
    settle(world)
    assert names(world) == ["c", "d"]
    assert names(world, "/d") == ["a"]
    assert codes(world) == {"d/e/b": "quota-files"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_older_uploads_of_a_batch_have_the_room(world: World, order: tuple[int, ...]) -> None:
    allow(world, bytes_limit=2)
    for number in range(3):
        world.source.put("alice", f"cvmfs/{2 - number}", b"1")
    world.notify("ObjectCreated:Put", *(f"cvmfs/{number}" for number in order))
    settle(world)
    assert names(world) == ["1", "2"]


def test_removals_make_room_for_what_comes_with_them(world: World) -> None:
    allow(world, bytes_limit=8)
    world.upload("cvmfs/old", b"12345678")
    settle(world)
    world.source.put("alice", "cvmfs/new", b"87654321")
    world.source.delete("alice", "cvmfs/old")
    world.notify("ObjectCreated:Put", "cvmfs/new", "cvmfs/old")
    settle(world)
    assert names(world) == ["new"]
    assert world.problems() == {}


def test_a_new_version_that_does_not_fit_takes_the_old_one_out(world: World) -> None:
    allow(world, bytes_limit=8)
    world.upload("cvmfs/a", b"1234")
    settle(world)
    world.upload("cvmfs/a", b"123456789")
    settle(world)
    assert names(world) == []
    assert codes(world) == {"a": "quota-bytes"}
    world.upload("cvmfs/a", b"12345678")
    settle(world)
    assert content(world, "/a") == b"12345678"
    assert world.problems() == {}


def test_an_archive_counts_with_all_it_holds(world: World) -> None:
    allow(world, bytes_limit=1000)
    world.upload("cvmfs/t.tar.gz", tar_gz(("a", bytes(600)), ("b", bytes(600))))
    world.upload("cvmfs/u.tar.gz", tar_gz(("a", bytes(900))))
    settle(world)
    assert names(world) == ["u"]
    assert codes(world) == {"t.tar.gz": "quota-bytes"}


def test_a_file_that_is_too_large_is_refused_before_any_of_it_is_read(world: World) -> None:
    allow(world, file_bytes_limit=5)
    world.upload("cvmfs/a", b"12345")
    settle(world)
    opened = []
    take = world.source.open
    world.source.open = lambda bucket, key: opened.append(key) or take(bucket, key)  # type: ignore[method-assign,func-returns-value]
    world.upload("cvmfs/a", b"123456")
    settle(world)
    assert "cvmfs/a" not in opened
    assert names(world) == [], "what is in the bucket now cannot be published, and what was there is gone"
    assert codes(world) == {"a": "file-too-large"}
    world.upload("cvmfs/a", b"1")
    settle(world)
    assert content(world, "/a") == b"1"
    assert world.problems() == {}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"archive_members_limit": 2}, "archive-too-many-members"),
        ({"archive_bytes_limit": 1000}, "archive-too-large"),
        ({"file_bytes_limit": 500}, "file-too-large"),
    ],
)
def test_limits_of_archives_are_those_of_the_repository(world: World, limits: dict[str, int], code: str) -> None:
    allow(world, **limits)
    world.upload("cvmfs/a.tar.gz", tar_gz(*((str(number), bytes(600)) for number in range(3))))
    settle(world)
    assert codes(world) == {"a.tar.gz": code}
    assert names(world) == []


@pytest.mark.parametrize("standing", [Standing.SUSPENDED, Standing.DELETING])
def test_a_repository_that_rests_is_left_alone(world: World, standing: Standing) -> None:
    world.upload("cvmfs/a", b"1")
    world.deliver("handle-bucket-notification")
    stand(world, standing)
    world.upload("cvmfs/b", b"2")
    world.run_until_quiet()
    assert world.revision() == 1
    assert {answer.status for answer in world.answers[-2:]} == {204}
    assert len(world.bus.messages("changes.alice.infn.it")) == 1, "what was seen before still waits"
    assert world.bus.parked("handle-bucket-notification") == []
    stand(world, Standing.ACTIVE)
    look_at(world)
    settle(world)
    assert names(world) == ["a", "b"]


def test_a_wake_up_for_a_repository_that_is_gone_is_parked(world: World) -> None:
    from events import RepositoryChanged

    world.bus.publish(
        [RepositoryChanged(repository="bob.infn.it", cause="x").to_cloudevent(source="/test", time=world.clock())]
    )
    world.run_until_quiet()
    assert len(world.bus.parked("publish-transaction")) == 1


def test_a_broken_new_version_takes_the_old_tree_out(world: World) -> None:
    world.upload("cvmfs/t.tar.gz", tar_gz(("a", b"1")))
    settle(world)
    world.upload("cvmfs/t.tar.gz", b"broken")
    settle(world)
    assert names(world) == []
    assert codes(world) == {"t.tar.gz": "archive-broken"}


def test_the_loser_of_a_clash_comes_back_when_the_winner_goes(world: World) -> None:
    world.upload("cvmfs/a", b"file")
    settle(world)
    world.upload("cvmfs/a/b", b"below")
    settle(world)
    assert codes(world) == {"a": "path-clash"}
    world.delete("cvmfs/a/b")
    settle(world)
    assert content(world, "/a") == b"file"
    assert world.problems() == {}


def test_a_loser_that_is_removed_or_renamed_is_no_problem_any_more(world: World) -> None:
    world.upload("cvmfs/a", b"file")
    world.upload("cvmfs/a/b", b"below")
    settle(world)
    assert codes(world) == {"a": "path-clash"}
    world.source.put("alice", "cvmfs/c", b"file")
    world.source.delete("alice", "cvmfs/a")
    world.notify("ObjectCreated:Copy", "cvmfs/c", "cvmfs/a")
    settle(world)
    assert names(world) == ["a", "c"]
    assert world.problems() == {}


def test_a_member_of_an_archive_comes_back_when_what_covered_it_goes(world: World) -> None:
    world.upload("cvmfs/t.tar.gz", tar_gz(("lib/a", b"member"), ("lib/b", b"member")))
    settle(world)
    world.upload("cvmfs/t/lib/a", b"upload")
    settle(world)
    assert content(world, "/t/lib/a") == b"upload"
    world.delete("cvmfs/t/lib/a")
    settle(world)
    assert content(world, "/t/lib/a") == b"member"
    assert names(world, "/t/lib") == ["a", "b"]


def test_a_directory_of_an_archive_comes_back_when_what_covered_it_loses(world: World) -> None:
    world.upload("cvmfs/t.tar.gz", tar_gz(("lib/a", b"member"), ("lib/b", b"member")))
    settle(world)
    world.upload("cvmfs/t/lib", b"a file in the place of a directory")
    settle(world)
    assert names(world, "/t") == [".cvmfscatalog", "lib"]
    world.upload("cvmfs/t/lib/a", b"newest")
    settle(world)
    assert content(world, "/t/lib/a") == b"newest"
    assert content(world, "/t/lib/b") == b"member"
    assert codes(world) == {"t/lib": "path-clash"}


def test_a_publisher_that_died_after_the_swap_still_frees_who_was_in_the_shadow(world: World) -> None:
    world.upload("cvmfs/a", b"file")
    settle(world)
    world.upload("cvmfs/a/b", b"below")
    settle(world)
    world.delete("cvmfs/a/b")
    world.deliver("handle-bucket-notification")
    publish = world.bus.publish

    def down(events: object) -> None:
        raise OSError("killed after the swap")

    world.bus.publish = down  # type: ignore[method-assign,assignment]
    world.deliver("publish-transaction")
    world.bus.publish = publish  # type: ignore[method-assign]
    world.forget()
    settle(world)
    assert content(world, "/a") == b"file"
    assert world.problems() == {}
