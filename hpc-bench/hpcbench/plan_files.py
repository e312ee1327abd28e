"""A plan in the folder of its run: written once, by ``submit``, and read by tasks on any node and by the report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from hpcbench.content import base_text
from hpcbench.plan import Lane, Operation, Plan, RepositoryPlan, Task
from hpcbench.planning import lanes_by_task
from hpcbench.run_folder import BASE_FILE, OPERATIONS_FOLDER, PLAN_FILE
from hpcbench.scenario import Scenario


def write_plan(run: Path, plan: Plan) -> None:
    """Keep a plan, the operations of each task in a file of its own, and the text that contents are made of."""
    (run / OPERATIONS_FOLDER).mkdir(parents=True)
    (run / BASE_FILE).write_text(base_text(plan.scenario.seed))
    for task, lanes in lanes_by_task(plan):
        _operations_file(run, task.index).write_text(json.dumps(lanes, separators=(",", ":")))
    (run / PLAN_FILE).write_text(json.dumps(dataclasses.asdict(plan), indent=1) + "\n")


def read_plan(run: Path) -> Plan:
    """The plan of a run."""
    document = json.loads((run / PLAN_FILE).read_text())
    return Plan(
        Scenario.from_plan(document["scenario"]),
        tuple(RepositoryPlan(**each) for each in document["repositories"]),
        tuple(Task(**{**each, "rate": tuple(map(tuple, each["rate"]))}) for each in document["tasks"]),
    )


def read_lanes(run: Path, task: Task) -> list[Lane]:
    """The operations of a task; until the run is collected, which removes them."""
    return [[Operation(*each) for each in lane] for lane in json.loads(_operations_file(run, task.index).read_text())]


def _operations_file(run: Path, index: int) -> Path:
    return run / OPERATIONS_FOLDER / f"{index:04}.json"
