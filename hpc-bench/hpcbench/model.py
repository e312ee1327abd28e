"""Past this machine: how much of everything a load needs, and what ends first.

Two parts, both small. ``steady`` is arithmetic: a rate of uploads spread over repositories, the measured demands, and
what a component can have at most. ``drain`` is a simulation in steps of a burst on one machine, whose cores all
components share; it is what the measured runs are held against.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from hpcbench.demands import Demands

UTILISATION = 0.7
"""How busy a pod is when Knative asks for the next one."""

PACE_S = 2.0
"""Seconds between revisions of one repository under load (MIN_PUBLISH_INTERVAL_S)."""

FUNCTIONS = {
    "handle-bucket-notification": "function handle_bucket_notification",
    "publish-transaction": "function publish_transaction",
}

MESSAGES_PER_UPLOAD = 3
"""Notification, change record, wake-up; the last only where no publisher is at work already."""

MESSAGES_PER_REVISION = 1
"""``repository.published``."""

OWN_PUT_SHARE = 0.4
"""Of what an upload costs RadosGW and the OSDs, the user's own PUT; the rest is reading it and storing the object.

This and PUT_CORES are from one run of ten-thousand: 203 PUT/s beside 98 stored/s, then 163 stored/s alone.
"""

PUT_CORES = 4 / 3
"""Cores that PUTs together compete for, however many users there are: mostly they wait for the disk."""

THREADS = 8
"""Requests that one pod works on at once (containerConcurrency); Python gives them one core together."""

STEP_S = 0.02

_NOTHING, _A_BIT = 1e-9, 1e-6
"""What sums of many steps may be off by: CPU seconds and cores, uploads."""


@dataclass(frozen=True, slots=True)
class Steady:
    """What a steady load needs."""

    uploads_per_s: float
    repositories: int
    revisions_per_s: float
    cores: dict[str, float]
    pods: dict[str, int]
    messages_per_s: float
    signatures_per_s: float
    share_of_limit: dict[str, float]

    @property
    def first_bottleneck(self) -> str:
        """The component that is nearest to, or furthest above, what it can have."""
        return max(self.share_of_limit, key=lambda name: self.share_of_limit[name])


def revision_rate(uploads_per_s: float, repositories: int, pace_s: float = PACE_S) -> float:
    """Revisions per second of all repositories, when uploads come to each at random.

    After a revision the next one waits for the pace and then for an upload, so a repository's cycle is the pace plus
    the mean time between uploads; what arrives meanwhile goes along.
    """
    return repositories / (pace_s + repositories / uploads_per_s)


def steady(
    demands: Demands, *, uploads_per_s: float, repositories: int, limits: Mapping[str, float], pace_s: float = PACE_S
) -> Steady:
    """Cores and pods for a load; `limits` are cores that a component can have, where it cannot simply be many."""
    revisions = revision_rate(uploads_per_s, repositories, pace_s)
    cores = {part: demand.cpu_s(uploads_per_s, revisions, 1.0) for part, demand in demands.items()}
    return Steady(
        uploads_per_s=uploads_per_s,
        repositories=repositories,
        revisions_per_s=revisions,
        cores=cores,
        pods={name: max(1, math.ceil(cores[part] / UTILISATION)) for name, part in FUNCTIONS.items()},
        messages_per_s=uploads_per_s * MESSAGES_PER_UPLOAD + revisions * MESSAGES_PER_REVISION,
        signatures_per_s=revisions,
        share_of_limit={part: cores[part] / most for part, most in limits.items()},
    )


def most_uploads_per_s(
    demands: Demands, *, repositories: int, limits: Mapping[str, float], pace_s: float = PACE_S
) -> float:
    """The rate at which the first component reaches its limit; found by halving."""
    low, high = 0.0, 1.0
    while high < 1e7 and _fits(demands, high, repositories, limits, pace_s):
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        if _fits(demands, middle, repositories, limits, pace_s):
            low = middle
        else:
            high = middle
    return low


def _fits(demands: Demands, rate: float, repositories: int, limits: Mapping[str, float], pace_s: float) -> bool:
    found = steady(demands, uploads_per_s=rate, repositories=repositories, limits=limits, pace_s=pace_s)
    return max(found.share_of_limit.values()) <= 1.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Uploads that `users` make without a pause to some repositories, on `cores` that others leave to us.

    `client_s` is what a client itself costs for each upload.
    """

    uploads: int
    repositories: int
    users: int
    cores: float
    client_s: float = 0.001
    pods: int = 2


