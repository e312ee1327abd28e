"""The consumer of a queue: messages are pushed by RabbitMQ, kept here, and taken by the handler."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import pika
from pika.spec import Basic, BasicProperties

from functions.adapters.rabbitmq_link import Link, fail, fault, settle
from functions.errors import BrokerUnavailable
from functions.ports import Delivery

SETTLE_S = 0.005
"""Seconds without a further message after which what has come is taken to be all there is."""


class RabbitConsumer:
    """A ChangeConsumer on a channel of its own, so that closing it returns exactly what it holds."""

    def __init__(self, link: Link, queue: str, prefetch: int) -> None:
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._moved = threading.Condition()
        self._inbox: deque[Delivery] = deque()
        self._unacked: dict[int, None] = {}
        self._lost: str | None = None
        self._stopped = False
        self._channel: pika.channel.Channel | None = None
        self._tag = ""
        link.ask(self._attach)

    def take(self, *, wait_s: float, most: int) -> Sequence[Delivery]:
        """Messages that are there, or come within `wait_s` seconds, in order."""
        with self._moved:
            self._moved.wait_for(lambda: self._inbox or self._lost, timeout=wait_s)
            while 0 < len(self._inbox) < most and self._grows():
                pass
            self._check()
            return [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; what is sent before the connection breaks may still not arrive, and then comes again."""
        with self._moved:
            self._check()
            tags = [delivery.tag for delivery in deliveries]
            oldest = [tag for tag, _ in zip(self._unacked, tags, strict=False)]
            for tag in tags:
                self._unacked.pop(tag, None)
        if not tags:
            return
        self._link.tell(lambda _connection: self._acknowledge(tags, together=oldest == tags))

    def put_off(self, deliveries: Sequence[Delivery]) -> None:
        """Give back as failed: the policy of the queue says where to."""
        with self._moved:
            self._check()
            tags = [delivery.tag for delivery in deliveries]
            for tag in tags:
                self._unacked.pop(tag, None)
        self._link.tell(lambda _connection: self._refuse(tags))

    def stop(self) -> None:
        """Get no further messages; those that have come can be taken."""
        self._link.ask(self._cancel)

    def leave(self) -> None:
        """Detach, and return what was not acknowledged to the head of the queue."""
        self._link.ask(self._detach)

    def _attach(self, connection: pika.SelectConnection, future: Future[None]) -> None:
        def opened(channel: pika.channel.Channel) -> None:
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, reason: self._end(reason, future))
            channel.add_on_cancel_callback(lambda _frame: self._end("the queue was deleted or moved", future))
            channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _frame: consume(channel))

        def consume(channel: pika.channel.Channel) -> None:
            self._tag = channel.basic_consume(self._queue, self._arrived, callback=lambda _frame: settle(future, None))

        connection.channel(on_open_callback=opened)

    def _detach(self, _connection: pika.SelectConnection, future: Future[None]) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            settle(future, None)
            return

        def cancelled(_frame: pika.frame.Method) -> None:
            if self._unacked:
                channel.basic_nack(0, multiple=True)
            channel.close()

        channel.add_on_close_callback(lambda _channel, _reason: settle(future, None))
        if self._lost or self._stopped:  # there is nothing left to cancel; what is unsettled goes back by itself
            channel.close()
        else:
            channel.basic_cancel(self._tag, callback=cancelled)

    def _cancel(self, _connection: pika.SelectConnection, future: Future[None]) -> None:
        channel = self._channel
        if channel is None or not channel.is_open or self._lost:
            settle(future, None)
            return
        self._stopped = True
        channel.add_on_close_callback(lambda _channel, reason: fail(future, fault(reason)))
        channel.basic_cancel(self._tag, callback=lambda _frame: settle(future, None))

    def _arrived(
        self, _channel: pika.channel.Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        with self._moved:
            self._unacked[method.delivery_tag] = None
            self._inbox.append(Delivery(method.delivery_tag, body, method.redelivered, properties.content_type))
            self._moved.notify_all()

    def _acknowledge(self, tags: Sequence[int], *, together: bool) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        if together:
            channel.basic_ack(tags[-1], multiple=True)
        else:
            for tag in tags:
                channel.basic_ack(tag)

    def _refuse(self, tags: Sequence[int]) -> None:
        channel = self._channel
        if channel is not None and channel.is_open:
            for tag in tags:
                channel.basic_nack(tag, requeue=False)

    def _grows(self) -> bool:
        """Whether another message comes within a moment."""
        count = len(self._inbox)
        return self._moved.wait_for(lambda: len(self._inbox) > count, timeout=SETTLE_S)

    def _end(self, reason: object, attaching: Future[None]) -> None:
        error = fault(reason)
        fail(attaching, error)
        with self._moved:
            self._lost = str(error)
            self._moved.notify_all()

    def _check(self) -> None:
        if self._lost:
            raise BrokerUnavailable(self._lost)
