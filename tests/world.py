"""A whole service in memory: every port, every function, and a reader that verifies what worker nodes would see.

``world.upload(...)``, ``world.run_until_quiet()``, then ``world.reader().read(...)``. The event source is played here:
a function's 503 puts the message back, anything else acknowledges it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cloudevents.http import CloudEvent

from events import Event, RepositoryRequested, Wish, read_event
from functions.adapters.memory import (
    MemoryBlobStore,
    MemoryBucketAdmin,
    MemoryEventBus,
    MemoryKeyStore,
    MemoryObjectSource,
)
from functions.answers import Answer, Step, answer
from functions.cvmfs.reader import Repository, Snapshot
from functions.handlers import (
    collect_garbage,
    create_repository,
    delete_repository,
    edit_repository,
    handle_bucket_notification,
    publish_transaction,
    reconcile_bucket,
    resign_whitelist,
    store_keys,
)
from functions.handlers.cloud import Cloud
from functions.publishing.crowd import Crowd
from functions.publishing.head import ObjectCache
from functions.publishing.pace import Pace
from functions.publishing.records import Problem, open_problems
from functions.settings import Settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

STEPS = {
    step.name: step
    for step in (
        Step(store_keys.STEP, store_keys.store_keys),
        Step(create_repository.STEP, create_repository.create_repository),
        Step(handle_bucket_notification.STEP, handle_bucket_notification.handle_bucket_notification),
        Step(publish_transaction.STEP, publish_transaction.publish_transaction),
        Step(edit_repository.STEP, edit_repository.edit_repository),
        Step(delete_repository.STEP, delete_repository.delete_repository),
        Step(resign_whitelist.STEP, resign_whitelist.resign_whitelist),
        Step(collect_garbage.STEP, collect_garbage.collect_garbage),
        Step(reconcile_bucket.STEP, reconcile_bucket.reconcile_bucket),
    )
}

SETTINGS = Settings.from_mapping(
    {
        "S3_ENDPOINT": "http://s3.example.org",
        "S3_ACCESS_KEY": "access",
        "S3_SECRET_KEY": "secret",
        "REPOSITORY_URL": "http://s3.example.org/cvmfs",
        "AMQP_URL": "amqp://rabbit.example.org",
        "MIN_PUBLISH_INTERVAL_S": "0",
        "PUBLISH_LINGER_S": "0",
    }
)


@dataclass
class SteppingClock:
    """A clock that moves one second with every look, so that what comes later is newer."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class World:
    """One service with its users."""

    clock: SteppingClock = field(default_factory=SteppingClock)
    settings: Settings = SETTINGS

    def __post_init__(self) -> None:
        self.state = MemoryBlobStore(self.clock)
        self.stores: dict[str, MemoryBlobStore] = {}
        self.source = MemoryObjectSource(self.clock)
        self.buckets = MemoryBucketAdmin(self.source)
        self.keys = MemoryKeyStore()
        self.bus = MemoryEventBus(clock=self.clock)
        self.executor = ThreadPoolExecutor(4)
        self.cloud = self.fresh_process()
        self.answers: list[Answer] = []

    def close(self) -> None:
        self.executor.shutdown()

    def fresh_process(self) -> Cloud:
        """The wiring of a process that has just started: no caches."""
        return Cloud(
            settings=self.settings,
            clock=self.clock,
            state=self.state,
            repository_store=self.store_of,
            source=self.source,
            buckets=self.buckets,
            keys=self.keys,
            bus=self.bus,
            executor=self.executor,
            cache=ObjectCache(8 << 20),
            crowd=Crowd(least=2, along=3),
            pace=Pace(self.settings.min_publish_interval_s),
        )

    def store_of(self, fqrn: str) -> MemoryBlobStore:
        return self.stores.setdefault(fqrn, MemoryBlobStore(self.clock))

    # The users

    def request(self, username: str = "alice", *, group: str | None = None, reply_queue: str | None = None) -> str:
        """What a dashboard sends; returns the repository's name."""
        fqrn = f"{group or username}.infn.it"
        wanted = RepositoryRequested(
            repository=fqrn, username=username, subject=f"sub-{username}", group=group, reply_queue=reply_queue
        )
        self.bus.publish([wanted.to_cloudevent(source="/dashboard", time=self.clock())])
        return fqrn

    def repository(self, username: str = "alice", *, group: str | None = None) -> str:
        """A repository, requested and made."""
        fqrn = self.request(username, group=group)
        self.run_until_quiet()
        return fqrn

    def ask(self, wish: Wish) -> str:
        """What an owner sends through the gateway; returns its id."""
        self.bus.publish([wish.to_cloudevent(source="/dashboard", time=self.clock())])
        return wish.id

    def told(self, fact: type[Event]) -> list[Event]:
        """The facts of a type that were told, in order."""
        return [read_event(event) for event in self.bus.published if event["type"] == fact.TYPE]

    def upload(self, key: str, body: bytes = b"", *, bucket: str = "alice", **metadata: str) -> None:
        """A PUT and its notification."""
        self.source.put(bucket, key, body, metadata=metadata)
        self.notify("ObjectCreated:Put", key, bucket=bucket)

    def delete(self, key: str, *, bucket: str = "alice") -> None:
        """A DELETE and its notification."""
        self.source.delete(bucket, key)
        self.notify("ObjectRemoved:Delete", key, bucket=bucket)

    def notify(self, name: str, *keys: str, bucket: str = "alice") -> None:
        """A notification, with a record per key."""
        body = {"Records": [self.record(name, key, bucket) for key in keys]}
        self.bus.reply("fn.handle-bucket-notification", json.dumps(body).encode())

    def record(self, name: str, key: str, bucket: str = "alice") -> dict[str, object]:
        info = self.source.head(bucket, key) if self.source.has_bucket(bucket) else None
        return {
            "eventName": name,
            "eventTime": self.clock.now.isoformat(),
            "s3": {
                "bucket": {"name": bucket},
                "object": {
                    "key": key,
                    "size": info.size if info else 0,
                    "eTag": info.etag if info else "",
                    "sequencer": "61B2036B1827DC11",
                    "metadata": [],
                },
            },
        }

    # The event source

    def deliver(self, step: str) -> bool:
        """Deliver one message to one function; False if there was none."""
        message = self.bus.pop(f"fn.{step}")
        if message is None:
            return False
        ending = answer(
            STEPS[step],
            _as_event(message.body),
            self.cloud,
            bus=self.bus,
            clock=self.clock,
            retry_for_s=self.settings.retry_for_s,
        )
        self.answers.append(ending)
        if ending.status == 503:
            self.bus.reply(f"fn.{step}", message.body)
        return True

    def run_until_quiet(self, *, most: int = 10_000) -> None:
        """Deliver until every queue is empty."""
        for _ in range(most):
            if any([self.deliver(step) for step in STEPS]):  # noqa: C419 - every step gets its turn
                continue
            if not any([self.bus.retry(step) for step in STEPS]):  # noqa: C419 - and everything that was put off
                return
        raise AssertionError(f"still busy after {most} rounds; last answers {self.answers[-3:]}")

    # The worker nodes

    @contextmanager
    def reader(self, fqrn: str = "alice.infn.it", *, tag: str | None = None) -> Iterator[Snapshot]:
        """What a client with the repository's public key sees."""
        store = self.store_of(fqrn)

        def fetch(path: str) -> bytes | None:
            blob = store.get(path)
            return None if blob is None else blob.body

        public = self.keys.ensure_keys(fqrn, subject="", group=None, now=NOW).public_key
        repository = Repository.open(fetch, public_keys=[public], fqrn=fqrn, now=self.clock.now)
        yield repository.snapshot(tag)

    def revision(self, fqrn: str = "alice.infn.it") -> int:
        """The number of the live revision."""
        body = self.store_of(fqrn).get(".cvmfspublished")
        assert body is not None
        return int(next(line[1:] for line in body.body.split(b"\n") if line.startswith(b"S")))

    def problems(self, fqrn: str = "alice.infn.it") -> dict[str, Problem]:
        """The problems shown to the user, by key."""
        return {problem.key: problem for problem in open_problems(self.state, fqrn)}

    def forget(self) -> None:
        """Continue in a new process."""
        self.cloud = replace(self.fresh_process())


def _as_event(body: bytes) -> CloudEvent:
    """The event an adapter makes of a message: structured ones as they are, others wrapped."""
    decoded = json.loads(body)
    if "specversion" in decoded:
        attributes = {name: value for name, value in decoded.items() if name != "data"}
        return CloudEvent(attributes, decoded["data"])
    return CloudEvent({"type": "dev.knative.rabbitmq.event", "source": "/rabbitmq", "id": "random"}, decoded)
