"""What a run will do, as values: repositories, tasks, operations. Compute nodes import this module.

How a scenario comes to them is in ``planning.py``, the files they are kept in are those of ``plan_files.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hpcbench.scenario import Scenario

REQUEST = "request"
"""The action of the first wave, which asks for the repositories; the other actions are those of the scenario."""


class Operation(NamedTuple):
    """One thing that a user does to one object.

    `number` tells it from all others of the run and decides its content. `kind` is put, multipart, delete, archive or
    list. `size` is in bytes, for an archive of each member. `user` is an index into the users of the target.
    """

    number: int
    bucket: str
    key: str
    kind: str
    size: int
    user: int


Lane = list[Operation]
"""Operations that are done one after the other; several lanes are done at once."""


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """A repository of the run and the user (an index into the target's users) who owns it."""

    fqrn: str
    bucket: str
    user: int


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does: its load, its share of the rate, and how many operations it has.

    `rate`, `seconds` and `members` are as in ``scenario.Load``; `by_k6` says who plays it, k6 or Python.
    """

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
    """Everything that will be done: the scenario at its scale, and tasks in the order of their waves."""

    scenario: Scenario
    repositories: tuple[RepositoryPlan, ...]
    tasks: tuple[Task, ...]

    @property
    def waves(self) -> list[list[Task]]:
        """Tasks by wave: those of one wave run together, and begin when those of the wave before have ended."""
        return [[task for task in self.tasks if task.wave == wave] for wave in range(self.tasks[-1].wave + 1)]
