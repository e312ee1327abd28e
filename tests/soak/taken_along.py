"""Notes of what a function acknowledges itself, which no answer to the event source tells of."""

from __future__ import annotations

import time

from functions.adapters.rabbitmq_work import RabbitWork
from functions.handlers.intake import STEP
from functions.publishing.parked_messages import step_queue
from tests.soak.journal import Journal, identity_of_message

DONE = 204


def write_down(path):
    """From now on every message that this process takes along is in the journal once it is acknowledged."""
    journal, acknowledge = Journal(path), RabbitWork.ack

    def ack(self, deliveries):
        acknowledge(self, deliveries)
        for delivery in deliveries:
            name = identity_of_message(delivery.content_type, delivery.body)
            journal.write(at=time.time(), queue=step_queue(STEP), message=name, status=DONE, ms=0, along=True)

    RabbitWork.ack = ack
