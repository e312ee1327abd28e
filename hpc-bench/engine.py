"""How fast the engine publishes into a folder: no servers, medians of several runs, a table and a JSON file.

Usage: ``.venv/bin/python hpc-bench/engine.py [--runs 5] [--only NAME]``; what is measured is described in README.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from functions import wiring
from functions.adapters.memory import MemoryObjectSource
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import Entry
from functions.ports import BlobStore
from functions.publishing.application import apply_records
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import ObjectCache
from functions.publishing.ingest import Ingest
from functions.publishing.keys import key_to_target
from functions.publishing.objects import Objects, Uploads
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_publish import TreePublish

FQRN = "bench.example.org"
THREADS = 4


@dataclass(frozen=True)
class Result:
    """One measurement: medians of wall-clock and CPU seconds (children included), the runs, and the goal if any."""

    name: str
    what: str
    wall_s: float
    cpu_s: float
    runs_s: list[float]
    goal_s: float | None


class Bench:
    """A folder with one set of keys, and fresh repositories in it."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs
        self.random = random.Random(1)
        self.keys = wiring.open_keys(folder / "keys")
        self.certificate = Certificate.from_pem(self.keys.ensure_keys(FQRN, now=wiring.utc_now()).certificate.encode())
        self._repositories = 0

    def repository(self) -> Path:
        """The folder of a new repository."""
        self._repositories += 1
        folder = self.folder / f"repository{self._repositories}"
        create_repository(
            wiring.open_storage(f"dir:{folder}"),
            self.keys.signer(FQRN),
            self.certificate,
            NewRepository(FQRN),
            now=wiring.utc_now(),
        )
        return folder

    def publisher(self, store: BlobStore, executor: ThreadPoolExecutor) -> Publisher:
        """A publisher as a new process has it: nothing cached, no key loaded."""
        return Publisher(FQRN, store, self.keys.signer(FQRN), ObjectCache(64 << 20), executor, wiring.utc_now)

    def publish(self, repository: Path, tree: Path, place: str = "") -> None:
        """Publish a local tree as the command line does."""
        store = wiring.open_storage(f"dir:{repository}")
        with ThreadPoolExecutor(THREADS) as executor:
            job = TreePublish(self.publisher(store, executor), wiring.open_tree(tree), place, Recipe())
            published, _ = job.publish(progress=lambda _plan, _files, _bytes: None)
        assert published.changed

    def measure(
        self, name: str, what: str, prepare: Callable[[], Callable[[], None]], *, goal_s: float | None = None
    ) -> Result:
        """Run what `prepare` returns several times, each prepared anew."""
        walls, cpus = [], []
        for _ in range(self.runs):
            run = prepare()
            cpu, wall = _cpu_s(), time.perf_counter()
            run()
            walls.append(time.perf_counter() - wall)
            cpus.append(_cpu_s() - cpu)
        return Result(name, what, statistics.median(walls), statistics.median(cpus), walls, goal_s)

    def file(self, size: int) -> bytes:
        """Content that compresses about as well as source code does."""
        words = [f"word{number:x}" for number in range(500)]
        text = " ".join(self.random.choice(words) for _ in range(size // 6))
        return text.encode()[:size].ljust(size, b"\n")


def one_file(bench: Bench) -> Iterator[Result]:
    """One file of 10 kB into a small repository, in this process and as a command."""
    repository = bench.repository()
    tree = bench.folder / "one"
    tree.mkdir()

    def changed() -> None:
        (tree / "file").write_bytes(bench.file(10_000))

    def inside() -> Callable[[], None]:
        changed()
        return lambda: bench.publish(repository, tree)

    def whole() -> Callable[[], None]:
        changed()
        command = [
            str(Path(sys.executable).with_name("cvmfs-cloud")),
            *("repo", "publish", "--from", str(tree), "--storage", f"dir:{repository}"),
            *("--keys", str(bench.folder / "keys")),
        ]
        return lambda: _quietly(command)

    yield bench.measure("one-file", "one file of 10 kB, inside the process", inside, goal_s=0.05)
    yield bench.measure("one-file-command", "one file of 10 kB, whole command", whole)


def site_packages(bench: Bench) -> Iterator[Result]:
    """2,000 files of this machine's Python packages into an empty repository."""
    tree = bench.folder / "site-packages"
    source = Path(sysconfig.get_paths()["purelib"])
    files = (file for file in sorted(source.rglob("*.py")) if file.is_file() and not file.is_symlink())
    for file, _ in zip(files, range(2000), strict=False):
        copy = tree / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    size = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
    mean = size / 2000

    def prepare() -> Callable[[], None]:
        repository = bench.repository()
        return lambda: bench.publish(repository, tree)

    yield bench.measure("site-packages", f"2,000 files of site-packages, {mean / 1000:.1f} kB on average", prepare)


def archive(bench: Bench) -> Iterator[Result]:
    """A tar archive of 2,000 files of 8 kB, unpacked while it streams in, then mounted."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for number in range(2000):
            member = tarfile.TarInfo(f"pkg/d{number % 20}/file{number}")
            member.size = 8000
            tar.addfile(member, io.BytesIO(bench.file(8000)))
    source = MemoryObjectSource()
    source.put("bench", "cvmfs/pkg.tar", packed.getvalue())

    def prepare() -> Callable[[], None]:
        store = wiring.open_storage(f"dir:{bench.repository()}")

        def run() -> None:
            with ThreadPoolExecutor(THREADS) as executor:
                uploads = Uploads(Objects(store), executor)
                reader = source.open("bench", "cvmfs/pkg.tar")
                assert reader is not None
                record = Ingest(Recipe(), uploads.put, executor=executor).take(
                    "bench", key_to_target("cvmfs/pkg.tar"), reader
                )
                uploads.finish()
                bench.publisher(store, executor).publish(
                    lambda tree, marker: (apply_records(tree, [record], marker), None)[1]
                )

        return run

    yield bench.measure("archive", "archive of 2,000 files of 8 kB", prepare, goal_s=0.4)


def large_repository(bench: Bench) -> Iterator[Result]:
    """One file into a repository of 100,000 entries in nested catalogs of 1,000."""
    repository = bench.repository()
    with ThreadPoolExecutor(THREADS) as executor:
        bench.publisher(wiring.open_storage(f"dir:{repository}"), executor).publish(_many_entries)
    tree = bench.folder / "one-of-many"
    tree.mkdir()

    def prepare() -> Callable[[], None]:
        (tree / "file").write_bytes(bench.file(10_000))
        return lambda: bench.publish(repository, tree, "/d50/new")

    yield bench.measure("large", "one file into 100,000 entries, nested", prepare, goal_s=0.06)


def _many_entries(tree: CatalogTree, marker: Entry) -> None:
    for directory in range(100):
        path = f"/d{directory}"
        tree.put(path, Entry.directory(mtime=marker.mtime))
        tree.split(path, auto=False, marker=marker)
        tree.put_all((f"{path}/file{number}", marker) for number in range(998))


SCENARIOS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "one-file": one_file,
    "site-packages": site_packages,
    "archive": archive,
    "large": large_repository,
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    options = parser.parse_args()
    results = []
    with _scratch() as folder:
        bench = Bench(folder, options.runs)
        for name in options.only or SCENARIOS:
            for result in SCENARIOS[name](bench):
                results.append(result)
                _print(result)
    report = {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": [asdict(result) for result in results],
    }
    output = Path(__file__).parent / "results" / f"engine-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {output}")


def _print(result: Result) -> None:
    goal = "" if result.goal_s is None else f"   goal {result.goal_s:.3f} s"
    print(f"{result.what:<60} {result.wall_s:>7.3f} s {result.cpu_s:>7.3f} CPU s{goal}", flush=True)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cvmfs-cloud-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