@dataclass(frozen=True, slots=True)
class Drained:
    """How a burst went: seconds of uploading, seconds from its end until all was visible, revisions."""

    load_s: float
    last_put_to_all_visible_s: float
    revisions: int


def drain(burst: Burst, demands: Demands) -> Drained:
    """Simulate a burst: users upload, contents are stored, repositories publish; all of them share the cores.

    In each step every stage gets its part of the cores in proportion to how many it could use.
    """
    costs = _Costs.of(demands, burst)
    line = _Line(burst, costs)
    while line.visible < burst.uploads:
        line.step()
    return Drained(line.load_s, line.now - line.load_s, line.revisions)


@dataclass(frozen=True, slots=True)
class _Costs:
    """CPU seconds: of a PUT, of storing what it brought, of a revision, of each upload in it; cores left for all."""

    put_s: float
    store_s: float
    revision_s: float
    entry_s: float
    cores: float

    @classmethod
    def of(cls, demands: Demands, burst: Burst) -> _Costs:
        storage = demands["RadosGW"].per_upload + demands["Ceph OSD"].per_upload
        publishing = demands["function publish_transaction"].per_upload
        every = sum(demand.per_upload for demand in demands.values())
        put = storage * OWN_PUT_SHARE
        idle = sum(demand.per_second for demand in demands.values())
        return cls(
            put_s=put + burst.client_s,
            store_s=every - put - publishing,
            revision_s=sum(demand.per_revision for demand in demands.values()),
            entry_s=publishing,
            cores=max(0.05, burst.cores - idle),
        )


@dataclass(eq=False, slots=True)
class _Publishing:
    """A revision in the making: CPU seconds that are still to be done for it, its repository, its uploads."""

    left_s: float
    repository: int
    uploads: int


class _Line:
    """The three stages of a burst at one moment.

    Repositories with uploads that are `_waiting` are `_ready` to be published, unless they are `_held`: `_running` now,
    or `_paced`, not to be published again before a time.
    """

    def __init__(self, burst: Burst, costs: _Costs) -> None:
        self._burst = burst
        self._costs = costs
        self._put = self._stored = 0.0
        self._arrived = 0
        self._waiting = [0] * burst.repositories
        self._ready: deque[int] = deque()
        self._paced: deque[tuple[float, int]] = deque()
        self._running: list[_Publishing] = []
        self._held: set[int] = set()
        self.now = self.load_s = 0.0
        self.visible = self.revisions = 0

    def step(self) -> None:
        """A moment later."""
        burst, costs = self._burst, self._costs
        left, behind = burst.uploads - self._put, self._put - self._stored
        putting = min(float(burst.users), PUT_CORES, left)
        storing = min(float(burst.pods), behind) if behind > _NOTHING else 0.0
        publishing = min(float(burst.pods), float(len(self._running)))
        share = min(1.0, costs.cores / max(putting + storing + publishing, _NOTHING)) * STEP_S
        self._put += min(left, putting * share / costs.put_s)
        self._stored = min(self._put, self._stored + storing * share / costs.store_s)
        self.now += STEP_S
        if left > _A_BIT:
            self.load_s = self.now
        self._publish(publishing * share)
        self._arrive()
        self._begin()

    def _arrive(self) -> None:
        while self._arrived < int(self._stored + _A_BIT):
            repository = self._arrived % self._burst.repositories
            self._waiting[repository] += 1
            self._arrived += 1
            if self._waiting[repository] == 1 and repository not in self._held:
                self._ready.append(repository)

    def _begin(self) -> None:
        while self._paced and self._paced[0][0] <= self.now:
            _, repository = self._paced.popleft()
            self._held.discard(repository)
            if self._waiting[repository]:
                self._ready.append(repository)
        while self._ready and len(self._running) < self._burst.pods * THREADS:
            repository = self._ready.popleft()
            self._held.add(repository)
            count, self._waiting[repository] = self._waiting[repository], 0
            left_s = self._costs.revision_s + count * self._costs.entry_s
            self._running.append(_Publishing(left_s, repository, count))

    def _publish(self, work: float) -> None:
        if not self._running:
            return
        each = work / len(self._running)
        for revision in self._running:
            revision.left_s -= each
        for revision in [revision for revision in self._running if revision.left_s <= _NOTHING]:
            self._running.remove(revision)
            self.visible += revision.uploads
            self.revisions += 1
            self._paced.append((self.now + PACE_S, revision.repository))
