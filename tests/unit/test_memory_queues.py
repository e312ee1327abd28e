"""The queues in memory keep the contract of RabbitMQ's."""

import pytest

from functions.adapters.memory import MemoryEventBus
from functions.adapters.memory_queues import MemoryQueueAdmin
from tests.contracts.queue_admin import QueueAdminContract


class TestMemoryQueueAdmin(QueueAdminContract):
    @pytest.fixture
    def bus(self):
        return MemoryEventBus()

    @pytest.fixture
    def admin(self, bus):
        return MemoryQueueAdmin(bus)

    @pytest.fixture
    def cut(self, admin):
        return admin.cut

    @pytest.fixture
    def broken_admin(self):
        bus = MemoryEventBus()
        bus.available = False
        return MemoryQueueAdmin(bus)
