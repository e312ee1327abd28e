"""A source that dies in the middle of a POST: what has come of it must not be taken for the message."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
from flask import Request

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


def request(came: bytes, length: int | None = len(BODY)) -> Request:
    """A request as gunicorn hands it on: it says itself where its body ends, also if the connection did."""
    return Request(
        {
            **EVENT,
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


@pytest.mark.parametrize("came", [b"", BODY[:5], BODY[:-1]])
def test_a_request_that_broke_off_is_neither_handled_nor_parked(handled, came):
    step, got, world = handled
    assert main._view(step, request(came))[1] == 503
    assert got == []
    assert list(world.bus.parked(step.name)) == []
