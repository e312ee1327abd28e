"""What the service needs from the outside world, as narrow protocols; each docstring is the contract.

Every implementation, the in-memory ones included, passes the same contract suite in ``tests/contracts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cloudevents.http import CloudEvent

from functions.cvmfs.signing import Signer


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored file: its bytes and an opaque version that changes with every write."""

    body: bytes
    version: str


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A line of a listing: path, size in bytes, time of the last write (aware, UTC)."""

    path: str
    size: int
    modified: datetime


class BlobStore(Protocol):
    """Files by path below one prefix, with compare-and-swap.

    Writes are atomic (a reader sees the old or the new bytes) and durable when the call returns. Methods may be called
    from several threads. All raise StoreUnavailable when the store does not answer.
    """

    def get(self, path: str) -> Blob | None:
        """The file, or None."""

    def has(self, path: str) -> bool:
        """Whether the file exists."""

    def info(self, path: str) -> BlobInfo | None:
        """What a listing would say of the file now, or None."""

    def put(self, path: str, body: bytes | bytearray) -> None:
        """Write unconditionally; the file counts as written now, also if it had these bytes. Safe to repeat.

        What was written within the last hour may keep its time.
        """

    def create(self, path: str, body: bytes) -> str:
        """Write if absent and return the version; raises VersionMoved if the file exists. One of several wins."""

    def replace(self, path: str, body: bytes, version: str) -> str:
        """Write if the file still has `version` and return the new one; raises VersionMoved if not, or if absent."""

    def delete(self, path: str) -> None:
        """Remove the file; absent is fine."""

    def delete_old(self, path: str, before: datetime) -> bool:
        """Remove the file if it was last written before `before`; False if it was not, or is absent.

        No `put` that returned before or during the call is undone: the time is looked at and the file removed as one
        step. An S3 service that does not know conditional deletion leaves the moment between two requests open.
        """

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All files whose path starts with `prefix`, in path order."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What S3 says of one object in a user's bucket: `etag` unquoted, `metadata` with lower-case names without prefix.

    `metadata` is empty in listings, which do not carry it.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectReader(Protocol):
    """An object opened for reading, at one etag, of any size; never more than a few blocks of it are in memory.

    A connection that breaks on the way is made anew, and reading goes on where it stopped, at the same etag. Only a
    store that stays away raises StoreUnavailable.
    """

    info: ObjectInfo

    def blocks(self) -> Iterator[bytes]:
        """The content from the start, in pieces of at most a few MiB; raises VersionMoved if it was replaced."""

    def read(self, start: int) -> bytes:
        """Some of the content from byte `start` on: at least one byte, at most a few MiB; as blocks() otherwise.

        `start` is below the size.
        """


class ObjectSource(Protocol):
    """The users' buckets, read only. Methods may be called from several threads; all may raise StoreUnavailable."""

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object as it is now, metadata included; None if there is no object or no bucket."""

    def open(self, bucket: str, key: str) -> ObjectReader | None:
        """The object as it is now, ready to be read; None if there is no object or no bucket."""

    def list(self, bucket: str, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix` and is above `after`, in key order; nothing if there is no bucket.

        Keys are in the order of their UTF-8 bytes. Raises StoreForbids where the bucket may not be read.
        """


class BucketAdmin(Protocol):
    """Buckets and their notifications. All may raise StoreUnavailable."""

    def exists(self, bucket: str) -> bool:
        """Whether the bucket exists."""

    def identity(self, bucket: str) -> str | None:
        """What tells the bucket from another one that has or had its name; None if it is not there or nobody says."""

    def ensure_bucket(self, bucket: str, owner: str) -> None:
        """Make the bucket and link it to `owner` where the store can; existing is fine."""

    def ensure_notifications(self, bucket: str) -> bool:
        """Send creations and removals below ``cvmfs/`` to the bucket's topic shard; whether that was not so before.

        Repeating is fine.
        """

    def remove_notifications(self, bucket: str) -> None:
        """End what `ensure_notifications` began; others' notifications stay, none and no bucket are fine."""


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What may be shown of a repository's keys, as PEM text, and the fingerprint-bearing certificate."""

    public_key: str
    certificate: str


