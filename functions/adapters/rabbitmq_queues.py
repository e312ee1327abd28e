"""Queues looked at and tidied up on RabbitMQ: counts by passive declares, messages by holding them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import SecretStr

from functions.adapters.rabbitmq_connection import Connected, RabbitConnection
from functions.adapters.rabbitmq_hold import RabbitHold
from functions.adapters.rabbitmq_link import ANSWER_TIMEOUT_S, NotThere
from functions.errors import BrokerUnavailable

RETURN_TIMEOUT_S = 5.0
"""Seconds in which a queue counts again what it got back."""


class RabbitQueueAdmin:
    """A QueueAdmin on RabbitMQ, with a connection of its own."""

    def __init__(
        self, url: SecretStr, *, name: str = "cvmfs-cloud", answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._connection = RabbitConnection(url, name=name, answer_timeout_s=answer_timeout_s)

    def ready(self, queue: str) -> int | None:
        """Messages ready for delivery; None if there is no such queue."""
        return self._connection.retried(lambda on: _ready(on, queue))

    @contextmanager
    def hold(self, queue: str, *, most: int) -> Iterator[RabbitHold]:
        """Hold what is ready now, at most that many of the oldest."""
        on = self._connection.get()
        hold = RabbitHold(on.link, on.publisher, queue, most=most, patience_s=self._connection.answer_timeout_s)
        try:
            hold.fill()
            yield hold
        finally:
            with suppress(BrokerUnavailable):  # a lost connection has returned the messages already
                there = _ready(self._connection.get(), queue) or 0
                self._wait_until(queue, there + hold.give_back())

    def close(self) -> None:
        """End the connection; it can be used again."""
        self._connection.close()

    def _wait_until(self, queue: str, count: int) -> None:
        """Wait until the queue counts what it got back, some milliseconds; in vain where others take it at once."""
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while (_ready(self._connection.get(), queue) or 0) < count and time.monotonic() < deadline:
            time.sleep(0.005)


def _ready(on: Connected, queue: str) -> int | None:
    try:
        return on.link.ask(lambda connection, future: on.states.ask(connection, queue, future)).ready
    except NotThere:
        return None
