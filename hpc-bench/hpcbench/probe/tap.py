"""Messages as they pass the exchanges: a queue of its own beside those of the functions, which notice nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pika

from hpcbench.raw import RawFile

EXCHANGES = ("notification", "cvmfs")
_PREFETCH = 500

Heard = Callable[[str, dict[str, Any], float], None]
"""Given the exchange, the message and when it came."""


class Tap(threading.Thread):
    """Listens until stopped; every message becomes a line, then `heard` is told."""

    def __init__(self, url: str, raw: RawFile, heard: Heard) -> None:
        super().__init__(name="tap", daemon=True)
        self._raw = raw
        self._heard = heard
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.basic_qos(prefetch_count=_PREFETCH)
        for exchange in EXCHANGES:
            queue = self._channel.queue_declare("", exclusive=True).method.queue
            self._channel.queue_bind(queue, exchange, "#")
            self._channel.basic_consume(queue, self._noting(exchange), auto_ack=True)

    def run(self) -> None:
        """Listen."""
        self._channel.start_consuming()
        self._connection.close()

    def stop(self) -> None:
        """Stop listening; what was on its way to this listener is dropped."""
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self.join()

    def _noting(self, exchange: str) -> Callable[..., None]:
        return lambda _channel, _method, _properties, body: self._note(exchange, body, time.time())

    def _note(self, exchange: str, body: bytes, at: float) -> None:
        try:
            message: dict[str, Any] = json.loads(body)
        except ValueError:
            return
        if exchange == "notification":
            for record in message.get("Records", []):
                s3 = record["s3"]
                seen = {"bucket": s3["bucket"]["name"], "key": s3["object"]["key"], "etag": s3["object"]["eTag"]}
                self._raw.write("notified", **seen, event=record["eventName"], at=at)
                self._heard(exchange, {**seen, "event": record["eventName"]}, at)
        else:
            data = message.get("data") or {}
            fact = str(message.get("type", "")).removeprefix("it.infn.datacloud.cvmfs.")
            some = {name: data[name] for name in ("revision", "changes", "root_hash", "code", "reason") if name in data}
            self._raw.write("event", type=fact, fqrn=message.get("subject", ""), **some, at=at)
            self._heard(exchange, {"type": fact, **data}, at)
