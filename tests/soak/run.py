"""One soak from beginning to end: users and faults, then mending, at most one look at everything, and the judgement."""

from __future__ import annotations

import random
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field

import pika.exceptions

from tests.soak.faults import FAULTS, Injector
from tests.soak.material import Users
from tests.soak.reconciling import has_function, reconcile
from tests.soak.tap import Tap
from tests.soak.users import Crowd, Trace
from tests.soak.verdict import Judge, processes_of
from tests.soak.watching import Auditor, ManifestWatcher, answered, taken_along
from tests.soak.world import World, eventually

QUIET_S = 1.5
CONVERGE_S = 300.0
IN_SILENCE = (
    "kill RadosGW",
    "kill store-keys at work",
    "kill create-repository at work",
    "restart RabbitMQ",
    "kill Vault",
    "kill store-keys",
    "kill create-repository",
    "kill gateway",
)
"""What the short form does while RadosGW says nothing: mostly faults of what no upload needs."""


@dataclass(frozen=True)
class Options:
    """How much is done; `pace` is operations per second, `duration_limit` ends the operations early, in seconds."""

    seed: int = 1
    operations: int = 400
    faults: int = 20
    repositories: int = 3
    users: int = 4
    pace: float = 40.0
    duration_limit: float = 3300.0
    short: bool = False


@dataclass
class Result:
    """What came of it; `faults` is empty if nothing was lost, broken or left behind."""

    options: Options
    faults: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)
    injected: dict = field(default_factory=dict)
    effect: dict = field(default_factory=dict)


