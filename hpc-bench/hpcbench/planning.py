"""From a scenario to a plan: every single operation is decided before anything runs.

The same scenario, scale and seed give the same plan, and a plan makes its operations again, as often as one likes. So
the order in which numbers are taken and dice are thrown in here is part of the format.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hpcbench.content import HEADER_BYTES
from hpcbench.plan import REQUEST, Lane, Operation, Plan, RepositoryPlan, Task
from hpcbench.scenario import Load, Scenario

REQUESTS_PER_TASK = 250
REQUESTS_AT_ONCE = 16
"""Most of the time they wait until their repository can be mounted."""
DELETIONS = 0.25
"""Share of deletions in a churn, after the first round."""

Chain = list[Operation]
"""What happens to one object, in order."""


def decide(scenario: Scenario, *, domain: str, users: int, prefix: str) -> Plan:
    """The plan of a scenario; names of buckets begin with `prefix`, the `users` of the target own them in turn."""
    buckets = [f"{prefix}{number:04}" for number in range(scenario.repositories)]
    repositories = tuple(
        RepositoryPlan(f"{bucket}.{domain}", bucket, number % users) for number, bucket in enumerate(buckets)
    )
    tasks = _requests(scenario)
    for wave, load, lanes in _shares(scenario, repositories):
        tasks.append(_task(len(tasks), wave, load, sum(map(len, lanes))))
    return Plan(scenario, repositories, tuple(tasks))


def lanes_by_task(plan: Plan) -> Iterator[tuple[Task, list[Lane]]]:
    """Every task after the requests, and its operations."""
    tasks = (task for task in plan.tasks if task.action != REQUEST)
    for task, (_, _, lanes) in zip(tasks, _shares(plan.scenario, plan.repositories), strict=True):
        yield task, lanes


def operations(plan: Plan) -> Iterator[Operation]:
    """Every operation of a plan."""
    for _, lanes in lanes_by_task(plan):
        for lane in lanes:
            yield from lane


def _requests(scenario: Scenario) -> list[Task]:
    """The first wave: its tasks ask for the repositories in turn."""
    count = -(-scenario.repositories // REQUESTS_PER_TASK)
    return [
        Task(
            number,
            0,
            REQUEST,
            REQUEST,
            by_k6=False,
            at_once=REQUESTS_AT_ONCE,
            operations=len(range(number, scenario.repositories, count)),
        )
        for number in range(count)
    ]


def _task(index: int, wave: int, load: Load, count: int) -> Task:
    return Task(
        index,
        wave,
        load.name,
        load.action,
        by_k6=load.by_k6,
        at_once=load.at_once,
        operations=count,
        rate=tuple((per_s / load.tasks, seconds) for per_s, seconds in load.rate),
        seconds=load.seconds,
        members=load.members,
    )


def _shares(scenario: Scenario, repositories: Sequence[RepositoryPlan]) -> Iterator[tuple[int, Load, list[Lane]]]:
    """For every task after the requests: its wave, its load, and its share of the load's operations."""
    source = _Source(random.Random(scenario.seed))
    uploaded: dict[str, list[Operation]] = {}
    for wave, loads in enumerate(scenario.waves, start=1):
        for load in loads:
            chains = list(_chains(load, repositories[: load.repositories or None], uploaded, source))
            uploaded[load.name] = [chain[-1] for chain in chains]
            for number in range(load.tasks):
                # With a rate it is time that puts operations in order, so there is nothing to divide among users.
                yield wave, load, _lanes(chains[number :: load.tasks], 1 if load.rate else load.at_once)


def _lanes(chains: Sequence[Chain], count: int) -> list[Lane]:
    """Chains spread over lanes; in a lane, the first operations of all chains come before all second ones."""
    made = []
    for number in range(min(count, max(1, len(chains)))):
        mine = chains[number::count]
        longest = max(map(len, mine), default=0)
        made.append([chain[step] for step in range(longest) for chain in mine if step < len(chain)])
    return made


@dataclass(slots=True)
class _Source:
    """Where operations get their numbers from, one after the other, and what is left to chance."""

    dice: random.Random
    _last: int = field(default=0, init=False)

    def operation(self, load: Load, bucket: str, key: str, kind: str, user: int) -> Operation:
        self._last += 1
        return Operation(self._last, bucket, key, kind, self._size(load), user)

    def _size(self, load: Load) -> int:
        """Spread evenly over the logarithm between the two sizes of the load; deletions throw the dice too."""
        low, high = load.bytes
        factor: float = (high / low) ** self.dice.random()
        return max(HEADER_BYTES, round(low * factor))


def _chains(
    load: Load, repositories: Sequence[RepositoryPlan], uploaded: Mapping[str, Sequence[Operation]], source: _Source
) -> Iterator[Chain]:
    """For every object of a load the operations on it; `uploaded` has the last ones of the loads before."""
    if load.action == "read":
        return
    if load.action in {"overwrite", "delete"}:
        yield from _changes(load, uploaded[load.of], source)
        return
    for number in range(load.files or _arrivals(load.rate)):
        repository = repositories[number % len(repositories)]
        key = _key(load, number // len(repositories))
        yield [
            source.operation(load, repository.bucket, key, kind, repository.user) for kind in _kinds(load, source.dice)
        ]


def _changes(load: Load, before: Sequence[Operation], source: _Source) -> Iterator[Chain]:
    """One operation for each of the first objects of an earlier load: overwritten as they came, or deleted."""
    for old in before[: max(1, round(len(before) * load.share))]:
        kind = "delete" if load.action == "delete" else old.kind
        yield [source.operation(load, old.bucket, old.key, kind, old.user)]


def _kinds(load: Load, dice: random.Random) -> Iterable[str]:
    """What happens to one new object of a load, in order; drawn one at a time, between the sizes."""
    if load.action != "churn":
        yield load.action
        return
    yield (kind := "put")
    for _ in range(load.rounds - 1):
        deletes = dice.random() < DELETIONS and kind != "delete"  # nothing is deleted twice in a row
        yield (kind := "delete" if deletes else "put")


def _key(load: Load, number: int) -> str:
    if load.action == "archive":
        return f"cvmfs/{load.name}/a{number:06}.tar"
    return f"cvmfs/{load.name}/d{number // load.files_per_folder:04}/f{number:06}"


def _arrivals(rate: Sequence[tuple[float, float]]) -> int:
    """How many operations begin: the area below the rate, whose first value holds from the start."""
    total, before = 0.0, rate[0][0] if rate else 0.0
    for per_s, seconds in rate:
        total += (before + per_s) / 2 * seconds
        before = per_s
    return max(1, round(total)) if rate else 0
