"""The composition root: the one place that names real adapters and reads settings.

Drivers are imported where they are used: a function that never talks to Vault does not pay for hvac.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from functions.errors import Permanent

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from pydantic import SecretStr

    from functions.adapters.key_files import KeyFiles
    from functions.adapters.s3_connection import S3Connection
    from functions.cvmfs.reader import Fetch
    from functions.handlers.cloud import Cloud
    from functions.ports import BlobStore, BucketAdmin, EventBus, QueueAdmin
    from functions.publishing.archive_publish import ArchiveSource
    from functions.publishing.local_tree import TreeSource
    from functions.publishing.overview import Repositories
    from functions.publishing.reconciling import Reconciling
    from functions.settings import Settings

PARALLEL_REQUESTS = 16
"""Requests to S3 that one process has on their way at most."""

STORAGE_SCHEME = "dir:"
"""How the address of a storage begins that is a folder."""

S3_SCHEME = "s3://"
"""How the address of a storage begins that is a prefix of a bucket."""

STORES_KEPT = 1024
"""Repositories whose S3 client a process keeps."""


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


def build_cloud(mapping: Mapping[str, str]) -> Cloud:
    """Everything the handlers need; raises SettingsError that names every fault. Connections are made when needed."""
    from functions.settings import Settings  # noqa: PLC0415

    return cloud_of(Settings.from_mapping(mapping), name=mapping.get("FUNCTION_TARGET", "cvmfs-cloud"))


def cloud_of(settings: Settings, *, name: str = "cvmfs-cloud") -> Cloud:
    """The same from settings that were read; `name` is shown in RabbitMQ's list of connections."""
    from functions.adapters.allocator import give_back_large_buffers  # noqa: PLC0415
    from functions.adapters.fair_executor import FairExecutor  # noqa: PLC0415
    from functions.adapters.s3 import S3BlobStore  # noqa: PLC0415
    from functions.adapters.s3_objects import S3ObjectSource  # noqa: PLC0415
    from functions.adapters.vault import VaultKeyStore  # noqa: PLC0415
    from functions.adapters.vault_client import VaultLogin  # noqa: PLC0415
    from functions.handlers.cloud import Cloud  # noqa: PLC0415
    from functions.publishing.archive_rules import ArchiveLimits  # noqa: PLC0415
    from functions.publishing.crowd import Crowd  # noqa: PLC0415
    from functions.publishing.head import ObjectCache  # noqa: PLC0415
    from functions.publishing.pace import Pace  # noqa: PLC0415

    give_back_large_buffers()
    connection = _connection(settings)

    @lru_cache(maxsize=STORES_KEPT)
    def repository_store(fqrn: str) -> BlobStore:
        return S3BlobStore(connection, settings.repository_bucket, fqrn)

    return Cloud(
        settings=settings,
        clock=utc_now,
        state=build_state(settings),
        repository_store=repository_store,
        source=S3ObjectSource(connection),
        buckets=_buckets(settings, connection),
        keys=VaultKeyStore(
            VaultLogin(address=settings.vault_addr, role_id=settings.vault_role_id, secret_id=settings.vault_secret_id),
            domain=settings.repository_domain,
            kv_mount=settings.vault_kv_mount,
            transit_mount=settings.vault_transit_mount,
        ),
        bus=build_bus(settings, name=name),
        executor=FairExecutor(PARALLEL_REQUESTS, thread_name_prefix="s3"),
        cache=ObjectCache(settings.catalog_cache_mib << 20),
        pace=Pace(settings.min_publish_interval_s),
        crowd=Crowd(settings.take_along_from, settings.take_along),
        archive_limits=ArchiveLimits(
            members=settings.archive_members_limit,
            content_bytes=settings.archive_bytes_limit,
            ratio=settings.archive_ratio_limit,
        ),
    )


def build_bus(settings: Settings, *, name: str = "gateway") -> EventBus:
    """The event bus; `name` is shown in RabbitMQ's list of connections."""
    from functions.adapters.rabbitmq import RabbitEventBus  # noqa: PLC0415

    return RabbitEventBus(settings.amqp_url, exchange=settings.event_exchange, name=name, clock=utc_now)


def build_queues(url: SecretStr) -> QueueAdmin:
    """The queues, to be looked at and tidied up; raises AddressUnreadable."""
    from functions.adapters.rabbitmq_queues import RabbitQueueAdmin  # noqa: PLC0415

    _require_url(url.get_secret_value(), "amqp", "The address of RabbitMQ")
    return RabbitQueueAdmin(url, name="queues")


def open_bus(amqp_url: str, *, exchange: str) -> EventBus:
    """The event bus at an address, for a client that has no other settings; raises AddressUnreadable."""
    from pydantic import SecretStr  # noqa: PLC0415

    from functions.adapters.rabbitmq import RabbitEventBus  # noqa: PLC0415

    _require_url(amqp_url, "amqp", "The address of RabbitMQ")
    return RabbitEventBus(SecretStr(amqp_url), exchange=exchange, name="cvmfs-cloud", clock=utc_now)


