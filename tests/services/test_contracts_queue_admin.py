"""RabbitMQ keeps the contract of the queues' administration."""

import os
import signal
import subprocess
import sys

import pytest
from pydantic import SecretStr

from functions.adapters.rabbitmq import RabbitEventBus
from functions.adapters.rabbitmq_queues import RabbitQueueAdmin
from functions.errors import BrokerUnavailable
from tests.contracts.queue_admin import PARKED, STEP, QueueAdminContract, bodies, park, to_step
from tests.services.rabbit_broker import RabbitBroker

pytestmark = pytest.mark.services

HOLDER = """
import sys, time
from pydantic import SecretStr
from functions.adapters.rabbitmq_queues import RabbitQueueAdmin
from functions.ports import Message
admin = RabbitQueueAdmin(SecretStr(sys.argv[1]))
with admin.hold("fn.store-keys.parked", most=100) as hold:
    hold.pass_on([(hold.held[0], [Message(hold.held[0].message.body, routing_key="fn.store-keys")])])
    print(len(hold.held), flush=True)
    time.sleep(600)
"""


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
def admin(broker):
    admin = RabbitQueueAdmin(broker.url(broker.proxy.port))
    yield admin
    admin.close()


@pytest.fixture
def cut(broker):
    return broker.cut


@pytest.fixture
def broken_admin():
    return RabbitQueueAdmin(SecretStr("amqp://guest:guest@127.0.0.1:9"))


class TestRabbitQueueAdmin(QueueAdminContract):
    def test_a_killed_operator_loses_nothing(self, admin, bus, broker):
        park(bus, *"abcd")
        child = subprocess.Popen(
            [sys.executable, "-c", HOLDER, broker.url().get_secret_value()], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout.readline() == "4\n"
            assert admin.ready(PARKED) == 0
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        back = []
        while len(back) < 3:
            with admin.hold(PARKED, most=10) as hold:
                back = bodies(hold.held)
        assert back == [b"b", b"c", b"d"]
        assert admin.ready(STEP) == 1

    def test_as_many_as_a_prefetch_can_say_are_held(self, admin, bus):
        bus.declare_changes("many.infn.it")
        bus.send_changes("many.infn.it", [b"%d" % number for number in range(66_000)])
        with admin.hold("changes.many.infn.it", most=100_000) as hold:
            assert bodies(hold.held) == [b"%d" % number for number in range(65_535)]
        assert admin.ready("changes.many.infn.it") == 66_000

    def test_an_exchange_that_is_missing_is_told_and_the_next_call_works(self, admin, bus):
        park(bus, "a")
        with admin.hold(PARKED, most=10) as hold:
            lost = to_step(b"1")
            faults = hold.pass_on([(hold.held[0], [type(lost)(b"1", routing_key="x", exchange="nowhere")])])
            assert "nowhere" in faults[0]
            assert list(hold.pass_on([(hold.held[0], [lost])])) == [""]

    def test_a_deleted_queue_ends_its_hold(self, admin, bus, broker):
        park(bus, "a")
        with admin.hold(PARKED, most=10) as hold:
            broker.channel.queue_delete(PARKED)
            with pytest.raises(BrokerUnavailable):
                hold.remove(hold.held)

    def test_a_wrong_address_is_told_without_the_password(self):
        with pytest.raises(BrokerUnavailable) as caught:
            RabbitQueueAdmin(SecretStr("amqp://user:hush@host:port")).ready(PARKED)
        assert "hush" not in str(caught.value)
