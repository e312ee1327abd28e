"""The journal of what became of each message, and how a message is named in it."""

from __future__ import annotations

import hashlib
import json
import os

from events.event import STRUCTURED
from events.types import RAW_MESSAGE


def identity(headers, body):
    """What names a message, whoever sees it: the event's type and id, or the hash of a body that is no event."""
    names = {name.lower(): value for name, value in headers.items()}
    if names.get("ce-type") in {None, RAW_MESSAGE}:
        return hashlib.sha256(body).hexdigest()[:32]
    return f"{names['ce-type']} {names['ce-id']}".encode("latin-1", "replace").decode("utf-8", "replace")


def identity_of_message(content_type, body):
    """The same name for a message as it is on its queue."""
    if not (content_type or "").startswith(STRUCTURED):
        return hashlib.sha256(body).hexdigest()[:32]
    event = json.loads(body)
    return identity({"ce-type": event["type"], "ce-id": event["id"]}, b"")


class Journal:
    """Lines of JSON, each written whole at once."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **line):
        os.write(self._file, json.dumps(line).encode() + b"\n")
