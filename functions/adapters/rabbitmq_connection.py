"""The connection of a process to RabbitMQ: made when it is first needed, and again when it was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from pydantic import SecretStr

from functions.adapters.rabbitmq_link import ANSWER_TIMEOUT_S, Link, LinkLost, link_parameters
from functions.adapters.rabbitmq_publisher import Publisher
from functions.adapters.rabbitmq_states import QueueStates

T = TypeVar("T")


class Connected(NamedTuple):
    """A link, and the channels on it that outlive one question."""

    link: Link
    publisher: Publisher
    states: QueueStates


class RabbitConnection:
    """One connection for all threads of a process; `name` is shown in RabbitMQ's list of connections."""

    def __init__(self, url: SecretStr, *, name: str, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.answer_timeout_s = answer_timeout_s
        self._url = url
        self._name = name
        self._lock = threading.Lock()
        self._connected: Connected | None = None

    def get(self) -> Connected:
        """The connection at hand, or a fresh one; raises BrokerUnavailable."""
        with self._lock:
            if self._connected is None or self._connected.link.lost:
                link = Link(link_parameters(self._url, name=self._name), timeout_s=self.answer_timeout_s)
                self._connected = Connected(link, Publisher(), QueueStates())
            return self._connected

    def retried(self, work: Callable[[Connected], T]) -> T:
        """Do `work`, and once more on a fresh connection if the one at hand turns out to be lost."""
        try:
            return work(self.get())
        except LinkLost:
            return work(self.get())

    def close(self) -> None:
        """End the connection; the next who needs one makes it again."""
        with self._lock:
            connected, self._connected = self._connected, None
        if connected is not None:
            connected.link.close()
