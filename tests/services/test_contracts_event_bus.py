"""RabbitMQ keeps the contract of the event bus."""

import pytest
from pydantic import SecretStr

from functions.adapters.memory_bus import UNROUTED
from functions.adapters.rabbitmq import RabbitEventBus
from functions.errors import BrokerUnavailable
from tests.contracts.event_bus import EventBusContract, event

pytestmark = pytest.mark.services


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
