"""The endpoints: decode, one call, encode. Those that block on the bus are plain functions, which run in threads."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from cloudevents.http import CloudEvent
from fastapi import APIRouter, Response

from events import (
    EventError,
    RepositoryCreated,
    RepositoryRefused,
    reply_to_created,
    reply_to_refused,
)
from events.registry import event_class
from events.types import RAW_MESSAGE
from functions.ports import EventBus
from functions.publishing.parked_messages import binary_headers
from functions.settings import Settings
from gateway.bodies import BODY_LIMIT, Body, Message
from gateway.decoding import binary_attributes, decode_events
from gateway.dependencies import BusOf, ClockOf, HeadersOf, SettingsOf
from gateway.intake import admit, from_legacy

LEGACY_REQUESTS = "legacy-requests"
LEGACY_REPLIES = "legacy-replies"

log = structlog.get_logger("cvmfs-cloud")
router = APIRouter()


@router.get("/healthz")
@router.get("/readyz")
async def health() -> Response:
    """Answer that this process serves; a broker that is down shows in the answers to events.

    The one coroutine: it needs no thread, which all may wait for a broker that is silent.
    """
    return Response("ok\n", media_type="text/plain")


@router.post("/events", status_code=202)
def post_events(headers: HeadersOf, body: Body, bus: BusOf, settings: SettingsOf, clock: ClockOf) -> dict[str, object]:
    """Publish events from outside; answers 202 when RabbitMQ has confirmed all of them."""
    admitted = admit(decode_events(headers, body), clock())
    if admitted:
        bus.publish(admitted)
    for event in admitted:
        log.info("accepted", id=event["id"], type=event["type"], source=event["source"])
    return {"accepted": [_receipt(event, settings) for event in admitted]}


@router.post("/legacy/requests", status_code=204)
def legacy_request(headers: HeadersOf, body: Message, bus: BusOf, settings: SettingsOf, clock: ClockOf) -> None:
    """Translate a comma-separated request from the queue ``cvmfs``; one that cannot be is parked."""
    type_name = _type_of_delivery(headers)
    try:
        _check_raw(type_name)
        event = from_legacy(_whole(body), settings.repository_domain, clock())
    except EventError as err:
        # What the source had wrapped is redriven as the plain message that it was; anything else is an event.
        kept = {} if type_name == RAW_MESSAGE else binary_headers(headers.items())
        _park(bus, LEGACY_REQUESTS, body, err, headers=kept)
        return
    bus.publish([event])
    log.info("accepted", id=event["id"], type=event["type"], source=event["source"])


@router.post("/legacy/replies", status_code=204)
def legacy_reply(headers: HeadersOf, body: Message, bus: BusOf) -> None:
    """Reply to whoever asked in the older form; requests in any other form have no reply queue."""
    type_name = _type_of_delivery(headers)
    try:
        queue, reply = _reply(type_name, headers, _whole(body))
    except EventError as err:
        _park(bus, LEGACY_REPLIES, body, err, headers=binary_headers(headers.items()))
        return
    if queue is not None:
        bus.reply(queue, reply)
        log.info("replied", queue=queue, id=headers.get("ce-id"))


def _receipt(event: CloudEvent, settings: Settings) -> dict[str, str]:
    """What the sender may remember; `status` is the manifest, which can be read once the repository is there."""
    url = f"{settings.repository_url.rstrip('/')}/{event['subject']}/.cvmfspublished"
    return {"id": event["id"], "type": event["type"], "repository": event["subject"], "status": url}


def _type_of_delivery(headers: Mapping[str, str]) -> str:
    """The type of what an event source delivers; raises EventError where no event source can have sent it."""
    type_name = headers.get("ce-type")
    if not type_name:
        raise EventError(["ce-type: is missing; messages of a queue come as CloudEvents in binary mode"])
    return type_name


def _check_raw(type_name: str) -> None:
    if type_name != RAW_MESSAGE:
        raise EventError([f"type: is {type_name!r}, expected a comma-separated message on this queue"])


def _whole(body: bytes) -> bytes:
    if len(body) > BODY_LIMIT:
        raise EventError([f"body: has more than {BODY_LIMIT} bytes; only its beginning was kept"])
    return body


def _reply(type_name: str, headers: Mapping[str, str], body: bytes) -> tuple[str | None, bytes]:
    event = event_class(type_name).from_parts(binary_attributes(headers), body)
    match event:
        case RepositoryCreated():
            return event.reply_queue, reply_to_created(event)
        case RepositoryRefused():
            return event.reply_queue, reply_to_refused(event)
        case _:
            raise EventError([f"type: is {type_name!r}, which is not the outcome of a request"])


def _park(bus: EventBus, step: str, body: bytes, err: EventError, *, headers: Mapping[str, str]) -> None:
    bus.park(step, body, reason=str(err), headers=headers)
    log.warning("parked", step=step, reason=str(err))
