"""How long a single upload takes from PUT to visible, and where the time goes, on a stack of its own.

    python hpc-bench/latency.py [--uploads 20]

One process reads all the clocks: when the PUT returned, when the notification, the wake-up and the announcement passed
through RabbitMQ, and when a verifying reader saw the upload over HTTP.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import urllib3
from cloudevents.conversion import to_structured

from events import RepositoryChanged, RepositoryPublished, RepositoryRequested
from functions.adapters.http import HttpReader
from functions.local.demo.material import Upload
from functions.local.demo.user import S3User
from functions.local.demo.watching import Watcher
from functions.local.servers.s3_setup import client
from functions.local.stack import Stack

QUIET_S = 2.5
"""Pause between uploads, longer than the shortest time between two revisions."""

STAGES = ("notification", "wake-up", "announcement")


class Listener(threading.Thread):
    """Notes when messages pass the exchanges, by stage."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.passed: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        for stage, exchange, key in (
            ("notification", "notification", "#"),
            ("wake-up", "cvmfs", RepositoryChanged.TYPE),
            ("announcement", "cvmfs", RepositoryPublished.TYPE),
        ):
            queue = self._channel.queue_declare("", exclusive=True).method.queue
            self._channel.queue_bind(queue, exchange, key)
            self._channel.basic_consume(queue, self._noting(stage), auto_ack=True)

    def _noting(self, stage: str) -> Any:
        return lambda *_: self.passed[stage].append(time.monotonic())

    def run(self) -> None:
        """Listen until stopped."""
        self._channel.start_consuming()
        self._connection.close()

    def stop(self) -> None:
        """Stop listening."""
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self.join()


def measure(stack: Stack, uploads: int) -> dict[str, Any]:
    """Upload one by one; medians in milliseconds from the PUT's return to each stage and to visible."""
    subject = str(uuid.uuid4())
    account = stack.ceph.create_user(subject)
    wanted = RepositoryRequested(repository="bench.infn.it", username="bench", subject=subject)
    headers, body = to_structured(wanted.to_cloudevent(source="/bench", time=datetime.now(UTC)))
    urllib3.request("POST", f"{stack.gateway_url}/events", body=body, headers=headers)
    worker = HttpReader(f"{stack.repository_url}/bench.infn.it")
    while worker.fetch(".cvmfspublished") is None:
        time.sleep(0.05)
    secret = stack.vault_secret(f"{subject}/cvmfs_keys/bench.infn.it")
    watcher = Watcher(worker.fetch, "bench.infn.it", secret["publicKey"])
    user = S3User(client("s3", stack.ceph.endpoints.s3_url, account), "bench")
    stack.wait_for_notifications()
    watcher.start()
    listener = Listener(stack.rabbit.endpoints.amqp_url.get_secret_value())
    listener.start()
    dice = random.Random(1)
    from_zero = 0.0
    stages: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "visible")}
    for number in range(uploads + 1):
        before = {stage: len(times) for stage, times in listener.passed.items()}
        put = user.put(Upload(f"cvmfs/file{number}", dice.randbytes(10_000)))
        watcher.expect(f"/file{number}", put.etag, put.at)
        if not watcher.wait(timeout_s=60):
            raise SystemExit("an upload did not become visible within 60 s")
        time.sleep(QUIET_S)
        if number == 0:
            from_zero = watcher.seen[-1].seconds
            continue
        stages["visible"].append(watcher.seen[-1].seconds)
        for stage in STAGES:
            stages[stage].append(listener.passed[stage][before[stage]] - put.at)
    watcher.stop()
    listener.stop()
    return {
        "uploads": uploads,
        "first_from_zero_ms": round(from_zero * 1000),
        "median_ms": {stage: round(statistics.median(times) * 1000) for stage, times in stages.items()},
        "slowest_ms": {stage: round(max(times) * 1000) for stage, times in stages.items()},
    }


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="Latency of single uploads, quiet, and its stages.")
    arguments.add_argument("--uploads", type=int, default=20)
    uploads = arguments.parse_args().uploads
    with (
        tempfile.TemporaryDirectory(prefix="cvmfs-cloud-bench-") as folder,
        Stack(Path(folder), store="memstore") as stack,
    ):
        result = measure(stack, uploads)
    print(f"{'milliseconds after the PUT returned':<40}{'median':>8}{'slowest':>9}")
    for stage in (*STAGES, "visible"):
        print(f"  {stage:<38}{result['median_ms'][stage]:>8}{result['slowest_ms'][stage]:>9}")
    print(f"  {'visible, first upload, functions at zero':<38}{result['first_from_zero_ms']:>6}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "latency.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
