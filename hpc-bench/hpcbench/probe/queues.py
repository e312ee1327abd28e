"""How many messages wait: in the queue of each function every second, in all queues together now and then."""

from __future__ import annotations

import threading
import time

import pika
import urllib3
from pika.exceptions import AMQPError
from urllib3.util import parse_url

from hpcbench.raw import RawFile

SAMPLE_S = 1.0
STEPS = ("store-keys", "create-repository", "handle-bucket-notification", "publish-transaction")
_ALL_EVERY = 5
_TIMEOUT_S = 10.0


class Queues(threading.Thread):
    """Samples until stopped. What a source has fetched ahead is in no queue; the instances' `waiting` counts it."""

    def __init__(self, amqp_url: str, management_url: str, raw: RawFile) -> None:
        super().__init__(name="queues", daemon=True)
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._channel = self._connection.channel()
        self._management_url = management_url
        self._http = urllib3.PoolManager(timeout=_TIMEOUT_S, retries=False)
        self._raw = raw
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample."""
        looks = 0
        while not self._ended.wait(SAMPLE_S):
            try:
                self.sample(everything=looks % _ALL_EVERY == 0)
            except AMQPError:
                return  # the broker is down, or ended before us
            looks += 1
        self._connection.close()

    def stop(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()

    def sample(self, *, everything: bool) -> None:
        """One look."""
        steps = {step: self._channel.queue_declare(f"fn.{step}", passive=True).method.message_count for step in STEPS}
        self._raw.write("queues", at=time.time(), steps=steps, **(self._all() if everything else {}))
        self._raw.flush()

    def _all(self) -> dict[str, int]:
        """Messages in all queues, and how many queues; up to five seconds old, and nothing where it cannot be had."""
        if not self._management_url:
            return {}
        parts = parse_url(self._management_url)
        address = f"{parts.scheme}://{parts.host}:{parts.port}/api/overview?columns=queue_totals,object_totals"
        try:
            answer = self._http.request("GET", address, headers=urllib3.make_headers(basic_auth=parts.auth))
            found = answer.json()
            return {"total": found["queue_totals"].get("messages", 0), "queues": found["object_totals"]["queues"]}
        except (urllib3.exceptions.HTTPError, ValueError, KeyError):
            return {}