class KeyStore(Protocol):
    """Where repository keys live. All raise KeysUnavailable when the vault does not answer or is sealed."""

    def ensure_keys(self, fqrn: str, *, subject: str, group: str | None, now: datetime) -> PublicKeys:
        """Make master, signing and gateway keys and the certificate, or return those that exist.

        Repeating, also after a crash half-way and from two processes at once, ends with one set of keys.
        """

    def signer(self, fqrn: str) -> Signer:
        """The signer of this repository; private keys stay where they are."""

    def destroy_keys(self, fqrn: str, *, subject: str, group: str | None) -> None:
        """Destroy all keys of a repository for good, in every version; none is fine.

        Repeating it after a crash completes it. Keys made afterwards are others.
        """


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message taken from a queue, not yet acknowledged."""

    tag: int
    body: bytes
    redelivered: bool
    content_type: str | None = None


class ChangeConsumer(Protocol):
    """The one active consumer of a repository's change queue; leaving the context returns what was not acked."""

    def take(self, *, wait_s: float, most: int) -> Sequence[Delivery]:
        """Messages that are there or come within `wait_s` seconds, in order; none also if not the active consumer."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; raises BrokerUnavailable if the connection is lost (they will come again)."""


class WorkBatch(Protocol):
    """Messages taken from the queue that feeds a step; leaving the context returns what was neither acked nor put off.

    All methods raise BrokerUnavailable if the connection is lost: then all of them come again.
    """

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """The messages, in order; no further one comes."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge."""

    def put_off(self, deliveries: Sequence[Delivery]) -> None:
        """Send to the step's retry queue, from which they come back to the step in a while."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Messages ready for delivery, and consumers attached, active or waiting."""

    ready: int
    consumers: int


class EventBus(Protocol):
    """RabbitMQ as the service sees it. Methods may be called from several threads; all may raise BrokerUnavailable."""

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish to the exchange, routed by type; returns when every event is confirmed.

        An event that no queue is bound for goes to the alternate exchange's queue.
        """

    def park(self, step: str, body: bytes, *, reason: str, headers: Mapping[str, str]) -> None:
        """Put a message that can never succeed on the step's parked queue, with the reason; returns when confirmed."""

    def reply(self, queue: str, body: bytes) -> None:
        """Put plain bytes on a named queue; returns when confirmed."""

    def send_work(self, step: str, bodies: Sequence[bytes]) -> None:
        """Put plain messages on the queue that feeds a step, in order; returns when all are confirmed."""

    def work_waiting(self, step: str) -> int:
        """Messages ready on the queue that feeds a step."""

    def take_work(self, step: str, *, most: int) -> AbstractContextManager[WorkBatch]:
        """Take what is ready on the queue that feeds a step, up to `most` messages, beside its event source."""

    def declare_changes(self, fqrn: str) -> None:
        """Make the change queue of a repository; existing is fine."""

    def drop_changes(self, fqrn: str) -> None:
        """Delete the change queue of a repository with all that waits in it; absent is fine. Consumers lose it."""

    def send_changes(self, fqrn: str, bodies: Sequence[bytes]) -> QueueState:
        """Append change records in order; when confirmed, return the state of the queue as it is after."""

    def changes_state(self, fqrn: str) -> QueueState:
        """The state of the change queue."""

    def consume_changes(self, fqrn: str) -> AbstractContextManager[ChangeConsumer]:
        """Attach to the change queue; RabbitMQ lets one consumer at a time be the active one."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as RabbitMQ has it: `exchange` and `routing_key` say where it was published, or is to be.

    The exchange ``""`` takes the name of a queue as routing key. `sent_at` (aware) has whole seconds.
    """

    body: bytes
    routing_key: str
    exchange: str = ""
    content_type: str | None = None
    message_id: str | None = None
    sent_at: datetime | None = None
    headers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that is held back from everybody else; `tag` counts the messages of its hold from 1, oldest first."""

    tag: int
    message: Message


class MessageHold(Protocol):
    """Some messages of a queue, held by one caller. They go back in order unless they are passed on or removed.

    Whatever ends the caller, its death included, gives them back; so does RabbitMQ after its ``consumer_timeout`` (30
    minutes). All methods raise BrokerUnavailable when the messages went back before.
    """

    @property
    def held(self) -> Sequence[HeldMessage]:
        """The messages, oldest first."""

    def pass_on(self, onward: Sequence[tuple[HeldMessage, Sequence[Message]]]) -> Sequence[str]:
        """Publish what belongs to each message, and remove the message only when all of that is confirmed.

        Returns for each what kept it from going, empty if nothing did; what did not go is still held. Dying in between
        leaves a message in both places, never in none.
        """

    def remove(self, messages: Sequence[HeldMessage]) -> None:
        """Remove messages for good."""


class QueueAdmin(Protocol):
    """The queues, looked at and tidied up by an operator. All methods may raise BrokerUnavailable."""

    def ready(self, queue: str) -> int | None:
        """Messages ready for delivery, so without those that somebody holds; None if there is no such queue."""

    def hold(self, queue: str, *, most: int) -> AbstractContextManager[MessageHold]:
        """Hold what is ready now, at most that many of the oldest; BrokerUnavailable if there is no such queue."""


class Clock(Protocol):
    """The time, as an argument."""

    def __call__(self) -> datetime:
        """Now, aware, in UTC."""
