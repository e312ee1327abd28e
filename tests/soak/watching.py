"""Who looks on: every manifest that was ever visible, and every message that ever reached an exchange."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from contextlib import suppress

import pika
from pika.exceptions import AMQPError

from events.event import STRUCTURED
from functions.cvmfs.manifest import SignedManifest
from functions.errors import StoreUnavailable

EVERY_S = 0.02
AUDIT = "soak.audit"
KEPT = 4000


class ManifestWatcher:
    """Reads every repository's manifest again and again and keeps each one that is new."""

    def __init__(self, repositories, folder):
        self._repositories = repositories
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._gone = threading.Event()
        self.seen = {}
        """By repository: signed manifests by root hash and revision, in the order in which they were seen."""
        self.went_back = []
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._gone.set()
        self._thread.join()

    def _watch(self):
        while not self._gone.is_set():
            for repo in list(self._repositories):
                with suppress(StoreUnavailable):
                    self._look(repo)
                self._gone.wait(EVERY_S)
            self._gone.wait(EVERY_S)

    def _look(self, repo):
        body = repo.reader.fetch(".cvmfspublished")
        if body is None:
            return
        seen = self.seen.setdefault(repo.fqrn, {})
        name = hashlib.sha256(body).hexdigest()
        if name in seen:
            return
        newest = max((manifest.unverified.revision for manifest in seen.values()), default=0)
        signed = SignedManifest.from_bytes(body)
        if signed.unverified.revision <= newest:
            self.went_back.append(f"{repo.fqrn}: revision {signed.unverified.revision} after {newest}")
        seen[name] = signed
        (self._folder / f"{repo.fqrn}-{signed.unverified.revision:05}").write_bytes(body)


class Auditor:
    """A queue beside the functions' own that gets a copy of every message on both exchanges."""

    def __init__(self, world):
        self._world = world
        self._gone = threading.Event()
        self.notifications = {}
        """Of RadosGW, by the hash of their body: bucket, key, event name, and when they came."""
        self.events = {}
        """CloudEvents by type and id: when they came."""
        self.recent = deque(maxlen=KEPT)
        """Bodies of the last notifications."""
        self._thread = threading.Thread(target=self._audit, name="auditor", daemon=True)

    def start(self):
        with self._world.connection() as connection:
            channel = connection.channel()
            channel.queue_declare(AUDIT, durable=True, arguments={"x-queue-type": "quorum"})
            for exchange in ("notification", "cvmfs"):
                channel.queue_bind(AUDIT, exchange, "#")
        self._thread.start()

    def stop(self):
        self._gone.set()
        self._thread.join()

    def remove(self):
        with self._world.connection() as connection:
            connection.channel().queue_delete(AUDIT)

    def _audit(self):
        while not self._gone.is_set():
            with suppress(AMQPError, OSError), self._world.connection() as connection:
                channel = connection.channel()
                channel.basic_qos(prefetch_count=200)
                for method, properties, body in channel.consume(AUDIT, inactivity_timeout=0.2):
                    if method is not None:
                        self._note(properties, body)
                        channel.basic_ack(method.delivery_tag)
                    if self._gone.is_set():
                        break
            self._gone.wait(0.5)

    def _note(self, properties, body):
        if (properties.content_type or "").startswith(STRUCTURED):
            event = json.loads(body)
            self.events[f"{event['type']} {event['id']}"] = time.time()
            return
        record = json.loads(body)["Records"][0]
        self.notifications[hashlib.sha256(body).hexdigest()[:32]] = (
            record["s3"]["bucket"]["name"],
            record["s3"]["object"]["key"],
            record["eventName"],
            time.time(),
        )
        self.recent.append(body)


def answered(journal):
    """From the runtime's journal: the messages that were answered 2xx by queue, and how often each status came."""
    done, statuses = {}, {}
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            with suppress(ValueError):
                told = json.loads(line)
                key = (told["queue"], told["status"])
                statuses[key] = statuses.get(key, 0) + 1
                if 200 <= told["status"] < 300:
                    done.setdefault(told["queue"], set()).add(told["message"])
    return done, statuses


def taken_along(journal):
    """How many messages a function acknowledged itself."""
    return sum(b'"along": true' in line for line in journal.read_bytes().splitlines()) if journal.exists() else 0


def properties(**more):
    return pika.BasicProperties(delivery_mode=2, **more)
