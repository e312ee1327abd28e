"""CPU and memory of every component on this machine, from ``/proc``; processes of others count as the machine's only.

CPU of a process that ends between two looks is lost from its last look on.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hpcbench.raw import RawFile

SAMPLE_S = 1.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

_SERVERS = {
    "radosgw": "RadosGW",
    "ceph-osd": "Ceph OSD",
    "ceph-mon": "Ceph monitor",
    "bao": "OpenBao",
    "epmd": "RabbitMQ",
    "erl_child_setup": "RabbitMQ",
    "beam.smp": "RabbitMQ",
    "inet_gethost": "RabbitMQ",
    "munged": "Slurm",
    "slurmctld": "Slurm",
    "slurmd": "Slurm",
    "slurmstepd": "Slurm",
    "slurm_script": "Slurm",
    "k6": "k6",
}


@dataclass(slots=True)
class Process:
    """One process at one moment: CPU seconds so far, resident bytes."""

    pid: int
    parent: int
    name: str
    cpu_s: float
    rss: int
    started: int


@dataclass(slots=True)
class _Total:
    cpu_s: float = 0.0
    rss: int = 0
    processes: int = 0
    instances: dict[int, int] = field(default_factory=dict)


def processes() -> dict[int, Process]:
    """All processes by pid."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            before, _, after = stat.rpartition(")")
            fields = after.split()
            found[int(entry.name)] = Process(
                pid=int(entry.name),
                parent=int(fields[1]),
                name=before.partition("(")[2],
                cpu_s=(int(fields[11]) + int(fields[12])) / TICKS,
                rss=int(fields[21]) * PAGE,
                started=int(fields[19]),
            )
    return found


class Machine(threading.Thread):
    """Samples until stopped; `stack` is the pid of the process that holds the stack."""

    def __init__(self, run: Path, raw: RawFile, *, stack: int) -> None:
        super().__init__(name="machine", daemon=True)
        self._run = str(run)
        self._raw = raw
        self._stack = stack
        self._ended = threading.Event()
        self._parts: dict[tuple[int, int], str] = {}
        self._cpu: dict[tuple[int, int], float] = {}
        self._spent: dict[str, float] = defaultdict(float)

    def run(self) -> None:
        """Sample."""
        while not self._ended.wait(SAMPLE_S):
            self.sample()

    def stop(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()

    def sample(self) -> None:
        """One look: `cpu_s` of each component since the start of this thread, bytes now, bytes of each instance."""
        living = processes()
        totals: dict[str, _Total] = defaultdict(_Total)
        for process in living.values():
            part = self._part(process, living)
            if not part:
                continue
            key = (process.pid, process.started)
            first = key not in self._cpu and not self._spent
            self._spent[part] += 0.0 if first else process.cpu_s - self._cpu.get(key, 0.0)
            self._cpu[key] = process.cpu_s
            total = totals[part]
            total.processes += 1
            total.rss += process.rss
            if part.startswith("function "):
                top = self._instance(process, living)
                total.instances[top] = total.instances.get(top, 0) + proportional(process.pid)
        busy, every = _machine_cpu()
        self._raw.write(
            "sample",
            at=time.time(),
            parts={
                name: {
                    "cpu_s": round(self._spent[name], 2),
                    "rss": total.rss,
                    "n": total.processes,
                    **({"instances": list(total.instances.values())} if total.instances else {}),
                }
                for name, total in totals.items()
            },
            busy_s=busy,
            all_s=every,
            load=os.getloadavg()[0],
        )
        self._raw.flush()

    def _part(self, process: Process, living: dict[int, Process]) -> str:
        key = (process.pid, process.started)
        if key not in self._parts:
            part = self._look(process, living)
            if part == "young":
                return ""
            self._parts[key] = part
        return self._parts[key]

    def _look(self, process: Process, living: dict[int, Process]) -> str:
        if process.pid == os.getpid():
            return "probe"
        line = _read(process.pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
        ours = self._run in line or self._below_stack(process, living)
        if not ours:
            return ""
        if "die_with_parent" in line:
            return "young"  # becomes what it will be in a moment
        if process.name in _SERVERS:
            return _SERVERS[process.name]
        if process.pid == self._stack:
            return "event source and autoscaler"
        if "hpcbench.tasks" in line:
            return "Python tasks"
        for variable in _read(process.pid, "environ").split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == b"FUNCTION_TARGET" and self._below_stack(process, living):
                return "function " + value.decode(errors="replace")
        if "uvicorn" in line or "gateway" in line:
            return "gateway"
        return "other"

    def _below_stack(self, process: Process, living: dict[int, Process]) -> bool:
        return self._stack in _ancestors(process, living)

    def _instance(self, process: Process, living: dict[int, Process]) -> int:
        """The process of the instance that its Service started: the one just below the stack's."""
        line = [process.pid, *_ancestors(process, living)]
        return line[line.index(self._stack) - 1] if self._stack in line else process.pid


def _ancestors(process: Process, living: dict[int, Process]) -> list[int]:
    line = []
    parent = process.parent
    while parent > 1 and parent not in line:
        line.append(parent)
        parent = living[parent].parent if parent in living else 0
    return line


def proportional(pid: int) -> int:
    """Resident bytes with shared pages split among those who share them, as a container is charged; 0 if it is gone."""
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _machine_cpu() -> tuple[float, float]:
    fields = [int(field) / TICKS for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return round(sum(fields) - fields[3] - fields[4], 2), round(sum(fields), 2)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
