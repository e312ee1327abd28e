"""How far a run is, from the raw data that have been written so far."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcbench.paths import path_of
from hpcbench.plan import Plan
from hpcbench.raw import Line, Tail
from hpcbench.run_folder import DONE_FOLDER, HOST_RAW, RAW_FOLDER
from hpcbench.uploads import Place

_ASK_EVERY_S = 5.0


class Progress:
    """Counts; `waiting` has what clients must see in the end and none has seen: etag, None for removals."""

    def __init__(self, run: Path, plan: Plan, domain: str) -> None:
        self._run = run
        self._tasks = len(plan.tasks)
        self._domain = domain
        self._tail = Tail(run)
        self._begun = time.monotonic()
        self._asked = 0.0
        self._tree: dict[Place, str] = {}
        self._wanted: dict[Place, tuple[int, str | None]] = {}
        self.waiting: dict[Place, str | None] = {}
        self.operations = 0
        self.failed = 0
        self.revisions = 0
        self.requested = 0

    def update(self) -> None:
        """Take in what is new."""
        touched: set[Place] = set()
        for line in self._tail.lines():
            if line["k"] == "op":
                touched.update(self._operation(line))
            elif line["k"] == "revision":
                touched.update(self._revision(line))
            elif line["k"] == "request":
                self.requested += 1
        for place in touched & self._wanted.keys():
            wanted = self._wanted[place][1]
            if self._tree.get(place) == wanted:
                self.waiting.pop(place, None)
            else:
                self.waiting[place] = wanted

    def _operation(self, line: Line) -> Iterator[Place]:
        self.operations += 1
        if line["status"] // 100 != 2:
            self.failed += 1
        elif line["kind"] != "list":
            place = f"{line['bucket']}.{self._domain}", path_of(line["key"])
            if line["op"] > self._wanted.get(place, (0, None))[0]:
                self._wanted[place] = line["op"], None if line["kind"] == "delete" else line["etag"]
            yield place

    def _revision(self, line: Line) -> Iterator[Place]:
        self.revisions += 1
        for path, etag, *_ in line["there"]:
            self._tree[line["fqrn"], path] = etag
            yield line["fqrn"], path
        for path in line["gone"]:
            self._tree.pop((line["fqrn"], path), None)
            yield line["fqrn"], path

    def tasks_done(self) -> int:
        """How many tasks have said that they ended."""
        return len(list((self._run / DONE_FOLDER).glob("*.json")))

    def tasks_ended(self, left: Callable[[], bool]) -> bool:
        """Whether no task runs or will: all have said so, or, asked now and then, nobody is `left` who could."""
        if self.tasks_done() >= self._tasks:
            return True
        if time.monotonic() - self._asked < _ASK_EVERY_S:
            return False
        self._asked = time.monotonic()
        return not left()

    def line(self) -> str:
        """All of it in one line."""
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{time.monotonic() - self._begun:6.0f} s  tasks {self.tasks_done()}/{self._tasks}, "
            f"repositories {self.requested}, operations {self.operations}{failed}, "
            f"revisions {self.revisions}, not visible yet {len(self.waiting)}"
        )


ALWAYS_THERE = frozenset({"gateway", "reconcile-bucket"})
"""The gateway waits for requests; a timer keeps one small function awake every minute."""


def instances_now(run: Path) -> int:
    """How many instances there are of functions that ever go, by the last sample; 0 where nobody samples."""
    path = run / RAW_FOLDER / f"{HOST_RAW}.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65536))
        lines = [line for line in file.read().splitlines() if line.startswith(b"{") and line.endswith(b"}")]
    for line in reversed(lines):
        fields = json.loads(line)
        if fields["k"] == "instances":
            return sum(
                ready + starting
                for name, (ready, starting, *_) in fields["services"].items()
                if name not in ALWAYS_THERE
            )
    return 0
