"""Request bodies, read up to a limit."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Request

from gateway.errors import BodyTooLargeError

BODY_LIMIT: Final = 1 << 20
"""Bytes of the longest body that is read: the size that CloudEvents producers should stay far below."""


async def _within_limit(request: Request) -> bytes:
    """Read the body; raises BodyTooLargeError as soon as it is known to be too long."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > BODY_LIMIT:
        raise BodyTooLargeError(f"The body has {announced} bytes, at most {BODY_LIMIT} are read.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise BodyTooLargeError(f"The body has more than {BODY_LIMIT} bytes, which is all that is read.")
    return bytes(body)


async def _beginning(request: Request) -> bytes:
    """Read the body to its end, but keep no more than one byte over the limit."""
    body = bytearray()
    async for piece in request.stream():
        body += piece[: BODY_LIMIT + 1 - len(body)]
    return bytes(body)


Body = Annotated[bytes, Depends(_within_limit)]
"""A body within the limit."""

Message = Annotated[bytes, Depends(_beginning)]
"""A message from a queue, which must not be refused for its length; cut to one byte over the limit."""
