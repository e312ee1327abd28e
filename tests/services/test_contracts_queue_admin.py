"""RabbitMQ keeps the contract of the queues' administration."""

import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from functions.adapters import rabbitmq_hold
from functions.adapters.rabbitmq import RabbitEventBus
from functions.adapters.rabbitmq_link import settle
from functions.adapters.rabbitmq_queues import RabbitQueueAdmin
from functions.errors import BrokerUnavailable
from functions.ports import Message
from tests.contracts.queue_admin import PARKED, STEP, QueueAdminContract, bodies, park, to_step

pytestmark = pytest.mark.services

TOP = Path(__file__).parents[2]
ACCOUNT = "cvmfs-gateway"

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

    def test_more_than_a_quorum_queue_gives_without_a_prefetch_is_held(self, admin, bus):
        bus.declare_changes("many.infn.it")
        bus.send_changes("many.infn.it", [b"%d" % number for number in range(2_500)])
        with admin.hold("changes.many.infn.it", most=100_000) as hold:
            assert bodies(hold.held) == [b"%d" % number for number in range(2_500)]

    def test_not_more_are_held_than_a_prefetch_can_say(self, admin, bus, monkeypatch):
        monkeypatch.setattr(rabbitmq_hold, "PREFETCH_LIMIT", 2)
        park(bus, *"abc")
        with admin.hold(PARKED, most=100_000) as hold:
            assert bodies(hold.held) == [b"a", b"b"]

    def test_a_queue_that_is_too_busy_to_count_is_not_taken_for_empty(self, admin, bus, monkeypatch):
        park(bus, *"abc")
        counted = rabbitmq_hold.RabbitHold._open

        def busy(hold, connection, future):
            told = Future()
            told.add_done_callback(lambda _: settle(future, 0))
            counted(hold, connection, told)

        monkeypatch.setattr(rabbitmq_hold.RabbitHold, "_open", busy)
        with admin.hold(PARKED, most=100) as hold:
            assert bodies(hold.held) == [b"a", b"b", b"c"]
        with admin.hold(PARKED, most=1) as hold:
            assert bodies(hold.held) == [b"a"]

    def test_an_exchange_that_is_missing_is_told_and_the_next_call_works(self, admin, bus):
        park(bus, "a")
        with admin.hold(PARKED, most=10) as hold:
            lost = to_step(b"1")
            faults = hold.pass_on([(hold.held[0], [Message(b"1", routing_key="x", exchange="nowhere")])])
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


@pytest.fixture
def gateway_account(broker):
    """An account with the rights that the manifests give the gateway, on this test's virtual host."""
    objects = yaml.safe_load_all((TOP / "knative/rabbitmq/accounts.yaml").read_text())
    (spec,) = [
        found["spec"] for found in objects if (found["kind"], found["metadata"]["name"]) == ("Permission", ACCOUNT)
    ]
    broker.manage("PUT", f"users/{ACCOUNT}", {"password": "told-to-nobody", "tags": ""})
    broker.manage("PUT", f"permissions/{broker.vhost}/{ACCOUNT}", spec["permissions"])
    yield broker.url_of(ACCOUNT, "told-to-nobody")
    broker.manage("DELETE", f"users/{ACCOUNT}")


def test_the_account_of_the_gateway_may_do_all_of_it_and_not_more(broker, bus, gateway_account):
    broker.channel.exchange_declare("notification", "topic", durable=True)
    broker.channel.queue_bind(STEP, "notification", "#")
    park(bus, "a", "b")
    admin = RabbitQueueAdmin(gateway_account)
    assert (admin.ready(STEP), admin.ready(PARKED), admin.ready("cvmfs.unrouted")) == (0, 2, 0)
    with admin.hold(PARKED, most=10) as hold:
        again = Message(b"1", routing_key="cvmfs-0", exchange="notification")
        assert list(hold.pass_on([(hold.held[0], [to_step(b"1"), again])])) == [""]
        hold.remove([hold.held[1]])
    assert (admin.ready(STEP), admin.ready(PARKED)) == (2, 0)
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"), admin.hold(STEP, most=1):
        pass
    admin.close()
