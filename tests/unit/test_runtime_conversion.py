"""AMQP message to CloudEvent over HTTP, row by row as the real adapter was seen to do it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent, from_http
from hypothesis import given
from hypothesis import strategies as st

from events.event import STRUCTURED
from functions.local.runtime.conversion import to_request
from functions.local.runtime.errors import ConversionError
from functions.local.runtime.manifests import Source
from functions.local.runtime.messages import QueueMessage, Request

NOW = datetime(2025, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
SOURCE = Source(
    name="uploads",
    namespace="cvmfs-cloud",
    queue="fn.step",
    predeclared=True,
    sink_kind="Service",
    sink="x",
    path="/in",
)
ORIGIN = "/apis/v1/namespaces/cvmfs-cloud/rabbitmqsources/uploads#fn.step"
STEM = {"specversion": "1.0", "type": "t", "source": "/s", "id": "1"}


def converted(message: QueueMessage) -> Request:
    return to_request(message, SOURCE, now=NOW, new_id=lambda: "fresh-id")


def structured(**event: object) -> QueueMessage:
    return QueueMessage(json.dumps(event).encode(), content_type=STRUCTURED)


BINARY = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/s", "ce-id": "1"}
PLAIN = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/s", "ce-id": "1", "Kn-Namespace": "cvmfs-cloud"}


@pytest.mark.parametrize(
    ("message", "headers", "body"),
    [
        pytest.param(
            structured(**STEM, subject="a.b", data={"x": [1, 2.5, None, "é"]}),
            {**PLAIN, "ce-subject": "a.b"},
            '{"x":[1,2.5,null,"é"]}'.encode(),
            id="a structured event is sent in binary mode, and without datacontenttype its data is JSON",
        ),
        pytest.param(
            QueueMessage(json.dumps(STEM).encode(), content_type=STRUCTURED + "; charset=utf-8"),
            PLAIN,
            b"",
            id="a structured event may name its charset and have no data",
        ),
        pytest.param(
            structured(**STEM, datacontenttype="text/plain", data="a\nb"),
            {**PLAIN, "Content-Type": "text/plain"},
            b"a\nb",
            id="data of a media type that is not JSON is the text itself",
        ),
        pytest.param(
            structured(**STEM, datacontenttype="application/vnd.x+json", data="a"),
            {**PLAIN, "Content-Type": "application/vnd.x+json"},
            b'"a"',
            id="a +json type is JSON",
        ),
        pytest.param(
            structured(**STEM, data_base64=base64.b64encode(b"\x00\xff").decode()),
            PLAIN,
            b"\x00\xff",
            id="data_base64 is decoded",
        ),
        pytest.param(
            structured(**STEM, number=7, flag=True, absent=None),
            {**PLAIN, "ce-number": "7", "ce-flag": "true"},
            b"",
            id="numbers and truth values become text, null is absent",
        ),
        pytest.param(
            structured(**STEM, subject="Zürich"),
            {**PLAIN, "ce-subject": "ZÃ¼rich"},
            b"",
            id="text that is not ASCII travels as its UTF-8 bytes",
        ),
        pytest.param(
            QueueMessage(b"body", content_type="text/plain", headers=BINARY),
            PLAIN,
            b"body",
            id="a binary event loses a content type that is only an AMQP property",
        ),
        pytest.param(
            QueueMessage(b"body", headers={**BINARY, "content-type": "text/plain"}),
            {**PLAIN, "Content-Type": "text/plain"},
            b"body",
            id="a binary event keeps a content type that is an AMQP header",
        ),
        pytest.param(
            QueueMessage(b"body", headers={**BINARY, "ce-datacontenttype": "text/plain"}),
            {**PLAIN, "Content-Type": "text/plain"},
            b"body",
            id="a binary event keeps ce-datacontenttype",
        ),
        pytest.param(
            QueueMessage(b"", headers={"CE-SpecVersion": "1.0", "Ce-Type": "t", "ce-source": "/s", "ce-id": "1"}),
            PLAIN,
            b"",
            id="names of headers are compared without regard to case",
        ),
        pytest.param(
            QueueMessage(b"", headers={"specversion": "1.0", "type": "t", "source": "/s", "id": "1"}),
            PLAIN,
            b"",
            id="the bare attribute names work too",
        ),
        pytest.param(
            QueueMessage(b"", headers={"ce-specversion": "1.0", "ce-type": "t", "ce-id": "1"}),
            {**PLAIN, "ce-source": ORIGIN},
            b"",
            id="a missing source is filled in",
        ),
        pytest.param(
            QueueMessage(b"", headers={**BINARY, "x-death": [{"count": 1}], "X-Other": "1", "traceparent": "00-1"}),
            PLAIN,
            b"",
            id="x- headers and the trace context do not travel",
        ),
        pytest.param(
            QueueMessage(b"", headers={**BINARY, "tenant": b"infn", "count": 3, "flag": False}),
            {**PLAIN, "ce-tenant": "infn", "ce-count": "3", "ce-flag": "false"},
            b"",
            id="other headers become extensions",
        ),
        pytest.param(
            QueueMessage(b'{"Records":[]}'),
            {
                "ce-specversion": "1.0",
                "ce-type": "dev.knative.rabbitmq.event",
                "ce-source": ORIGIN,
                "ce-id": "fresh-id",
                "ce-subject": "fresh-id",
                "ce-time": "2025-03-01T12:30:15.250000Z",
                "Kn-Namespace": "cvmfs-cloud",
            },
            b'{"Records":[]}',
            id="a bucket notification, without any property, is wrapped without a content type",
        ),
        pytest.param(
            QueueMessage(
                b"a,b", content_type="text/csv", headers={"h": "1"}, message_id="m-1", timestamp=1_700_000_000
            ),
            {
                "ce-specversion": "1.0",
                "ce-type": "dev.knative.rabbitmq.event",
                "ce-source": ORIGIN,
                "ce-id": "m-1",
                "ce-subject": "m-1",
                "ce-time": "2023-11-14T22:13:20Z",
                "Content-Type": "text/csv",
                "Kn-Namespace": "cvmfs-cloud",
            },
            b"a,b",
            id="a wrapped message keeps id, time and content type, not its headers",
        ),
        pytest.param(
            QueueMessage(b"", headers={"cloudEvents:specversion": "1.0", "cloudEvents:id": "1"}, message_id="m"),
            {
                "ce-specversion": "1.0",
                "ce-type": "dev.knative.rabbitmq.event",
                "ce-source": ORIGIN,
                "ce-id": "m",
                "ce-subject": "m",
                "ce-time": "2025-03-01T12:30:15.250000Z",
                "Kn-Namespace": "cvmfs-cloud",
            },
            b"",
            id="the AMQP 1.0 prefix is not recognised: wrapped",
        ),
    ],
)
def test_a_message_becomes_the_request_that_the_real_adapter_sends(message, headers, body):
    request = converted(message)
    assert (request.headers, request.body) == (headers, body)
    assert (request.method, request.path) == ("POST", "/in")


def test_an_unknown_spec_version_in_a_header_makes_a_plain_message():
    request = converted(QueueMessage(b"x", headers={"ce-specversion": "2.0", "ce-id": "1"}))
    assert request.headers["ce-type"] == "dev.knative.rabbitmq.event"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(QueueMessage(b"{", content_type=STRUCTURED), id="not JSON"),
        pytest.param(QueueMessage(b"\xff", content_type=STRUCTURED), id="not UTF-8"),
        pytest.param(QueueMessage(b"[" * 100_000, content_type=STRUCTURED), id="nested too deep"),
        pytest.param(QueueMessage(b"[]", content_type=STRUCTURED), id="no object"),
        pytest.param(QueueMessage(b'{"id":"1"}', content_type=STRUCTURED), id="no spec version"),
        pytest.param(structured(**{**STEM, "specversion": "9"}), id="an unknown spec version"),
        pytest.param(QueueMessage(b'{"specversion":"1.0","data":NaN}', content_type=STRUCTURED), id="not a number"),
        pytest.param(structured(**STEM, data_base64="*"), id="data_base64 that is none"),
        pytest.param(structured(**STEM, data_base64=1), id="data_base64 that is no text"),
        pytest.param(structured(**STEM, datacontenttype="text/plain", data={"a": 1}), id="an object as text"),
        pytest.param(structured(**STEM, data="\ud800"), id="data with half a character"),
        pytest.param(structured(**STEM, my_name="1"), id="a name with an underscore"),
        pytest.param(structured(**STEM, nested={"a": 1}), id="an attribute that is an object"),
        pytest.param(structured(**{**STEM, "id": "a\r\nX-Evil: 1"}), id="a line break in an attribute"),
        pytest.param(structured(**{**STEM, "id": "\ud800"}), id="half a character in an attribute"),
        pytest.param(QueueMessage(b"", headers={**BINARY, "my_header": "1"}), id="a header with an underscore"),
        pytest.param(QueueMessage(b"", timestamp=2**63), id="a time beyond all calendars"),
    ],
)
def test_what_cannot_be_converted_is_an_error_and_nothing_else(message):
    with pytest.raises(ConversionError):
        converted(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)


@given(
    data=st.dictionaries(st.text(), JSON, min_size=1),
    extension=st.from_regex(r"[a-z][a-z0-9]{0,18}", fullmatch=True),
    value=VALUES,
    subject=VALUES,
)
def test_an_event_published_in_structured_mode_arrives_as_it_was(data, extension, value, subject):
    attributes = {"type": "t", "source": "/s", "id": "1", "subject": subject, "datacontenttype": "application/json"}
    if extension not in {*attributes, "specversion", "data", "dataschema", "time"}:
        attributes[extension] = value
    event = CloudEvent(attributes, data)
    headers, body = to_structured(event)
    request = converted(QueueMessage(bytes(body), content_type=headers["content-type"]))
    arrived = from_http(request.headers, request.body)
    assert arrived.get_data() == data
    assert {name: arrived[name] for name in attributes} == attributes
    assert arrived["time"] == event["time"]


@given(
    body=st.binary(),
    content_type=st.none() | st.text(),
    headers=st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.binary() | st.booleans()),
    message_id=st.none() | st.text(),
    timestamp=st.none() | st.integers(0, 2**64 - 1),
)
def test_whatever_is_on_the_queue_becomes_a_request_that_http_can_carry_or_a_conversion_error(
    body, content_type, headers, message_id, timestamp
):
    message = QueueMessage(body, content_type, headers, message_id, timestamp)
    try:
        request = converted(message)
    except ConversionError:
        return
    for name, value in request.headers.items():
        assert name.isascii()
        assert not set("\r\n\0") & set(value.encode("latin-1").decode("latin-1"))
