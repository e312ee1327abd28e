"""AMQP message to HTTP request, as the receive adapter of RabbitmqSource does it (eventing-rabbitmq 1.23).

====================================================  ============================================================
message                                               request
====================================================  ============================================================
content_type begins ``application/cloudevents+json``  the event in binary mode: ``ce-*`` headers, data as body
header ``ce-specversion`` or ``specversion``          headers become attributes and extensions, the body stays
anything else                                         an event of type ``dev.knative.rabbitmq.event`` around the
                                                      body; headers and routing key do not travel
====================================================  ============================================================

The AMQP property content_type is used only in the first and the last case; a binary event without a header
``content-type`` or ``ce-datacontenttype`` arrives without a Content-Type.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from events.event import STRUCTURED
from events.types import RAW_MESSAGE
from functions.local.runtime.errors import ConversionError
from functions.local.runtime.manifests import Source
from functions.local.runtime.messages import QueueMessage, Request

_SPEC_VERSIONS = frozenset({"1.0", "0.3"})
_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_NAME = re.compile(r"[a-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_JSON_TYPE = re.compile(r"[^/;]+/(?:json|[^/;]+\+json)", re.IGNORECASE)


def to_request(message: QueueMessage, source: Source, *, now: datetime, new_id: Callable[[], str]) -> Request:
    """The POST for a message; `now` (aware) and `new_id` serve messages that carry no time and no id.

    Raises ConversionError for what the adapter gives back without sending: a broken structured event, an extension
    name that is not of lower-case letters and digits, a value that HTTP cannot carry.
    """
    if (message.content_type or "").lower().startswith(STRUCTURED):
        headers, body = _structured(message.body)
    else:
        attributes = dict(_attributes(message.headers))
        if attributes.get("specversion") in _SPEC_VERSIONS:
            attributes.setdefault("source", event_source(source))
            headers, body = _binary_headers(attributes), message.body
        else:
            headers, body = _wrapped(message, source, now=now, new_id=new_id), message.body
    headers["Kn-Namespace"] = source.namespace
    return Request(path=source.path, headers=headers, body=body)


def event_source(source: Source) -> str:
    """The CloudEvents attribute ``source`` of events that name none."""
    return f"/apis/v1/namespaces/{source.namespace}/rabbitmqsources/{source.name}#{source.queue}"


def _structured(body: bytes) -> tuple[dict[str, str], bytes]:
    try:
        event = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise ConversionError(f"the structured event is not JSON: {err}") from err
    if not isinstance(event, dict):
        raise ConversionError("the structured event is no JSON object")
    if event.get("specversion") not in _SPEC_VERSIONS:
        raise ConversionError(f"specversion is {event.get('specversion')!r}, expected 1.0")
    data = _data(event)
    attributes = {name: _text(name, value) for name, value in event.items() if value is not None}
    return _binary_headers(attributes), data


def _data(event: dict[str, object]) -> bytes:
    """Take the data out of a structured event: base64, JSON as it stands, or the text of another media type."""
    content_type = event.get("datacontenttype") or "application/json"
    if "data_base64" in event:
        encoded = event.pop("data_base64")
        event.pop("data", None)
        try:
            return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else _no_text("data_base64")
        except binascii.Error as err:
            raise ConversionError(f"data_base64: {err}") from err
    if "data" not in event:
        return b""
    data = event.pop("data")
    if isinstance(content_type, str) and _JSON_TYPE.match(content_type):
        return _encoded(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    return _encoded(data) if isinstance(data, str) else _no_text(f"data of type {content_type}")


def _no_text(what: str) -> bytes:
    raise ConversionError(f"{what} is no text")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as err:
        raise ConversionError(f"data: {err}") from err


def _no_constant(name: str) -> object:
    raise ConversionError(f"{name} is not JSON")


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ConversionError(f"attribute {name} is neither text, number nor truth value")


def _attributes(headers: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The CloudEvents attributes among AMQP headers, by lower-case name without prefix."""
    for header, value in headers.items():
        if header in _TRACE_HEADERS:
            continue
        name = header.lower().removeprefix("ce-")
        if name.startswith("x-"):
            continue
        if isinstance(value, bytes):
            yield name, value.decode("utf-8", "replace")
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(message: QueueMessage, source: Source, *, now: datetime, new_id: Callable[[], str]) -> dict[str, str]:
    identity = message.message_id or new_id()
    try:
        time = now if message.timestamp is None else datetime.fromtimestamp(message.timestamp, UTC)
    except (OverflowError, ValueError, OSError) as err:
        raise ConversionError(f"timestamp {message.timestamp}: {err}") from err
    attributes = {
        "specversion": "1.0",
        "type": RAW_MESSAGE,
        "source": event_source(source),
        "id": identity,
        "subject": identity,
        "time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    if message.content_type:
        attributes["datacontenttype"] = message.content_type
    return _binary_headers(attributes)


def _binary_headers(attributes: Mapping[str, str]) -> dict[str, str]:
    headers = {}
    for name, value in attributes.items():
        if name in {"datacontenttype", "content-type"}:
            headers["Content-Type"] = _header_value(name, value)
        elif _NAME.fullmatch(name):
            headers[f"ce-{name}"] = _header_value(name, value)
        else:
            raise ConversionError(f"attribute name {name!r} is not of lower-case letters and digits")
    return headers


def _header_value(name: str, value: str) -> str:
    """The UTF-8 bytes of a value as the Latin-1 text that Python's HTTP client writes unchanged."""
    if _CONTROL.search(value):
        raise ConversionError(f"attribute {name} holds a control character")
    try:
        return value.encode().decode("latin-1")
    except UnicodeEncodeError as err:
        raise ConversionError(f"attribute {name}: {err}") from err
