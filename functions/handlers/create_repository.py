"""repository.keys-stored -> revision 1, record, change queue, bucket notification -> repository.created."""

from __future__ import annotations

from cloudevents.http import CloudEvent

from events import Event, ReconciliationRequested, RepositoryCreated, RepositoryKeysStored, bucket_of
from events.event import time_of, traceparent_of
from functions.cvmfs.certificate import Certificate
from functions.handlers.attaching import attach
from functions.handlers.cloud import Cloud, event_source
from functions.publishing import creation
from functions.publishing.deletion import first_free
from functions.publishing.naming import check_deletion, check_owner
from functions.publishing.records import RepositoryRecord, Standing, change_record, keep_record
from functions.publishing.server_info import enlist

STEP = "create-repository"


def create_repository(event: CloudEvent, cloud: Cloud) -> None:
    """Make the repository and connect its bucket; every step leaves alone what is there already."""
    stored = RepositoryKeysStored.from_cloudevent(event)
    now = cloud.clock()
    bucket = bucket_of(stored.repository, cloud.settings.repository_domain)
    record = keep_record(
        cloud.state,
        RepositoryRecord(
            repository=stored.repository,
            bucket=bucket,
            username=stored.username,
            subject=stored.subject,
            group=stored.group,
            created_at=now,
        ),
    )
    check_owner(record, subject=stored.subject, group=stored.group)
    check_deletion(record, time_of(event, now))
    if record.standing is Standing.DELETED:
        record = change_record(
            cloud.state,
            stored.repository,
            lambda record: record.model_copy(update={"standing": Standing.ACTIVE, "created_at": now}),
        )
    # The certificate comes from the vault, not from the event: the whitelist vouches for it.
    keys = cloud.keys.ensure_keys(stored.repository, subject=record.subject, group=record.group, now=now)
    cloud.bus.declare_changes(stored.repository)
    # Before the first revision: whoever sees that one may upload at once, and what comes too early waits in the queue.
    was_there = _connect_bucket(cloud, record)
    manifest = creation.create_repository(
        cloud.repository_store(stored.repository),
        cloud.keys.signer(stored.repository),
        Certificate.from_pem(keys.certificate.encode()),
        creation.NewRepository(
            stored.repository,
            algorithm=cloud.recipe.algorithm,
            administrator=record.username,
            after_revision=first_free(record.last_revision),
        ),
        now=now,
        codec=cloud.recipe.codec,
    )
    created = RepositoryCreated(
        repository=stored.repository,
        username=stored.username,
        subject=stored.subject,
        group=stored.group,
        bucket=bucket,
        url=cloud.url_of(stored.repository),
        revision=manifest.revision,
        root_hash=str(manifest.root),
        public_key=keys.public_key,
        reply_queue=stored.reply_queue,
    )
    facts: list[Event] = [created]
    if was_there:
        # No notification tells of what was uploaded before it was attached.
        facts.append(ReconciliationRequested(repository=stored.repository, cause="repository created"))
    trace = traceparent_of(event)
    cloud.bus.publish([fact.to_cloudevent(source=event_source(STEP), time=now, traceparent=trace) for fact in facts])
    # Last, since only monitoring reads it: a file that somebody broke keeps no repository from being announced.
    enlist(cloud.server, stored.repository)


def _connect_bucket(cloud: Cloud, record: RepositoryRecord) -> bool:
    """Whether the bucket was there before; one that is made later is found by a timer."""
    was_there = cloud.buckets.exists(record.bucket)
    if cloud.settings.create_buckets:
        cloud.buckets.ensure_bucket(record.bucket, record.subject)
    attach(record, cloud)
    return was_there
