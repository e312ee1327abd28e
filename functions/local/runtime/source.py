"""The receive adapter of a RabbitmqSource: takes messages from a queue and POSTs them to a Service.

The rules of the real one (eventing-rabbitmq 1.23), which this one keeps:

- prefetch 100, whatever the parallelism; the queue must exist; a lost connection is made again after 1 s;
- any 2xx acknowledges the message, its body is ignored;
- 404, 413, 425, 429, 502, 503, 504 and a broken connection are tried again as the delivery policy says, with the worker
  occupied meanwhile; without a policy nothing is tried again;
- every other ending is a nack without requeue: also a 500, a message that cannot be converted, and the end of the
  source while a POST is under way. The dead letter exchange of the queue decides what becomes of the message.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ConnectionWrongStateError

from functions.local.runtime.conversion import to_request
from functions.local.runtime.errors import ConversionError, SinkError
from functions.local.runtime.manifests import Source
from functions.local.runtime.messages import Answer, QueueMessage, Request

PREFETCH = 100
RETRIED = frozenset({404, 413, 425, 429, 502, 503, 504})
RECONNECT_S = 1.0


class Sink(Protocol):
    """Where a source sends: the instances of a Service."""

    def send(self, request: Request) -> Answer:
        """Ask and return the answer; raises SinkError when there is none."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source at one moment, and what it has counted: messages acknowledged, messages given back, further tries."""

    connected: bool
    in_flight: int
    handled: int
    nacked: int
    retried: int
    connections: int


class EventSource:
    """A running source; `clock` gives the time of events that carry none."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        parameters: pika.ConnectionParameters,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self._sink = sink
        self._parameters = parameters
        self._clock = clock
        self._stopping = threading.Event()
        self._workers = ThreadPoolExecutor(source.parallelism, thread_name_prefix=f"source {source.name}")
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._connections = 0
        self._handled = 0
        self._nacked = 0
        self._retried = 0
        self._reader = threading.Thread(target=self._read, name=f"reader of {source.name}", daemon=True)

    def start(self) -> None:
        """Begin to take messages; the connection is made, and made again, in the background."""
        self._reader.start()

    def stop(self) -> None:
        """Give back what is under way, as SIGTERM does, and return when RabbitMQ knows it.

        Requests that have been sent run to their end without anybody waiting for them.
        """
        with self._lock:
            self._stopping.set()
            session = self._session
        if session is not None:
            session.wake(session.leave)
        if self._reader.is_alive():
            self._reader.join()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def status(self) -> SourceStatus:
        """What it does now and what it has counted."""
        with self._lock:
            session = self._session
            return SourceStatus(
                connected=session is not None,
                in_flight=0 if session is None else len(session.unsettled),
                handled=self._handled,
                nacked=self._nacked,
                retried=self._retried,
                connections=self._connections,
            )

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve_one_connection()
            except (AMQPError, OSError):
                # Unacknowledged messages are RabbitMQ's again; a worker that still has one settles nothing with it.
                with self._lock:
                    if self._session is not None:
                        self._session.left = True
                        self._session = None
            self._stopping.wait(RECONNECT_S)

    def _serve_one_connection(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        try:
            session = _Session(connection, self.source, take=self._take)
            with self._lock:
                if self._stopping.is_set():
                    return
                self._session = session
                self._connections += 1
            nacked = session.serve()
            with self._lock:
                self._session = None
                self._nacked += nacked
        finally:
            if connection.is_open:
                connection.close()

    def _take(self, session: _Session, tag: int, message: QueueMessage) -> None:
        self._workers.submit(self._handle, session, tag, message)

    def _handle(self, session: _Session, tag: int, message: QueueMessage) -> None:
        if session.left:
            return
        done = False
        try:
            done = self._deliver(message)
        finally:
            self._settle(session, tag, done=done)

    def _settle(self, session: _Session, tag: int, *, done: bool) -> None:
        with self._lock:
            if self._stopping.is_set() or session.left:
                return
            if done:
                self._handled += 1
            else:
                self._nacked += 1
            session.settle(tag, done=done)

    def _deliver(self, message: QueueMessage) -> bool:
        try:
            request = to_request(message, self.source, now=self._clock(), new_id=lambda: str(uuid.uuid4()))
        except ConversionError:
            return False
        delivery = self.source.delivery
        attempt = 0
        while True:
            status = self._post(request)
            if status is not None and status not in RETRIED:
                return 200 <= status < 300
            attempt += 1
            if delivery is None or attempt > delivery.retry or self._stopping.wait(delivery.wait_s(attempt)):
                return False
            with self._lock:
                self._retried += 1

    def _post(self, request: Request) -> int | None:
        try:
            return self._sink.send(request).status
        except SinkError:
            return None


class _Session:
    """One connection to the queue: what came over it can only be settled over it, on the thread that reads it."""

    def __init__(
        self,
        connection: pika.BlockingConnection,
        source: Source,
        *,
        take: Callable[[_Session, int, QueueMessage], None],
    ) -> None:
        self.left = False
        self.unsettled: dict[int, None] = {}
        self._connection = connection
        self._parallelism = source.parallelism
        self._take = take
        self._lock = threading.Lock()
        self._settled: deque[tuple[int, bool]] = deque()
        self._nacked_at_the_end = 0
        self._channel = connection.channel()
        self._channel.basic_qos(prefetch_count=PREFETCH)
        self._channel.queue_declare(source.queue, passive=True)
        self._channel.add_on_cancel_callback(lambda _: self._lose())
        self._channel.basic_consume(source.queue, self._on_message)

    def serve(self) -> int:
        """Read until told to leave and return how many messages were given back on leaving.

        Raises AMQPError when the connection breaks.
        """
        while not self.left:
            self._connection.process_data_events(time_limit=None)
        return self._nacked_at_the_end

    def leave(self) -> None:
        """Give back what the workers have and what waits for them, and stop reading; on the reading thread.

        The real adapter's workers each hold one message and a buffer of the same length holds more; the rest of the
        prefetched messages go back by themselves when the connection closes.
        """
        if not self.left:
            self._write_settled()
            self.left = True
            for tag in list(self.unsettled)[: 2 * self._parallelism]:
                self._channel.basic_nack(tag, requeue=False)
                self._nacked_at_the_end += 1

    def settle(self, tag: int, *, done: bool) -> None:
        """Acknowledge or give back a message; from any thread."""
        with self._lock:
            self._settled.append((tag, done))
            first = len(self._settled) == 1
        if first:
            self.wake(self._write_settled)

    def wake(self, call: Callable[[], None]) -> None:
        """Have the reading thread call something; nothing happens once the connection is lost."""
        try:
            self._connection.add_callback_threadsafe(call)
        except ConnectionWrongStateError:
            return

    def _lose(self) -> None:
        self.left = True

    def _write_settled(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, deque()
        for tag, done in settled:
            del self.unsettled[tag]
            if done:
                self._channel.basic_ack(tag)
            else:
                self._channel.basic_nack(tag, requeue=False)

    def _on_message(
        self,
        _channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.unsettled[method.delivery_tag] = None
        self._take(
            self,
            method.delivery_tag,
            QueueMessage(
                body=body,
                content_type=properties.content_type,
                headers=properties.headers or {},
                message_id=properties.message_id,
                timestamp=properties.timestamp,
            ),
        )
