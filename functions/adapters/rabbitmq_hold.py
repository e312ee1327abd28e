"""Messages of a queue held by one operator, on a channel of their own.

A hold is a consumer that is cancelled as soon as it has what was ready when it came, so what is published back to the
same queue meanwhile is not taken again. Closing the channel, by whatever ends the process too, returns what is left.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

import pika
from pika.spec import Basic, BasicProperties

from functions.adapters.rabbitmq_link import Begin, Link, fail, fault, settle
from functions.adapters.rabbitmq_publisher import Outgoing, Publisher
from functions.errors import BrokerUnavailable
from functions.ports import HeldMessage, Message

QUIET_S = 1.0
"""Seconds without a message after which RabbitMQ is asked whether more is to come."""

ACKS = 16
"""Single acknowledgements that are on their way at once."""

PREFETCH_LIMIT = 65_535
"""The largest prefetch that AMQP can say; without one a quorum queue stops after 2,000."""

_PERSISTENT = 2


class RabbitHold:
    """A MessageHold on a channel of its own; `patience_s` is how long RabbitMQ may be silent."""

    def __init__(self, link: Link, publisher: Publisher, queue: str, *, most: int, patience_s: float) -> None:
        self._link = link
        self._publisher = publisher
        self._queue = queue
        self._most = most
        self._patience_s = patience_s
        self._moved = threading.Condition()
        self._held: list[HeldMessage] = []
        self._tags: list[int] = []
        self._left: set[int] = set()
        self._aside = 0
        self._lost: str | None = None
        self._channel: pika.channel.Channel | None = None
        self._consumer = ""

    @property
    def held(self) -> Sequence[HeldMessage]:
        """The messages, oldest first."""
        return self._held

    def fill(self) -> None:
        """Take what is ready; returns when it is all here."""
        wanted = min(self._most, PREFETCH_LIMIT, self._link.ask(self._open))
        # A quorum queue that is too busy to answer within 250 ms counts as empty (3.10), so 0 is asked again as a get.
        if not wanted and self._most and self._link.ask(self._get):
            wanted = min(self._most, PREFETCH_LIMIT, 1 + self._link.ask(self._count))
        if len(self._held) >= wanted:
            return
        self._link.ask(lambda _connection, future: self._consume(wanted, future))
        self._wait_for(wanted)
        self._link.ask(self._cancel)

    def pass_on(self, onward: Sequence[tuple[HeldMessage, Sequence[Message]]]) -> Sequence[str]:
        """Publish, wait for the confirms, then acknowledge."""
        self._check()
        publish: Begin[list[str]] = lambda connection, future: self._publish(connection, onward, future)  # noqa: E731
        faults = self._link.ask(publish)
        self.remove([held for (held, _), fault_ in zip(onward, faults, strict=True) if not fault_])
        return faults

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Acknowledge, and wait until the queue has taken it in."""
        self._check()
        places = sorted({held.tag for held in messages} - self._left)
        oldest = [place for place in range(1, len(self._tags) + 1) if place not in self._left][: len(places)]
        tags = [self._tags[place - 1] for place in places]
        if places == oldest:
            self._link.ask(lambda _connection, future: self._acknowledge(tags[-1:], future, multiple=True))
        else:
            for start in range(0, len(tags), ACKS):
                group = tags[start : start + ACKS]
                self._link.ask(lambda _connection, future, group=group: self._acknowledge(group, future))  # type: ignore[misc]
        self._left.update(places)

    def give_back(self) -> int:
        """Return what is still held to the head of the queue, and how much that was."""
        self._link.ask(self._close)
        return len(self._tags) - len(self._left) + self._aside

    def _open(self, connection: pika.SelectConnection, future: Future[int]) -> None:
        def opened(channel: pika.channel.Channel) -> None:
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, reason: self._end(reason, future))
            channel.queue_declare(
                self._queue, passive=True, callback=lambda frame: settle(future, frame.method.message_count)
            )

        connection.channel(on_open_callback=opened)

    def _consume(self, wanted: int, future: Future[None]) -> None:
        channel = self._open_channel(future)
        if channel is None:
            return
        channel.add_on_close_callback(lambda _channel, reason: fail(future, fault(reason)))
        channel.add_on_cancel_callback(lambda _frame: self._end("the queue was deleted or moved", future))

        def consume(_frame: pika.frame.Method) -> None:
            self._consumer = channel.basic_consume(
                self._queue, self._arrived, callback=lambda _frame: settle(future, None)
            )

        channel.basic_qos(prefetch_count=wanted, callback=consume)

    def _wait_for(self, wanted: int) -> None:
        """Wait until as many are here, or RabbitMQ says that nothing is left since somebody else took some."""
        count, silence_s = 0, 0.0
        while count < wanted:
            grown = self._grown(count, wanted)
            silence_s = 0.0 if grown > count else silence_s + QUIET_S
            count = grown
            if silence_s and not self._link.ask(self._get):
                return
            if silence_s >= self._patience_s:
                raise BrokerUnavailable(
                    f"RabbitMQ has delivered {count} of {wanted} messages of {self._queue} and then nothing for "
                    f"{silence_s:.0f} s"
                )

    def _grown(self, count: int, wanted: int) -> int:
        """How many are here when it is all of them, or nothing has come for a moment."""
        with self._moved:
            self._moved.wait_for(lambda: self._lost or len(self._held) >= wanted, timeout=QUIET_S)
            self._check()
            return max(count, len(self._held))

    def _get(self, _connection: pika.SelectConnection, future: Future[bool]) -> None:
        """Take the next message, if there is one."""
        channel = self._open_channel(future)
        if channel is None:
            return

        def got(channel: pika.channel.Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
            self._arrived(channel, method, properties, body)
            settle(future, result=True)

        channel.add_callback(lambda _frame: settle(future, result=False), [Basic.GetEmpty])
        channel.basic_get(self._queue, got)

    def _count(self, _connection: pika.SelectConnection, future: Future[int]) -> None:
        channel = self._open_channel(future)
        if channel is not None:
            channel.queue_declare(
                self._queue, passive=True, callback=lambda frame: settle(future, frame.method.message_count)
            )

    def _cancel(self, _connection: pika.SelectConnection, future: Future[None]) -> None:
        channel = self._open_channel(future)
        if channel is not None:
            channel.basic_cancel(self._consumer, callback=lambda _frame: settle(future, None))

    def _publish(
        self,
        connection: pika.SelectConnection,
        onward: Sequence[tuple[HeldMessage, Sequence[Message]]],
        future: Future[list[str]],
    ) -> None:
        """Publish each message for itself, all at once; `future` gets the first fault of each."""
        faults = [""] * len(onward)
        waiting = sum(len(messages) for _, messages in onward)

        def note(index: int, outcome: Future[None]) -> None:
            nonlocal waiting
            error = outcome.exception()
            if error is not None:
                faults[index] = faults[index] or str(error)
            waiting -= 1
            if not waiting:
                settle(future, faults)

        for index, (_, messages) in enumerate(onward):
            for message in messages:
                outcome: Future[None] = Future()
                outcome.add_done_callback(lambda outcome, index=index: note(index, outcome))  # type: ignore[misc]
                self._publisher.publish(connection, [_outgoing(message)], outcome)
        if not waiting:
            settle(future, faults)

    def _acknowledge(self, tags: Sequence[int], future: Future[None], *, multiple: bool = False) -> None:
        """Acknowledge, then ask the queue for something that it answers after it has taken that in: a further message.

        An acknowledgement that the channel still keeps when it closes is lost, and it keeps those beyond
        ``quorum_commands_soft_limit`` (32) that the queue has not taken in.
        """
        channel = self._open_channel(future)
        if channel is None:
            return
        channel.add_on_close_callback(lambda _channel, reason: fail(future, fault(reason)))
        for tag in tags:
            channel.basic_ack(tag, multiple=multiple)

        def got(*_: object) -> None:
            self._aside += 1
            settle(future, None)

        channel.add_callback(lambda _frame: settle(future, None), [Basic.GetEmpty])
        channel.basic_get(self._queue, got)

    def _close(self, _connection: pika.SelectConnection, future: Future[None]) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            settle(future, None)
            return
        channel.add_on_close_callback(lambda _channel, _reason: settle(future, None))
        # No nack: without a delivery limit a quorum queue appends what is given back by one at its end (3.10, 3.11).
        channel.close()

    def _arrived(
        self,
        _channel: pika.channel.Channel,
        method: Basic.Deliver | Basic.GetOk,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        with self._moved:
            self._tags.append(method.delivery_tag)
            self._held.append(HeldMessage(len(self._tags), _message(method, properties, body)))
            self._moved.notify_all()

    def _open_channel(self, future: Future[int] | Future[bool] | Future[None]) -> pika.channel.Channel | None:
        """The channel; without an open one the future fails."""
        if self._channel is not None and self._channel.is_open:
            return self._channel
        fail(future, BrokerUnavailable(self._lost or "the channel is closed"))
        return None

    def _end(self, reason: object, future: Future[int] | Future[bool] | Future[None]) -> None:
        error = fault(reason)
        fail(future, error)
        with self._moved:
            self._lost = str(error)
            self._moved.notify_all()

    def _check(self) -> None:
        if self._lost:
            raise BrokerUnavailable(f"{self._lost}; what was held is back in {self._queue}")


def _message(method: Basic.Deliver | Basic.GetOk, properties: BasicProperties, body: bytes) -> Message:
    return Message(
        body,
        routing_key=method.routing_key,
        exchange=method.exchange,
        content_type=properties.content_type,
        message_id=properties.message_id,
        sent_at=_moment(properties.timestamp),
        headers=properties.headers or {},
    )


def _moment(timestamp: int | None) -> datetime | None:
    try:
        return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _outgoing(message: Message) -> Outgoing:
    properties = BasicProperties(
        delivery_mode=_PERSISTENT,
        content_type=message.content_type,
        message_id=message.message_id,
        timestamp=None if message.sent_at is None else int(message.sent_at.timestamp()),
        headers=dict(message.headers) or None,
    )
    return Outgoing(message.exchange, message.routing_key, message.body, properties)
