"""Publishing with confirms, many messages at a time, on one channel of a link.

A BlockingChannel of pika waits for every confirm in turn (216-500 messages/s measured). Here a batch is written at once
and its confirms are counted as they come; several threads share the channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import pika
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from functions.adapters.rabbitmq_link import fail, fault, settle
from functions.errors import BrokerUnavailable


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published, always mandatory."""

    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties


@dataclass(slots=True)
class _Batch:
    """Messages published together; the future is settled when the last one is confirmed."""

    messages: Sequence[Outgoing]
    future: Future[None]
    waiting: int = 0
    faults: list[str] = field(default_factory=list)


class Publisher:
    """The publishing channel of one link; every method runs in the link's thread."""

    def __init__(self) -> None:
        self._channel: pika.channel.Channel | None = None
        self._opening = False
        self._backlog: list[_Batch] = []
        self._pending: dict[int, tuple[Outgoing, _Batch]] = {}
        self._tag = 0

    def publish(self, connection: pika.SelectConnection, messages: Sequence[Outgoing], future: Future[None]) -> None:
        """Publish in order; the future fails with BrokerUnavailable unless all are confirmed and went to a queue."""
        self._backlog.append(_Batch(messages, future, waiting=len(messages)))
        if self._channel is not None:
            self._flush(self._channel)
        elif not self._opening:
            self._opening = True
            connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: pika.channel.Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _frame: self._ready(channel))

    def _ready(self, channel: pika.channel.Channel) -> None:
        self._opening = False
        self._channel = channel
        self._tag = 0
        self._flush(channel)

    def _flush(self, channel: pika.channel.Channel) -> None:
        batches, self._backlog = self._backlog, []
        for batch in batches:
            try:
                for message in batch.messages:
                    channel.basic_publish(
                        message.exchange, message.routing_key, message.body, message.properties, mandatory=True
                    )
                    self._tag += 1
                    self._pending[self._tag] = (message, batch)
            except AMQPError as error:
                fail(batch.future, fault(error))

    def _returned(
        self, _channel: pika.channel.Channel, method: Basic.Return, _properties: BasicProperties, _body: bytes
    ) -> None:
        """Note a message that went nowhere; its confirm comes next and looks like any other."""
        for message, batch in self._pending.values():
            if (message.exchange, message.routing_key) == (method.exchange, method.routing_key):
                batch.faults.append(f"no queue takes {method.routing_key!r} from exchange {method.exchange!r}")

    def _confirmed(self, frame: pika.frame.Method) -> None:
        method = frame.method
        if method.multiple:
            tags = [tag for tag in self._pending if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            message, batch = self._pending.pop(tag)
            if isinstance(method, Basic.Nack):
                batch.faults.append(f"RabbitMQ refused a message for {message.routing_key!r}")
            batch.waiting -= 1
            if not batch.waiting:
                if batch.faults:
                    fail(batch.future, BrokerUnavailable(batch.faults[0]))
                else:
                    settle(batch.future, None)

    def _closed(self, _channel: pika.channel.Channel, reason: Exception) -> None:
        """Fail whatever waits on the channel, also what other threads published: they publish again."""
        error = fault(reason)
        failed = [batch for _, batch in self._pending.values()] + self._backlog
        self._channel = None
        self._opening = False
        self._pending.clear()
        self._backlog = []
        for batch in failed:
            fail(batch.future, error)
