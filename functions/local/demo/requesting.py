"""Dashboards ask for repositories: one with a CloudEvent, an older one with a comma-separated message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pika
import urllib3
from cloudevents.conversion import to_structured

from events import LEGACY_REPLY_QUEUE, RepositoryRequested
from functions.local.demo.cast import Cast
from functions.local.demo.errors import DemoFailed
from functions.local.demo.telling import Teller
from functions.local.demo.watching import VISIBLE_LIMIT_S


def request_personal(cast: Cast, teller: Teller) -> None:
    """Ask for the user's repository through the gateway, and wait for it; raises DemoFailed."""
    teller.heading("A dashboard asks for a personal repository: CloudEvent to POST /events")
    wanted = RepositoryRequested(repository=cast.fqrn, username=cast.username, subject=cast.subject)
    headers, body = to_structured(wanted.to_cloudevent(source="/dashboard", time=datetime.now(UTC)))
    began = time.monotonic()
    answer = urllib3.request("POST", f"{cast.stack.gateway_url}/events", body=body, headers=headers)
    teller.say(f"  HTTP {answer.status} {answer.data.decode().strip()}")
    if answer.status != 202:
        raise DemoFailed(f"the gateway answered {answer.status}")
    _await_repository(cast.fqrn, began, cast, teller)


def request_group(cast: Cast, teller: Teller) -> None:
    """Ask for the team's repository on the older queue, and wait for it and for the reply; raises DemoFailed."""
    teller.heading("An older dashboard asks for a group repository: a comma-separated message on queue cvmfs")
    message = f"{cast.username},{cast.subject},{cast.team_fqrn},https://iam.example.org/,N"
    with _amqp(cast) as channel:
        channel.queue_purge(LEGACY_REPLY_QUEUE)
        began = time.monotonic()
        channel.basic_publish("", "cvmfs", message.encode())
        teller.say(f"  sent     {message}")
        _await_repository(cast.team_fqrn, began, cast, teller)
        reply = None
        while reply is None and time.monotonic() < began + VISIBLE_LIMIT_S:
            _, _, reply = channel.basic_get(LEGACY_REPLY_QUEUE, auto_ack=True)
            time.sleep(0.05)
    teller.say(f"  received {(reply or b'nothing').decode()}   (queue {LEGACY_REPLY_QUEUE})")
    if reply != f"{cast.username},{cast.subject},{cast.team_fqrn},Y,-".encode():
        raise DemoFailed("the reply on the older queue is not what it must be")


def _await_repository(fqrn: str, began: float, cast: Cast, teller: Teller) -> None:
    url = f"{cast.stack.repository_url}/{fqrn}/.cvmfspublished"
    while urllib3.request("GET", url).status != 200:
        if time.monotonic() > began + VISIBLE_LIMIT_S:
            raise DemoFailed(f"{fqrn} was not created within {VISIBLE_LIMIT_S:.0f} s")
        time.sleep(0.05)
    teller.say(f"  [green]{fqrn}[/] can be mounted after {time.monotonic() - began:.2f} s")


@contextmanager
def _amqp(cast: Cast) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    url = cast.stack.rabbit.endpoints.amqp_url.get_secret_value()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()
