from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path

import pytest
from anyio import to_thread

from events import EVENT_CLASSES, TYPE_PREFIX, RepositoryRequested, SettingsRequested, Wish, read_event
from functions.errors import BrokerUnavailable
from gateway.bodies import BODY_LIMIT
from tests.gateway_client import NOW, REQUEST, Gateway, envelope

NEVER_S = 60
STRUCTURED = {"content-type": "application/cloudevents+json"}
SAMPLES = Path(__file__).parents[2] / "events" / "samples"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RECEIPT = {
    "id": "alice.infn.it/requested/8f3c-2c1e",
    "type": "it.infn.datacloud.cvmfs.repository.requested",
    "repository": "alice.infn.it",
    "status": "https://s3.example.org/cvmfs/alice.infn.it/.cvmfspublished",
}


@pytest.fixture
def gateway():
    return Gateway()


def binary_attributes():
    return {name: str(value) for name, value in envelope().items() if name != "data"}


MODES = {
    "structured": lambda gateway: gateway.structured(envelope()),
    "structured with data in base64": lambda gateway: gateway.structured(
        {**envelope(data=None), "data_base64": base64.b64encode(json.dumps(REQUEST).encode()).decode()}
    ),
    "binary": lambda gateway: gateway.binary(json.dumps(REQUEST).encode(), **binary_attributes()),
    "a batch of one": lambda gateway: gateway.batch([envelope()]),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_request_is_on_the_bus_when_202_is_answered(gateway, mode):
    answer = MODES[mode](gateway)
    assert (answer.status_code, answer.json()) == (202, {"accepted": [RECEIPT]})
    (message,) = gateway.bus.messages("fn.store-keys")
    assert read_event(message.event) == RepositoryRequested(**REQUEST)


def test_id_and_time_are_set_by_the_gateway_and_source_and_trace_are_kept(gateway):
    gateway.structured(envelope(time="1999-01-01T00:00:00Z", traceparent=TRACE, colour="blue"))
    (event,) = gateway.bus.published
    assert dict(event.get_attributes()) == {
        "specversion": "1.0",
        "type": RepositoryRequested.TYPE,
        "id": RECEIPT["id"],
        "source": "https://dashboard.example.org/",
        "subject": "alice.infn.it",
        "time": NOW.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "traceparent": TRACE,
    }


def test_percent_encoded_headers_of_the_binary_mode_are_decoded(gateway):
    answer = gateway.binary(json.dumps(REQUEST).encode(), **{**binary_attributes(), "subject": "alice%2Einfn.it"})
    assert answer.status_code == 202


def test_a_batch_is_published_in_its_order(gateway):
    requests = [{**REQUEST, "repository": f"{name}.infn.it"} for name in ("ann", "bob", "cat")]
    answer = gateway.batch([envelope(data) for data in requests])
    assert [accepted["repository"] for accepted in answer.json()["accepted"]] == [d["repository"] for d in requests]
    assert [event["subject"] for event in gateway.bus.published] == [d["repository"] for d in requests]


def test_an_empty_batch_is_fine_even_without_a_broker(gateway):
    gateway.bus.available = False
    answer = gateway.batch([])
    assert (answer.status_code, answer.json()) == (202, {"accepted": []})


def test_of_a_batch_with_one_malformed_event_nothing_is_published(gateway):
    bad = envelope({**REQUEST, "repository": "x"}, id=None)
    answer = gateway.batch([envelope(), bad, "nonsense", envelope(type="it.infn.datacloud.cvmfs.upload.refused")])
    assert answer.status_code == 400
    assert [fault.partition(":")[0] for fault in answer.json()["faults"]] == [
        "events[1].id",
        "events[1].data.repository",
        "events[2].body",
        "events[3].type",
    ]
    assert gateway.bus.published == []


@pytest.mark.parametrize(
    ("event", "faults"),
    [
        pytest.param(envelope(id=None), ["id"], id="no id"),
        pytest.param(envelope(type=None), ["type"], id="no type"),
        pytest.param(envelope(subject="\ud800"), ["subject"], id="half a character in an attribute"),
        pytest.param(envelope(type=7), ["type"], id="type is a number"),
        pytest.param(envelope(specversion="0.3"), ["specversion"], id="old specversion"),
        pytest.param(envelope(specversion=None, source=None), ["specversion", "source"], id="two attributes missing"),
        pytest.param(envelope(subject="bob.infn.it"), ["subject"], id="subject of another repository"),
        pytest.param(envelope(None), ["data"], id="no data"),
        pytest.param(
            envelope({}), ["data.repository", "data.username", "data.subject"], id="every missing field is named"
        ),
        pytest.param(
            envelope({**REQUEST, "reply_queue": "cvmfs"}), ["data.reply_queue"], id="reply to a queue of ours"
        ),
        pytest.param({**envelope(), "data_base64": ""}, ["data_base64"], id="data twice"),
        pytest.param({**envelope(None), "data_base64": "*"}, ["data_base64"], id="base64 that is none"),
        pytest.param({**envelope(None), "data_base64": "é"}, ["data_base64"], id="base64 that is not ASCII"),
        pytest.param([envelope()], ["body"], id="a list where one event is expected"),
    ],
)
def test_a_malformed_event_is_answered_400_with_every_fault(gateway, event, faults):
    answer = gateway.structured(event)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [fault.partition(":")[0] for fault in problem.pop("faults")] == faults
    assert problem == {
        "title": "Bad Request",
        "status": 400,
        "code": "event-malformed",
        "detail": "Nothing was published; correct every fault and send again.",
    }
    assert gateway.bus.published == []


@pytest.mark.parametrize(
    ("body", "headers", "fault"),
    [
        pytest.param(b"{}", {"content-type": "application/json"}, "content-type", id="plain JSON"),
        pytest.param(b"", {}, "content-type", id="nothing"),
        pytest.param(
            b"x", {"content-type": "application/cloudevents+avro", "ce-id": "1"}, "content-type", id="unknown format"
        ),
        pytest.param(b"{", {"content-type": "application/cloudevents+json"}, "body", id="broken JSON"),
        pytest.param(b"\xff", {"content-type": "application/cloudevents+json"}, "body", id="not UTF-8"),
        pytest.param(b"[" * 99_999, {"content-type": "application/cloudevents+json"}, "body", id="nested too deep"),
        pytest.param(b"{}", {"content-type": "application/cloudevents-batch+json"}, "body", id="batch is no list"),
        pytest.param(
            b"[" + b"1," * 1000 + b"1]",
            {"content-type": "application/cloudevents-batch+json"},
            "body",
            id="batch of too many events",
        ),
        pytest.param(b"{}", {"ce-id": "1"}, "type", id="binary mode without a type"),
    ],
)
def test_what_is_not_a_cloudevent_is_answered_400(gateway, body, headers, fault):
    answer = gateway.raw(body, headers)
    assert answer.status_code == 400
    assert [named.partition(":")[0] for named in answer.json()["faults"]] == [fault]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_a_number_that_json_cannot_write_is_not_passed_on(gateway, number):
    changes = {"repository": "alice.infn.it", "request": "r1", "changes": {"min_publish_interval_s": 0.5}}
    body = json.dumps(envelope(changes, type=SettingsRequested.TYPE)).encode().replace(b"0.5", number)
    answer = gateway.raw(body, {"content-type": "application/cloudevents+json"})
    assert answer.status_code == 400
    assert answer.json()["faults"][0].startswith("data.changes.min_publish_interval_s")
    assert gateway.bus.published == []


@pytest.mark.parametrize(
    "type_name", [*(known for known in EVENT_CLASSES if not known.endswith(".requested")), "org.example.other"]
)
def test_facts_that_only_the_functions_know_are_not_accepted_from_outside(gateway, type_name):
    answer = gateway.structured(envelope(type=type_name))
    assert answer.status_code == 422
    assert set(answer.json()["accepted"]) == {known for known in EVENT_CLASSES if known.endswith(".requested")}
    assert type_name in answer.json()["faults"][0]
    assert gateway.bus.published == []


def test_every_wish_is_accepted_from_outside(gateway):
    for wish in (known for known in EVENT_CLASSES.values() if issubclass(known, Wish)):
        data = json.loads((SAMPLES / f"{wish.TYPE.removeprefix(TYPE_PREFIX)}.json").read_text())["data"]
        answer = gateway.structured(envelope(data, type=wish.TYPE))
        assert answer.status_code == 202, answer.text
        assert read_event(gateway.bus.published[-1]) == wish.model_validate(data)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
def test_a_body_over_the_limit_is_refused(gateway, announced):
    body = json.dumps(envelope({**REQUEST, "more": "x" * BODY_LIMIT})).encode()
    content = body if announced else _streamed(body)
    headers = {"content-type": "application/cloudevents+json"}
    answer = gateway.request("POST", "/events", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert (f"has {len(body)} bytes" in answer.json()["detail"]) is announced, (
        "a length that was announced is not awaited"
    )
    assert gateway.bus.published == []


def test_a_body_of_exactly_the_limit_is_read(gateway):
    body = json.dumps(envelope()).encode()
    answer = gateway.raw(body.ljust(BODY_LIMIT), {"content-type": "application/cloudevents+json"})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(BrokerUnavailable("amqp://user:very-secret@rabbit: refused"), "broker-unavailable", id="down"),
        pytest.param(RuntimeError("very-secret"), "unexpected", id="anything nobody expected"),
    ],
)
def test_what_could_not_be_published_may_be_sent_again_and_the_answer_shows_no_internals(gateway, error, code):
    def fail(_events):
        raise error

    gateway.bus.publish = fail
    answer = gateway.structured(envelope())
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_answered_whatever_the_broker_does(gateway, path):
    gateway.bus.available = False
    answer = gateway.request("GET", path)
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_answered_while_every_thread_waits_for_the_broker(gateway, path):
    answered, silenced = threading.Event(), []

    async def probe_behind(requests):
        threads, all_wait, loop = (
            to_thread.current_default_thread_limiter(),
            asyncio.Event(),
            asyncio.get_running_loop(),
        )

        def silent(events):
            silenced.append(events)
            if len(silenced) == threads.total_tokens:
                loop.call_soon_threadsafe(all_wait.set)
            answered.wait(NEVER_S)

        gateway.bus.publish = silent
        async with gateway.client() as client:
            posts = [client.post("/events", json=envelope(), headers=STRUCTURED) for _ in requests]
            waiting = [asyncio.create_task(post) for post in posts]
            await all_wait.wait()
            try:
                return await asyncio.wait_for(client.get(path), 10)
            finally:
                answered.set()
                await asyncio.gather(*waiting)

    assert asyncio.run(probe_behind(range(50))).text == "ok\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/events", 405, "method-not-allowed"),
        ("GET", "/openapi.json", 404, "not-found"),
    ],
)
def test_other_errors_are_problems_too(gateway, method, path, status, code):
    answer = gateway.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def _streamed(body):
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]
