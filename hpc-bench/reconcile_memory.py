"""What comparing a bucket with its repository costs in time and memory, for any number of objects and without them.

Run as ``PYTHONPATH=. .venv/bin/python hpc-bench/reconcile_memory.py 10000 100000 300000``; ``--nested`` puts each
directory into a catalog of its own. The listing is made up by a process of its own and read over HTTP as that of any
S3; the repository is in a folder; each measurement is taken in a new process, in which the broker is in memory.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from reconcile import BUCKET, FQRN, entries_of, make_repository, resident_mb, utc_now

from events import ReconciliationRequested
from functions.adapters.allocator import give_back_large_buffers
from functions.adapters.directory import DirectoryBlobStore
from functions.adapters.memory import MemoryBucketAdmin, MemoryEventBus, MemoryKeyStore, MemoryObjectSource
from functions.adapters.s3_connection import S3Connection
from functions.adapters.s3_objects import S3ObjectSource
from functions.cvmfs.entry import Entry
from functions.handlers.cloud import Cloud
from functions.handlers.reconcile_bucket import reconcile_bucket
from functions.ports import ObjectInfo
from functions.publishing.crowd import Crowd
from functions.publishing.head import ObjectCache
from functions.publishing.marking import mark
from functions.publishing.pace import Pace
from functions.publishing.reconciliations import last_reconciliation
from functions.publishing.tree import CatalogTree
from functions.settings import Settings

MODIFIED = datetime.fromtimestamp(1_770_000_000, UTC)
STAMP = MODIFIED.strftime("%Y-%m-%dT%H:%M:%S.000Z")
SIZE = 30
PAGE = 1000
PROCESSES = multiprocessing.get_context("spawn")

LINE = (
    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size>"
    "<StorageClass>STANDARD</StorageClass><Owner><ID>bench</ID><DisplayName>bench</DisplayName></Owner></Contents>"
)
ANSWER = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</ListBucketResult>'


@dataclass(frozen=True)
class Scene:
    """A bucket of so many objects, and where its repository and the service's state are."""

    number: int
    nested: bool
    folder: Path

    def key(self, index: int) -> str:
        """A key; they are in order."""
        per_directory = 30 if self.nested else 500
        return f"cvmfs/part{index // 25_000:04}/{index // per_directory:06}/file{index:08}"

    def objects(self) -> Iterator[ObjectInfo]:
        """What the listing says of each."""
        for index in range(self.number):
            yield ObjectInfo(self.key(index), SIZE, etag(index), MODIFIED)


def etag(index: int) -> str:
    """Something that does not compress, as etags do not."""
    return f"{pow(3, index + 1, 2**127 - 1):032x}"


def serve(scene: Scene, told: Connection) -> None:
    """Answer listings of the bucket, and that nothing else is there; tells the port."""

    class Listing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(404)

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            start = int(query.get("continuation-token", ["0"])[0])
            end = min(start + PAGE, scene.number)
            lines = [LINE.format(scene.key(index), STAMP, etag(index), SIZE) for index in range(start, end)]
            if end < scene.number:
                lines.append(f"<NextContinuationToken>{end}</NextContinuationToken>")
            self.answer(200, ANSWER.format("".join(lines)).encode())

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    told.send(server.server_address[1])
    server.serve_forever()


def cloud_of(scene: Scene, port: int) -> Cloud:
    """The service with the bucket at this port."""
    endpoint = f"http://127.0.0.1:{port}"
    settings = Settings.from_mapping(
        {
            "S3_ENDPOINT": endpoint,
            "S3_ACCESS_KEY": "bench",
            "S3_SECRET_KEY": "bench",
            "REPOSITORY_URL": f"{endpoint}/cvmfs",
            "AMQP_URL": "amqp://127.0.0.1:1",
            "RECONCILE_LEG_S": "200",
        }
    )
    connection = S3Connection(
        endpoint=endpoint, region="", access_key=settings.s3_access_key, secret_key=settings.s3_secret_key
    )
    buckets = MemoryObjectSource()
    buckets.make_bucket(BUCKET)
    return Cloud(
        settings=settings,
        clock=utc_now,
        state=DirectoryBlobStore(scene.folder / "state"),
        repository_store=lambda _: DirectoryBlobStore(scene.folder / "repository"),
        source=S3ObjectSource(connection),
        buckets=MemoryBucketAdmin(buckets),
        keys=MemoryKeyStore(),
        bus=MemoryEventBus(),
        executor=ThreadPoolExecutor(16),
        cache=ObjectCache(settings.catalog_cache_mib << 20),
        pace=Pace(0),
        crowd=Crowd(least=1, along=0),
    )


def publish(scene: Scene) -> None:
    """Make a repository that equals the bucket."""
    cloud = cloud_of(scene, 1)
    make_repository(cloud)

    def edit(tree: CatalogTree, marker: Entry) -> None:
        entries = entries_of(scene.objects())
        tree.put_all(entries.items())
        for path, entry in entries.items():
            if scene.nested and entry.is_directory and path.count("/") == 2:
                tree.put(f"{path}/.cvmfscatalog", marker)
                mark(tree, path, marker)

    cloud.publisher(FQRN).publish(edit)


def measure(scene: Scene, port: int) -> None:
    """Reconcile once and print what it cost."""
    give_back_large_buffers()
    cloud = cloud_of(scene, port)
    next(cloud.source.list(BUCKET, "cvmfs/"))
    before = resident_mb("VmRSS")
    began, cpu = time.monotonic(), time.process_time()
    request = ReconciliationRequested(repository=FQRN, cause="bench")
    reconcile_bucket(request.to_cloudevent(source="/bench", time=utc_now()), cloud)
    seconds, busy = time.monotonic() - began, time.process_time() - cpu
    counts = last_reconciliation(cloud.state, FQRN).counts
    assert (counts.objects, counts.entries, counts.differences) == (scene.number, scene.number, 0), counts
    print(
        f"{scene.number:,} objects: {seconds:.1f} s, {busy:.1f} s CPU; resident {before:.0f} MB before, "
        f"{resident_mb('VmHWM'):.0f} MB at most",
        flush=True,
    )


def run(scene: Scene) -> None:
    """One scene, each part in a process of its own."""
    here, there = PROCESSES.Pipe()
    server = PROCESSES.Process(target=serve, args=(scene, there), daemon=True)
    server.start()
    for work, arguments in ((publish, (scene,)), (measure, (scene, here.recv()))):
        process = PROCESSES.Process(target=work, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)
    server.terminate()


def main() -> None:
    """Measure for each number of objects."""
    nested = "--nested" in sys.argv
    for number in [int(argument) for argument in sys.argv[1:] if argument != "--nested"]:
        with tempfile.TemporaryDirectory() as folder:
            run(Scene(number, nested, Path(folder)))


if __name__ == "__main__":
    main()
