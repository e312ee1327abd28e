"""Timers of the local runtime: when they are due, what they post, and what becomes of an answer."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import yaml
from cloudevents.http import from_http

from functions.handlers.timers import is_timer
from functions.local.runtime.errors import ManifestError, SinkError
from functions.local.runtime.manifests import Manifests, Timer
from functions.local.runtime.messages import Answer
from functions.local.runtime.schedules import next_time
from functions.local.runtime.timer import RETRIES, EventTimer, ping_request
from tests.runtime_toys import calls, toy_instances, toy_manifests, wait_until

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
EVERY_SECOND = Timer(name="tick", namespace="cvmfs-cloud", schedule="* * * * * *", sink_kind="Service", sink="toy")


class Answering:
    """A sink that gives the answers it was told to, the last one for ever."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.requests = []
        self.lock = threading.Lock()

    def send(self, request):
        with self.lock:
            self.requests.append(request)
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:
            raise SinkError("nobody is there")
        return Answer(status)


def ping_source(**spec: object) -> dict[str, object]:
    sink = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "toy"}}
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "PingSource",
        "metadata": {"name": "tick"},
        "spec": {"schedule": "*/5 * * * *", "sink": sink, **spec},
    }


def loaded(tmp_path, **spec: object) -> Timer:
    folder = toy_manifests(tmp_path / "m", vhost="/", ttl_ms=1000)
    (folder / "tick.yaml").write_text(yaml.safe_dump(ping_source(**spec)))
    return Manifests.load(folder).timers["tick"]


@pytest.mark.parametrize(
    ("schedule", "timezone", "due"),
    [
        ("*/5 * * * *", "UTC", datetime(2026, 3, 1, 12, 35, tzinfo=UTC)),
        ("30 12 * * *", "UTC", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
        ("*/20 * * * * *", "UTC", datetime(2026, 3, 1, 12, 30, 20, tzinfo=UTC)),
        ("0 3 * * *", "Europe/Rome", datetime(2026, 3, 2, 2, 0, tzinfo=UTC)),
    ],
    ids=["every five minutes", "this minute has begun", "seconds come first", "local time"],
)
def test_a_schedule_says_when_it_is_due_next(schedule, timezone, due):
    assert next_time(schedule, timezone, NOW) == due


@pytest.mark.parametrize(
    "spec",
    [
        {"schedule": "*/5 * * *"},
        {"schedule": "61 * * * *"},
        {"schedule": "0 0 30 2 *"},
        {"timezone": "Mars/Olympus"},
        {"sink": {}},
    ],
)
def test_a_timer_that_cannot_run_is_told_when_it_is_read(tmp_path, spec):
    with pytest.raises(ManifestError, match=r"tick\.yaml: Timer tick"):
        loaded(tmp_path, **spec)


def test_a_timer_to_nobody_is_told(tmp_path):
    with pytest.raises(ManifestError, match="timer tick sends to Service other"):
        loaded(tmp_path, sink={"ref": {"kind": "Service", "name": "other"}})


def test_what_is_posted_is_the_event_of_a_pingsource(tmp_path):
    timer = loaded(
        tmp_path,
        contentType="application/json",
        data='{"deep": true}',
        ceOverrides={"extensions": {"reason": "night"}},
    )
    request = ping_request(timer, now=NOW, identity="1")
    event = from_http(dict(request.headers), request.body)
    assert is_timer(event)
    assert event["source"] == "/apis/v1/namespaces/default/pingsources/tick"
    assert (event["id"], event["time"], event["reason"]) == ("1", "2026-03-01T12:30:15Z", "night")
    assert event.get_data() == {"deep": True}


def test_binary_data_and_no_data_are_posted_as_they_are(tmp_path):
    timer = loaded(tmp_path, contentType="application/octet-stream", dataBase64="AP8=")
    assert ping_request(timer, now=NOW, identity="1").body == b"\x00\xff"
    bare = ping_request(EVERY_SECOND, now=NOW, identity="1")
    assert bare.body == b""
    assert is_timer(from_http(dict(bare.headers), bare.body))


def running(sink, clock=None):
    timer = EventTimer(EVERY_SECOND, sink, **({"clock": clock} if clock else {}))
    timer.start()
    return timer


def test_every_tick_is_an_event_of_its_own():
    sink = Answering(204)
    timer = running(sink)
    try:
        wait_until(lambda: timer.status().sent >= 2)
    finally:
        timer.stop()
    assert len({request.headers["ce-id"] for request in sink.requests}) == len(sink.requests)
    posts = len(sink.requests)
    assert not timer._thread.is_alive()
    assert posts == timer.status().sent


def test_an_answer_that_asks_for_patience_is_tried_again_with_the_same_event():
    sink = Answering(503, None, 204)
    timer = running(sink)
    try:
        wait_until(lambda: timer.status().sent)
    finally:
        timer.stop()
    first = sink.requests[0].headers["ce-id"]
    assert sum(request.headers["ce-id"] == first for request in sink.requests) >= 3
    assert timer.status().failed == 0


@pytest.mark.parametrize(("status", "tries"), [(500, 1), (503, 1 + RETRIES)])
def test_a_post_that_is_refused_is_counted_and_the_next_one_comes(status, tries):
    sink = Answering(*[status] * tries, 204)
    timer = running(sink)
    try:
        wait_until(lambda: timer.status().sent)
    finally:
        timer.stop()
    assert timer.status().failed >= 1


def test_a_timer_can_be_rung_before_its_time():
    sink = Answering(204)
    timer = EventTimer(EVERY_SECOND.model_copy(update={"schedule": "0 0 1 1 *"}), sink)
    timer.start()
    timer.ring()
    try:
        wait_until(lambda: timer.status().sent == 1)
    finally:
        timer.stop()


def test_a_tick_starts_its_service_from_zero(tmp_path):
    instances = toy_instances(tmp_path)
    instances.start()
    timer = running(instances)
    try:
        wait_until(lambda: calls(tmp_path))
        assert instances.status().started == 1
    finally:
        timer.stop()
        instances.stop(grace_s=5)
