"""The queues of the bus in memory, looked at and tidied up as on RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from functions.adapters import memory_bus
from functions.adapters.memory_bus import MemoryEventBus
from functions.errors import BrokerUnavailable
from functions.ports import HeldMessage, Message


class MemoryQueueAdmin:
    """A QueueAdmin over a MemoryEventBus; `cut` is a connection that is lost."""

    def __init__(self, bus: MemoryEventBus) -> None:
        self._bus = bus
        self._holds: list[MemoryHold] = []

    def ready(self, queue: str) -> int | None:
        """Messages ready for delivery; None if there is no such queue."""
        with self._bus.moved:
            self._bus.check()
            return self._bus.ready(queue)

    @contextmanager
    def hold(self, queue: str, *, most: int) -> Iterator[MemoryHold]:
        """Hold what is ready now, at most that many of the oldest."""
        with self._bus.moved:
            self._bus.check()
            hold = MemoryHold(self._bus, queue, most)
            self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.give_back()
            self._holds.remove(hold)

    def cut(self) -> None:
        """Lose every hold, as a connection does that breaks."""
        for hold in self._holds:
            hold.give_back()
            hold.lost = True


class MemoryHold:
    """A MessageHold in memory."""

    def __init__(self, bus: MemoryEventBus, queue: str, most: int) -> None:
        self.lost = False
        self._bus = bus
        self._queue = queue
        self._left = bus.withdraw(queue, most)
        self._tags = list(self._left)
        self._held = [HeldMessage(place + 1, _told(self._left[tag])) for place, tag in enumerate(self._tags)]

    @property
    def held(self) -> Sequence[HeldMessage]:
        """The messages, oldest first."""
        return self._held

    def pass_on(self, onward: Sequence[tuple[HeldMessage, Sequence[Message]]]) -> Sequence[str]:
        """Publish, then remove."""
        with self._bus.moved:
            self._check()
            faults = [self._sent(messages) for _, messages in onward]
            self.remove([held for (held, _), fault in zip(onward, faults, strict=True) if not fault])
            return faults

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Remove messages for good."""
        with self._bus.moved:
            self._check()
            for held in messages:
                self._left.pop(self._tags[held.tag - 1], None)

    def give_back(self) -> None:
        """Return what is still held to the head of the queue."""
        with self._bus.moved:
            self._bus.give_back(self._queue, self._left)
            self._left.clear()

    def _sent(self, messages: Sequence[Message]) -> str:
        for message in messages:
            try:
                self._bus.send(
                    memory_bus.Message(
                        message.body,
                        message.headers,
                        exchange=message.exchange,
                        routing_key=message.routing_key,
                        content_type=message.content_type,
                        message_id=message.message_id,
                        sent_at=message.sent_at,
                    )
                )
            except BrokerUnavailable as err:
                return str(err)
        return ""

    def _check(self) -> None:
        self._bus.check()
        if self.lost:
            raise BrokerUnavailable(f"the connection was lost; what was held is back in {self._queue}")


def _told(message: memory_bus.Message) -> Message:
    return Message(
        message.body,
        routing_key=message.routing_key,
        exchange=message.exchange,
        content_type=message.content_type,
        message_id=message.message_id,
        sent_at=message.sent_at,
        headers=message.headers,
    )