class Soak:
    """A run in a folder, which keeps its logs."""

    def __init__(self, options, folder, told):
        self.options = options
        self.folder = folder
        self._began = time.monotonic()
        self._log = (folder / "soak.log").open("a")
        self._tell = told
        self.result = Result(options)
        self.world = World(folder, progress=self.told)
        self.trace = Trace(folder / "trace.jsonl")

    def told(self, line):
        line = f"{time.monotonic() - self._began:7.1f} s  {line}"
        self._log.write(line + "\n")
        self._log.flush()
        self._tell(line)

    def run(self):
        """Everything; a failure of the soak itself is a fault like any other."""
        try:
            self.world.start()
            self._play()
        except Exception as err:  # noqa: BLE001 - it is told with the seed, and the folder is kept
            self._faults([f"the soak broke off: {err!r}", *traceback.format_exception(err)])
        finally:
            self.told("stopping")
            self.world.stop()
            left = processes_of(self.folder)
            self._faults(f"process {pid} is left: {command}" for pid, command in left.items())
            self.told(f"stopped; {len(self.result.faults)} faults")
            self.trace.close()
            self._log.close()
        return self.result

    def _play(self):
        options, world = self.options, self.world
        watcher = ManifestWatcher(world.repositories, self.folder / "manifests")
        auditor = Auditor(world)
        auditor.start()
        world.repositories += [world.request(f"soak{number}") for number in range(options.repositories)]
        watcher.start()
        self.told(f"{options.repositories} repositories")
        tap = Tap(world, auditor, random.Random(f"tap {options.seed}"))
        injector = Injector(world, tap, random.Random(f"faults {options.seed}"), self.told, hurry=options.short)
        crowd = Crowd(
            Users(options.seed, options.repositories), list(world.repositories), self.trace, pace=options.pace
        )
        try:
            crowd.start(options.users, sys.maxsize if options.short else options.operations)
            (self._inject_each if options.short else self._inject_many)(injector, crowd)
            self._faults(f"a user gave up: {fault}" for fault in crowd.faults)
            crowd.join()
            self.told(f"{self.trace.done} operations done")
            self._settle(auditor, tap, injector)
            watcher.stop()
            self._judge(watcher, auditor, tap, injector)
        finally:
            crowd.stop()
            watcher.stop()
            auditor.stop()

    def _faults(self, faults):
        for fault in faults:
            self.result.faults.append(fault)
            self.told(f"FAULT {fault}")

    # Injecting

    def _inject_each(self, injector, crowd):
        """Every kind once. RadosGW dies first: what needs no notifications is done in the 30 s of silence after it."""
        time.sleep(2)
        named = {fault.name: fault for fault in FAULTS}
        silent = [named.pop(name) for name in IN_SILENCE]
        spoken = sorted(named)
        random.Random(f"order {self.options.seed}").shuffle(spoken)
        for fault in silent:
            injector.inject(fault)
        self._wait_for_notifications()
        for name in spoken:
            injector.inject(named[name])
        crowd.finish(self.options.operations)

    def _inject_many(self, injector, crowd):
        self._wait_for_notifications()
        give_up_at = self._began + self.options.duration_limit
        injected = 0
        while crowd.working() and time.monotonic() < give_up_at:
            # Neither runs away from the other, so that the last operation has met the last fault.
            per_fault = self.options.operations / max(self.options.faults, 1)
            crowd.allowed = per_fault * (injected + 2)
            if injected < min(crowd.taken / per_fault, self.options.faults):
                injector.inject(injector.choose())
                injected += 1
            else:
                time.sleep(0.05)
        if crowd.working():
            self.told(f"the time is over after {crowd.taken} operations")
            crowd.stop()

    def _wait_for_notifications(self):
        self.world.stack.wait_for_notifications()
        self.told("notifications flow")

    # Settling

    def _settle(self, auditor, tap, injector):
        """Wait until nothing moves, hold everything against the buckets, and look at everything once if need be."""
        began = time.monotonic()
        judge = self._judge_of = Judge(self.world, self.trace)
        self._wait_for_notifications()
        self._mark_the_end(auditor)
        self._wait_until_quiet()
        quiet_s = time.monotonic() - began
        compared = self._compared(judge)
        before = sum(len(one.differences) + len(one.problems) for one in compared)
        self.told(f"quiet after {quiet_s:.1f} s; {before} differences before a look at everything")
        gone = judge.lost_on_the_way(auditor) | set(tap.dropped.values())
        for repo, one in zip(self.world.repositories, compared, strict=True):
            for path, what in one.differences.items():
                self.told(f"  {repo.fqrn} {path}: {what}")
                if not any((repo.name, key) in gone for key in one.keys[path]):
                    self._faults([f"{repo.fqrn} {path}: {what}, though every notification came"])
                    self._tell_story(repo, one.keys[path])
        by_function = has_function(self.world)
        for repo, one in zip(self.world.repositories, compared, strict=True):
            reconcile(self.world, repo, one.everything, f"soak {self.options.seed}")
        self._wait_until_quiet()
        for repo, one in zip(self.world.repositories, self._compared(judge), strict=True):
            for path, what in one.differences.items():
                self._faults([f"{repo.fqrn} {path}: {what}, also after a look at everything"])
                self._tell_story(repo, one.keys[path])
            self._faults(one.problems)
        self.result.figures |= {
            "operations": self.trace.done,
            "paths at the end": sum(one.files for one in compared),
            "refused at the end": sum(one.refused for one in compared),
            "notifications": len(auditor.notifications),
            "notifications dropped on purpose": len(tap.dropped),
            "keys RabbitMQ never heard of enough": len(judge.lost_on_the_way(auditor)),
            "differences before the look": before,
            "the look was": "reconcile_bucket" if by_function else "synthetic notifications",
            "quiet after, s": round(quiet_s, 1),
            "converged after, s": round(time.monotonic() - began, 1),
        }

    def _tell_story(self, repo, keys):
        for key in sorted(keys):
            for line in self.trace.of(repo.name, key):
                self.told(f"    {line}")

    def _mark_the_end(self, auditor):
        """A last object in every bucket: when RabbitMQ has heard of it, it has heard of everything before."""
        for repo in self.world.repositories:
            key = "cvmfs/the-end"
            self.world.client(repo).put_object(Bucket=repo.name, Key=key, Body=b"the end")
            self.trace.note(repo.name, key, "put", kind="PUT", number=0)
        ends = {(repo.name, "cvmfs/the-end") for repo in self.world.repositories}
        eventually(
            lambda: ends <= {(bucket, key) for bucket, key, *_ in list(auditor.notifications.values())},
            "the notification of the last object of every bucket",
        )

    def _wait_until_quiet(self):
        """No message on its way anywhere, for a while."""
        quiet_since = None
        give_up_at = time.monotonic() + CONVERGE_S
        while quiet_since is None or time.monotonic() - quiet_since < QUIET_S:
            if time.monotonic() > give_up_at:
                self._faults([f"not quiet after {CONVERGE_S:.0f} s: {self._moving()}"])
                return
            moving = True
            with suppress(pika.exceptions.AMQPError, OSError):
                moving = self._moving()
            if moving:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            time.sleep(0.2)

    def _moving(self):
        names = [
            name
            for name in self.world.queues()
            if name.startswith(("fn.", "changes.", "cvmfs.unrouted")) and not name.endswith(".parked")
        ]
        moving = {name: count for name, count in self.world.ready(names).items() if count}
        if busy := self.world.stack.ask("status")["busy"]:
            moving["busy"] = busy
        return moving

    def _compared(self, judge):
        return [judge.compare(repo) for repo in self.world.repositories]

    # Judging

    def _judge(self, watcher, auditor, tap, injector):
        judge, world = self._judge_of, self.world
        began = time.monotonic()
        revisions = roots = 0
        for faults, chain, more in judge.revisions(watcher.seen):
            self._faults(faults)
            revisions += chain
            roots += more
        self._faults(watcher.went_back)
        auditor.stop()
        faults, parked = judge.messages(auditor, tap, injector.broker_deaths)
        self._faults(faults)
        auditor.remove()
        self._faults(judge.leftovers())
        _, statuses = answered(world.stack.journal)
        self.result.figures |= {
            "repositories": len(world.repositories),
            "revisions": revisions,
            "revisions seen by readers": sum(map(len, watcher.seen.values())),
            "root catalogs verified": roots,
            "messages answered 2xx": sum(n for (_, status), n in statuses.items() if 200 <= status < 300),
            "messages taken along": taken_along(world.stack.journal),
            "messages answered otherwise": sum(n for (_, status), n in statuses.items() if not 200 <= status < 300),
            "messages parked": parked,
            "nonsense put on queues": len(tap.injected),
            "requests users had to repeat": self.trace.tried_again,
            "RadosGW died": world.stack.ceph.restarts,
            "verified in, s": round(time.monotonic() - began, 1),
        }
        self.result.injected = dict(sorted(injector.counts.items()))
        self.result.effect = dict(injector.effect)
