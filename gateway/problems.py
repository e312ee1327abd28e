"""Errors as HTTP answers: one table, and bodies in the form of RFC 9457 that show no internals."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from events import EventError
from functions.errors import RepositoryUnknown, Retryable
from gateway.errors import BodyTooLargeError, TypeNotAcceptedError
from gateway.intake import ACCEPTED

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

log = structlog.get_logger("cvmfs-cloud")


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem body."""
    app.add_exception_handler(EventError, _event_malformed)
    app.add_exception_handler(TypeNotAcceptedError, _type_not_accepted)
    app.add_exception_handler(BodyTooLargeError, _body_too_large)
    app.add_exception_handler(RequestValidationError, _request_malformed)
    app.add_exception_handler(RepositoryUnknown, _unknown)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Retryable, _try_again)
    app.add_exception_handler(Exception, _try_again)


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> JSONResponse:
    """A problem: `code` for programs, `detail` for people, `members` for what else helps to correct the request."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail, **members}
    return JSONResponse(
        body, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=MEDIA_TYPE
    )


def _event_malformed(_request: Request, err: Exception) -> JSONResponse:
    faults = list(err.faults) if isinstance(err, EventError) else []
    return _problem(400, "event-malformed", "Nothing was published; correct every fault and send again.", faults=faults)


def _type_not_accepted(_request: Request, err: Exception) -> JSONResponse:
    faults = list(err.faults) if isinstance(err, TypeNotAcceptedError) else []
    detail = "Nothing was published; events of this type come from the service itself, or nobody knows them."
    return _problem(422, "type-not-accepted", detail, faults=faults, accepted=list(ACCEPTED))


def _body_too_large(_request: Request, err: Exception) -> JSONResponse:
    return _problem(413, "body-too-large", str(err))


def _request_malformed(_request: Request, err: Exception) -> JSONResponse:
    faults = err.errors() if isinstance(err, RequestValidationError) else []
    told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
    return _problem(422, "request-malformed", "Correct every fault and send again.", faults=told)


def _unknown(_request: Request, err: Exception) -> JSONResponse:
    code = err.code if isinstance(err, RepositoryUnknown) else RepositoryUnknown.code
    return _problem(404, code, str(err))


def _plain(_request: Request, err: Exception) -> JSONResponse:
    status = err.status_code if isinstance(err, HTTPException) else 500
    headers = err.headers if isinstance(err, HTTPException) else None
    phrase = HTTPStatus(status).phrase
    return _problem(status, phrase.lower().replace(" ", "-"), phrase, headers=headers)


def _try_again(request: Request, err: Exception) -> JSONResponse:
    """Answer 503 also where the error was not expected: the RabbitMQ source tries that again, and not a 500."""
    code = err.code if isinstance(err, Retryable) else "unexpected"
    log.warning(code, path=request.url.path, reason=str(err) if isinstance(err, Retryable) else type(err).__name__)
    detail = "The service cannot do this at the moment; send the same request again."
    return _problem(503, code, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