def open_gateway(url: str) -> Callable[[Sequence[CloudEvent]], None]:
    """How to send events to the gateway at a URL; raises AddressUnreadable."""
    from functions.adapters.gateway_client import GatewayClient  # noqa: PLC0415

    _require_url(url, "http", "The address of the gateway")
    return GatewayClient(url).send


def build_state(settings: Settings) -> BlobStore:
    """The state bucket."""
    from functions.adapters.s3 import S3BlobStore  # noqa: PLC0415

    return S3BlobStore(_connection(settings), settings.state_bucket)


def build_repositories(settings: Settings) -> Repositories:
    """All repositories of the service, read only."""
    from functions.adapters.fair_executor import FairExecutor  # noqa: PLC0415
    from functions.adapters.s3 import S3BlobStore  # noqa: PLC0415
    from functions.cvmfs.catalog_cache import CatalogCache  # noqa: PLC0415
    from functions.publishing.overview import Repositories  # noqa: PLC0415

    connection = _connection(settings)

    @lru_cache(maxsize=STORES_KEPT)
    def store_of(fqrn: str) -> BlobStore:
        return S3BlobStore(connection, settings.repository_bucket, fqrn)

    return Repositories(
        state=build_state(settings),
        store_of=store_of,
        queues=build_queues(settings.amqp_url),
        executor=FairExecutor(PARALLEL_REQUESTS, thread_name_prefix="overview"),
        catalogs=CatalogCache(settings.catalog_cache_mib << 20),
    )


def open_reconciling(settings: Settings, fqrn: str, *, allow_empty: bool) -> Reconciling:
    """A repository of the service beside its bucket, to look at what differs.

    Raises RepositoryUnknown, RepositoryNotReady, and BucketNotBelieved unless `allow_empty`.
    """
    from functions.adapters.s3 import S3BlobStore  # noqa: PLC0415
    from functions.adapters.s3_objects import S3ObjectSource  # noqa: PLC0415
    from functions.publishing.head import ObjectCache  # noqa: PLC0415
    from functions.publishing.known_rules import KnownRules  # noqa: PLC0415
    from functions.publishing.reconciliations import attachment_of, is_made_anew  # noqa: PLC0415
    from functions.publishing.reconciling import Reconciling, open_view  # noqa: PLC0415
    from functions.publishing.records import load_record  # noqa: PLC0415

    connection = _connection(settings)
    state = build_state(settings)
    record = load_record(state, fqrn)
    buckets = _buckets(settings, connection)
    store = S3BlobStore(connection, settings.repository_bucket, fqrn)
    rules = KnownRules(S3ObjectSource(connection), state, utc_now)
    exists = buckets.exists(record.bucket)
    identity = buckets.identity(record.bucket) if exists else None
    reconciling = Reconciling(
        record=record,
        source=S3ObjectSource(connection),
        state=state,
        view=open_view(fqrn, store, ObjectCache(settings.catalog_cache_mib << 20)),
        expected=rules.fresh(record),
        now=utc_now(),
        keep_gone=not allow_empty and is_made_anew(attachment_of(state, fqrn), identity or ""),
    )
    if not allow_empty:
        reconciling.check_bucket(exists=exists, empty_limit=settings.empty_bucket_limit)
    return reconciling


def configure_logging(mapping: Mapping[str, str]) -> None:
    """One JSON line per log record on standard output, from the level in LOG_LEVEL on."""
    import structlog  # noqa: PLC0415

    level = logging.getLevelNamesMapping().get(mapping.get("LOG_LEVEL", "info").upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=os.fdopen(os.dup(1), "w", buffering=1)),
    )
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors come out as ours


def _buckets(settings: Settings, connection: S3Connection) -> BucketAdmin:
    from functions.adapters.buckets import S3BucketAdmin  # noqa: PLC0415

    return S3BucketAdmin(connection, topic_prefix=settings.topic_prefix, topic_shards=settings.topic_shards)


def _connection(settings: Settings) -> S3Connection:
    from functions.adapters.s3_connection import S3Connection  # noqa: PLC0415

    _require_url(settings.s3_endpoint, "http", "S3_ENDPOINT")
    return S3Connection(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        quoted_if_match=settings.s3_quoted_if_match,
    )


# The command line: repositories in a folder or behind HTTP, without a service


class AddressUnreadable(Permanent):
    """The place of a repository, or of a server, is written in a way nobody understands."""

    code = "address-unreadable"


class StorageUnreadable(AddressUnreadable):
    """The place of a repository is."""

    hint = f"Write {STORAGE_SCHEME}PATH with the repository's own folder, or {S3_SCHEME}BUCKET/PREFIX."


def _require_url(text: str, scheme: str, what: str) -> None:
    """Refuse what is no URL of a scheme, plain or with TLS; it is not shown, since it may hold a password."""
    try:
        parts = urlsplit(text)
        readable = parts.scheme in {scheme, f"{scheme}s"} and parts.hostname and parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise AddressUnreadable(f"{what} is no URL: write {scheme}://HOST:PORT, or {scheme}s:// for TLS.")


