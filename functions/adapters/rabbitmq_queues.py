"""Queues looked at and tidied up on RabbitMQ: counts by passive declares, messages by holding them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import SecretStr

from functions.adapters.rabbitmq_hold import RabbitHold
from functions.adapters.rabbitmq_link import ANSWER_TIMEOUT_S, Link, LinkLost, NotThere, link_parameters
from functions.adapters.rabbitmq_publisher import Publisher
from functions.adapters.rabbitmq_states import QueueStates
from functions.errors import BrokerUnavailable

RETURN_TIMEOUT_S = 5.0
"""Seconds in which a queue counts again what it got back."""


class RabbitQueueAdmin:
    """A QueueAdmin on RabbitMQ, with a connection of its own that is made when it is first needed."""

    def __init__(
        self, url: SecretStr, *, name: str = "cvmfs-cloud", answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._url = url
        self._name = name
        self._answer_timeout_s = answer_timeout_s
        self._lock = threading.Lock()
        self._connected: tuple[Link, Publisher, QueueStates] | None = None

    def ready(self, queue: str) -> int | None:
        """Messages ready for delivery; None if there is no such queue."""
        try:
            return self._ready(queue)
        except LinkLost:
            return self._ready(queue)

    @contextmanager
    def hold(self, queue: str, *, most: int) -> Iterator[RabbitHold]:
        """Hold what is ready now, at most that many of the oldest."""
        link, publisher, _ = self._connection()
        hold = RabbitHold(link, publisher, queue, most=most, patience_s=self._answer_timeout_s)
        try:
            hold.fill()
            yield hold
        finally:
            with suppress(BrokerUnavailable):  # a lost connection has returned the messages already
                there = self._ready(queue) or 0
                self._wait_until(queue, there + hold.give_back())

    def close(self) -> None:
        """End the connection; it can be used again."""
        with self._lock:
            connected, self._connected = self._connected, None
        if connected is not None:
            connected[0].close()

    def _wait_until(self, queue: str, count: int) -> None:
        """Wait until the queue counts what it got back, some milliseconds; in vain where others take it at once."""
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while (self._ready(queue) or 0) < count and time.monotonic() < deadline:
            time.sleep(0.005)

    def _ready(self, queue: str) -> int | None:
        link, _, states = self._connection()
        try:
            return link.ask(lambda connection, future: states.ask(connection, queue, future)).ready
        except NotThere:
            return None

    def _connection(self) -> tuple[Link, Publisher, QueueStates]:
        with self._lock:
            if self._connected is None or self._connected[0].lost:
                link = Link(link_parameters(self._url, name=self._name), timeout_s=self._answer_timeout_s)
                self._connected = (link, Publisher(), QueueStates())
            return self._connected
