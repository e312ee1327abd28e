from __future__ import annotations

import pytest

from events import RepositoryChanged, RepositoryCreated, RepositoryRefused, RepositoryRequested, read_event
from gateway.bodies import BODY_LIMIT
from tests.gateway_client import NOW, Gateway

MESSAGE = b"alice,8f3c-2c1e,alice.infn.it,https://iam.cloud.infn.it/,N"
CREATED = RepositoryCreated(
    repository="alice.infn.it",
    username="alice",
    subject="8f3c-2c1e",
    bucket="alice",
    url="https://rgw/cvmfs/alice.infn.it",
    revision=1,
    root_hash="0" * 40,
    public_key="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    reply_queue="cvmfs_reply",
)
REFUSED = RepositoryRefused(
    repository="bob.infn.it",
    username="alice",
    subject="8f3c-2c1e",
    code="repository-refused",
    reason="Not yours, alice.",
    reply_queue="my_reply",
)


@pytest.fixture
def gateway():
    return Gateway()


def test_a_comma_separated_request_becomes_the_event(gateway):
    answer = gateway.legacy_request(MESSAGE)
    assert (answer.status_code, answer.content) == (204, b"")
    (message,) = gateway.bus.messages("fn.store-keys")
    assert read_event(message.event) == RepositoryRequested(
        repository="alice.infn.it",
        username="alice",
        subject="8f3c-2c1e",
        issuer="https://iam.cloud.infn.it/",
        reply_queue="cvmfs_reply",
    )
    assert message.event["source"] == "/cvmfs-cloud/gateway"
    assert message.event["time"] == NOW.isoformat().replace("+00:00", "Z")


def test_a_redelivered_request_is_the_same_event(gateway):
    gateway.legacy_request(MESSAGE)
    gateway.legacy_request(MESSAGE)
    first, second = gateway.bus.published
    assert first["id"] == second["id"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(b"nonsense", "1 comma-separated fields", id="not five fields"),
        pytest.param(b"", "1 comma-separated fields", id="empty"),
        pytest.param(b"\xff\xfe", "not UTF-8", id="not UTF-8"),
        pytest.param(b"alice,8f3c,alice,https://iam,N", "data.repository", id="no repository name"),
    ],
)
def test_a_malformed_request_is_parked_as_it_came_with_the_reason(gateway, message, reason):
    assert gateway.legacy_request(message).status_code == 204
    (parked,) = gateway.parked("legacy-requests")
    assert parked.body == message
    assert not [name for name in parked.headers if name.startswith("ce-")], "else it were an event when it is redriven"
    assert reason in parked.headers["x-parked-reason"]
    assert gateway.bus.published == []


def test_a_request_too_long_to_read_is_parked_rather_than_delivered_for_ever(gateway):
    assert gateway.legacy_request(b"a" * (3 * BODY_LIMIT)).status_code == 204
    (parked,) = gateway.parked("legacy-requests")
    assert "only its beginning was kept" in parked.headers["x-parked-reason"]
    assert len(parked.body) == BODY_LIMIT + 1


def test_a_reason_never_grows_over_what_a_message_header_can_hold(gateway):
    gateway.legacy_request(b"alice,8f3c,alice.infn.it,https://iam," + b"N" * 500_000)
    (parked,) = gateway.parked("legacy-requests")
    assert parked.headers["x-parked-reason"].startswith("commonKey: is 'NNN")
    assert len(parked.headers["x-parked-reason"].encode()) < 2000


def test_an_event_on_the_queue_of_comma_separated_requests_is_parked_with_what_makes_it_one(gateway):
    assert gateway.legacy_request(MESSAGE, RepositoryRequested.TYPE).status_code == 204
    (parked,) = gateway.parked("legacy-requests")
    assert RepositoryRequested.TYPE in parked.headers["x-parked-reason"]
    assert (parked.headers["ce-type"], parked.headers["ce-specversion"]) == (RepositoryRequested.TYPE, "1.0")
    assert gateway.bus.published == []


@pytest.mark.parametrize("path", ["/legacy/requests", "/legacy/replies"])
def test_what_no_event_source_can_have_sent_is_refused_and_not_parked(gateway, path):
    assert gateway.request("POST", path, content=MESSAGE).status_code == 400
    assert gateway.bus.published == []
    assert gateway.parked("legacy-requests") == gateway.parked("legacy-replies") == []


@pytest.mark.parametrize("message", [MESSAGE, b"nonsense"], ids=["to be published", "to be parked"])
def test_with_the_broker_down_a_request_stays_on_its_queue(gateway, message):
    gateway.bus.available = False
    answer = gateway.legacy_request(message)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("event", "queue", "reply"),
    [
        pytest.param(CREATED, "cvmfs_reply", b"alice,8f3c-2c1e,alice.infn.it,Y,-", id="created"),
        pytest.param(REFUSED, "my_reply", b"alice,8f3c-2c1e,bob.infn.it,N,Not yours; alice.", id="refused"),
    ],
)
def test_the_outcome_is_replied_on_the_queue_that_was_asked_for(gateway, event, queue, reply):
    answer = gateway.legacy_reply(event)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [message.body for message in gateway.bus.messages(queue)] == [reply]


@pytest.mark.parametrize("event", [CREATED, REFUSED], ids=["created", "refused"])
def test_who_asked_for_no_reply_gets_none(gateway, event):
    gateway.bus.available = False
    assert gateway.legacy_reply(event.model_copy(update={"reply_queue": None})).status_code == 204


def test_an_outcome_that_cannot_be_read_is_parked(gateway):
    broken = CREATED.model_copy(update={"repository": "x"})
    assert gateway.legacy_reply(broken).status_code == 204
    (parked,) = gateway.parked("legacy-replies")
    assert "data.repository" in parked.headers["x-parked-reason"]
    assert parked.headers["ce-type"] == CREATED.TYPE
    assert b'"public_key"' in parked.body


def test_an_event_that_is_no_outcome_is_parked(gateway):
    assert gateway.legacy_reply(RepositoryChanged(repository="alice.infn.it", cause="1")).status_code == 204
    (parked,) = gateway.parked("legacy-replies")
    assert "not the outcome of a request" in parked.headers["x-parked-reason"]


@pytest.mark.parametrize("event", [CREATED, CREATED.model_copy(update={"repository": "x"})], ids=["good", "broken"])
def test_with_the_broker_down_a_reply_stays_on_its_queue(gateway, event):
    gateway.bus.available = False
    assert gateway.legacy_reply(event).status_code == 503


def test_a_reply_queue_that_does_not_exist_is_tried_again(gateway):
    missing = CREATED.model_copy(update={"reply_queue": "nobody_reply"})
    assert gateway.legacy_reply(missing).status_code == 503