class S3NotSet(Permanent):
    """The environment does not say how to reach S3."""

    code = "s3-not-set"
    hint = "AWS_ENDPOINT_URL is the address of the service; the keys are those of an account that may write there."


def open_storage(address: str) -> BlobStore:
    """The store of one repository, given as ``dir:PATH`` or ``s3://BUCKET/PREFIX``.

    How to reach S3 is read from the environment. Raises AddressUnreadable and S3NotSet.
    """
    from functions.adapters.allocator import give_back_large_buffers  # noqa: PLC0415

    give_back_large_buffers()
    if address.startswith(S3_SCHEME):
        bucket, _, prefix = address.removeprefix(S3_SCHEME).partition("/")
        if not bucket:
            raise StorageUnreadable(f"{address!r} names no bucket.")
        from functions.adapters.s3 import S3BlobStore  # noqa: PLC0415

        return S3BlobStore(s3_from_environment(os.environ), bucket, prefix)
    from functions.adapters.directory import DirectoryBlobStore  # noqa: PLC0415

    if not address.removeprefix(STORAGE_SCHEME) or not address.startswith(STORAGE_SCHEME):
        raise StorageUnreadable(f"{address!r} is not the address of a storage.")
    return DirectoryBlobStore(Path(address.removeprefix(STORAGE_SCHEME)))


def s3_from_environment(mapping: Mapping[str, str]) -> S3Connection:
    """The S3 service that the usual variables name; raises S3NotSet with all that are missing.

    ``S3_QUOTED_IF_MATCH`` is the service's own setting (``functions/settings.py``).
    """
    names = {
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "access_key": ("AWS_ACCESS_KEY_ID",),
        "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    }
    found = {
        field: next((mapping[name] for name in choices if mapping.get(name)), "") for field, choices in names.items()
    }
    missing = [names[field][-1] for field, value in found.items() if not value]
    if missing:
        raise S3NotSet(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.")
    _require_url(found["endpoint"], "http", "AWS_ENDPOINT_URL")
    from pydantic import SecretStr  # noqa: PLC0415

    from functions.adapters.s3_connection import S3Connection  # noqa: PLC0415

    return S3Connection(
        endpoint=found["endpoint"],
        region=mapping.get("AWS_REGION") or mapping.get("AWS_DEFAULT_REGION") or "default",
        access_key=found["access_key"],
        secret_key=SecretStr(found["secret_key"]),
        quoted_if_match=mapping.get("S3_QUOTED_IF_MATCH", "").lower() in {"1", "true", "yes"},
    )


def open_server(address: str, fqrn: str) -> BlobStore:
    """What is above the storage of a repository: the folder or bucket that is served as ``/cvmfs``.

    Raises AddressUnreadable if the storage is not named as the repository, and then not found at its URL either.
    """
    if address.startswith(STORAGE_SCHEME):
        folder = Path(address.removeprefix(STORAGE_SCHEME)).absolute()
        above, name = f"{STORAGE_SCHEME}{folder.parent}", folder.name
    else:
        above, _, name = address.rstrip("/").rpartition("/")
    if name != fqrn or above == S3_SCHEME.rstrip("/"):
        raise StorageUnreadable(f"{address!r} is not named {fqrn}, so it is not served as /cvmfs/{fqrn}.")
    return open_storage(above)


def open_fetch(address: str) -> tuple[Fetch, Callable[[str], bool]]:
    """How to read one repository, and how to ask for a file, from its URL, its folder, or its storage."""
    if "://" in address and not address.startswith((STORAGE_SCHEME, S3_SCHEME)):
        from functions.adapters.http import open_reader  # noqa: PLC0415

        reader = open_reader(address)
        return reader.fetch, reader.exists
    store = open_storage(storage_of(address))

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    return fetch, store.has


def storage_of(location: str) -> str:
    """The storage at a location: a folder may be written without its scheme."""
    return location if location.startswith((STORAGE_SCHEME, S3_SCHEME)) else STORAGE_SCHEME + location


def open_tree(path: Path, *, owner: tuple[int, int] | None = None, xattrs: bool = False) -> TreeSource:
    """The local tree at a path; all files belong to `owner` if given, and have their extended attributes if asked."""
    from functions.adapters.file_tree import FileTree, TreeAspects  # noqa: PLC0415

    return FileTree(path, TreeAspects(owner, xattrs))


def open_archive(name: str) -> AbstractContextManager[ArchiveSource]:
    """The archive in a file, or on standard input where the name is ``-``; raises TreeRefused."""
    from functions.adapters.archive_file import ArchiveFile, ArchivePipe  # noqa: PLC0415

    return ArchivePipe(sys.stdin.buffer, utc_now) if name == "-" else ArchiveFile(Path(name))


def open_keys(folder: Path) -> KeyFiles:
    """The keys in a folder."""
    from functions.adapters.key_files import KeyFiles  # noqa: PLC0415

    return KeyFiles(folder)
