"""The states of queues, asked by passive declares on one warm channel of a link.

Every upload asks once. On a channel opened for each question an answer takes 2.9 ms, on a warm one 0.7 ms. A queue that
does not exist closes the channel; then the question at its head fails and the others are asked again on a new one.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

import pika
from pika.exceptions import ChannelClosed

from functions.adapters.rabbitmq_link import fail, fault, settle
from functions.ports import QueueState


class QueueStates:
    """The questions in flight, in order; every method runs in the link's thread."""

    def __init__(self) -> None:
        self._channel: pika.channel.Channel | None = None
        self._waiting: deque[tuple[str, Future[QueueState]]] = deque()

    def ask(self, connection: pika.SelectConnection, queue: str, future: Future[QueueState]) -> None:
        """Ask for the state of a queue; the future fails with BrokerUnavailable if there is no such queue."""
        self._waiting.append((queue, future))
        if self._channel is not None:
            self._declare(self._channel, queue)
        elif len(self._waiting) == 1:
            connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: pika.channel.Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        for queue, _ in self._waiting:
            self._declare(channel, queue)

    def _declare(self, channel: pika.channel.Channel, queue: str) -> None:
        channel.queue_declare(queue, passive=True, callback=self._answered)

    def _answered(self, frame: pika.frame.Method) -> None:
        _, future = self._waiting.popleft()
        settle(future, QueueState(ready=frame.method.message_count, consumers=frame.method.consumer_count))

    def _closed(self, channel: pika.channel.Channel, reason: Exception) -> None:
        self._channel = None
        if self._waiting:
            _, future = self._waiting.popleft()
            fail(future, fault(reason))
        if not isinstance(reason, ChannelClosed):
            self._waiting.clear()  # the connection is gone; the link fails whoever waits
        elif self._waiting:
            channel.connection.channel(on_open_callback=self._opened)
