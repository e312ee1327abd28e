"""A source that dies in the middle of a POST, and requests that are no event: nothing is made of either."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
from flask import Request
from gunicorn.http.body import Body as GunicornBody
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import IterUnreader

from functions import main
from functions.answers import Step
from tests.world import World

EVENT = {
    "HTTP_CE_SPECVERSION": "1.0",
    "HTTP_CE_ID": "1",
    "HTTP_CE_TYPE": "dev.knative.rabbitmq.event",
    "HTTP_CE_SOURCE": "/rabbitmq",
}
BODY = json.dumps({"Records": []}).encode()


def request(came: bytes, length: int | None = len(BODY), *, headers: dict[str, str] | None = None) -> Request:
    """A request as gunicorn hands it on: it says itself where its body ends, also if the connection did."""
    return Request(
        {
            **(EVENT if headers is None else headers),
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "SERVER_NAME": "function",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            **({"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}),
            "wsgi.input": io.BytesIO(came),
            "wsgi.input_terminated": True,
        }
    )


@pytest.fixture
def handled(monkeypatch):
    """What the handler got."""
    world, got = World(), []
    cloud = SimpleNamespace(bus=world.bus, clock=world.clock, settings=world.settings)
    monkeypatch.setattr(main, "_cloud", lambda: cloud)
    monkeypatch.setattr(main, "log", SimpleNamespace(info=lambda *_, **__: None, warning=lambda *_, **__: None))
    yield Step("handle-bucket-notification", lambda event, _: got.append(event)), got, world
    world.close()


@pytest.mark.parametrize("length", [len(BODY), None])
def test_a_whole_request_is_handled_also_one_in_chunks(handled, length):
    step, got, _ = handled
    assert main._view(step, request(BODY, length))[1] == 204
    assert [event.get_data() for event in got] == [{"Records": []}]


@pytest.mark.parametrize("came", [b"", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n"])
def test_a_request_in_chunks_that_broke_off_is_tried_again(handled, came):
    step, got, world = handled
    sender = SimpleNamespace(method="POST", headers=[("TRANSFER-ENCODING", "chunked")])
    unread = IterUnreader([came])
    broken = request(b"", None)
    broken.environ["wsgi.input"] = GunicornBody(ChunkedReader(sender, unread))
    assert main._view(step, broken)[1] == 503
    assert got == []
    assert list(world.bus.parked(step.name)) == []


@pytest.mark.parametrize("came", [b"", BODY[:5], BODY[:-1]])
def test_a_request_that_broke_off_is_neither_handled_nor_parked(handled, came):
    step, got, world = handled
    assert main._view(step, request(came))[1] == 503
    assert got == []
    assert list(world.bus.parked(step.name)) == []


JSON = {"CONTENT_TYPE": "application/cloudevents+json"}
NOT_READABLE = {
    "a header of RabbitMQ by the name of extensions": ({**EVENT, "HTTP_CE_EXTENSIONS": "a"}, BODY),
    "extensions that are a number": (
        JSON,
        b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "extensions": 5}',
    ),
    "no source": (JSON, b'{"specversion": "1.0", "id": "1", "type": "t", "source": null}'),
    "a version that is a list": (JSON, b'{"specversion": []}'),
    "nested too deep": (JSON, b"[" * 100_000),
    "not Unicode": (JSON, b"\xff\xfe\x00"),
    "no event at all": ({}, b"hello"),
}


@pytest.mark.parametrize("case", NOT_READABLE)
def test_what_cannot_be_read_as_an_event_is_parked_as_it_came(handled, case):
    step, got, world = handled
    headers, body = NOT_READABLE[case]
    assert main._view(step, request(body, len(body), headers=headers))[1] == 204
    assert got == []
    (parked,) = world.bus.parked(step.name)
    assert parked.body == body
    assert parked.headers["x-parked-reason"].startswith("not a CloudEvent: ")
