"""CloudEvents out of HTTP requests: the three content modes of the CloudEvents HTTP binding 1.0.

The SDK's own reader fills in missing attributes and stops at the first fault; here an event is taken apart as it came,
so that ``Event.from_parts`` can name everything that is wrong with it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from events import EventError
from events.event import STRUCTURED

BATCH: Final = "application/cloudevents-batch+json"
_PREFIX: Final = "ce-"

BATCH_LIMIT: Final = 1000
"""Events in one batch, so that a small request cannot ask for a huge list of faults."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """The parts of an event as they came, unchecked; `place` is where it stood in a batch, else empty.

    `fault` says what is wrong with an event that could not even be taken apart.
    """

    attributes: Mapping[str, object]
    data: object
    place: str = ""
    fault: str = ""


def decode_events(headers: Mapping[str, str], body: bytes) -> list[ReceivedEvent]:
    """The events of a request: one in binary and structured mode, any number in a batch.

    `headers` has lower-case names. Raises EventError if the request is in none of the modes.
    """
    content_type = headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == STRUCTURED:
        return [_from_json(_json(body), "")]
    if media_type == BATCH:
        batch = _json(body)
        if not isinstance(batch, list):
            raise EventError(["body: is not a JSON list of events"])
        if len(batch) > BATCH_LIMIT:
            raise EventError([f"body: has {len(batch)} events, at most {BATCH_LIMIT} are taken at once"])
        return [_from_json(event, f"events[{index}].") for index, event in enumerate(batch)]
    attributes = binary_attributes(headers)
    if not attributes or media_type.startswith("application/cloudevents"):
        raise EventError(
            [f"content-type: is {content_type!r}, expected {STRUCTURED}, {BATCH}, or ce- headers beside the data"]
        )
    return [ReceivedEvent(attributes, body)]


def binary_attributes(headers: Mapping[str, str]) -> dict[str, object]:
    """The attributes that an event in binary mode carries as headers, percent-decoded."""
    return {
        name.removeprefix(_PREFIX): unquote(value, errors="replace")
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as err:
        raise EventError(["body: is not JSON"]) from err


def _from_json(event: object, place: str) -> ReceivedEvent:
    if not isinstance(event, Mapping):
        return ReceivedEvent({}, None, place, "body: is not a JSON object")
    attributes = {name: value for name, value in event.items() if name not in {"data", "data_base64"}}
    if "data_base64" not in event:
        return ReceivedEvent(attributes, event.get("data"), place)
    if "data" in event:
        return ReceivedEvent(attributes, None, place, "data_base64: stands beside data, expected one of them")
    try:
        data = base64.b64decode(str(event["data_base64"]), validate=True)
    except (binascii.Error, ValueError):
        return ReceivedEvent(attributes, None, place, "data_base64: is not base64")
    return ReceivedEvent(attributes, data, place)
