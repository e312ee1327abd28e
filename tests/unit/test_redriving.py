"""A parked message that is redriven reaches its function as it did the first time, whatever it was."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from cloudevents.http import from_http
from flask import Flask, request

from events import RepositoryRequested
from functions import main
from functions.adapters.memory import MemoryEventBus, Message
from functions.adapters.memory_bus import BINDINGS
from functions.adapters.memory_queues import MemoryQueueAdmin
from functions.answers import Step, answer
from functions.errors import BrokerUnavailable, RepositoryUnknown
from functions.local.runtime.conversion import to_request
from functions.local.runtime.manifests import Source
from functions.local.runtime.messages import QueueMessage, Request
from functions.publishing import redriving
from functions.publishing.parked_messages import Selection, WaitingMessage, looked_at
from tests.gateway_client import Gateway
from tests.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEP = "store-keys"
QUEUE = "fn.store-keys"
DOMAIN = "infn.it"

RECORD = {
    "eventName": "ObjectCreated:Put",
    "eventTime": "2026-02-01T00:00:00Z",
    "s3": {"bucket": {"name": "alice"}, "object": {"key": "cvmfs/ä", "sequencer": "61B2036B1827DC11"}},
}
EVENT = RepositoryRequested(repository="alice.infn.it", username="alice", subject="s").to_cloudevent(
    source="/dashboard", time=NOW - timedelta(days=3), traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
)
BINARY = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/s", "ce-id": "1", "ce-time": "2026-02-01T00:00:00Z"}


class Source_:  # noqa: N801
    """The event source of one step, with the rules of the real one."""

    def __init__(self, bus: MemoryEventBus, queue: str = QUEUE) -> None:
        self._bus = bus
        self._source = Source(
            name=STEP, namespace="cvmfs", queue=queue, predeclared=True, sink_kind="Service", sink="x", path="/"
        )
        self._ids = (f"id-{number}" for number in itertools.count())

    def deliver(self, now: datetime = NOW) -> Request:
        """The request that the first message of the queue becomes."""
        message = self._bus.pop(self._source.queue)
        assert message is not None
        told = QueueMessage(
            message.body,
            message.content_type,
            message.headers,
            message.message_id,
            None if message.sent_at is None else int(message.sent_at.timestamp()),
        )
        return to_request(told, self._source, now=now, new_id=lambda: next(self._ids))


def waiting_in(bus: MemoryEventBus, queue: str = f"{QUEUE}.parked") -> list[WaitingMessage]:
    with MemoryQueueAdmin(bus).hold(queue, most=1000) as hold:
        return [looked_at(held, DOMAIN) for held in hold.held]


def redrive(bus: MemoryEventBus, queue: str = QUEUE, parked: str = f"{QUEUE}.parked") -> dict[str, str]:
    with MemoryQueueAdmin(bus).hold(parked, most=1000) as hold:
        chosen = [looked_at(held, DOMAIN) for held in hold.held]
        way_back = redriving.to_step(queue, exchange="cvmfs", now=NOW)
        return redriving.redrive(hold, chosen, way_back, told=lambda _: None)


def refuse(_event: object, _cloud: object) -> None:
    raise RepositoryUnknown("no such repository")


def send(bus: MemoryEventBus, body: bytes, **properties: object) -> None:
    with bus.moved:
        bus.send(Message(body, routing_key=QUEUE, **properties))


SENT = [
    pytest.param(json.dumps({"Records": [RECORD]}).encode(), {}, id="a bucket notification"),
    pytest.param(b'{"Records": [', {}, id="broken JSON"),
    pytest.param(b"alice,sub,alice.infn.it,https://iam.example.org,N", {}, id="an older request"),
    pytest.param(b"\xff\x00", {"content_type": "application/octet-stream"}, id="any bytes"),
    pytest.param(b'{"a": 1}', {"content_type": "application/json", "message_id": "m"}, id="JSON with an id"),
    pytest.param(
        b'{"repository": "alice.infn.it"}',
        {"headers": BINARY},
        id="an event in binary mode without a media type",
    ),
    pytest.param(
        b'{"repository": "alice.infn.it"}',
        {"headers": {**BINARY, "content-type": "application/json"}},
        id="an event in binary mode",
    ),
]


@pytest.mark.parametrize(("body", "properties"), SENT)
def test_what_a_function_parked_comes_back_as_it_came_the_first_time(body, properties):
    bus = MemoryEventBus(clock=lambda: NOW)
    source = Source_(bus)
    send(bus, body, **properties)
    first = source.deliver()
    event = from_http(dict(first.headers), first.body)
    assert answer(Step(STEP, refuse), event, None, bus=bus, clock=lambda: NOW, retry_for_s=60).status == 204
    assert redrive(bus) == {}
    (message,) = bus.messages(QUEUE)
    if "headers" not in properties:  # it was no event, so it is none again
        assert message.content_type == properties.get("content_type")
        assert message.body == body or json.loads(message.body) == json.loads(body)
    again = source.deliver(now=NOW + timedelta(days=1))
    assert again.headers == first.headers
    assert from_http(dict(again.headers), again.body).data == event.data
    assert not bus.parked(STEP)


def test_our_own_events_come_back_with_everything_they_had():
    bus = MemoryEventBus(clock=lambda: NOW)
    source = Source_(bus)
    bus.publish([EVENT])
    first = source.deliver()
    assert first.headers["ce-traceparent"]
    event = from_http(dict(first.headers), first.body)
    answer(Step(STEP, refuse), event, None, bus=bus, clock=lambda: NOW, retry_for_s=60)
    (waiting,) = waiting_in(bus)
    assert (waiting.what, waiting.repositories, waiting.at) == ("repository.requested", ("alice.infn.it",), NOW)
    redrive(bus)
    (message,) = bus.messages(QUEUE)
    assert (message.content_type, message.message_id) == ("application/cloudevents+json", EVENT["id"])
    again = source.deliver()
    assert again.headers == first.headers
    assert json.loads(again.body) == json.loads(first.body)


def test_what_is_no_event_to_a_function_comes_back_as_it_came_too(monkeypatch):
    world = World()
    monkeypatch.setattr(main, "_cloud", lambda: world.cloud)
    source = Source_(world.bus)
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "content-type": "text/plain"}
    send(world.bus, b"a,b", headers=headers)
    first = source.deliver()
    with Flask("test").test_request_context("/", method="POST", headers=dict(first.headers), data=first.body):
        assert main._view(Step(STEP, refuse), request) == ("", 204)
    assert "not a CloudEvent" in waiting_in(world.bus)[0].reason
    redrive(world.bus)
    assert source.deliver() == first
    world.close()


def test_one_refused_record_of_a_notification_comes_back_as_a_notification():
    world = World()
    world.repository()
    world.upload("cvmfs/fine", b"1")
    world.upload("cvmfs/a//b", b"2")
    world.run_until_quiet()
    (waiting,) = waiting_in(world.bus, "fn.handle-bucket-notification.parked")
    assert waiting.repositories == ("alice.infn.it",)
    assert waiting.what == "ObjectCreated:Put alice/cvmfs/a//b"
    assert "empty" in waiting.reason
    world.source.delete("alice", "cvmfs/a//b")
    queue = "fn.handle-bucket-notification"
    assert redrive(world.bus, queue, f"{queue}.parked") == {}
    world.run_until_quiet()
    assert not world.bus.parked("handle-bucket-notification")
    assert world.problems() == {}
    world.close()


def test_a_refused_change_record_goes_back_to_its_change_queue_and_wakes_the_publisher():
    world = World()
    world.repository()
    world.bus.send_changes("alice.infn.it", [b"from a newer version"])
    world.upload("cvmfs/fine", b"1")
    world.run_until_quiet()
    queue = "fn.publish-transaction"
    (waiting,) = waiting_in(world.bus, f"{queue}.parked")
    assert waiting.repositories == ("alice.infn.it",)
    redrive(world.bus, queue, f"{queue}.parked")
    assert [message.body for message in world.bus.messages("changes.alice.infn.it")] == [b"from a newer version"]
    (wake_up,) = world.bus.messages(queue)
    assert wake_up.event["subject"] == "alice.infn.it"
    world.run_until_quiet()
    assert [found.message.body for found in waiting_in(world.bus, f"{queue}.parked")] == [b"from a newer version"]
    world.close()


def test_an_older_request_goes_back_to_the_queue_that_its_senders_know():
    gateway = Gateway()
    gateway.legacy_request(b"one,two")
    parked = "fn.legacy-requests.parked"
    redrive(gateway.bus, "cvmfs", parked)
    (message,) = gateway.bus.messages("cvmfs")
    assert (message.body, dict(message.headers), message.content_type) == (b"one,two", {}, None)
    assert gateway.bus.messages(parked) == []


def test_a_refused_outcome_goes_back_to_the_translator_as_an_event():
    gateway = Gateway()
    bus = gateway.bus
    source = Source_(bus, "fn.legacy-replies")
    bus.publish([EVENT])
    message = bus.pop(QUEUE)
    with bus.moved:
        bus.send(Message(message.body, routing_key="fn.legacy-replies", content_type=message.content_type))
    first = source.deliver()
    answered = gateway.request("POST", "/legacy/replies", content=first.body, headers=dict(first.headers))
    assert answered.status_code == 204
    redrive(bus, "fn.legacy-replies", "fn.legacy-replies.parked")
    assert source.deliver() == first


def test_an_unrouted_message_goes_to_its_exchange_once_more():
    bus = MemoryEventBus({**BINDINGS, QUEUE: (), "cvmfs.dashboard": ()})
    bus.publish([EVENT])
    (waiting,) = waiting_in(bus, "cvmfs.unrouted")
    assert waiting.repositories == ("alice.infn.it",)
    assert waiting.at == NOW - timedelta(days=3)
    bus._bindings = BINDINGS  # somebody has installed the binding that was missing
    with MemoryQueueAdmin(bus).hold("cvmfs.unrouted", most=10) as hold:
        redriving.redrive(hold, [looked_at(hold.held[0], DOMAIN)], redriving.to_exchange, told=lambda _: None)
    (message,) = bus.messages(QUEUE)
    assert message.event["id"] == EVENT["id"]
    assert bus.messages("cvmfs.unrouted") == []


def test_what_cannot_go_stays_with_its_reason():
    bus = MemoryEventBus()
    headers = {"x-parked-queue": "changes.gone.infn.it"}
    bus.park(STEP, b"1", reason="malformed", headers=headers)
    bus.park(STEP, b"2", reason="malformed", headers={})
    stayed = redrive(bus)
    (waiting,) = waiting_in(bus)
    assert list(stayed) == [waiting.id]
    assert "changes.gone.infn.it" in stayed[waiting.id]
    assert [message.body for message in bus.messages(QUEUE)] == [b"2"]


def test_every_message_is_logged_before_it_is_dropped_and_its_repository_told():
    bus = MemoryEventBus()
    for number in range(450):
        bus.park(STEP, b'{"repository": "r%d.infn.it"}' % (number % 3), reason=str(number), headers={})
    seen: list[int | None] = []
    progress: list[int] = []
    admin = MemoryQueueAdmin(bus)
    with admin.hold(f"{QUEUE}.parked", most=1000) as hold:
        chosen = [looked_at(held, DOMAIN) for held in hold.held]
        cut_after = {400: admin.cut}
        log = lambda waiting: (seen.append(waiting.held.tag), cut_after.get(len(seen), lambda: None)())  # noqa: E731
        with pytest.raises(BrokerUnavailable):
            redriving.drop(hold, chosen, log=log, told=progress.append)
    assert progress == [200]
    assert seen == list(range(1, 401))
    assert len(waiting_in(bus)) == 250
    with admin.hold(f"{QUEUE}.parked", most=1000) as hold:
        rest = [looked_at(held, DOMAIN) for held in hold.held]
        concerned = redriving.concerned(rest)
        redriving.drop(hold, rest, log=lambda _: None, told=progress.append)
    assert concerned == ("r0.infn.it", "r1.infn.it", "r2.infn.it")
    assert waiting_in(bus) == []


def parked(reason: str = "no subject", body: bytes = b"1", *, at: datetime = NOW) -> WaitingMessage:
    bus = MemoryEventBus(clock=lambda: at)
    bus.park(STEP, body, reason=reason, headers={})
    return waiting_in(bus)[0]


def test_an_id_is_made_from_the_content():
    assert parked().id == parked().id
    assert len({parked().id, parked("other").id, parked(body=b"2").id, parked(at=NOW + timedelta(1)).id}) == 4


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        pytest.param(Selection(), True, id="everything"),
        pytest.param(Selection(before=NOW + timedelta(seconds=1)), True, id="older"),
        pytest.param(Selection(before=NOW), False, id="not older"),
        pytest.param(Selection(reason="no SUB"), True, id="part of the reason"),
        pytest.param(Selection(reason="another"), False, id="another reason"),
        pytest.param(Selection(repository="alice.infn.it"), True, id="repository"),
        pytest.param(Selection(repository="lice.infn.it"), False, id="part of a repository"),
        pytest.param(Selection(ids=frozenset({"x"})), False, id="another id"),
        pytest.param(Selection(repository="alice.infn.it", reason="another"), False, id="one of two"),
    ],
)
def test_a_selection_takes_what_fits_everything_that_is_given(selection, takes):
    assert selection.takes(parked(body=b'{"bucket": "alice"}')) is takes


@pytest.mark.parametrize(
    ("body", "repositories"),
    [
        pytest.param(json.dumps({"Records": [RECORD, RECORD]}).encode(), ("alice.infn.it",), id="notification"),
        pytest.param(b'{"Records": [{"x": 1}]}', (), id="malformed record"),
        pytest.param(b'{"Records": 1}', (), id="no records"),
        pytest.param(b"alice,sub,alice.infn.it,iss,Y", ("alice.infn.it",), id="older request"),
        pytest.param(b"alice,sub,../../etc,iss,Y", (), id="a name that is none"),
        pytest.param(b'{"repository": ["a.b"]}', (), id="a name of another type"),
        pytest.param(b"[" * 100_000, (), id="deep"),
        pytest.param(b"\xff,\xff,\xff", (), id="bytes"),
        pytest.param(b"", (), id="empty"),
    ],
)
def test_whom_a_message_concerns_is_found_in_any_body(body, repositories):
    assert parked(body=body).repositories == repositories
