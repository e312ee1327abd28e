"""A measurement: work that is done several times, each time by a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], object]
"""What is measured."""

_HIGH_WATER = "VmHWM:"


@dataclass(frozen=True)
class Run:
    """Seconds on the wall and of CPU, child processes included, and the largest resident size in MB of the process."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Goal:
    """What a scenario must reach; None where nothing is asked."""

    wall_s: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True)
class Result:
    """The medians of some runs beside the goal."""

    name: str
    what: str
    median: Run
    goal: Goal
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, name: str, what: str, goal: Goal, runs: list[Run]) -> Result:
        """The medians of each number on its own."""
        median = Run(
            statistics.median(run.wall_s for run in runs),
            statistics.median(run.cpu_s for run in runs),
            statistics.median(run.peak_mb for run in runs),
        )
        return cls(name, what, median, goal, tuple(runs))


def in_new_process(prepare: Callable[..., Work], *arguments: object) -> Run:
    """Prepare and do some work in a new process, which has imported what it needs; only the work is measured.

    A new one each time: nothing is warm, and the peak of memory is that of this work alone.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(there, prepare, arguments))
    process.start()
    there.close()
    try:
        run = here.recv()
    except EOFError:
        raise SystemExit(f"The process that measured {prepare.__name__} failed.") from None
    process.join()
    assert isinstance(run, Run)
    return run


def _run(connection: Any, prepare: Callable[..., Work], arguments: tuple[object, ...]) -> None:
    work = prepare(*arguments)
    os.sync()  # a publish brings everything to disk, and is not to wait for what the bench itself wrote before
    cpu_s, wall_s = _cpu_s(), time.perf_counter()
    work()
    connection.send(Run(time.perf_counter() - wall_s, _cpu_s() - cpu_s, _peak_mb()))
    connection.close()


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_mb() -> float:
    """Not what getrusage says: its maximum is handed down by the process that forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(_HIGH_WATER))
    return int(line.split()[1]) * 1024 / 1e6
