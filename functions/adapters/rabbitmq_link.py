"""One AMQP connection and the thread that serves it.

pika's SelectConnection is asynchronous and belongs to one thread; `Link.ask` lets any thread start something on it and
wait for the answer. The thread keeps heartbeats going while a function computes for minutes, so that a lost machine is
noticed within a minute and a busy one is not taken for lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorPhaseErrorBase
from pika.exceptions import AMQPError, ChannelClosed
from pydantic import SecretStr

from functions.errors import BrokerUnavailable

T = TypeVar("T")

HEARTBEAT_S = 30
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 30.0
NOT_FOUND = 404

Begin = Callable[[pika.SelectConnection, "Future[T]"], None]
"""Something to start on the connection, in its thread, that will settle the future."""


class LinkLost(BrokerUnavailable):
    """The connection ended before the answer came; on a new one it may work."""


class NotThere(BrokerUnavailable):
    """There is no queue or exchange of this name."""


def link_parameters(url: SecretStr, *, name: str) -> pika.connection.Parameters:
    """How to connect; `name` is shown in RabbitMQ's list of connections. Raises BrokerUnavailable, without the URL."""
    address = url.get_secret_value()
    try:
        if not address.startswith(("amqp://", "amqps://")):
            raise ValueError  # noqa: TRY301 - pika takes anything for an address on this very machine
        parameters = pika.URLParameters(address)
    except ValueError:
        raise BrokerUnavailable("the address of RabbitMQ cannot be read") from None
    parameters.heartbeat = HEARTBEAT_S
    parameters.connection_attempts = 1
    parameters.socket_timeout = CONNECT_TIMEOUT_S
    parameters.stack_timeout = 2 * CONNECT_TIMEOUT_S
    parameters.client_properties = {"connection_name": name}
    return parameters


def fault(reason: object) -> BrokerUnavailable:
    """What callers see of a pika error: BrokerUnavailable if the broker refused, LinkLost if the connection ended."""
    if isinstance(reason, ChannelClosed):
        kind = NotThere if reason.reply_code == NOT_FOUND else BrokerUnavailable
        return kind(f"RabbitMQ refused: {reason.reply_text} ({reason.reply_code})")
    cause = _innermost(reason)
    told = cause.strerror if isinstance(cause, OSError) and cause.strerror else repr(cause)
    return LinkLost(f"there is no connection to RabbitMQ: {told}")


def _innermost(reason: object) -> object:
    """The error that pika's own, one in the other, are about."""
    while isinstance(reason, Exception):
        if isinstance(reason, AMQPConnectionWorkflowFailed):
            inside = reason.exceptions[-1]
        elif isinstance(reason, AMQPConnectorPhaseErrorBase):
            inside = reason.exception
        else:
            inside = reason.args[0] if reason.args else None
        if not isinstance(inside, Exception):
            break
        reason = inside
    return reason


def settle(future: Future[T], result: T) -> None:
    """Give a result to a future that may have failed already; called in the connection's thread only."""
    if not future.done():
        future.set_result(result)


def fail(future: Future[Any], error: BaseException) -> None:
    """Give an error to a future that may have been settled already; called in the connection's thread only."""
    if not future.done():
        future.set_exception(error)


class Link:
    """An open connection; raises BrokerUnavailable if it cannot be opened."""

    def __init__(self, parameters: pika.connection.Parameters, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._lost: str | None = None
        self._connection: pika.SelectConnection | None = None
        opened: Future[None] = Future()
        self._waiting.add(opened)
        self._thread = threading.Thread(target=self._serve, args=(parameters, opened), name="rabbitmq", daemon=True)
        self._thread.start()
        self._wait(opened)

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost is not None

    def ask(self, begin: Begin[T]) -> T:
        """Start something in the connection's thread and wait for its answer; raises BrokerUnavailable."""
        future: Future[T] = Future()
        with self._lock:
            if self._lost is not None:
                raise LinkLost(self._lost)
            self._waiting.add(future)
        self.tell(lambda connection: self._begin(begin, connection, future))
        return self._wait(future)

    def tell(self, act: Callable[[pika.SelectConnection], None]) -> None:
        """Do something in the connection's thread, without waiting for it."""
        connection = self._connection
        assert connection is not None
        connection.ioloop.add_callback_threadsafe(lambda: act(connection))

    def close(self) -> None:
        """End the connection and its thread."""
        if self._connection is not None:
            self.tell(lambda connection: connection.close() if connection.is_open else None)
        self._thread.join(self._timeout_s)

    def _wait(self, future: Future[T]) -> T:
        try:
            return future.result(self._timeout_s)
        except TimeoutError as error:
            raise BrokerUnavailable(f"RabbitMQ did not answer within {self._timeout_s:g} s") from error
        finally:
            with self._lock:
                self._waiting.discard(future)

    def _serve(self, parameters: pika.connection.Parameters, opened: Future[None]) -> None:
        try:
            connection = pika.SelectConnection(
                parameters,
                on_open_callback=lambda _connection: settle(opened, None),
                on_open_error_callback=self._end,
                on_close_callback=self._end,
            )
            self._connection = connection
            connection.ioloop.start()
            connection.ioloop.close()
        except Exception as error:  # noqa: BLE001  (whatever ends this thread, nobody may wait for it any longer)
            self._end(None, error)

    def _end(self, connection: pika.SelectConnection | None, reason: object) -> None:
        with self._lock:
            self._lost = str(fault(reason))
            for future in self._waiting:
                fail(future, LinkLost(self._lost))
        if connection is not None:
            connection.ioloop.stop()

    @staticmethod
    def _begin(begin: Begin[T], connection: pika.SelectConnection, future: Future[T]) -> None:
        try:
            begin(connection, future)
        except AMQPError as error:
            fail(future, fault(error))
