"""The event bus in memory keeps the contract of RabbitMQ."""

import pytest

from functions.adapters.memory import MemoryEventBus
from functions.adapters.memory_bus import matches
from tests.contracts.event_bus import FQRN, EventBusContract, bodies, records


class MemoryBroker:
    def __init__(self, bus):
        self._bus = bus
        self.cut = bus.drop_active

    def drain(self, queue):
        return list(iter(lambda: self._bus.pop(queue), None))

    def put_off(self, step):
        return self.drain(f"fn.{step}.retry")


class TestMemoryEventBus(EventBusContract):
    @pytest.fixture
    def bus(self):
        return MemoryEventBus()

    @pytest.fixture
    def other_bus(self, bus):
        return bus

    @pytest.fixture
    def broker(self, bus):
        return MemoryBroker(bus)

    @pytest.fixture
    def broken_bus(self):
        bus = MemoryEventBus()
        bus.available = False
        return bus

    def test_the_prefetch_bounds_what_is_pushed_ahead(self):
        bus = MemoryEventBus(prefetch=2)
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(5))
        with bus.consume_changes(FQRN) as consumer:
            taken = consumer.take(wait_s=0, most=10)
            assert bodies(taken) == records(2)
            assert bus.changes_state(FQRN).ready == 3
            consumer.ack(taken)
            assert bodies(consumer.take(wait_s=0, most=10)) == records(4)[2:]


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#.c", "a.b.c", True),
        ("#.c", "a.b.d", False),
        ("*.#.c", "c", False),
        ("*.#.c", "a.c", True),
    ],
)
def test_topic_patterns_match_as_in_amqp(pattern, key, expected):
    assert matches(pattern, key) is expected
