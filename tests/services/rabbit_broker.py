"""A RabbitMQ as the other side of an adapter sees it: a virtual host of its own with the service's topology."""

import itertools
import time
from dataclasses import dataclass, field
from urllib.parse import quote

import pika
import urllib3
from pydantic import SecretStr

from functions.adapters.memory_bus import BINDINGS, UNROUTED
from tests.tcp_proxy import TcpProxy

_numbers = itertools.count(1)


@dataclass
class Drained:
    body: bytes
    headers: dict = field(default_factory=dict)
    properties: object = None


class RabbitBroker:
    """The other side of the bus, in a virtual host of its own."""

    def __init__(self, endpoints):
        self.vhost = f"test-{next(_numbers)}"
        self._credentials = f"{endpoints.username}:{endpoints.password.get_secret_value()}"
        self._endpoints = endpoints
        self._http = urllib3.PoolManager(headers=urllib3.make_headers(basic_auth=self._credentials))
        self.manage("PUT", f"vhosts/{self.vhost}")
        self.proxy = TcpProxy((endpoints.host, endpoints.amqp_port))
        self.cut = self.proxy.cut
        self._connection = pika.BlockingConnection(pika.URLParameters(self.url().get_secret_value()))
        self.channel = self._connection.channel()
        self._declare_topology()

    def url(self, port=None):
        host = f"{self._endpoints.host}:{port or self._endpoints.amqp_port}"
        return SecretStr(f"amqp://{self._credentials}@{host}/{quote(self.vhost, safe='')}")

    def url_of(self, username, password):
        host = f"{self._endpoints.host}:{self._endpoints.amqp_port}"
        return SecretStr(f"amqp://{username}:{password}@{host}/{quote(self.vhost, safe='')}")

    def manage(self, method, path, body=None):
        answer = self._http.request(method, f"{self._endpoints.management_url}/api/{path}", json=body)
        assert answer.status < 300, answer.data
        return answer

    def _declare_topology(self):
        self.channel.exchange_declare(UNROUTED, "fanout", durable=True)
        self.channel.exchange_declare("cvmfs", "topic", durable=True, arguments={"alternate-exchange": UNROUTED})
        self._queue(UNROUTED)
        self.channel.queue_bind(UNROUTED, UNROUTED)
        for queue, patterns in BINDINGS.items():
            if queue not in {"fn.store-keys", "cvmfs_reply"}:
                continue
            self._queue(queue, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.retry"})
            self._queue(f"{queue}.retry")
            self._queue(f"{queue}.parked")
            for pattern in patterns:
                self.channel.queue_bind(queue, "cvmfs", pattern)

    def _queue(self, name, **more):
        self.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **more})

    def put_off(self, step):
        """What waits to be tried again, which takes RabbitMQ a moment to get there."""
        deadline = time.monotonic() + 20
        while not (messages := self.drain(f"fn.{step}.retry")) and time.monotonic() < deadline:
            time.sleep(0.01)
        return messages

    def drain(self, queue):
        drained = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return drained
            drained.append(Drained(body, properties.headers or {}, properties))

    def close(self):
        self._connection.close()
        self.manage("DELETE", f"vhosts/{self.vhost}")
        self._http.clear()
