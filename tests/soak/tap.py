"""Hands in the queues: messages are repeated, held back, shuffled, thrown away, and joined by nonsense."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from datetime import UTC, datetime

from events import RepositoryChanged
from tests.soak.watching import properties

NOTIFICATIONS = "fn.handle-bucket-notification"
MARK = "soak-nonsense-"
MOST = 200


class Tap:
    """Takes messages from queues as one more consumer and puts back what it likes; remembers what it did."""

    def __init__(self, world, auditor, random):
        self._world = world
        self._auditor = auditor
        self._random = random
        self._numbers = itertools.count()
        self.dropped = {}
        """Notifications that nobody else will see: bucket and key by the hash of the body."""
        self.injected = {}
        """Nonsense by its mark: the queue it was put on."""
        self.sent = []
        """What was put on a queue directly and must be answered there."""

    def _channel(self, connection):
        channel = connection.channel()
        channel.confirm_delivery()
        return channel

    def _take(self, channel, seconds, most=MOST):
        """Messages that arrive within `seconds`, not yet acknowledged."""
        channel.basic_qos(prefetch_count=most)
        taken = []
        give_up_at = time.monotonic() + seconds
        for method, told, body in channel.consume(NOTIFICATIONS, inactivity_timeout=0.1):
            if method is not None:
                taken.append((method.delivery_tag, told, body))
            if time.monotonic() > give_up_at or len(taken) >= most:
                break
        return taken

    def _put(self, channel, queue, body, told=None):
        channel.basic_publish("", queue, body, told or properties())

    def tamper(self, how, seconds):
        """Take what comes within `seconds`, and `repeat`, `shuffle`, `delay` or `drop` it; returns how many."""
        with self._world.connection() as connection:
            channel = self._channel(connection)
            taken = self._take(channel, seconds)
            if how == "delay":
                connection.sleep(self._random.uniform(1, 4))
            if how == "shuffle":
                self._random.shuffle(taken)
            for _, told, body in taken:
                if how == "drop":
                    self._note_dropped(body)
                    continue
                for _ in range(3 if how == "repeat" else 1):
                    self._put(channel, NOTIFICATIONS, body, properties(content_type=told.content_type))
            for tag, _, _ in taken:
                channel.basic_ack(tag)
            channel.cancel()
            return len(taken)

    def _note_dropped(self, body):
        record = json.loads(body)["Records"][0]["s3"] if body.startswith(b'{"Records"') else None
        if record is not None and MARK.encode() not in body:
            name = hashlib.sha256(body).hexdigest()[:32]
            self.dropped[name] = (record["bucket"]["name"], record["object"]["key"])

    def replay(self, count):
        """Notifications of long ago once more."""
        recent = list(self._auditor.recent)
        old = self._random.sample(recent, min(count, len(recent)))
        with self._world.connection() as connection:
            channel = self._channel(connection)
            for body in old:
                self._put(channel, NOTIFICATIONS, body)
        return len(old)

    def nonsense(self, queue, count=5):
        """Messages that nobody can read, made from real ones where there are any."""
        with self._world.connection() as connection:
            channel = self._channel(connection)
            for _ in range(count):
                mark = f"{MARK}{next(self._numbers)}"
                self.injected[mark] = queue
                body, told = self._nonsense(mark)
                self._put(channel, queue, body, told)
        return count

    def _nonsense(self, mark):
        choice = self._random.randrange(7)
        if choice == 0:
            return f"{{] {mark}".encode(), None
        if choice == 1:
            return json.dumps({"soak": mark}).encode(), None
        if choice == 2:
            return self._random.randbytes(40) + mark.encode(), None
        if choice == 3:
            event = {"specversion": "1.0", "id": mark, "source": "/soak", "type": "soak.nonsense", "data": {"n": mark}}
            return json.dumps(event).encode(), properties(content_type="application/cloudevents+json")
        real = self._random.choice(list(self._auditor.recent) or [b'{"Records":[{"s3":{}}]}'])
        if choice == 4:
            cut = self._random.randrange(1, len(real))
            return real[:cut] + mark.encode(), None
        message = json.loads(real)
        record = message["Records"][0]
        record["soak"] = mark
        if choice == 5:
            record["s3"] = self._random.choice((None, [], {"bucket": {"name": 5}}, "x", {}))
        else:
            record["eventName"], record["s3"]["bucket"] = "ObjectCreated:Put", {"name": f"Nobody.{mark}"}
        return json.dumps(message).encode(), None

    def disturb_changes(self, repo, *, seconds=1.0):
        """Be the active consumer of a change queue for a moment; give everything back repeated and shuffled.

        Whoever leaves a change queue looks at it once more and wakes the publisher, so this does too.
        """
        queue = f"changes.{repo.fqrn}"
        with self._world.connection() as connection:
            channel = self._channel(connection)
            channel.basic_qos(prefetch_count=MOST)
            taken = []
            give_up_at = time.monotonic() + seconds
            for method, _, body in channel.consume(queue, inactivity_timeout=0.1):
                if method is not None:
                    taken.append((method.delivery_tag, body))
                if time.monotonic() > give_up_at:
                    break
            again = [body for _, body in taken for _ in range(2)]
            self._random.shuffle(again)
            mark = f"{MARK}{next(self._numbers)}"
            self.injected[mark] = queue
            again.insert(len(again) // 2, f'{{"soak": "{mark}"}}'.encode())
            for body in again:
                self._put(channel, queue, body)
            for tag, _ in taken:
                channel.basic_ack(tag)
            channel.cancel()
        self.wake(repo)
        return [body for _, body in taken]

    def wake(self, repo):
        """Have the repository's publisher look at its queue."""
        event = RepositoryChanged(repository=repo.fqrn, cause=f"soak {next(self._numbers)}")
        self._world.beside().bus.publish([event.to_cloudevent(source="/soak", time=datetime.now(UTC))])
