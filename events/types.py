"""The event types, as they stand in the CloudEvents attribute ``type`` and in AMQP routing keys."""

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
