"""The event bus in memory: exchange, bindings, quorum queues with one active consumer, redelivery in order.

It behaves as RabbitMQ does where the service can see it: messages are pushed to the active consumer up to the prefetch
and are then no longer *ready*; whoever attached first is active, and only that one is counted; a consumer that goes
returns what it did not acknowledge to the head of the queue; a message for a queue that does not exist is refused.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent, from_json

from events import change_queue, types
from events.event import STRUCTURED
from functions.adapters.parked import parked_headers
from functions.errors import BrokerUnavailable
from functions.ports import Clock, Delivery, QueueState
from functions.publishing.parked_messages import parked_queue, retry_queue, step_queue

BINDINGS: Mapping[str, Sequence[str]] = {
    "fn.store-keys": (types.REPOSITORY_REQUESTED,),
    "fn.create-repository": (types.REPOSITORY_KEYS_STORED,),
    "fn.publish-transaction": (types.REPOSITORY_CHANGED,),
    "fn.handle-bucket-notification": (),
    "fn.edit-repository": (
        types.TAG_REQUESTED,
        types.ROLLBACK_REQUESTED,
        types.RELEASE_REQUESTED,
        types.SUSPENSION_REQUESTED,
        types.RESUMPTION_REQUESTED,
        types.SETTINGS_REQUESTED,
    ),
    "fn.delete-repository": (types.DELETION_REQUESTED,),
    "fn.resign-whitelist": (types.RENEWAL_REQUESTED,),
    "fn.collect-garbage": (types.COLLECTION_REQUESTED,),
    "fn.reconcile-bucket": (types.RECONCILIATION_REQUESTED,),
    "fn.legacy-replies": (types.REPOSITORY_CREATED, types.REPOSITORY_REFUSED),
    "cvmfs": (),
    "cvmfs_reply": (),
    "cvmfs.dashboard": (types.TYPE_PREFIX + "#",),
}
"""The queues of the service with their binding patterns on exchange ``cvmfs``, as the manifests in knative/ have them.
Each ``fn.*`` queue has a ``.retry`` and a ``.parked`` beside it."""

EXCHANGE = "cvmfs"
NOTIFICATION = "notification"
NOTIFICATIONS = "fn.handle-bucket-notification"
"""The queue that takes everything from the exchange ``notification``."""
UNROUTED = "cvmfs.unrouted"
PREFETCH = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a queue; `exchange` and `routing_key` say where it was published."""

    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    redelivered: bool = False
    exchange: str = ""
    routing_key: str = ""
    content_type: str | None = None
    message_id: str | None = None
    sent_at: datetime | None = None

    @property
    def event(self) -> CloudEvent:
        """The structured-mode CloudEvent in the body."""
        return from_json(self.body)


@dataclass(slots=True)
class _Queue:
    ready: deque[tuple[int, Message]] = field(default_factory=deque)
    consumers: list[MemoryConsumer] = field(default_factory=list)
    tags: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def append(self, message: Message) -> None:
        self.ready.append((next(self.tags), message))

    def push(self, prefetch: int) -> None:
        """Hand ready messages to the active consumer, as far as its prefetch goes."""
        if self.consumers:
            active = self.consumers[0]
            while self.ready and len(active.unacked) < prefetch:
                tag, message = self.ready.popleft()
                active.unacked[tag] = message
                active.inbox.append(tag)

    def detach(self, consumer: MemoryConsumer) -> None:
        """Forget a consumer; what it did not acknowledge goes back to the head, in order."""
        self.consumers.remove(consumer)
        for tag in sorted(consumer.unacked, reverse=True):
            held = consumer.unacked[tag]
            self.ready.appendleft((tag, replace(held, redelivered=True)))
        consumer.unacked.clear()
        consumer.inbox.clear()


def matches(pattern: str, routing_key: str) -> bool:
    """Whether an AMQP topic pattern (``*`` one word, ``#`` any number of words) takes a routing key."""
    return _match(pattern.split("."), routing_key.split("."))


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[start:]) for start in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and _match(pattern[1:], words[1:])


