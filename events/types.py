"""The event types, ours and those of Knative's sources, as they stand in ``type`` and in AMQP routing keys."""

from __future__ import annotations

from typing import Final

TYPE_PREFIX: Final = "it.infn.datacloud.cvmfs."

REPOSITORY_REQUESTED: Final = TYPE_PREFIX + "repository.requested"
REPOSITORY_KEYS_STORED: Final = TYPE_PREFIX + "repository.keys-stored"
REPOSITORY_CREATED: Final = TYPE_PREFIX + "repository.created"
REPOSITORY_REFUSED: Final = TYPE_PREFIX + "repository.refused"
REPOSITORY_CHANGED: Final = TYPE_PREFIX + "repository.changed"
REPOSITORY_PUBLISHED: Final = TYPE_PREFIX + "repository.published"
UPLOAD_REFUSED: Final = TYPE_PREFIX + "upload.refused"
RECONCILIATION_REQUESTED: Final = TYPE_PREFIX + "reconciliation.requested"
BUCKET_RECONCILED: Final = TYPE_PREFIX + "bucket.reconciled"

# What an owner or an operator asks for, and a timer
TAG_REQUESTED: Final = TYPE_PREFIX + "tag.requested"
ROLLBACK_REQUESTED: Final = TYPE_PREFIX + "rollback.requested"
RELEASE_REQUESTED: Final = TYPE_PREFIX + "release.requested"
SUSPENSION_REQUESTED: Final = TYPE_PREFIX + "suspension.requested"
RESUMPTION_REQUESTED: Final = TYPE_PREFIX + "resumption.requested"
SETTINGS_REQUESTED: Final = TYPE_PREFIX + "settings.requested"
DELETION_REQUESTED: Final = TYPE_PREFIX + "deletion.requested"
RENEWAL_REQUESTED: Final = TYPE_PREFIX + "renewal.requested"
COLLECTION_REQUESTED: Final = TYPE_PREFIX + "collection.requested"

# What became of it
TAG_CHANGED: Final = TYPE_PREFIX + "tag.changed"
REPOSITORY_ROLLED_BACK: Final = TYPE_PREFIX + "repository.rolled-back"
ROLLBACK_RELEASED: Final = TYPE_PREFIX + "rollback.released"
REPOSITORY_SUSPENDED: Final = TYPE_PREFIX + "repository.suspended"
REPOSITORY_RESUMED: Final = TYPE_PREFIX + "repository.resumed"
REPOSITORY_SETTINGS_CHANGED: Final = TYPE_PREFIX + "repository.settings-changed"
REPOSITORY_DELETED: Final = TYPE_PREFIX + "repository.deleted"
WHITELIST_RESIGNED: Final = TYPE_PREFIX + "whitelist.resigned"
GARBAGE_COLLECTED: Final = TYPE_PREFIX + "garbage.collected"
REQUEST_REFUSED: Final = TYPE_PREFIX + "request.refused"

# What Knative's sources send
PING: Final = "dev.knative.sources.ping"
"""From a PingSource: a timer."""
RAW_MESSAGE: Final = "dev.knative.rabbitmq.event"
"""From a RabbitmqSource: around a message that is no CloudEvent."""
