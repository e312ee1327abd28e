"""The scenarios: what is prepared, what is measured, and what it must reach."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from enginebench import inputs, work
from enginebench.measure import Goal, Result, Run, Work, in_new_process
from enginebench.work import Place

GIBIBYTE = 1 << 30


@dataclass
class Bench:
    """A scratch folder with one set of keys, and how often everything is done."""

    folder: Path
    runs: int
    _made: int = 0

    def repository(self) -> Place:
        """A new repository."""
        self._made += 1
        place = Place(self.folder / f"repository{self._made}", self.folder / "keys")
        place.make()
        return place

    def result(
        self, name: str, what: str, run: Callable[[int], Run], goal: Goal | None = None, *, once: bool = False
    ) -> Result:
        """Do it as often as asked, or once where it takes long; `run` gets the number of the run."""
        return Result.of(name, what, goal or Goal(), [run(number) for number in range(1 if once else self.runs)])

    def into_empty(self, name: str, what: str, goal: Goal, prepare: Callable[..., Work], *rest: object) -> Result:
        """The same publish into an empty repository each time."""

        def run(_: int) -> Run:
            # Not removed before the bench ends: ext4 passes over every inode that was given up in the last minutes, and
            # a new file then takes ten times as long.
            return in_new_process(prepare, self.repository(), *rest)

        return self.result(name, what, run, goal)


def one_file(bench: Bench) -> Iterator[Result]:
    """One file of 10 kB into a small repository, in the process and as a command."""
    place, tree = bench.repository(), bench.folder / "one"

    def inside(number: int) -> Run:
        _write(tree, number)
        return in_new_process(work.tree_publish, place, tree)

    def whole(number: int) -> Run:
        _write(tree, -1 - number)
        options = ("--from", str(tree), "--storage", f"dir:{place.storage}", "--keys", str(place.keys))
        return in_new_process(work.command, _program(), "repo", "publish", *options)

    yield bench.result("one-file", "one file of 10 kB, inside the process", inside, Goal(wall_s=0.05))
    yield bench.result("one-file-command", "one file of 10 kB, whole command", whole)


def start(bench: Bench) -> Iterator[Result]:
    """The command line says how it is used."""

    def run(_: int) -> Run:
        return in_new_process(work.command, _program(), "repo", "publish", "--help")

    yield bench.result("help", "cvmfs-cloud repo publish --help", run, Goal(wall_s=0.3))


def site_packages(bench: Bench) -> Iterator[Result]:
    """10,000 small files into an empty repository."""
    tree = bench.folder / "site-packages"
    mean = inputs.small_files(tree, 10_000)
    what = f"10,000 files of site-packages, {mean / 1000:.1f} kB on average"
    yield bench.into_empty("site-packages", what, Goal(1.9, 2.5), work.tree_publish, tree)


def archive(bench: Bench) -> Iterator[Result]:
    """Archives, unpacked while they stream in, then mounted."""
    small = bench.folder / "pkg.tar"
    inputs.write_archive(small, members=2000, member_bytes=8000)
    yield bench.into_empty("archive", "archive of 2,000 files of 8 kB", Goal(0.4), work.archive_publish, small)


def many_members(bench: Bench) -> Iterator[Result]:
    """The memory that a long archive takes."""
    long = bench.folder / "many.tar"
    inputs.write_archive(long, members=100_000, member_bytes=1000)
    goal = Goal(peak_mb=150)
    yield bench.into_empty("many-members", "archive of 100,000 files of 1 kB", goal, work.archive_publish, long)
    long.unlink()


def large_file(bench: Bench) -> Iterator[Result]:
    """Files of 512 MiB, which are cut into chunks."""
    for name, blocks, goal in (
        ("text", inputs.text_blocks, Goal(3.5, peak_mb=150)),
        ("random", inputs.random_blocks, Goal(peak_mb=150)),
    ):
        tree = bench.folder / f"large-{name}"
        inputs.write_file(tree / "file", blocks(512 << 20))
        yield bench.into_empty(f"large-{name}", f"one file of 512 MiB, {name}", goal, work.tree_publish, tree)
        shutil.rmtree(tree)


def huge_file(bench: Bench) -> Iterator[Result]:
    """A file of 5 GiB that is made while it is read."""

    def run(_: int) -> Run:
        place = bench.repository()
        measured = in_new_process(work.stream_publish, place, 5 * GIBIBYTE)
        shutil.rmtree(place.storage)
        return measured

    yield bench.result("huge", "one file of 5 GiB, text", run, Goal(peak_mb=150), once=True)


def nested(bench: Bench) -> Iterator[Result]:
    """One file into repositories of any size, with nested catalogs of 1,000 entries."""
    for directories in (1, 100, 1000):
        goal = Goal(wall_s=0.06)
        yield _into_many(bench, f"nested-{directories * 1000}", directories, goal, is_nested=True)


def one_catalog(bench: Bench) -> Iterator[Result]:
    """One file into a repository whose entries are all in its root catalog."""
    yield _into_many(bench, "one-catalog-100000", 100, Goal(wall_s=0.3), is_nested=False)


def _into_many(bench: Bench, name: str, directories: int, goal: Goal, *, is_nested: bool) -> Result:
    place, tree = bench.repository(), bench.folder / "one-of-many"
    in_new_process(work.fill, place, directories, 998, is_nested)
    weights = None if is_nested else work.AS_IT_IS

    def run(number: int) -> Run:
        _write(tree, number)
        return in_new_process(work.tree_publish, place, tree, f"/d{directories // 2}/new", weights)

    what = "in nested catalogs of 1,000" if is_nested else "in one catalog"
    return bench.result(name, f"one file into {directories * 1000:,} entries, {what}", run, goal)


def _write(tree: Path, number: int) -> None:
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(inputs.words(10_000, number))


def _program() -> str:
    return str(Path(sys.executable).with_name("cvmfs-cloud"))


SCENARIOS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "start": start,
    "one-file": one_file,
    "site-packages": site_packages,
    "archive": archive,
    "large-file": large_file,
    "nested": nested,
    "one-catalog": one_catalog,
    "many-members": many_members,
    "huge-file": huge_file,
}

LONG = frozenset({"huge-file"})
"""Those that take more than half a minute a run."""
