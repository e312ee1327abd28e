"""The contract between functions: every event as a class, and the foreign messages that become events.

- ``RepositoryRequested`` … ``BucketReconciled``: one frozen class per event type; ``README.md`` is the catalogue
- ``read_event``, ``event_class``: a CloudEvent or a type name to its class
- ``TagRequested`` … ``CollectionRequested``, all of them ``Wish``: what owners, operators and timers ask for;
  ``TagChanged`` … ``GarbageCollected``: what became of it
- ``ChangeRecord``: what waits in a repository's ``change_queue`` (not a CloudEvent)
- ``parse_notification``: RadosGW's bucket notifications
- ``LegacyRequest``, ``reply_to_created``, ``reply_to_refused``: the older comma-separated messages
- ``EventError``: what is wrong with any of these, fault by fault
"""

from events.change import (
    ChangeRecord,
    ChunkRecord,
    EntryRecord,
    TreeRecord,
    Withheld,
    change_queue,
    repository_of_queue,
)
from events.errors import EventError, UnknownTypeError
from events.event import Event, traceparent_of
from events.legacy import LEGACY_REPLY_QUEUE, LegacyRequest, reply_to_created, reply_to_refused
from events.lifecycle import (
    GarbageCollected,
    RepositoryDeleted,
    RepositoryResumed,
    RepositoryRolledBack,
    RepositorySuspended,
    RequestRefused,
    RollbackReleased,
    SettingsChanged,
    TagChanged,
    WhitelistResigned,
)
from events.names import bucket_of, valid_fqrn
from events.reconciliation import BucketReconciled, ReconciliationRequested
from events.registry import EVENT_CLASSES, event_class, read_event
from events.repositories import (
    PATHS_LIMIT,
    RepositoryChanged,
    RepositoryCreated,
    RepositoryKeysStored,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
)
from events.requests import (
    CollectionRequested,
    DeletionRequested,
    Keys,
    ReleaseRequested,
    RenewalRequested,
    ResumptionRequested,
    RollbackRequested,
    SettingsRequested,
    SuspensionRequested,
    TagAction,
    TagRequested,
    Wish,
)
from events.rgw_notification import Record, notification_about, parse_notification
from events.types import TYPE_PREFIX
from events.uploads import UploadRefused

__all__ = [
    "EVENT_CLASSES",
    "LEGACY_REPLY_QUEUE",
    "PATHS_LIMIT",
    "TYPE_PREFIX",
    "BucketReconciled",
    "ChangeRecord",
    "ChunkRecord",
    "CollectionRequested",
    "DeletionRequested",
    "EntryRecord",
    "Event",
    "EventError",
    "GarbageCollected",
    "Keys",
    "LegacyRequest",
    "ReconciliationRequested",
    "Record",
    "ReleaseRequested",
    "RenewalRequested",
    "RepositoryChanged",
    "RepositoryCreated",
    "RepositoryDeleted",
    "RepositoryKeysStored",
    "RepositoryPublished",
    "RepositoryRefused",
    "RepositoryRequested",
    "RepositoryResumed",
    "RepositoryRolledBack",
    "RepositorySuspended",
    "RequestRefused",
    "ResumptionRequested",
    "RollbackReleased",
    "RollbackRequested",
    "SettingsChanged",
    "SettingsRequested",
    "SuspensionRequested",
    "TagAction",
    "TagChanged",
    "TagRequested",
    "TreeRecord",
    "UnknownTypeError",
    "UploadRefused",
    "WhitelistResigned",
    "Wish",
    "Withheld",
    "bucket_of",
    "change_queue",
    "event_class",
    "notification_about",
    "parse_notification",
    "read_event",
    "reply_to_created",
    "reply_to_refused",
    "repository_of_queue",
    "traceparent_of",
    "valid_fqrn",
]
