"""The exchanges, queues, bindings and policies of the manifests in a RabbitMQ, as the topology operator makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import pika
import urllib3
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pydantic import SecretStr

from functions.local.runtime.errors import TopologyError
from functions.local.runtime.manifests import Manifests, Policy

_HTTP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where RabbitMQ is and who we are there; `management_url` as in ``http://127.0.0.1:15672``."""

    host: str
    amqp_port: int
    management_url: str
    username: str
    password: SecretStr

    def parameters(self, vhost: str, *, name: str) -> pika.ConnectionParameters:
        """Connection parameters for a virtual host; `name` is shown by the management interface."""
        return pika.ConnectionParameters(
            host=self.host,
            port=self.amqp_port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(self.username, self.password.get_secret_value()),
            client_properties={"connection_name": name},
        )


def apply_topology(manifests: Manifests, broker: Broker) -> None:
    """Put policies, exchanges, queues and bindings in place; existing ones that are the same are fine.

    Policies come first, so that no queue ever stands without its own. Raises TopologyError when RabbitMQ refuses or
    cannot be reached.
    """
    with urllib3.PoolManager(timeout=_HTTP_TIMEOUT_S, retries=False) as http:
        for policy in manifests.policies:
            _put_policy(http, broker, policy)
    for vhost in _vhosts(manifests):
        with _channel(broker, vhost) as channel:
            _declare(channel, manifests, vhost)


def queue_arguments(queue_type: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments of queue.declare, with the type among them."""
    return {**arguments, "x-queue-type": queue_type} if queue_type else dict(arguments)


def _vhosts(manifests: Manifests) -> Iterable[str]:
    return {part.vhost for parts in (manifests.exchanges, manifests.queues, manifests.bindings) for part in parts}


@contextmanager
def _channel(broker: Broker, vhost: str) -> Iterator[BlockingChannel]:
    try:
        connection = pika.BlockingConnection(broker.parameters(vhost, name="topology"))
    except (AMQPError, OSError) as err:
        raise TopologyError(f"RabbitMQ at {broker.host}:{broker.amqp_port}: {type(err).__name__} {err}") from err
    try:
        yield connection.channel()
    except AMQPError as err:
        raise TopologyError(f"RabbitMQ: {err}") from err
    finally:
        if connection.is_open:
            connection.close()


def _declare(channel: BlockingChannel, manifests: Manifests, vhost: str) -> None:
    for exchange in manifests.exchanges:
        if exchange.vhost == vhost:
            channel.exchange_declare(
                exchange.name,
                exchange.type,
                durable=exchange.durable,
                auto_delete=exchange.auto_delete,
                arguments=dict(exchange.arguments),
            )
    for queue in manifests.queues:
        if queue.vhost == vhost:
            channel.queue_declare(
                queue.name,
                durable=queue.durable,
                auto_delete=queue.auto_delete,
                arguments=queue_arguments(queue.type, queue.arguments),
            )
    for binding in manifests.bindings:
        if binding.vhost == vhost:
            channel.queue_bind(
                binding.destination, binding.source, routing_key=binding.routing_key, arguments=dict(binding.arguments)
            )


def _put_policy(http: urllib3.PoolManager, broker: Broker, policy: Policy) -> None:
    url = f"{broker.management_url}/api/policies/{quote(policy.vhost, safe='')}/{quote(policy.name, safe='')}"
    try:
        answer = http.request(
            "PUT",
            url,
            headers=urllib3.make_headers(basic_auth=f"{broker.username}:{broker.password.get_secret_value()}"),
            json={
                "pattern": policy.pattern,
                "definition": dict(policy.definition),
                "priority": policy.priority,
                "apply-to": policy.apply_to,
            },
        )
    except urllib3.exceptions.HTTPError as err:
        raise TopologyError(f"RabbitMQ's management interface at {broker.management_url}: {err}") from err
    if answer.status not in {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
        raise TopologyError(f"policy {policy.name}: status {answer.status} {answer.data.decode(errors='replace')}")
