"""The process entry: one functions-framework target per function; ``FUNCTION_TARGET`` chooses.

The HTTP signature of functions-framework is used with a thin decorator, since its CloudEvent signature can answer
neither 503 nor 204.
"""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from typing import TYPE_CHECKING

import functions_framework
import structlog
from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http

from functions.answers import RETRY_AFTER_S, Answer, Step, answer
from functions.errors import Retryable
from functions.handlers import collect_garbage as _collect_garbage
from functions.handlers import create_repository as _create_repository
from functions.handlers import delete_repository as _delete_repository
from functions.handlers import edit_repository as _edit_repository
from functions.handlers import handle_bucket_notification as _handle_bucket_notification
from functions.handlers import intake
from functions.handlers import publish_transaction as _publish_transaction
from functions.handlers import reconcile_bucket as _reconcile_bucket
from functions.handlers import resign_whitelist as _resign_whitelist
from functions.handlers import store_keys as _store_keys
from functions.handlers.cloud import Cloud
from functions.publishing.parked_messages import binary_headers
from functions.wiring import build_cloud, configure_logging

if TYPE_CHECKING:
    from flask import Request

Response = tuple[str, int] | tuple[str, int, dict[str, str]]

log = structlog.get_logger("cvmfs-cloud")


_wiring = threading.Lock()


@cache
def _wired() -> Cloud:
    configure_logging(os.environ)
    return build_cloud(os.environ)


def _cloud() -> Cloud:
    """The wired ports of this process; made once, at the first probe, so that a wrong setting keeps it unready."""
    with _wiring:
        return _wired()


def _view(step: Step, request: Request) -> Response:
    if request.method == "GET":
        if request.path.rstrip("/") not in {"/healthz", "/readyz"}:
            return "", 404
        _cloud()
        return "ok\n", 200
    if request.method != "POST":
        return "", 405
    started = time.monotonic()
    cloud = _cloud()
    event: CloudEvent | None = None
    body = _body(request)
    if body is None:
        _note(step, None, Answer(503, "broken-off", "the request broke off"), time.monotonic() - started)
        return "", 503
    try:
        event = from_http(dict(request.headers), body)
    except GenericException as err:
        ending = _park_unreadable(step, request, str(err), cloud)
    except Exception as err:  # noqa: BLE001 - the SDK lets through whatever its parts raise, and would again next time
        ending = _park_unreadable(step, request, type(err).__name__, cloud)
    else:
        ending = answer(step, event, cloud, bus=cloud.bus, clock=cloud.clock, retry_for_s=cloud.settings.retry_for_s)
    _note(step, event, ending, time.monotonic() - started)
    if ending.status == 503:
        return "", 503, {"Retry-After": str(RETRY_AFTER_S)}
    return "", ending.status


def _body(request: Request) -> bytes | None:
    """The body; None if the source died while it sent, and the message is RabbitMQ's again.

    The server takes what came of a body of known length for the whole, and raises errors of its own for one in chunks.
    """
    try:
        body = request.get_data()
    except Exception:  # noqa: BLE001
        return None
    return body if request.content_length in {None, len(body)} else None


def _park_unreadable(step: Step, request: Request, fault: str, cloud: Cloud) -> Answer:
    """A request that is no CloudEvent can never be handled; it is parked as it came."""
    headers = binary_headers(request.headers.items())
    try:
        cloud.bus.park(step.name, request.get_data(), reason=f"not a CloudEvent: {fault}", headers=headers)
    except Retryable as err:
        return Answer(503, err.code, str(err))
    return Answer(204, "event-refused", fault)


def _note(step: Step, event: CloudEvent | None, ending: Answer, seconds: float) -> None:
    note = log.info if ending.code == "done" else log.warning
    note(
        ending.code,
        step=step.name,
        id=None if event is None else event.get("id"),
        subject=None if event is None else event.get("subject"),
        trace=None if event is None else event.get("traceparent"),
        status=ending.status,
        reason=ending.reason or None,
        ms=round(seconds * 1000, 1),
    )


_STORE_KEYS = Step(_store_keys.STEP, _store_keys.store_keys)
_CREATE_REPOSITORY = Step(_create_repository.STEP, _create_repository.create_repository)
_HANDLE_BUCKET_NOTIFICATION = Step(intake.STEP, _handle_bucket_notification.handle_bucket_notification)
_PUBLISH_TRANSACTION = Step(_publish_transaction.STEP, _publish_transaction.publish_transaction)
_EDIT_REPOSITORY = Step(_edit_repository.STEP, _edit_repository.edit_repository)
_DELETE_REPOSITORY = Step(_delete_repository.STEP, _delete_repository.delete_repository)
_RESIGN_WHITELIST = Step(_resign_whitelist.STEP, _resign_whitelist.resign_whitelist)
_COLLECT_GARBAGE = Step(_collect_garbage.STEP, _collect_garbage.collect_garbage)
_RECONCILE_BUCKET = Step(_reconcile_bucket.STEP, _reconcile_bucket.reconcile_bucket)


@functions_framework.http
def store_keys(request: Request) -> Response:
    """repository.requested -> repository.keys-stored."""
    return _view(_STORE_KEYS, request)


@functions_framework.http
def create_repository(request: Request) -> Response:
    """repository.keys-stored -> repository.created."""
    return _view(_CREATE_REPOSITORY, request)


@functions_framework.http
def handle_bucket_notification(request: Request) -> Response:
    """A bucket notification -> change records, repository.changed."""
    return _view(_HANDLE_BUCKET_NOTIFICATION, request)


@functions_framework.http
def publish_transaction(request: Request) -> Response:
    """repository.changed -> repository.published."""
    return _view(_PUBLISH_TRANSACTION, request)


@functions_framework.http
def edit_repository(request: Request) -> Response:
    """tag, rollback, release, suspension, resumption, settings requested -> the fact."""
    return _view(_EDIT_REPOSITORY, request)


@functions_framework.http
def delete_repository(request: Request) -> Response:
    """deletion.requested -> repository.deleted."""
    return _view(_DELETE_REPOSITORY, request)


@functions_framework.http
def resign_whitelist(request: Request) -> Response:
    """A timer, renewal.requested -> whitelist.resigned."""
    return _view(_RESIGN_WHITELIST, request)


@functions_framework.http
def collect_garbage(request: Request) -> Response:
    """A timer, collection.requested -> garbage.collected."""
    return _view(_COLLECT_GARBAGE, request)


@functions_framework.http
def reconcile_bucket(request: Request) -> Response:
    """reconciliation.requested, or a timer -> notifications for what differs, bucket.reconciled."""
    return _view(_RECONCILE_BUCKET, request)
