"""The event bus on RabbitMQ: one connection per process, publishing with confirms, one consumer per change queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pika
from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent
from pika.spec import BasicProperties
from pydantic import SecretStr

from events import change_queue
from events.event import STRUCTURED
from functions.adapters.parked import parked_headers
from functions.adapters.rabbitmq_connection import Connected, RabbitConnection
from functions.adapters.rabbitmq_consumer import RabbitConsumer
from functions.adapters.rabbitmq_link import ANSWER_TIMEOUT_S, fail, fault, settle
from functions.adapters.rabbitmq_publisher import Outgoing
from functions.adapters.rabbitmq_work import RabbitWork, taken_work
from functions.errors import BrokerUnavailable
from functions.ports import Clock, QueueState
from functions.publishing.parked_messages import parked_queue, step_queue

PREFETCH = 10_000
"""Messages pushed to the active consumer ahead of its acknowledgements: most that one revision can take in."""

RETURN_TIMEOUT_S = 5.0

BUSY_S = 0.2
"""From here on an answer of nothing at all is not believed.

A quorum queue that does not answer its own broker within 250 ms is told as one without messages and consumers (RabbitMQ
3.10), and a publisher that believed it would acknowledge its wake-up and leave the changes waiting.
"""
STATE_ATTEMPTS = 4
_NOTHING = QueueState(ready=0, consumers=0)
_PERSISTENT = 2

CHANGE_QUEUE = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    # A consumer that leaves returns its messages; RabbitMQ 4 drops a message after 20 returns unless told otherwise.
    "x-delivery-limit": 1_000_000,
}
"""Arguments of a change queue; a queue that exists with others is refused by RabbitMQ."""


class RabbitEventBus:
    """An EventBus on RabbitMQ, with one connection."""

    def __init__(
        self,
        url: SecretStr,
        *,
        exchange: str = "cvmfs",
        name: str = "cvmfs-cloud",
        prefetch: int = PREFETCH,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = RabbitConnection(url, name=name, answer_timeout_s=answer_timeout_s)
        self._exchange = exchange
        self._prefetch = prefetch
        self._clock = clock

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish in structured mode, routed by type."""
        self._publish([self._outgoing(event) for event in events])

    def park(self, step: str, body: bytes, *, reason: str, headers: Mapping[str, str]) -> None:
        """Put a message on the step's parked queue."""
        told = parked_headers(step, reason, now=self._clock(), headers=headers)
        properties = BasicProperties(delivery_mode=_PERSISTENT, headers=told)
        self._publish([Outgoing("", parked_queue(step), body, properties)])

    def reply(self, queue: str, body: bytes) -> None:
        """Put plain bytes on a named queue."""
        self._publish([Outgoing("", queue, body, BasicProperties(delivery_mode=_PERSISTENT))])

    def send_work(self, step: str, bodies: Sequence[bytes]) -> None:
        """Put plain messages on the queue that feeds a step."""
        queue = step_queue(step)
        self._publish([Outgoing("", queue, body, BasicProperties(delivery_mode=_PERSISTENT)) for body in bodies])

    def work_waiting(self, step: str) -> int:
        """Messages ready on the queue that feeds a step."""
        return self._known_state(step_queue(step)).ready

    @contextmanager
    def take_work(self, step: str, *, most: int) -> Iterator[RabbitWork]:
        """Take what is ready on the queue that feeds a step, by a consumer that stays only as long as it takes."""
        consumer = self._connection.retried(lambda on: RabbitConsumer(on.link, step_queue(step), most))
        with taken_work(consumer, most) as work:
            yield work

    def declare_changes(self, fqrn: str) -> None:
        """Make the change queue of a repository; raises BrokerUnavailable also if it exists with other arguments."""
        self._ask(
            lambda channel, done: channel.queue_declare(
                change_queue(fqrn), durable=True, arguments=dict(CHANGE_QUEUE), callback=done
            )
        )

    def drop_changes(self, fqrn: str) -> None:
        """Delete the change queue of a repository with all that waits in it."""
        self._ask(lambda channel, done: channel.queue_delete(change_queue(fqrn), callback=done))

    def send_changes(self, fqrn: str, bodies: Sequence[bytes]) -> QueueState:
        """Append change records in order."""
        queue = change_queue(fqrn)
        self._publish([Outgoing("", queue, body, BasicProperties(delivery_mode=_PERSISTENT)) for body in bodies])
        # Whoever takes a busy queue for one without a consumer only sends a wake-up too many.
        return self._state(queue)

    def changes_state(self, fqrn: str) -> QueueState:
        """The state of the change queue; BrokerUnavailable if it was never declared, or is too busy to be asked."""
        return self._known_state(change_queue(fqrn))

    @contextmanager
    def consume_changes(self, fqrn: str) -> Iterator[RabbitConsumer]:
        """Attach to the change queue until the context ends."""
        consumer = self._connection.retried(lambda on: RabbitConsumer(on.link, change_queue(fqrn), self._prefetch))
        try:
            yield consumer
        finally:
            with suppress(BrokerUnavailable):  # a lost connection has returned the messages already
                consumer.leave()
                self._wait_until_returned(fqrn)

    def close(self) -> None:
        """End the connection; the bus can be used again."""
        self._connection.close()

    def _known_state(self, queue: str) -> QueueState:
        for _ in range(STATE_ATTEMPTS):
            began = time.monotonic()
            state = self._state(queue)
            if state != _NOTHING or time.monotonic() - began < BUSY_S:
                return state
        raise BrokerUnavailable(f"RabbitMQ does not know the state of {queue}: the queue is too busy")

    def _state(self, queue: str) -> QueueState:
        """What RabbitMQ says of a queue, which is nothing at all if the queue does not answer in time."""
        return self._connection.retried(
            lambda on: on.link.ask(lambda connection, future: on.states.ask(connection, queue, future))
        )

    def _outgoing(self, event: CloudEvent) -> Outgoing:
        _, body = to_structured(event)
        properties = BasicProperties(delivery_mode=_PERSISTENT, content_type=STRUCTURED, message_id=event["id"][:255])
        return Outgoing(self._exchange, event["type"], bytes(body), properties)

    def _wait_until_returned(self, fqrn: str) -> None:
        """Wait until the queue has taken back what its last consumer held, so that whoever looks again sees it.

        RabbitMQ answers a cancel when the queue has applied it, but takes messages back a few milliseconds later. Until
        then it counts neither the messages nor forgets the consumer (``rabbit_fifo: cancel_consumer, query_stat``): a
        publisher that trusted the numbers would leave a change behind for which nobody sends another wake-up. Messages
        may also be back before the consumer is forgotten. Where the one that is counted is new, this waits in vain.
        """
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        state = self._state(change_queue(fqrn))
        while state.consumers and time.monotonic() < deadline:
            time.sleep(0.005)
            state = self._state(change_queue(fqrn))

    def _publish(self, messages: Sequence[Outgoing]) -> None:
        def publish(on: Connected) -> None:
            on.link.ask(lambda connection, future: on.publisher.publish(connection, messages, future))

        if messages:
            self._connection.retried(publish)

    def _ask(self, method: Callable[[pika.channel.Channel, Callable[[object], None]], object]) -> None:
        """Have a method answered, on a channel of its own, since a refusal closes the channel."""

        def begin(connection: pika.SelectConnection, future: Future[None]) -> None:
            def opened(channel: pika.channel.Channel) -> None:
                def done(_answer: object) -> None:
                    settle(future, None)
                    channel.close()

                channel.add_on_close_callback(lambda _channel, reason: fail(future, fault(reason)))
                method(channel, done)

            connection.channel(on_open_callback=opened)

        self._connection.retried(lambda on: on.link.ask(begin))
