"""What a wake-up costs that finds nothing: `publish_transaction` against a real RabbitMQ, in milliseconds.

Starts a broker of its own: ``PYTHONPATH=. .venv/bin/python hpc-bench/wake_ups.py``; everything else is in memory.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from events import RepositoryChanged
from functions.adapters.rabbitmq import RabbitEventBus
from functions.handlers.publish_transaction import publish_transaction
from functions.local.servers import RabbitServer, start_together, stop_together
from tests.world import World

WAKE_UPS = 2_000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        rabbit = RabbitServer(Path(folder) / "rabbit")
        start_together((rabbit,))
        world = World()
        try:
            world.repository()
            bus = RabbitEventBus(rabbit.endpoints.amqp_url)
            bus.declare_changes("alice.infn.it")
            cloud = replace(world.cloud, bus=bus)
            event = RepositoryChanged(repository="alice.infn.it", cause="bench").to_cloudevent(
                source="/bench", time=world.clock()
            )
            times = []
            for _ in range(WAKE_UPS):
                started = time.perf_counter()
                publish_transaction(event, cloud)
                times.append(1000 * (time.perf_counter() - started))
            bus.close()
        finally:
            world.close()
            stop_together((rabbit,))
    ranks = statistics.quantiles(times, n=100)
    print(f"{WAKE_UPS} wake-ups: p50 {ranks[49]:.2f} ms, p99 {ranks[98]:.2f} ms")


if __name__ == "__main__":
    main()
