"""Messages taken from the queue of a step, by a consumer that is cancelled as soon as it has some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from functions.adapters.rabbitmq_consumer import RabbitConsumer
from functions.errors import BrokerUnavailable
from functions.ports import Delivery

WAIT_S = 0.05
"""Seconds for the first message to come; others may have taken all of them meanwhile."""


class RabbitWork:
    """A WorkBatch; `deliveries` are all that will ever come."""

    def __init__(self, consumer: RabbitConsumer, most: int) -> None:
        self._consumer = consumer
        taken = list(consumer.take(wait_s=WAIT_S, most=most))
        consumer.stop()
        # What was on its way when the consumer was cancelled has come before the answer to that.
        taken += consumer.take(wait_s=0, most=most)
        self.deliveries: Sequence[Delivery] = taken

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge."""
        self._consumer.ack(deliveries)

    def put_off(self, deliveries: Sequence[Delivery]) -> None:
        """Have the queue's policy send them to the retry queue."""
        self._consumer.put_off(deliveries)


@contextmanager
def taken_work(consumer: RabbitConsumer, most: int) -> Iterator[RabbitWork]:
    """What a consumer that has just attached gets; the rest goes back to the queue at the end."""
    try:
        yield RabbitWork(consumer, most)
    finally:
        with suppress(BrokerUnavailable):  # a lost connection has returned the messages already
            consumer.leave()
