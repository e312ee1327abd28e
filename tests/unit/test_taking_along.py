"""Notifications that wait behind another one are taken along with it, and nothing is lost on the way."""

import json

import pytest

from functions.errors import StoreUnavailable
from functions.publishing.crowd import LOOK_AGAIN_S, Crowd
from tests.world import World

QUEUE = "fn.handle-bucket-notification"
STEP = "handle-bucket-notification"

pytestmark = pytest.mark.usefixtures("alices_repository")


def waiting(world: World) -> int:
    return len(world.bus.messages(QUEUE))


def test_a_request_takes_along_what_waits_behind_it(world: World) -> None:
    for number in range(6):
        world.upload(f"cvmfs/file{number}", b"%d" % number)
    world.deliver(STEP)
    assert waiting(world) == 2, "one of its own and three more"
    assert len(world.bus.messages("changes.alice.infn.it")) == 4
    world.run_until_quiet()
    with world.reader() as reader:
        assert [reader.read(f"/file{number}") for number in range(6)] == [b"%d" % number for number in range(6)]


def test_a_few_are_left_to_others(world: World) -> None:
    world.cloud.crowd.least = 4
    for number in range(4):
        world.upload(f"cvmfs/file{number}", b"x")
    world.deliver(STEP)
    assert waiting(world) == 3


def test_changes_that_were_taken_along_bring_one_wake_up(world: World) -> None:
    for number in range(4):
        world.upload(f"cvmfs/file{number}", b"x")
    world.deliver(STEP)
    assert len(world.bus.messages("fn.publish-transaction")) == 2, "one for its own, one for all the others"


def test_what_cannot_be_read_is_left_to_a_request_of_its_own_and_parked_by_that(world: World) -> None:
    world.upload("cvmfs/first", b"1")
    world.bus.reply(QUEUE, b'{"no": "notification"}')
    world.upload("cvmfs/second", b"2")
    world.upload("cvmfs/third", b"3")
    world.deliver(STEP)
    assert not world.bus.parked(STEP)
    assert len(world.bus.messages(f"{QUEUE}.retry")) == 1
    world.run_until_quiet()
    assert len(world.bus.parked(STEP)) == 1
    with world.reader() as reader:
        assert [reader.read(f"/{name}") for name in ("first", "second", "third")] == [b"1", b"2", b"3"]


def test_a_store_that_fails_for_one_of_them_delays_only_that_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second", "third", "fourth"):
        world.upload(f"cvmfs/{name}", name.encode())
    opened, failing = world.source.open, ["cvmfs/third"]

    def stumbling(bucket: str, key: str) -> object:
        if key in failing:
            failing.remove(key)
            raise StoreUnavailable("for a moment")
        return opened(bucket, key)

    monkeypatch.setattr(world.source, "open", stumbling)
    world.deliver(STEP)
    assert world.answers[-1].status == 204
    (later,) = world.bus.messages(f"{QUEUE}.retry")
    assert json.loads(later.body)["Records"][0]["s3"]["object"]["key"] == "cvmfs/third"
    assert len(world.bus.messages("changes.alice.infn.it")) == 3
    world.run_until_quiet()
    with world.reader() as reader:
        assert reader.read("/third") == b"third"


def test_when_the_broker_goes_the_request_is_done_and_the_others_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        world.upload(f"cvmfs/file{number}", b"%d" % number)
    send, calls = world.bus.send_changes, []

    def once(fqrn: str, bodies: list[bytes]) -> object:
        calls.append(len(bodies))
        if len(calls) == 2:
            world.bus.available = False
        return send(fqrn, bodies)

    monkeypatch.setattr(world.bus, "send_changes", once)
    world.deliver(STEP)
    assert world.answers[-1].status == 204
    assert calls == [1, 3]
    world.bus.available = True
    assert waiting(world) == 3
    world.run_until_quiet()
    with world.reader() as reader:
        assert [reader.read(f"/file{number}") for number in range(4)] == [b"%d" % number for number in range(4)]


def test_small_uploads_do_not_wait_for_a_large_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.handlers.handle_bucket_notification.LARGE", 1000)
    world.upload("cvmfs/own", b"x")
    world.upload("cvmfs/large", bytes(1000))
    world.upload("cvmfs/small", b"x")
    batches: list[list[str]] = []
    send = world.bus.send_changes

    def noted(fqrn: str, bodies: list[bytes]) -> object:
        batches.append([json.loads(body)["key"] for body in bodies])
        return send(fqrn, bodies)

    monkeypatch.setattr(world.bus, "send_changes", noted)
    world.deliver(STEP)
    assert batches == [["cvmfs/own"], ["cvmfs/small"], ["cvmfs/large"]]


def test_large_uploads_for_which_there_is_no_time_are_left_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.handlers.handle_bucket_notification.LARGE", 1000)
    monkeypatch.setattr("functions.handlers.handle_bucket_notification.STAY_S", -1.0)
    for name in ("own", "one", "two"):
        world.upload(f"cvmfs/{name}", bytes(1000))
    world.deliver(STEP)
    assert len(world.bus.messages("changes.alice.infn.it")) == 1
    assert [message.redelivered for message in world.bus.messages(QUEUE)] == [True, True]


def look_at(world: World, folder: str, count: int) -> None:
    """One message about some objects, as a reconciliation sends it."""
    keys = [f"cvmfs/{folder}/{number}" for number in range(count)]
    for key in keys:
        world.source.put("alice", key, key.encode())
    world.notify("ObjectCreated:Put", *keys)


def changes(world: World) -> list[str]:
    return [json.loads(message.body)["key"] for message in world.bus.messages("changes.alice.infn.it")]


def test_small_uploads_do_not_wait_for_a_look_at_many_objects(world: World) -> None:
    world.upload("cvmfs/own", b"x")
    look_at(world, "first", 2)
    world.upload("cvmfs/small", b"x")
    world.deliver(STEP)
    assert changes(world) == ["cvmfs/own", "cvmfs/small", "cvmfs/first/0", "cvmfs/first/1"]
    assert waiting(world) == 0


def test_looks_at_more_objects_than_are_taken_along_are_left_to_others(world: World) -> None:
    world.upload("cvmfs/own", b"x")
    for folder in ("first", "second", "third"):
        look_at(world, folder, 2)
    world.deliver(STEP)
    assert len(changes(world)) == 5, "its own, and two times two where three objects are taken along"
    (left,) = world.bus.messages(QUEUE)
    assert left.redelivered
    world.run_until_quiet()
    with world.reader() as reader:
        assert all(reader.lookup(f"/{folder}/{number}") for folder in ("first", "third") for number in range(2))


def test_a_look_at_many_objects_takes_nobody_along(world: World) -> None:
    look_at(world, "first", 2)
    for number in range(4):
        world.upload(f"cvmfs/file{number}", b"x")
    world.deliver(STEP)
    assert waiting(world) == 4


def test_it_can_be_switched_off() -> None:
    assert not Crowd(least=1, along=0).is_there(0.0, lambda: 1000)


def test_whoever_found_nobody_does_not_ask_again_at_once() -> None:
    crowd, asked = Crowd(least=2, along=1), []

    def ask(answer: int) -> int:
        asked.append(answer)
        return answer

    assert not crowd.is_there(0.0, lambda: ask(1))
    assert not crowd.is_there(LOOK_AGAIN_S / 2, lambda: ask(9))
    assert crowd.is_there(LOOK_AGAIN_S, lambda: ask(2))
    assert crowd.is_there(LOOK_AGAIN_S, lambda: ask(2))
    assert asked == [1, 2, 2]
