"""A scenario made concrete: repositories, tasks and every single operation, decided before anything runs.

Written below the folder of the run, where tasks on any node read it. The same scenario, scale and seed give the same
plan.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hpcbench.content import HEADER_BYTES, base_text
from hpcbench.run_folder import BASE_FILE, OPERATIONS_FOLDER, PLAN_FILE
from hpcbench.scenario import Load, Scenario

REQUEST = "request"
"""The action of the first wave: ask for the repositories."""

REQUESTS_PER_TASK = 250
DELETIONS = 0.25
"""Share of deletions in a churn, after the first round."""


class Operation(NamedTuple):
    """One thing a user does to one object; `kind` is put, multipart, delete, archive or list."""

    number: int
    bucket: str
    key: str
    kind: str
    size: int
    user: int


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """A repository of the run and the user (an index into the target's users) who owns it."""

    fqrn: str
    bucket: str
    user: int


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does: its load, its share of the rate, and how many operations it has."""

    index: int
    wave: int
    load: str
    action: str
    by_k6: bool
    at_once: int
    operations: int
    rate: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    members: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be done; `scenario` at its scale, `waves` of tasks that run together, in order."""

    scenario: Scenario
    repositories: tuple[RepositoryPlan, ...]
    tasks: tuple[Task, ...]

    @property
    def waves(self) -> list[list[Task]]:
        """Tasks by wave."""
        return [[task for task in self.tasks if task.wave == wave] for wave in range(self.tasks[-1].wave + 1)]

    def operations(self) -> Iterator[Operation]:
        """Every operation, made again."""
        for _, _, lanes in planned(self.scenario, self.repositories):
            for lane in lanes:
                yield from lane

    @classmethod
    def read(cls, run: Path) -> Plan:
        """The plan of a run."""
        document = json.loads((run / PLAN_FILE).read_text())
        return cls(
            Scenario.from_plan(document["scenario"]),
            tuple(RepositoryPlan(**each) for each in document["repositories"]),
            tuple(Task(**{**each, "rate": tuple(map(tuple, each["rate"]))}) for each in document["tasks"]),
        )


def operations(run: Path, index: int) -> list[list[Operation]]:
    """The operations of a task by lane: what is in one lane is done one after the other."""
    document = json.loads((run / OPERATIONS_FOLDER / f"{index:04}.json").read_text())
    return [[Operation(*each) for each in lane] for lane in document]


def write_plan(run: Path, scenario: Scenario, *, domain: str, users: int, prefix: str) -> Plan:
    """Decide everything and write it below `run`; bucket names begin with `prefix`."""
    repositories = tuple(
        RepositoryPlan(f"{bucket}.{domain}", bucket, number % users)
        for number in range(scenario.repositories)
        for bucket in (f"{prefix}{number:04}",)
    )
    folder = run / OPERATIONS_FOLDER
    folder.mkdir(parents=True)
    (run / BASE_FILE).write_text(base_text(scenario.seed))
    tasks = _requests(scenario)
    for wave, load, lanes in planned(scenario, repositories):
        tasks.append(_task(len(tasks), wave, load, sum(map(len, lanes))))
        (folder / f"{tasks[-1].index:04}.json").write_text(json.dumps(lanes, separators=(",", ":")))
    plan = Plan(scenario, repositories, tuple(tasks))
    (run / PLAN_FILE).write_text(json.dumps(dataclasses.asdict(plan), indent=1) + "\n")
    return plan


def planned(
    scenario: Scenario, repositories: Sequence[RepositoryPlan]
) -> Iterator[tuple[int, Load, list[list[Operation]]]]:
    """Every task after the requests, in order: its wave, its load, its operations by lane; the same every time."""
    dice = random.Random(scenario.seed)
    numbers = iter(range(1, 1 << 40))
    keys: dict[str, list[Operation]] = {}
    for wave, loads in enumerate(scenario.waves, start=1):
        for load in loads:
            chains = list(_chains(load, repositories[: load.repositories or None], keys, numbers, dice))
            keys[load.name] = [chain[-1] for chain in chains]
            for number in range(load.tasks):
                yield wave, load, _lanes(chains[number :: load.tasks], 1 if load.rate else load.at_once)


def _requests(scenario: Scenario) -> list[Task]:
    count = -(-scenario.repositories // REQUESTS_PER_TASK)
    return [
        Task(
            number,
            0,
            REQUEST,
            REQUEST,
            by_k6=False,
            at_once=4,
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


def _lanes(chains: Sequence[Sequence[Operation]], lanes: int) -> list[list[Operation]]:
    """Chains spread over lanes; in a lane, the first operations of all chains come before all second ones."""
    made = []
    for number in range(min(lanes, max(1, len(chains)))):
        mine = chains[number::lanes]
        longest = max(map(len, mine), default=0)
        made.append([chain[step] for step in range(longest) for chain in mine if step < len(chain)])
    return made


def _chains(
    load: Load,
    repositories: Sequence[RepositoryPlan],
    keys: Mapping[str, Sequence[Operation]],
    numbers: Iterator[int],
    dice: random.Random,
) -> Iterator[list[Operation]]:
    """For every object the operations on it, in order."""
    if load.action in {"overwrite", "delete"}:
        known = keys[load.of]
        for old in known[: max(1, round(len(known) * load.share))]:
            kind = "delete" if load.action == "delete" else old.kind
            yield [Operation(next(numbers), old.bucket, old.key, kind, _size(load, dice), old.user)]
        return
    if load.action == "read":
        return
    for number in range(load.files or _arrivals(load.rate)):
        repository = repositories[number % len(repositories)]
        key = _key(load, number // len(repositories))
        rounds = load.rounds if load.action == "churn" else 1
        chain: list[Operation] = []
        for turn in range(rounds):
            kind = "put" if load.action == "churn" else load.action
            if turn and load.action == "churn" and dice.random() < DELETIONS and chain[-1].kind != "delete":
                kind = "delete"
            chain.append(Operation(next(numbers), repository.bucket, key, kind, _size(load, dice), repository.user))
        yield chain


def _key(load: Load, number: int) -> str:
    if load.action == "archive":
        return f"cvmfs/{load.name}/a{number:06}.tar"
    return f"cvmfs/{load.name}/d{number // load.files_per_folder:04}/f{number:06}"


def _size(load: Load, dice: random.Random) -> int:
    low, high = load.bytes
    factor: float = (high / low) ** dice.random()
    return max(HEADER_BYTES, round(low * factor))


def _arrivals(rate: Sequence[tuple[float, float]]) -> int:
    """How many operations begin: the area below the rate, whose first value holds from the start."""
    total, before = 0.0, rate[0][0] if rate else 0.0
    for per_s, seconds in rate:
        total += (before + per_s) / 2 * seconds
        before = per_s
    return max(1, round(total)) if rate else 0
