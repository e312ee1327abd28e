"""What a reconciliation costs: time, memory and messages, for a bucket that equals its repository and one that differs.

Run as ``PYTHONPATH=. .venv/bin/python hpc-bench/reconcile.py 100000``. Starts a RadosGW of its own; the broker is in
memory.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import obstore
from pydantic import SecretStr

from events import ReconciliationRequested
from events.change import ChangeRecord, EntryRecord
from functions.adapters.buckets import S3BucketAdmin
from functions.adapters.memory import MemoryEventBus, MemoryKeyStore
from functions.adapters.s3 import S3BlobStore
from functions.adapters.s3_connection import S3Connection
from functions.adapters.s3_objects import S3ObjectSource
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import Entry
from functions.handlers.cloud import Cloud
from functions.handlers.reconcile_bucket import reconcile_bucket
from functions.local.servers import CephServer
from functions.ports import ObjectInfo
from functions.publishing import creation
from functions.publishing.crowd import Crowd
from functions.publishing.head import ObjectCache
from functions.publishing.pace import Pace
from functions.publishing.reconciliations import last_reconciliation
from functions.publishing.records import RepositoryRecord, keep_record
from functions.publishing.sources import entry_of
from functions.publishing.tree import CatalogTree
from functions.settings import Settings

BUCKET, FQRN = "bench", "bench.infn.it"
PER_DIRECTORY = 500
AT_ONCE = 32


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def resident_mb(which: str) -> float:
    """Memory of this process now (VmRSS) or at most so far (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{which}:"))


def connection_of(settings: Settings) -> S3Connection:
    """The S3 that the settings name."""
    return S3Connection(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
    )


def cloud_of(settings: Settings) -> Cloud:
    """The service on a real S3, with keys and a broker in memory."""
    connection = connection_of(settings)
    return Cloud(
        settings=settings,
        clock=utc_now,
        state=S3BlobStore(connection, settings.state_bucket),
        repository_store=lambda fqrn: S3BlobStore(connection, settings.repository_bucket, fqrn),
        source=S3ObjectSource(connection),
        buckets=S3BucketAdmin(connection, topic_prefix="cvmfs", topic_shards=1),
        keys=MemoryKeyStore(),
        bus=MemoryEventBus(),
        executor=ThreadPoolExecutor(16),
        cache=ObjectCache(settings.catalog_cache_mib << 20),
        pace=Pace(0),
        crowd=Crowd(least=1, along=0),
    )


def keys(number: int) -> list[str]:
    """As many keys, in directories and sub-directories."""
    return [f"cvmfs/part{index // 25_000}/{index // PER_DIRECTORY:04}/file{index:06}" for index in range(number)]


async def upload(settings: Settings, number: int) -> None:
    """Put the objects, some at a time."""
    store = connection_of(settings).objects()
    pending = asyncio.Queue[str]()
    for key in keys(number):
        pending.put_nowait(key)

    async def work() -> None:
        while not pending.empty():
            key = pending.get_nowait()
            await obstore.put_async(store, f"{BUCKET}/{key}", key.encode())

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def make_repository(cloud: Cloud) -> None:
    """An empty repository of the bucket."""
    now = utc_now()
    made = cloud.keys.ensure_keys(FQRN, subject="bench", group=None, now=now)
    certificate = Certificate.from_pem(made.certificate.encode())
    store, signer = cloud.repository_store(FQRN), cloud.keys.signer(FQRN)
    creation.create_repository(store, signer, certificate, creation.NewRepository(FQRN), now=now)
    keep_record(
        cloud.state, RepositoryRecord(repository=FQRN, bucket=BUCKET, username="b", subject="bench", created_at=now)
    )


def entries_of(objects: Iterable[ObjectInfo]) -> dict[str, Entry]:
    """What a repository has that equals a bucket, by path, directories included; contents are names of nothing."""
    entries: dict[str, Entry] = {}
    for number, info in enumerate(objects):
        path = "/" + info.key.removeprefix("cvmfs/")
        seconds = int(info.modified.timestamp())
        record = ChangeRecord(bucket=BUCKET, key=info.key, path=path, etag=info.etag, modified=seconds)
        file = EntryRecord(mode=0o100644, size=info.size, mtime=seconds, digest=f"{number:040x}")
        entries[path] = entry_of(record, file)
        above = path.rpartition("/")[0]
        while above and above not in entries:
            entries[above] = Entry.directory(mtime=seconds)
            above = above.rpartition("/")[0]
    return entries


def publish(cloud: Cloud) -> None:
    """Make a repository that equals the bucket, without taking in any content."""
    make_repository(cloud)

    def edit(tree: CatalogTree, _: Entry) -> None:
        tree.put_all(entries_of(cloud.source.list(BUCKET, "cvmfs/")).items())

    cloud.publisher(FQRN).publish(edit)


def measure(settings: Settings) -> None:
    """Reconcile in this process and print what it cost."""
    cloud = cloud_of(settings)
    before = resident_mb("VmRSS")
    cpu = time.process_time()
    began = time.monotonic()
    request = ReconciliationRequested(repository=FQRN, cause=f"bench {began}")
    event = request.to_cloudevent(source="/bench", time=utc_now())
    parts = 0
    while event is not None:
        reconcile_bucket(event, cloud)
        parts += 1
        message = cloud.bus.pop("fn.reconcile-bucket")
        event = None if message is None else message.event
    seconds, busy = time.monotonic() - began, time.process_time() - cpu
    counts = last_reconciliation(cloud.state, FQRN).counts
    work = cloud.bus.work_waiting("handle-bucket-notification")
    print(
        f"{counts.objects:,} objects, {counts.entries:,} entries: {seconds:.1f} s in {parts} part(s), "
        f"{busy:.1f} s CPU, {counts.differences:,} differences in {work} messages; "
        f"resident {before:.0f} MB before, {resident_mb('VmHWM'):.0f} MB at most"
    )


def main() -> None:
    """Set the scene, then measure in processes of their own."""
    if sys.argv[1] == "--measure":
        measure(Settings.from_mapping(json.loads(sys.stdin.read())))
        return
    number = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        ceph = CephServer(Path(folder) / "ceph", store="memstore")
        ceph.start()
        try:
            ceph.prepare_buckets()
            ceph.client("s3").create_bucket(Bucket=BUCKET)
            mapping = {
                "S3_ENDPOINT": ceph.endpoints.s3_url,
                "S3_REGION": ceph.endpoints.region,
                "S3_ACCESS_KEY": ceph.endpoints.service.access_key,
                "S3_SECRET_KEY": ceph.endpoints.service.secret_key.get_secret_value(),
                "REPOSITORY_URL": f"{ceph.endpoints.s3_url}/cvmfs",
                "AMQP_URL": "amqp://127.0.0.1:1",
                "CATALOG_CACHE_MIB": "32",
            }
            settings = Settings.from_mapping(mapping)
            cloud = cloud_of(settings)
            ceph.ensure_topics(["cvmfs-0"], SecretStr("amqp://127.0.0.1:1"), "notification")
            began = time.monotonic()
            asyncio.run(upload(settings, number))
            print(f"uploaded {number:,} objects in {time.monotonic() - began:.0f} s", flush=True)
            began = time.monotonic()
            publish(cloud)
            print(f"published in {time.monotonic() - began:.1f} s", flush=True)
            for what, share in (("equal", 0), ("one in a hundred deleted", 100)):
                for key in keys(number)[::share] if share else ():
                    ceph.client("s3").delete_object(Bucket=BUCKET, Key=key)
                print(what, flush=True)
                own = [sys.executable, __file__, "--measure"]
                subprocess.run(own, input=json.dumps(mapping), text=True, check=True)
        finally:
            ceph.stop()


if __name__ == "__main__":
    main()
