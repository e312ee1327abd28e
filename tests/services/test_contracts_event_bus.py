"""RabbitMQ keeps the contract of the event bus."""

import itertools
from dataclasses import dataclass, field
from urllib.parse import quote

import pika
import pytest
import urllib3
from pydantic import SecretStr

from functions.adapters.memory_bus import BINDINGS, UNROUTED
from functions.adapters.rabbitmq import RabbitEventBus
from functions.errors import BrokerUnavailable
from tests.contracts.event_bus import EventBusContract, event
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.services

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

    def manage(self, method, path):
        answer = self._http.request(method, f"{self._endpoints.management_url}/api/{path}")
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
            self._queue(queue)
            self._queue(f"{queue}.parked")
            for pattern in patterns:
                self.channel.queue_bind(queue, "cvmfs", pattern)

    def _queue(self, name):
        self.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})

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


@pytest.fixture
def broker(servers):
    broker = RabbitBroker(servers.rabbit.endpoints)
    with broker.proxy:
        yield broker
    broker.close()


@pytest.fixture
def bus(broker):
    bus = RabbitEventBus(broker.url())
    yield bus
    bus.close()


@pytest.fixture
def other_bus(broker):
    bus = RabbitEventBus(broker.url(broker.proxy.port))
    yield bus
    bus.close()


@pytest.fixture
def broken_bus():
    return RabbitEventBus(SecretStr("amqp://guest:guest@127.0.0.1:9"))


class TestRabbitEventBus(EventBusContract):
    def test_events_are_persistent_structured_and_carry_their_id(self, bus, broker):
        bus.publish([event(1)])
        (message,) = broker.drain("fn.store-keys")
        assert message.properties.content_type == "application/cloudevents+json"
        assert message.properties.delivery_mode == 2
        assert message.properties.message_id == "event/1"

    def test_an_event_is_refused_when_nothing_keeps_unrouted_ones(self, bus, broker):
        broker.channel.queue_unbind(UNROUTED, UNROUTED)
        with pytest.raises(BrokerUnavailable, match="no queue takes"):
            bus.publish([event(1, "org.example.unheard-of")])
        bus.publish([event(2)])
        assert len(broker.drain("fn.store-keys")) == 1

    def test_one_unroutable_event_in_a_batch_is_noticed(self, bus, broker):
        broker.channel.queue_unbind(UNROUTED, UNROUTED)
        with pytest.raises(BrokerUnavailable, match=r"org\.example\.unheard-of"):
            bus.publish([event(1), event(2, "org.example.unheard-of"), event(3)])

    def test_a_full_queue_refuses_and_the_sender_hears_of_it(self, bus, broker):
        broker.channel.queue_declare(
            "tiny", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        bus.reply("tiny", b"1")
        with pytest.raises(BrokerUnavailable, match="refused"):
            bus.reply("tiny", b"2")

    def test_an_exchange_that_is_missing_is_an_error_and_the_bus_goes_on(self, broker):
        bus = RabbitEventBus(broker.url(), exchange="nowhere")
        try:
            with pytest.raises(BrokerUnavailable, match="nowhere"):
                bus.publish([event()])
            bus.reply("cvmfs_reply", b"1")
        finally:
            bus.close()

    def test_a_broker_that_accepts_and_then_says_nothing_is_unavailable(self, broker):
        bus = RabbitEventBus(broker.url(broker.proxy.port), answer_timeout_s=1)
        bus.publish([event()])
        broker.proxy.swallowing = True
        try:
            with pytest.raises(BrokerUnavailable, match="did not answer"):
                bus.publish([event()])
        finally:
            broker.cut()
            broker.proxy.swallowing = False
        bus.publish([event()])
        bus.close()

    def test_a_deleted_queue_ends_its_consumer(self, bus, broker):
        bus.declare_changes("gone.infn.it")
        with bus.consume_changes("gone.infn.it") as consumer:
            broker.channel.queue_delete("changes.gone.infn.it")
            with pytest.raises(BrokerUnavailable):
                consumer.take(wait_s=20, most=1)

    def test_a_wrong_password_is_told_without_the_password(self, broker):
        wrong = broker.url().get_secret_value().replace(":", ":not-the-", 2).replace(":not-the-//", "://")
        bus = RabbitEventBus(SecretStr(wrong))
        with pytest.raises(BrokerUnavailable) as caught:
            bus.publish([event()])
        assert "not-the-" not in str(caught.value)

    def test_an_address_that_cannot_be_read_is_told_without_it(self):
        with pytest.raises(BrokerUnavailable) as caught:
            RabbitEventBus(SecretStr("amqp://user:hush@host:port")).publish([event()])
        assert "hush" not in str(caught.value)