class MemoryEventBus:
    """An EventBus in memory.

    `published` holds every event in order; `messages`, `pop` and `parked` look at the queues as the other side of the
    bus would. `available = False` is a broker that is down; `drop_active` is
    a machine that is lost.
    """

    def __init__(
        self,
        bindings: Mapping[str, Sequence[str]] = BINDINGS,
        *,
        prefetch: int = PREFETCH,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.available = True
        self.published: list[CloudEvent] = []
        self.moved = threading.Condition()
        self._bindings = bindings
        self._prefetch = prefetch
        self._clock = clock
        self._queues = {UNROUTED: _Queue()}
        for queue in bindings:
            self.declare(queue)
            if queue.startswith("fn."):
                self.declare(f"{queue}.retry")
                self.declare(f"{queue}.parked")

    def declare(self, queue: str) -> None:
        """Make a named queue; existing is fine."""
        with self.moved:
            self._queues.setdefault(queue, _Queue())

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Route each event by its type to the bound queues, or to the queue of unrouted events."""
        with self.moved:
            self.check()
            for event in events:
                _, body = to_structured(event)
                self.send(
                    Message(
                        bytes(body),
                        exchange=EXCHANGE,
                        routing_key=event["type"],
                        content_type=STRUCTURED,
                        message_id=event["id"],
                    )
                )
                self.published.append(event)

    def park(self, step: str, body: bytes, *, reason: str, headers: Mapping[str, str]) -> None:
        """Append to the step's parked queue."""
        told = parked_headers(step, reason, now=self._clock(), headers=headers)
        with self.moved:
            self.check()
            self.send(Message(body, told, routing_key=parked_queue(step)))

    def reply(self, queue: str, body: bytes) -> None:
        """Append plain bytes to a named queue."""
        with self.moved:
            self.check()
            self.send(Message(body, routing_key=queue))

    def send_work(self, step: str, bodies: Sequence[bytes]) -> None:
        """Append plain messages to the queue that feeds a step."""
        with self.moved:
            self.check()
            for body in bodies:
                self.send(Message(body, routing_key=step_queue(step)))

    def work_waiting(self, step: str) -> int:
        """Messages ready on the queue that feeds a step."""
        with self.moved:
            self.check()
            return self._state(step_queue(step)).ready

    @contextmanager
    def take_work(self, step: str, *, most: int) -> Iterator[MemoryWork]:
        """Take what is ready on the queue that feeds a step."""
        name = step_queue(step)
        with self.moved:
            self.check()
            work = MemoryWork(self, step, self.withdraw(name, most))
        try:
            yield work
        finally:
            with self.moved:
                self.give_back(name, work.unsettled)

    def declare_changes(self, fqrn: str) -> None:
        """Make the change queue of a repository."""
        self.check()
        self.declare(change_queue(fqrn))

    def drop_changes(self, fqrn: str) -> None:
        """Delete the change queue; whoever is attached finds the connection lost."""
        with self.moved:
            self.check()
            queue = self._queues.pop(change_queue(fqrn), None)
            if queue is not None:
                for consumer in list(queue.consumers):
                    consumer.connected = False
                    queue.detach(consumer)
            self.moved.notify_all()

    def send_changes(self, fqrn: str, bodies: Sequence[bytes]) -> QueueState:
        """Append change records in order."""
        with self.moved:
            self.check()
            for body in bodies:
                self.send(Message(body, routing_key=change_queue(fqrn)))
            return self._state(change_queue(fqrn))

    def changes_state(self, fqrn: str) -> QueueState:
        """The state of the change queue."""
        with self.moved:
            self.check()
            return self._state(change_queue(fqrn))

    @contextmanager
    def consume_changes(self, fqrn: str) -> Iterator[MemoryConsumer]:
        """Attach to the change queue; the first one attached is the active one."""
        with self.moved:
            self.check()
            queue = self._queue(change_queue(fqrn))
            consumer = MemoryConsumer(self, queue)
            queue.consumers.append(consumer)
            self._settle(queue)
        try:
            yield consumer
        finally:
            with self.moved:
                if consumer in queue.consumers:
                    queue.detach(consumer)
                    self._settle(queue)

    def messages(self, queue: str) -> Sequence[Message]:
        """What is ready on a queue, without taking it."""
        with self.moved:
            return [message for _, message in self._queue(queue).ready]

    def pop(self, queue: str) -> Message | None:
        """Take and acknowledge the first message of a queue, as an event source does after a 2xx."""
        with self.moved:
            ready = self._queue(queue).ready
            return ready.popleft()[1] if ready else None

    def retry(self, step: str) -> bool:
        """Bring back to a step what was put off, as time does; whether there was anything."""
        with self.moved:
            held = self.withdraw(retry_queue(step), most=len(self._queue(retry_queue(step)).ready))
            for message in held.values():
                self.send(replace(message, routing_key=step_queue(step)))
        return bool(held)

    def parked(self, step: str) -> Sequence[Message]:
        """What is parked for a step."""
        return self.messages(parked_queue(step))

    def drop_active(self) -> None:
        """Cut the active consumer of every queue off, as a lost machine does; its messages go to the next one."""
        with self.moved:
            for queue in self._queues.values():
                for consumer in queue.consumers[:1]:
                    consumer.connected = False
                    queue.detach(consumer)
                self._settle(queue)

    def check(self) -> None:
        """Raise BrokerUnavailable while the bus is switched off."""
        if not self.available:
            raise BrokerUnavailable("the event bus in memory is switched off")

    def refill(self, queue: _Queue) -> None:
        """Hand out what the prefetch allows after an acknowledgement; the caller holds `moved`."""
        self._settle(queue)

    def _settle(self, queue: _Queue) -> None:
        queue.push(self._prefetch)
        self.moved.notify_all()

    def send(self, message: Message) -> None:
        """Route one message, by queue name on the exchange ``""``; the caller holds `moved`."""
        if message.exchange not in {"", EXCHANGE, NOTIFICATION}:
            raise BrokerUnavailable(f"exchange {message.exchange} does not exist")
        if message.exchange == NOTIFICATION and NOTIFICATIONS in self._queues:
            queues = [NOTIFICATIONS]
        elif message.exchange == EXCHANGE:
            queues = [
                queue
                for queue, patterns in self._bindings.items()
                if any(matches(pattern, message.routing_key) for pattern in patterns)
            ]
        else:
            queues = [message.routing_key] if not message.exchange else []
        for name in queues or [UNROUTED]:
            queue = self._queue(name)
            queue.append(message)
            self._settle(queue)

    def withdraw(self, name: str, most: int) -> dict[int, Message]:
        """Take the first messages of a queue out of everybody's sight, by tag; the caller holds `moved`."""
        ready = self._queue(name).ready
        return dict(ready.popleft() for _ in range(min(most, len(ready))))

    def give_back(self, name: str, messages: Mapping[int, Message]) -> None:
        """Put withdrawn messages back where they were; the caller holds `moved`."""
        queue = self._queue(name)
        queue.ready.extendleft(
            (tag, replace(messages[tag], redelivered=True)) for tag in sorted(messages, reverse=True)
        )
        self._settle(queue)

    def ready(self, name: str) -> int | None:
        """Messages ready on a queue; None if there is none of this name. The caller holds `moved`."""
        return len(self._queues[name].ready) if name in self._queues else None

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            raise BrokerUnavailable(f"queue {name} does not exist")
        return self._queues[name]

    def _state(self, name: str) -> QueueState:
        queue = self._queue(name)
        return QueueState(ready=len(queue.ready), consumers=min(1, len(queue.consumers)))


class MemoryConsumer:
    """A consumer of a change queue in memory."""

    def __init__(self, bus: MemoryEventBus, queue: _Queue) -> None:
        self.connected = True
        self.unacked: dict[int, Message] = {}
        self.inbox: deque[int] = deque()
        self._bus = bus
        self._queue = queue

    def take(self, *, wait_s: float, most: int) -> Sequence[Delivery]:
        """Messages that were pushed to this consumer; waits up to `wait_s` seconds for the first one."""
        with self._bus.moved:
            self._bus.moved.wait_for(lambda: bool(self.inbox) or not self.connected, timeout=wait_s)
            self._check()
            tags = [self.inbox.popleft() for _ in range(min(most, len(self.inbox)))]
            return [Delivery(tag, self.unacked[tag].body, self.unacked[tag].redelivered) for tag in tags]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge."""
        with self._bus.moved:
            self._check()
            for delivery in deliveries:
                self.unacked.pop(delivery.tag, None)
            self._bus.refill(self._queue)

    def _check(self) -> None:
        self._bus.check()
        if not self.connected:
            raise BrokerUnavailable("the connection of this consumer was lost; its messages come again")


class MemoryWork:
    """Messages taken from the queue of a step in memory; what is put off waits on the retry queue for `retry`."""

    def __init__(self, bus: MemoryEventBus, step: str, messages: Mapping[int, Message]) -> None:
        self.unsettled = dict(messages)
        self.deliveries: Sequence[Delivery] = [
            Delivery(tag, message.body, message.redelivered, message.content_type) for tag, message in messages.items()
        ]
        self._bus = bus
        self._retry_queue = retry_queue(step)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge."""
        with self._bus.moved:
            self._bus.check()
            for delivery in deliveries:
                self.unsettled.pop(delivery.tag, None)

    def put_off(self, deliveries: Sequence[Delivery]) -> None:
        """Put on the retry queue."""
        with self._bus.moved:
            self._bus.check()
            for delivery in deliveries:
                message = self.unsettled.pop(delivery.tag)
                self._bus.send(replace(message, exchange="", routing_key=self._retry_queue))
