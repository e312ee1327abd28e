"""Events sent to a gateway over HTTP, and what its answers mean."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from events import SuspensionRequested
from functions.adapters.gateway_client import GatewayClient
from functions.errors import EventRefused, GatewayUnavailable

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVENTS = [
    SuspensionRequested(repository="alice.infn.it", request=name).to_cloudevent(source="/test", time=NOON)
    for name in ("one", "two")
]


@contextmanager
def gateway(status, body):
    """A server that answers every POST the same, and what it was sent."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["content-length"])
            seen.append((self.path, self.headers["content-type"], json.loads(self.rfile.read(length))))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield GatewayClient(f"http://127.0.0.1:{server.server_port}/"), seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_events_travel_together_and_are_kept_when_it_returns():
    with gateway(202, b"{}") as (client, seen):
        client.send(EVENTS)
    ((path, content_type, batch),) = seen
    assert (path, content_type) == ("/events", "application/cloudevents-batch+json")
    assert [event["id"] for event in batch] == [event["id"] for event in EVENTS]


PROBLEM = json.dumps({"detail": "Nothing was published.", "faults": ["events[1].data.request: no"]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        pytest.param(400, PROBLEM, EventRefused, r"Nothing was published.; events\[1\]", id="malformed"),
        pytest.param(403, b"<html>", EventRefused, "answered 403$", id="no problem body"),
        pytest.param(503, PROBLEM, GatewayUnavailable, "503: Nothing was published", id="broker down"),
    ],
)
def test_an_answer_says_whether_to_correct_or_to_wait(status, body, error, told):
    with gateway(status, body) as (client, seen), pytest.raises(error, match=told):
        client.send(EVENTS)
    assert len(seen) == 1


def test_a_gateway_that_is_down_is_told():
    with gateway(202, b"") as (client, _):
        pass
    with pytest.raises(GatewayUnavailable):
        client.send(EVENTS)
