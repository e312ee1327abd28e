"""The gateway of a service, as its clients see it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import urllib3
from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent

from functions.adapters.http import told
from functions.errors import EventRefused, GatewayUnavailable

BATCH = "application/cloudevents-batch+json"
TIMEOUT_S = 60


class GatewayRefused(EventRefused):
    """The gateway does not take these events, or it is no gateway."""

    hint = "Nothing was asked for. Is this the gateway of the service?"


class GatewayClient:
    """Sends events to ``POST <url>/events``, all of them or none."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/events"
        # Not tried again here; whoever does may send the same events, since their ids make that safe.
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=TIMEOUT_S), retries=False)

    def send(self, events: Sequence[CloudEvent]) -> None:
        """Return when the gateway has accepted the events; raises GatewayRefused with reasons, GatewayUnavailable."""
        body = json.dumps([json.loads(to_structured(event)[1]) for event in events]).encode()
        try:
            answer = self._http.request("POST", self._url, body=body, headers={"content-type": BATCH})
        except urllib3.exceptions.HTTPError as err:
            raise GatewayUnavailable(f"{self._url}: {told(err)}") from err
        if answer.status == 202:
            return
        problem = _problem(answer.data)
        if 400 <= answer.status < 500:
            raise GatewayRefused(f"{self._url} answered {answer.status}{problem}")
        raise GatewayUnavailable(f"{self._url} answered {answer.status}{problem}")


def _problem(body: bytes) -> str:
    """What a problem body (RFC 9457) says after the status; nothing for any other, which no gateway sends."""
    try:
        problem = json.loads(body)
        faults = problem.get("faults") or []
        return ": " + "; ".join([str(problem["detail"]), *map(str, faults)])
    except (ValueError, KeyError, AttributeError):
        return ""
