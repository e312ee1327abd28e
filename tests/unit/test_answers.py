"""How a handler's ending becomes an HTTP status, a parked message, or another try."""

from datetime import UTC, datetime, timedelta

import pytest
from cloudevents.http import CloudEvent

from events import EventError
from functions.adapters.memory import MemoryEventBus
from functions.answers import Answer, Step, answer, occurred_at
from functions.cvmfs.errors import CatalogError
from functions.errors import (
    BrokerUnavailable,
    KeysUnavailable,
    RepositoryRefused,
    RepositoryUnknown,
    StoreUnavailable,
    VersionMoved,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY_S = 24 * 3600


def event(age: timedelta = timedelta(0)) -> CloudEvent:
    attributes = {"type": "x", "source": "/x", "id": "1", "time": (NOW - age).isoformat()}
    return CloudEvent(attributes, {"repository": "alice.infn.it"})


def ending(raised: Exception | None, bus: MemoryEventBus, *, age: timedelta = timedelta(0)) -> Answer:
    def handle(_event: CloudEvent, _cloud: object) -> None:
        if raised is not None:
            raise raised

    return answer(Step("store-keys", handle), event(age), None, bus=bus, clock=lambda: NOW, retry_for_s=DAY_S)


@pytest.mark.parametrize(
    ("raised", "status", "parked"),
    [
        pytest.param(None, 204, False, id="done"),
        pytest.param(StoreUnavailable("S3 is down"), 503, False, id="the store is down"),
        pytest.param(KeysUnavailable("sealed"), 503, False, id="Vault is sealed"),
        pytest.param(BrokerUnavailable("gone"), 503, False, id="the broker is gone"),
        pytest.param(VersionMoved("lost"), 503, False, id="a swap was lost too often"),
        pytest.param(KeyError("a bug"), 503, False, id="something nobody expected"),
        pytest.param(RepositoryUnknown("no such repository"), 204, True, id="no such repository"),
        pytest.param(RepositoryRefused("taken"), 204, True, id="a request that cannot be granted"),
        pytest.param(EventError(["data.key: missing"]), 204, True, id="a malformed event"),
        pytest.param(CatalogError("not a catalog"), 204, True, id="a damaged repository"),
    ],
)
def test_an_ending_decides_the_answer(raised: Exception | None, status: int, parked: bool) -> None:
    bus = MemoryEventBus()
    assert ending(raised, bus).status == status
    assert bool(bus.parked("store-keys")) == parked


def test_a_parked_message_says_why_and_can_be_sent_again() -> None:
    bus = MemoryEventBus()
    ending(RepositoryUnknown("no such repository"), bus)
    (message,) = bus.parked("store-keys")
    assert message.headers["x-parked-reason"].startswith("no such repository")
    assert message.event["id"] == "1"


def test_what_cannot_be_parked_is_tried_again() -> None:
    bus = MemoryEventBus()
    bus.available = False
    assert ending(RepositoryUnknown("no such repository"), bus).status == 503


def test_an_old_event_is_given_up() -> None:
    bus = MemoryEventBus()
    assert ending(StoreUnavailable("S3 is down"), bus, age=timedelta(hours=23)).status == 503
    assert ending(StoreUnavailable("S3 is down"), bus, age=timedelta(hours=25)).status == 204
    assert "S3 is down" in bus.parked("store-keys")[0].headers["x-parked-reason"]


def test_the_text_of_an_unexpected_error_goes_nowhere() -> None:
    reason = ending(ValueError("amqp://user:secret@host"), MemoryEventBus()).reason
    assert "secret" not in reason
    assert reason.startswith("ValueError at test_answers.py:")


def test_a_notification_is_as_old_as_its_own_record() -> None:
    record = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-02-01T00:00:00Z",
        "s3": {"bucket": {"name": "alice"}, "object": {"key": "cvmfs/a", "sequencer": "61B2036B1827DC11"}},
    }
    wrapped = CloudEvent({"type": "x", "source": "/x", "id": "1", "time": NOW.isoformat()}, {"Records": [record]})
    assert occurred_at(wrapped, NOW) == datetime(2026, 2, 1, tzinfo=UTC)
